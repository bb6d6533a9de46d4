//! `/assets/{file}`: scripts, style and icon, embedded in the binary under content-hashed names.

#[cfg(test)]
mod bundle;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    web,
};

use super::error::Problem;

/// A file that browsers get.
struct Asset {
    /// Its hashed name.
    file: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// What the build script found in `web/`. Pages name files by these constants, so a page cannot name one that is not there.
#[allow(dead_code, reason = "pages name only the files that they load; scripts import the others")]
mod embedded {
    use super::Asset;

    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

pub(crate) use embedded::*;

/// The name holds the hash of the content: whoever has the file never asks again.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Answers with a file, or with 404.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn serve(file: web::Path<String>, request: HttpRequest) -> HttpResponse {
    match ALL.iter().find(|asset| asset.file == file.as_str()) {
        Some(asset) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, asset.content_type))
            .insert_header((CACHE_CONTROL, FOR_EVER))
            .body(asset.bytes),
        None => Problem::NotFound.answer(&request),
    }
}
