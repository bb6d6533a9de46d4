//! The transport of the program: once the App has answered 101, its HTTP dispatcher is dropped and one small task owns the
//! TCP connection.
//!
//! A mounted socket keeps the dispatcher and its two buffers, about 12 KiB. A socket that was taken over costs a task, and
//! its bytes are copied once. The request still passes the whole App with every middleware.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_codec::Framed;
use actix_http::{
    ConnectionType, HttpMessage as _, Request, Response,
    body::{BodySize, BoxBody, to_bytes_limited},
    h1,
    header::{HeaderMap, HeaderValue},
};
use actix_web::{
    HttpResponse,
    dev::{Service, ServiceResponse},
    rt::{self, net::TcpStream},
};
use bytes::{Buf, Bytes};
use futures_util::{SinkExt, Stream, future::join};
use tokio::io::Interest;

use crate::{
    connection::guard::ConnectionGuard,
    fanout::{MAX_CHUNKS_PER_TURN, Outgoing, Transport},
};

/// Size of the buffer that all sockets of a thread read into. A larger value needs fewer reads for large messages.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// Size of the kernel's send buffer per socket; Linux doubles it for its own bookkeeping (socket(7), `SO_SNDBUF`). A third
/// must be free before a blocked socket takes bytes again. With the 4 MiB to which it would grow, a slow reader would seem
/// to take no bytes for longer than the write timeout allows.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Maximum time from our close frame to the client's close. A larger value holds sockets of unresponsive clients longer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of a response other than 101.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// A request extension: the connection of this request can be taken over.
pub(in crate::connection) struct CanBeTakenOver;

/// A response extension of a 101: starts the tasks of the connection.
pub(in crate::connection) struct Upgraded(Box<dyn FnOnce(ReceivedBytes) -> ConnectionTask>);

/// The reading half and the writing half of a connection, until both have ended. One box, because the memory of a task comes
/// in steps of 128 bytes and the first has space for a pointer.
type ConnectionTask = Pin<Box<dyn Future<Output = ((), ())>>>;

impl Upgraded {
    /// Passes the client's bytes to `handle`, and writes what the hub has for the connection.
    pub(in crate::connection) fn new<F>(
        connection: Rc<ConnectionGuard>,
        handle: impl FnOnce(ReceivedBytes) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self(Box::new(|bytes| {
            let stream = bytes.stream.clone();
            connection.worker.hub().attach(connection.key, stream.clone());
            let writer = Writer { connection, stream, unsent: None };
            Box::pin(join(handle(bytes), writer.run()))
        }))
    }
}

/// Lets the App answer an upgrade request. Takes the connection over after a 101; otherwise sends the response and closes.
pub(crate) async fn take_over<S>(
    app: Rc<S>,
    mut request: Request,
    mut framed: Framed<TcpStream, h1::Codec>,
) -> Result<(), actix_web::Error>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = actix_web::Error>,
{
    request.extensions_mut().insert(CanBeTakenOver);
    copy_headers(request.headers_mut());
    let mut response = match app.call(request).await {
        Ok(response) => response.into_parts().1,
        Err(error) => HttpResponse::from_error(error),
    };
    let upgraded = response.extensions_mut().remove::<Upgraded>();
    let response = Response::from(response);
    let Some(Upgraded(start)) = upgraded else { return Ok(refuse(response, &mut framed).await?) };
    framed.send(h1::Message::Item((response.drop_body(), BodySize::None))).await?;
    let parts = framed.into_parts();
    // From here on the hub decides for how long a client may take no bytes. The kernel's timer counts until a whole segment
    // fits, so it would end slow clients whose small window keeps opening. On platforms without the timer this fails.
    let socket = socket2::SockRef::from(&parts.io);
    let _ = socket.set_tcp_user_timeout(None);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    let stream = Rc::new(parts.io);
    // Copied, because the dispatcher's buffer occupies 8 KiB.
    let first = (!parts.read_buf.is_empty()).then(|| Box::new(Bytes::copy_from_slice(&parts.read_buf)));
    rt::spawn(start(ReceivedBytes { stream, first }));
    Ok(())
}

/// Copies the values out of the dispatcher's read buffer. actix-http keeps up to 128 request heads per thread for later requests,
/// with the headers that they have. Otherwise each would keep such a buffer of 8 KiB, and a map with space for more headers.
fn copy_headers(headers: &mut HeaderMap) {
    let mut copies = HeaderMap::with_capacity(headers.len_keys());
    for (name, value) in &*headers {
        // What was a value is one.
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            copies.append(name.clone(), copy);
        }
    }
    *headers = copies;
}

