//! A socket that echoes its messages, with the frame check, the decoder, the hub and the transports of the gateway. The
//! Autobahn test suite judges it (docs/CONFORMANCE.md).

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, body::BoxBody, rt, web};
use bytes::Bytes;
use futures_util::Stream;
use trunkline_bus::Bus;
use trunkline_domain::{Event, UserId};

use super::{
    decoder::{ClientMessage, MessageDecoder},
    frame_check::{MessageRules, ProtocolViolation},
    guard::ConnectionGuard,
    transport::{CanBeTakenOver, SocketBody, Upgraded, handshake},
};
use crate::{fanout::LocalWorker, http::error::HttpError, identity::Identity, policy::Policy, state::GatewayState};

/// Opens a socket without login and without a `welcome` frame.
pub(crate) async fn echo<B: Bus, P: Policy>(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<GatewayState<B, P>>,
    worker: web::Data<LocalWorker>,
) -> Result<HttpResponse, actix_web::Error> {
    let (Ok(permit), Ok(user)) = (state.connection_limits.acquire(None), "echo".parse::<UserId>()) else {
        return Ok(HttpError::TooManySockets.json());
    };
    let response = handshake(&request).await?;
    let identity = Identity::new(user);
    let (connection, _) = ConnectionGuard::open(worker.0.clone(), identity, &Event::Ping, permit);
    // The first frame of a connection is not part of RFC 6455: it is taken here and dropped.
    let _ = connection.worker.hub().poll_outgoing(connection.key, &Context::from_waker(Waker::noop()));
    if request.extensions().contains::<CanBeTakenOver>() {
        let mut response = response.map_body(|_, _| BoxBody::new(()));
        response.extensions_mut().insert(Upgraded::new(connection.clone(), |bytes| run(connection, bytes)));
        return Ok(response);
    }
    rt::spawn(run(connection.clone(), payload));
    Ok(response.map_body(|_, _| BoxBody::new(SocketBody(connection))))
}

/// Echoes messages until either side closes.
async fn run<E>(connection: Rc<ConnectionGuard>, mut bytes: impl Stream<Item = Result<Bytes, E>> + Unpin) {
    let hub = || connection.worker.hub();
    let mut decoder = MessageDecoder::new();
    // Ready with `Ok` while the client takes its answers, and with an error once the connection is closing.
    while poll_fn(|cx| hub().poll_readable(connection.key, cx)).await.is_ok() {
        let message = match decoder.next_under(MessageRules::ECHO) {
            Ok(message) => message,
            Err(ProtocolViolation { code, reason }) => return hub().close(connection.key, code, reason),
        };
        match message {
            Some(ClientMessage::Text(text)) => hub().send_message(connection.key, 0x1, text.as_bytes()),
            Some(ClientMessage::Binary(bytes)) => hub().send_message(connection.key, 0x2, &bytes),
            Some(ClientMessage::Ping(payload)) => hub().send_pong(connection.key, &payload),
            Some(ClientMessage::Pong) => {}
            Some(ClientMessage::Close(code)) => return hub().echo_close(connection.key, code),
            None => match next_chunk(&connection, &mut bytes).await {
                Some(Ok(chunk)) => decoder.receive(chunk),
                Some(Err(_)) => return connection.abort(),
                None => return,
            },
        }
        hub().received_frame(connection.key);
    }
}

/// Returns the next bytes of the client, an error if the connection broke, and `None` if it is closing.
async fn next_chunk<E>(
    connection: &ConnectionGuard,
    bytes: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Option<Result<Bytes, ()>> {
    poll_fn(|cx| match connection.worker.hub().poll_readable(connection.key, cx) {
        Poll::Ready(Ok(())) => {
            Pin::new(&mut *bytes).poll_next(cx).map(|next| Some(next.and_then(Result::ok).ok_or(())))
        }
        Poll::Ready(Err(())) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}
