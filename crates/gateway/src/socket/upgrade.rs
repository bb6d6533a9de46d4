//! The handshake: who may open a socket.

use actix_session::Session;
use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    body::BoxBody,
    http::header::{self, HeaderMap},
    rt, web,
};
use trunkline_bus::Bus;
use trunkline_domain::{Event, Limits, MessageText, millis};
use trunkline_session::{Principal, Sessions, principal};

use super::{
    conversation::Conversation,
    mounted::{SUBPROTOCOL, SocketBody, handshake},
    seat::Seat,
    takeover::{Accepted, CanBeTakenOver},
};
use crate::{
    drain::Phase,
    fanout::Newcomer,
    gateway::{Gateway, LocalWorker},
    http::{cross_site::may_open_socket, error::HttpError, forwarded::RequestSource},
    policy::Policy,
};

/// `GET /ws`. What is no upgrade, and a store that cannot be reached, was answered by the layers around this.
pub(crate) async fn upgrade<B: Bus, S: Sessions, P: Policy>(
    request: HttpRequest,
    session: Session,
    payload: web::Payload,
    gateway: web::Data<Gateway<B, S, P>>,
    worker: web::Data<LocalWorker>,
) -> Result<HttpResponse, actix_web::Error> {
    let shared = gateway.shared();
    if shared.drain.phase() == Phase::Closing {
        return Ok(HttpError::Draining.json());
    }
    if !may_open_socket(request.headers(), &shared.config.public_origins) {
        tracing::info!(origin = ?request.headers().get(header::ORIGIN), "socket of a foreign origin refused");
        return Ok(HttpError::CrossSite.json());
    }
    let Some(Principal { sid, user }) = principal(&session) else {
        return Ok(HttpError::NotLoggedIn.json());
    };
    let client = request
        .peer_addr()
        .map(|peer| RequestSource::of(peer.ip(), request.headers(), &shared.config.trusted_proxies).address);
    let Ok(place) = shared.census.admit(client) else {
        tracing::info!(?client, "too many sockets");
        return Ok(HttpError::TooManySockets.json());
    };
    if offers_only_foreign_subprotocols(request.headers()) {
        return Ok(HttpError::Subprotocol.json());
    }
    let response = handshake(&request).await?;

    // From here to the seat nothing waits: a drain that begins meanwhile finds the socket, or refuses it above.
    let welcome = Event::Welcome {
        user: user.clone(),
        instance: shared.config.instance.clone(),
        ping_interval_ms: millis(shared.config.ping_interval),
        limits: Limits { text_bytes: MessageText::MAX_BYTES, rooms: shared.config.limits.rooms_per_socket },
    };
    let (seat, surplus) = Seat::take(worker.0.clone(), Newcomer { user, sid }, &welcome, place);
    for socket in surplus {
        socket.evict().await;
    }
    let conversation = Conversation::new(shared.clone(), seat.clone());
    if request.extensions().contains::<CanBeTakenOver>() {
        let mut response = response.map_body(|_, _| BoxBody::new(()));
        response.extensions_mut().insert(Accepted::new(seat, |incoming| conversation.run(incoming)));
        return Ok(response);
    }
    rt::spawn(conversation.run(payload));
    Ok(response.map_body(|_, _| BoxBody::new(SocketBody(seat))))
}

fn offers_only_foreign_subprotocols(headers: &HeaderMap) -> bool {
    let mut offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty())
        .peekable();
    offered.peek().is_some() && !offered.any(|protocol| protocol == SUBPROTOCOL)
}
