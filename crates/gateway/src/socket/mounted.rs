//! The transport inside anyone's App: actix-ws makes the handshake, our body writes, the request's payload is read.
//!
//! While the dispatcher's write buffer is full it does not poll the body, so a peer that never reads costs that buffer
//! and one cursor. Only the kernel can end such a connection: see [`Gateway::on_connect`](crate::Gateway::on_connect).

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

use super::seat::Seat;
use crate::fanout::Taken;

/// The subprotocol that this gateway speaks.
pub(super) const SUBPROTOCOL: &str = "trunkline.v1";

/// The 101 answer, without a body yet.
pub(super) async fn handshake(request: &HttpRequest) -> Result<HttpResponse, actix_web::Error> {
    // actix-ws ties its message stream to its own body. It gets an empty payload, and both are dropped.
    let empty = web::Payload::from_request(request, &mut dev::Payload::None).await?;
    let (response, _, _) = actix_ws::handle_with_protocols(request, empty, &[SUBPROTOCOL])?;
    Ok(response)
}

/// What goes out on a socket.
pub(super) struct SocketBody(pub(super) Rc<Seat>);

impl MessageBody for SocketBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let seat = &self.0;
        seat.worker.hub().poll_take(seat.key, cx).map(|taken| match taken {
            Taken::Bytes(bytes) => Some(Ok(bytes)),
            Taken::End => None,
        })
    }
}

impl Drop for SocketBody {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}
