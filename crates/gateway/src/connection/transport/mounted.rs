//! The transport inside an application's App: actix-ws answers the handshake, the response's body writes, and the request's
//! payload is read.
//!
//! While the HTTP dispatcher's write buffer is full, it does not poll the body. A client that reads nothing then costs that
//! buffer and a cursor, and only the kernel can end its connection: see
//! [`Gateway::on_connect`](crate::Gateway::on_connect).

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    FromRequest as _, HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    dev, web,
};
use bytes::Bytes;

use crate::{connection::guard::ConnectionGuard, fanout::Outgoing};

/// The WebSocket subprotocol of this gateway (RFC 6455 section 1.9).
pub(in crate::connection) const SUBPROTOCOL: &str = "trunkline.v1";

/// Returns the 101 response, without a body.
pub(in crate::connection) async fn handshake(request: &HttpRequest) -> Result<HttpResponse, actix_web::Error> {
    // actix-ws connects its message stream with its own body. Both are dropped, so it is given an empty payload.
    let empty = web::Payload::from_request(request, &mut dev::Payload::None).await?;
    let (response, _, _) = actix_ws::handle_with_protocols(request, empty, &[SUBPROTOCOL])?;
    Ok(response)
}

/// The response body of a mounted connection: everything that is sent to the client.
pub(in crate::connection) struct SocketBody(pub(in crate::connection) Rc<ConnectionGuard>);

impl MessageBody for SocketBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let connection = &self.0;
        connection.worker.hub().poll_outgoing(connection.key, cx).map(|outgoing| match outgoing {
            Outgoing::Bytes(bytes) => Some(Ok(bytes)),
            Outgoing::End => None,
        })
    }
}

impl Drop for SocketBody {
    fn drop(&mut self) {
        self.0.abort();
    }
}
