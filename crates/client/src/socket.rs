//! WebSockets with small buffers, so that one process can hold thousands of them.

use std::{io, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as WebSocketError, Message,
        client::IntoClientRequest,
        http::{HeaderValue, header},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{ClientSession, url::GatewayStream};

/// The subprotocol of version 1.
const SUBPROTOCOL: &str = "trunkline.v1";
/// Initial size of the read buffer, in bytes. It grows while a larger frame arrives.
const READ_BUFFER_BYTES: usize = 4096;
/// Maximum size of a received frame, in bytes. A history page contains at most 64 KiB of messages; escapes can triple
/// the size of a text.
const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// Maximum number of unsent bytes. Beyond that the socket counts as broken.
const MAX_UNSENT_BYTES: usize = 256 * 1024;
/// Maximum time in which the server answers a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) type ClientSocket = WebSocketStream<GatewayStream>;

/// Opens a socket.
///
/// # Errors
/// The HTTP status if the server refuses the handshake, `None` if the connection fails.
pub(crate) async fn open(session: &ClientSession) -> Result<ClientSocket, Option<u16>> {
    shake_hands(session).await.map_err(|error| match error {
        WebSocketError::Http(response) => Some(response.status().as_u16()),
        _ => None,
    })
}

async fn shake_hands(session: &ClientSession) -> Result<ClientSocket, WebSocketError> {
    let mut request = session.url().socket_url().into_client_request()?;
    let fields = request.headers_mut();
    fields.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    for (name, value) in session.credentials() {
        let mut value = HeaderValue::from_str(&value).map_err(|e| WebSocketError::Io(io::Error::other(e)))?;
        value.set_sensitive(true);
        fields.insert(name, value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNSENT_BYTES)
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .max_message_size(Some(MAX_FRAME_BYTES));
    let stream = session.url().connect().await?;
    let (socket, response) = client_async_with_config(request, stream, Some(config)).await?;
    let cookies = response.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    session.update_cookies(cookies);
    Ok(socket)
}

/// Closes with code 1000 and waits for the server's close frame (RFC 6455 section 7.1.2), at most two seconds.
pub(crate) async fn close(mut socket: ClientSocket) {
    let close = Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
        if socket.send(close).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
}