/// Sends a response other than 101 and closes: the bytes after the request are not another request.
async fn refuse(mut response: Response<BoxBody>, framed: &mut Framed<TcpStream, h1::Codec>) -> io::Result<()> {
    response.head_mut().set_connection_type(ConnectionType::Close);
    let (head, body) = response.into_parts();
    let body = to_bytes_limited(body, MAX_RESPONSE_BYTES).await.ok().and_then(Result::ok).unwrap_or_default();
    framed.send(h1::Message::Item((head, BodySize::Sized(body.len() as u64)))).await?;
    if !body.is_empty() {
        framed.send(h1::Message::Chunk(Some(body))).await?;
    }
    framed.send(h1::Message::Chunk(None)).await?;
    SinkExt::<h1::Message<_>>::close(framed).await
}

/// The bytes that a client sends.
pub(in crate::connection) struct ReceivedBytes {
    stream: Rc<TcpStream>,
    /// The bytes that arrived with the request. Boxed, because there are hardly ever any.
    first: Option<Box<Bytes>>,
}

impl ReceivedBytes {
    /// Marks the socket as empty. A read that does not fill the buffer has emptied it, and epoll reports what arrives later,
    /// so no further read is needed to find that out (epoll(7), "Questions and answers", 9).
    fn mark_empty(&self) {
        let _ = self.stream.try_io::<()>(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
    }
}

impl Stream for ReceivedBytes {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        thread_local! {
            static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER_BYTES].into());
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(*first)));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let read: io::Result<Bytes> = BUFFER.with_borrow_mut(|buffer| {
                let count = self.stream.try_read(buffer)?;
                if (1..buffer.len()).contains(&count) {
                    self.mark_empty();
                }
                Ok(Bytes::copy_from_slice(&buffer[..count]))
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(bytes) if bytes.is_empty() => return Poll::Ready(None),
                other => return Poll::Ready(Some(other)),
            }
        }
    }
}

impl Transport for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }
}

/// Writes what the hub itself could not write.
struct Writer {
    connection: Rc<ConnectionGuard>,
    stream: Rc<TcpStream>,
    /// Bytes that the socket did not take. Boxed, because an idle connection has none.
    unsent: Option<Box<Bytes>>,
}

impl Writer {
    /// Runs until the connection ends.
    #[expect(clippy::manual_async_fn, reason = "an async fn stores its arguments twice, in every connection")]
    fn run(mut self) -> impl Future<Output = ()> {
        async move {
            let is_complete = poll_fn(|cx| self.poll(cx)).await.is_ok();
            // Boxed, because the task of an open connection has no space for it.
            Box::pin(self.end(is_complete)).await;
        }
    }

    /// Ends the connection. `is_complete` says that all bytes were written.
    async fn end(&self, is_complete: bool) {
        let is_unresponsive = self.connection.is_unresponsive();
        self.connection.abort();
        let mut is_closed_by_client = false;
        if is_complete {
            // The close frame is sent. What the client still sends is read and dropped: with unread bytes the kernel
            // would answer with a reset, which could overtake the close frame.
            let _ = socket2::SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write);
            is_closed_by_client = tokio::time::timeout(CLOSE_TIMEOUT, discard_input(&self.stream)).await.is_ok();
        }
        if is_unresponsive && !is_closed_by_client {
            // Dropping the socket resets the connection. Otherwise the kernel would keep it, with the bytes that the
            // client does not take, for minutes and outside of every limit.
            let _ = socket2::SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Ready with `Ok` once all bytes are written, and with an error if the connection broke.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { connection, stream, unsent } = self;
        for _ in 0..MAX_CHUNKS_PER_TURN {
            let mut bytes = match unsent.take() {
                Some(bytes) => *bytes,
                None => match ready!(connection.worker.hub().poll_outgoing(connection.key, cx)) {
                    Outgoing::Bytes(bytes) => bytes,
                    Outgoing::End => return Poll::Ready(Ok(())),
                },
            };
            while !bytes.is_empty() {
                if connection.is_aborted() {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                match stream.try_write(&bytes) {
                    Ok(count) => {
                        bytes.advance(count);
                        connection.worker.hub().bytes_taken(connection.key);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        connection.worker.hub().block_writer(connection.key, cx);
                        if stream.poll_write_ready(cx)?.is_pending() {
                            *unsent = Some(Box::new(bytes));
                            return Poll::Pending;
                        }
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Reads and drops bytes until the client closes.
async fn discard_input(stream: &TcpStream) {
    let mut scrap = [0; 512];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut scrap) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
