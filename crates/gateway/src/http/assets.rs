//! `/assets/{file}`: scripts, style and icon, embedded in the binary under content-hashed names.

#[cfg(test)]
mod bundle;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION},
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

/// Hexadecimal digits of a hash, as the build script makes them.
const HASH_DIGITS: usize = 16;

/// Most times that a browser is sent round for a file; browsers follow 20 redirects.
const ROUNDS: u8 = 16;

/// Answers with a file.
///
/// While instances are replaced by those of another build, a page of the one may ask the other for a file that only the first
/// has. The browser is then sent to the same place again, by way of the balancer, which chooses another instance; and
/// is told 404 when it comes back for the last time. Neither answer may be kept.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn serve(file: web::Path<String>, request: HttpRequest) -> HttpResponse {
    match ALL.iter().find(|asset| asset.file == file.as_str()) {
        Some(asset) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, asset.content_type))
            .insert_header((CACHE_CONTROL, FOR_EVER))
            .body(asset.bytes),
        None => match next_round(&file, request.query_string()) {
            Some(round) => HttpResponse::TemporaryRedirect()
                .insert_header((LOCATION, format!("?round={round}")))
                .insert_header((CACHE_CONTROL, "no-store"))
                .finish(),
            None => Problem::NotFound.answer(&request),
        },
    }
}

/// The number of the next round for a file that another build may have; `None` if none could have it, or it was the last.
fn next_round(file: &str, query: &str) -> Option<u8> {
    let (hash, _) = file.rsplit_once('-')?.1.split_once('.')?;
    if hash.len() != HASH_DIGITS || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let round = query.strip_prefix("round=").map_or(Ok(0), str::parse::<u8>).ok()?;
    (round < ROUNDS).then_some(round + 1)
}
