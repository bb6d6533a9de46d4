//! `GET /` and `GET /rooms/{room}`: the chat pages.

use actix_session::Session;
use actix_web::{HttpRequest, HttpResponse, web};
use trunkline_domain::Room;
use trunkline_session::{Sessions, principal, rotate};

use super::{
    HttpState,
    cookie_check::{explain, without_marker},
    error::{HTML, HttpError},
};
use crate::pages::{self, PageLanguage};

/// The room that `/` shows.
const DEFAULT_ROOM: &str = "lobby";

/// Returns the chat page of the default room, or the login page without a session.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn home<S: Sessions>(
    state: web::Data<HttpState<S>>,
    request: HttpRequest,
    session: Session,
) -> HttpResponse {
    match DEFAULT_ROOM.parse() {
        Ok(room) => chat_or_login(&state, &request, &session, &room, None),
        Err(_) => HttpError::NotFound.answer(&request),
    }
}

/// Returns the chat page of a room. Without a session returns the login page, which leads back to the room.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn room<S: Sessions>(
    state: web::Data<HttpState<S>>,
    request: HttpRequest,
    session: Session,
    name: web::Path<String>,
) -> HttpResponse {
    match name.parse::<Room>() {
        Ok(room) if !room.is_control() => {
            chat_or_login(&state, &request, &session, &room, Some(&format!("/rooms/{room}")))
        }
        _ => HttpError::NotFound.answer(&request),
    }
}

fn chat_or_login<S: Sessions>(
    state: &HttpState<S>,
    request: &HttpRequest,
    session: &Session,
    room: &Room,
    next: Option<&str>,
) -> HttpResponse {
    let strings = PageLanguage::of(request).strings();
    let page = match principal(session) {
        Some(principal) => {
            if let Some(redirect) = without_marker(request) {
                return redirect;
            }
            rotate(session);
            let (name, login) = (principal.name.as_ref(), principal.sid.login_id());
            pages::chat(strings, room, &principal.user, name, &login, &state.config.instance)
        }
        None => {
            pages::login(strings, &explain(state, request, pages::LoginPage { next, ..pages::LoginPage::of(request) }))
        }
    };
    HttpResponse::Ok().content_type(HTML).body(page.into_string())
}
