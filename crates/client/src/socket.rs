//! Opening a WebSocket with small buffers, so that one process can hold thousands.

use std::{io, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as SocketError, Message,
        client::IntoClientRequest,
        http::{HeaderValue, header},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{Session, site::Stream};

/// The subprotocol of version 1.
pub(crate) const SUBPROTOCOL: &str = "trunkline.v1";
/// Largest frame taken: a page of history has at most 64 KiB of messages, escapes can triple a text.
const FRAME_MOST: usize = 1024 * 1024;
/// Most bytes that wait for a peer that does not read; beyond, the socket counts as broken.
const UNSENT_MOST: usize = 256 * 1024;
/// How long the other side has to answer our close frame.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) type Socket = WebSocketStream<Stream>;

/// Why no socket came to be: the HTTP status of the refusal, or `None` where the connection failed.
pub(crate) async fn open(session: &Session) -> Result<Socket, Option<u16>> {
    attempt(session).await.map_err(|error| match error {
        SocketError::Http(response) => Some(response.status().as_u16()),
        _ => None,
    })
}

async fn attempt(session: &Session) -> Result<Socket, SocketError> {
    let mut request = session.site().socket_url().into_client_request()?;
    let fields = request.headers_mut();
    fields.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Some(cookie) = session.cookie_header() {
        let cookie = HeaderValue::from_str(&cookie).map_err(|e| SocketError::Io(io::Error::other(e)))?;
        fields.insert(header::COOKIE, cookie);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(UNSENT_MOST)
        .max_frame_size(Some(FRAME_MOST))
        .max_message_size(Some(FRAME_MOST));
    let stream = session.site().connect().await?;
    let (socket, response) = client_async_with_config(request, stream, Some(config)).await?;
    session.keep(response.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok()));
    Ok(socket)
}

/// Closes with 1000 and waits, for two seconds at most, until the other side has answered (RFC 6455 section 7.1.2).
pub(crate) async fn part(mut socket: Socket) {
    let close = Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
    let _ = tokio::time::timeout(CLOSING_TIMEOUT, async {
        if socket.send(close).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
}
