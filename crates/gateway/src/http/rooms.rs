//! `GET /rooms`: the rooms that have members.

#[cfg(feature = "pages")]
use actix_session::Session;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use trunkline_session::Sessions;

use super::{HttpState, RoomListError, error::HttpError, identify::identify};
#[cfg(feature = "pages")]
use super::{
    cookie_check::{explain, without_marker},
    error::{HTML, accepts_html},
};
#[cfg(feature = "pages")]
use crate::pages::{self, PageLanguage};

/// Returns the rooms that have members on any instance, the largest first, as JSON or as a page.
pub(super) async fn list<S: Sessions>(
    state: web::Data<HttpState<S>>,
    request: HttpRequest,
    #[cfg(feature = "pages")] session: Session,
) -> HttpResponse {
    #[cfg(feature = "pages")]
    let as_page = accepts_html(&request);
    #[cfg(feature = "pages")]
    let strings = PageLanguage::of(&request).strings();
    let identity = match identify(&state.config, &request).await {
        Ok(identity) => identity,
        #[cfg(feature = "pages")]
        Err(error @ HttpError::NotLoggedIn) if as_page => {
            let login = pages::LoginPage { next: Some("/rooms"), ..pages::LoginPage::of(&request) };
            return error.page(pages::login(strings, &explain(&state, &request, login)));
        }
        Err(error) => return error.answer(&request),
    };
    #[cfg(feature = "pages")]
    if let Some(redirect) = without_marker(&request) {
        return redirect;
    }
    let mut rooms = match state.gateway.rooms(&identity).await {
        Ok(rooms) => rooms,
        Err(RoomListError::Denied(denied)) => return HttpError::Forbidden(denied).answer(&request),
        Err(RoomListError::Unavailable(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "reading the room counts failed; answering 503");
            return HttpError::Unavailable.answer(&request);
        }
    };
    rooms.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    #[cfg(feature = "pages")]
    if as_page {
        trunkline_session::rotate(&session);
        return HttpResponse::Ok().content_type(HTML).body(pages::rooms(strings, &rooms).into_string());
    }
    let rooms: Vec<Value> = rooms.into_iter().map(|(room, count)| json!({ "room": room, "count": count })).collect();
    HttpResponse::Ok().json(json!({ "rooms": rooms }))
}
