//! `GET /assets/{file}`: the files that the pages load; and the same files for pages of the application.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{
            ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, EntityTag, Header as _, HeaderValue,
            IfNoneMatch, LOCATION, X_CONTENT_TYPE_OPTIONS,
        },
    },
    web::{self, ServiceConfig},
};

use super::{AllowedMethods, error::HttpError};
use crate::assets::{ALL, HASH_DIGITS};

/// The name contains the hash of the content, so a browser never needs to ask for the file again.
const CACHE_FOREVER: &str = "public, max-age=31536000, immutable";

/// Maximum number of redirects for a file of another build. Browsers follow 20.
const MAX_REDIRECTS: u8 = 16;

/// The modules that applications import: the `exports` of `web/package.json`.
const LIBRARY: [&str; 2] = ["trunkline.js", "fold.js"];

/// Serves the browser's client library in the folder `path` of an App: its modules `trunkline.js` and `fold.js`, and what
/// they import. Pages of any origin may load them.
///
/// ```
/// use actix_web::App;
///
/// // A page: import { Client } from "/trunkline/trunkline.js";
/// let app = App::new().configure(trunkline_gateway::script_routes("/trunkline"));
/// # drop(app);
/// ```
pub fn script_routes(path: &str) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let path = format!("{}/{{file}}", path.trim_end_matches('/'));
    move |config| {
        config.service(AllowedMethods(&[Method::GET, Method::HEAD]).at(&path, web::to(serve_library)));
    }
}

/// Returns a module of the library under its own name, or a file under its hashed name.
async fn serve_library(file: web::Path<String>, request: HttpRequest) -> HttpResponse {
    let module = ALL.iter().find(|asset| asset.name == file.as_str() && LIBRARY.contains(&asset.name));
    let mut answer = match module {
        Some(module) => {
            // The name stays when the content changes, so the browser asks each time whether it did.
            let tag = EntityTag::new_strong(module.file.to_owned());
            let known = match IfNoneMatch::parse(&request) {
                Ok(IfNoneMatch::Any) => true,
                Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
                Err(_) => false,
            };
            let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
            answer.insert_header((CACHE_CONTROL, "no-cache")).insert_header((ETAG, tag.to_string()));
            if known {
                answer.finish()
            } else {
                answer.insert_header((CONTENT_TYPE, module.content_type)).body(module.bytes)
            }
        }
        None => serve(file, request).await,
    };
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

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
