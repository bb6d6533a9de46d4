//! `GET /assets/{file}`: the files that the pages load.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION},
    web,
};

use super::error::HttpError;
use crate::pages::assets::{ALL, HASH_DIGITS};

/// The name contains the hash of the content, so a browser never needs to ask for the file again.
const CACHE_FOREVER: &str = "public, max-age=31536000, immutable";

/// Maximum number of redirects for a file of another build. Browsers follow 20.
const MAX_REDIRECTS: u8 = 16;

/// Returns a file.
///
/// During a rolling update, a page of one build may ask an instance of another build for a file that only the first
/// has. That instance redirects the browser to the same path, so that the balancer can choose another instance, and
/// answers 404 after 16 redirects. Neither answer may be cached.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn serve(file: web::Path<String>, request: HttpRequest) -> HttpResponse {
    match ALL.iter().find(|asset| asset.file == file.as_str()) {
        Some(asset) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, asset.content_type))
            .insert_header((CACHE_CONTROL, CACHE_FOREVER))
            .body(asset.bytes),
        None => match next_redirect(&file, request.query_string()) {
            Some(number) => HttpResponse::TemporaryRedirect()
                .insert_header((LOCATION, format!("?round={number}")))
                .insert_header((CACHE_CONTROL, "no-store"))
                .finish(),
            None => HttpError::NotFound.answer(&request),
        },
    }
}

/// Returns the number of the next redirect for a file that another build may have. Returns `None` if the name is not
/// that of a hashed file, or after the last redirect.
fn next_redirect(file: &str, query: &str) -> Option<u8> {
    let (hash, _) = file.rsplit_once('-')?.1.split_once('.')?;
    if hash.len() != HASH_DIGITS || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = query.strip_prefix("round=").map_or(Ok(0), str::parse::<u8>).ok()?;
    (number < MAX_REDIRECTS).then_some(number + 1)
}
