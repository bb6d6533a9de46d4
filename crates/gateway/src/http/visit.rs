//! Pages for whoever is logged in, and the probe of a session.

use actix_session::Session;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use trunkline_domain::Room;
use trunkline_session::{Sessions, principal, rotate, touch_cookie};

use super::{
    NoRooms, Site,
    error::{HTML, Problem, wants_html, wants_json},
};
use crate::pages::{self, Language};

/// The room that `/` shows.
const FIRST_ROOM: &str = "lobby";

/// `GET /`: the chat page of the first room, or the login page.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn home<S: Sessions>(
    site: web::Data<Site<S>>,
    request: HttpRequest,
    session: Session,
) -> HttpResponse {
    match FIRST_ROOM.parse() {
        Ok(room) => show(&site, &request, &session, &room, None),
        Err(_) => Problem::NotFound.answer(&request),
    }
}

/// `GET /rooms/{room}`: its chat page, or the login page that leads back here.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn room<S: Sessions>(
    site: web::Data<Site<S>>,
    request: HttpRequest,
    session: Session,
    name: web::Path<String>,
) -> HttpResponse {
    match name.parse::<Room>() {
        Ok(room) => show(&site, &request, &session, &room, Some(&format!("/rooms/{room}"))),
        Err(_) => Problem::NotFound.answer(&request),
    }
}

fn show<S: Sessions>(
    site: &Site<S>,
    request: &HttpRequest,
    session: &Session,
    room: &Room,
    next: Option<&str>,
) -> HttpResponse {
    let strings = Language::of(request.headers()).strings();
    let page = match principal(session) {
        Some(who) => {
            rotate(session);
            pages::chat(strings, room, &who.user, &who.sid.login_id(), &site.config.instance)
        }
        None => pages::login(strings, &pages::Login { next, ..pages::Login::default() }),
    };
    HttpResponse::Ok().content_type(HTML).body(page.into_string())
}

/// `GET /rooms`: where somebody is on any instance, busiest first, as JSON or as a page.
pub(super) async fn rooms<S: Sessions>(
    site: web::Data<Site<S>>,
    request: HttpRequest,
    session: Session,
) -> HttpResponse {
    let as_page = wants_html(request.headers()) && !wants_json(request.headers());
    let strings = Language::of(request.headers()).strings();
    let Some(who) = principal(&session) else {
        if !as_page {
            return Problem::NotLoggedIn.json();
        }
        let login = pages::Login { next: Some("/rooms"), ..pages::Login::default() };
        return Problem::NotLoggedIn.page(pages::login(strings, &login));
    };
    let mut rooms = match site.running.rooms(&who.user).await {
        Ok(rooms) => rooms,
        Err(NoRooms::Denied(denied)) => return Problem::Forbidden(denied).answer(&request),
        Err(NoRooms::Unavailable(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the rooms cannot be listed");
            return Problem::Unavailable.answer(&request);
        }
    };
    rooms.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    if as_page {
        rotate(&session);
        return HttpResponse::Ok().content_type(HTML).body(pages::rooms(strings, &rooms).into_string());
    }
    let rooms: Vec<Value> = rooms.into_iter().map(|(room, count)| json!({ "room": room, "count": count })).collect();
    HttpResponse::Ok().json(json!({ "rooms": rooms }))
}

/// `GET /session`: whether the session lives, cheaply, for a client that is about to reconnect. Sets the cookie again and
/// counts as use; the key does not rotate.
pub(super) async fn probe<S: Sessions>(site: web::Data<Site<S>>, session: Session) -> HttpResponse {
    let Some(who) = principal(&session) else { return Problem::NotLoggedIn.json() };
    match site.sessions.touch(&who.sid).await {
        Ok(Some(left)) => {
            touch_cookie(&session);
            let (user, instance) = (&who.user, &site.config.instance);
            let login = who.sid.login_id();
            HttpResponse::Ok()
                .json(json!({ "user": user, "login": login, "instance": instance, "expires_in": left.as_secs() }))
        }
        Ok(None) => Problem::NotLoggedIn.json(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "session probe failed");
            Problem::Unavailable.json()
        }
    }
}
