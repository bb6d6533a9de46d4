//! The handshake: checks whether the request may open a socket, and starts it.

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    body::BoxBody,
    http::header::{self, HeaderMap},
    rt, web,
};
use trunkline_bus::Bus;
use trunkline_domain::{Data, Event, MessageText, WelcomeLimits, millis};

use super::{
    guard::ConnectionGuard,
    handler::ConnectionHandler,
    transport::{CanBeTakenOver, SUBPROTOCOL, SocketBody, Upgraded, handshake},
};
use crate::{
    fanout::{ConnectionHandle, LocalWorker},
    http::{
        cross_site::may_open_socket,
        error::HttpError,
        forwarded::RequestSource,
        identify::{carries_token, identify},
    },
    log_limit::info_limited,
    policy::Policy,
    state::GatewayState,
};

/// `GET /ws`. The layers around this handler have answered requests that are no upgrade, and failures of the session store.
pub(crate) async fn upgrade<B: Bus, P: Policy>(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<GatewayState<B, P>>,
    worker: web::Data<LocalWorker>,
) -> Result<HttpResponse, actix_web::Error> {
    let headers = request.headers();
    if !carries_token(&state.config, headers) && !may_open_socket(headers, &state.config.public_origins) {
        info_limited!(origin = ?headers.get(header::ORIGIN), "socket of a foreign origin refused");
        return Ok(HttpError::CrossSite.json());
    }
    let identity = match identify(&state.config, &request).await {
        Ok(identity) => identity,
        Err(error) => return Ok(error.json()),
    };
    if !state.drain.phase().accepts_sockets() {
        return Ok(HttpError::Draining.json());
    }
    let client = request
        .peer_addr()
        .map(|peer| RequestSource::of(peer.ip(), request.headers(), &state.config.trusted_proxies).address);
    let Ok(permit) = state.connection_limits.acquire(client) else {
        info_limited!(?client, "too many sockets");
        return Ok(HttpError::TooManySockets.json());
    };
    if offers_only_foreign_subprotocols(request.headers()) {
        return Ok(HttpError::Subprotocol.json());
    }
    let response = handshake(&request).await?;

    // No await from here until the connection is in the hub: a drain that begins meanwhile either finds it there, or its
    // phase was seen above.
    let welcome = Event::Welcome {
        user: identity.user().clone(),
        name: identity.name().cloned(),
        instance: state.config.instance.clone(),
        ping_interval_ms: millis(state.config.ping_interval),
        limits: WelcomeLimits {
            text_bytes: MessageText::MAX_BYTES,
            rooms: state.config.limits.rooms_per_socket,
            data_bytes: Data::MAX_BYTES,
        },
    };
    let (connection, surplus) = ConnectionGuard::open(worker.0.clone(), identity, &welcome, permit);
    surplus.iter().for_each(ConnectionHandle::evict);
    let handler = ConnectionHandler::new(state.into_inner(), connection.clone());
    if request.extensions().contains::<CanBeTakenOver>() {
        let mut response = response.map_body(|_, _| BoxBody::new(()));
        response.extensions_mut().insert(Upgraded::new(connection, |bytes| handler.run(bytes)));
        return Ok(response);
    }
    rt::spawn(handler.run(payload));
    Ok(response.map_body(|_, _| BoxBody::new(SocketBody(connection))))
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
