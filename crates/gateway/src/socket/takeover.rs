//! The transport of our own server: once the App has answered 101, its HTTP machinery is dropped and one small task owns
//! the connection.
//!
//! Mounted, a socket keeps the HTTP dispatcher and its two buffers alive behind it (about 12 KiB); taken over, it costs a
//! task, and its bytes are copied once. The request still passes the whole App, with every middleware.

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
};
use actix_web::{
    HttpResponse,
    dev::{Service, ServiceResponse},
    rt::{self, net::TcpStream},
};
use bytes::{Buf, Bytes};
use futures_util::{SinkExt, Stream, future::join};
use tokio::io::Interest;

use super::seat::Seat;
use crate::fanout::{Outlet, TURN, Taken};

/// Size of the buffer that all sockets of a thread read into.
const READ_BUFFER: usize = 16 << 10;
/// Bytes that the kernel should hold for a client; Linux doubles it, for its own bookkeeping. A third of it must be free
/// before a stalled socket takes bytes again: with the four MiB that it would grow to, a slow reader would seem to take
/// nothing for longer than is allowed.
const SEND_BUFFER: usize = 64 << 10;
/// How long the client may take to close after it was sent a close frame.
const LINGER: Duration = Duration::from_secs(2);
/// Largest answer other than 101.
const ANSWER: usize = 1 << 20;

/// In a request's extensions: its connection can be taken over.
pub(super) struct CanBeTakenOver;

/// What the handler leaves in the extensions of a 101: what to do with the connection.
pub(super) struct Accepted(Box<dyn FnOnce(Incoming) -> Halves>);

/// The half of a socket that reads and the one that writes, until both have ended. One box: a task's memory comes in
/// steps of 128 bytes, and the first has room for a pointer.
type Halves = Pin<Box<dyn Future<Output = ((), ())>>>;

impl Accepted {
    /// Runs `converse` over the bytes of the client, and writes what the hub has for it.
    pub(super) fn new<F>(seat: Rc<Seat>, converse: impl FnOnce(Incoming) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self(Box::new(|incoming| {
            let connection = incoming.connection.clone();
            seat.worker.hub().attach(seat.key, connection.clone());
            let writing = Writing { seat, connection, unsent: None };
            Box::pin(join(converse(incoming), writing.run()))
        }))
    }
}

/// Lets the App answer an upgrade request, then takes the connection over, or sends the answer and closes.
pub(crate) async fn take_over<S>(
    app: Rc<S>,
    request: Request,
    mut framed: Framed<TcpStream, h1::Codec>,
) -> Result<(), actix_web::Error>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = actix_web::Error>,
{
    request.extensions_mut().insert(CanBeTakenOver);
    let mut answer = match app.call(request).await {
        Ok(answer) => answer.into_parts().1,
        Err(error) => HttpResponse::from_error(error),
    };
    let accepted = answer.extensions_mut().remove::<Accepted>();
    let answer = Response::from(answer);
    let Some(Accepted(serve)) = accepted else { return Ok(refuse(answer, &mut framed).await?) };
    framed.send(h1::Message::Item((answer.drop_body(), BodySize::None))).await?;
    let parts = framed.into_parts();
    // From here on the hub decides how long a client may take nothing. The kernel would give up one whose small window
    // opens all the time: it goes on counting until a whole segment fits. Where it has no such limit, this fails.
    let socket = socket2::SockRef::from(&parts.io);
    let _ = socket.set_tcp_user_timeout(None);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    let connection = Rc::new(parts.io);
    // A copy: the dispatcher's buffer has 8 KiB.
    let first = (!parts.read_buf.is_empty()).then(|| Box::new(Bytes::copy_from_slice(&parts.read_buf)));
    rt::spawn(serve(Incoming { connection, first }));
    Ok(())
}

/// Any answer but 101: what the client sends after its request is not to be read as another request.
async fn refuse(mut answer: Response<BoxBody>, framed: &mut Framed<TcpStream, h1::Codec>) -> io::Result<()> {
    answer.head_mut().set_connection_type(ConnectionType::Close);
    let (head, body) = answer.into_parts();
    let body = to_bytes_limited(body, ANSWER).await.ok().and_then(Result::ok).unwrap_or_default();
    framed.send(h1::Message::Item((head, BodySize::Sized(body.len() as u64)))).await?;
    if !body.is_empty() {
        framed.send(h1::Message::Chunk(Some(body))).await?;
    }
    framed.send(h1::Message::Chunk(None)).await?;
    SinkExt::<h1::Message<_>>::close(framed).await
}

/// The bytes that a client sends.
pub(super) struct Incoming {
    connection: Rc<TcpStream>,
    /// What came together with the request. Boxed: hardly ever anything.
    first: Option<Box<Bytes>>,
}

impl Incoming {
    /// A read that did not fill the buffer has emptied the kernel's: epoll tells of what comes from now on, so no further
    /// read has to find that out (epoll(7), "Questions and answers", 9).
    fn has_no_more(&self) {
        let _ = self.connection.try_io::<()>(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
    }
}

impl Stream for Incoming {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        thread_local! {
            static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into());
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(*first)));
        }
        loop {
            ready!(self.connection.poll_read_ready(cx))?;
            let read: io::Result<Bytes> = BUFFER.with_borrow_mut(|buffer| {
                let count = self.connection.try_read(buffer)?;
                if (1..buffer.len()).contains(&count) {
                    self.has_no_more();
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

impl Outlet for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }
}

/// Writes what the hub could not.
struct Writing {
    seat: Rc<Seat>,
    connection: Rc<TcpStream>,
    /// What the connection did not take. Boxed: an idle socket has nothing there.
    unsent: Option<Box<Bytes>>,
}

impl Writing {
    /// Until the socket ends.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, in every socket")]
    fn run(mut self) -> impl Future<Output = ()> {
        async move {
            let is_out = poll_fn(|cx| self.poll(cx)).await.is_ok();
            self.seat.hang_up();
            if is_out {
                // The close frame is out. What the client still sends is dropped, not answered with a reset that could
                // overtake it.
                let _ = socket2::SockRef::from(&*self.connection).shutdown(std::net::Shutdown::Write);
                // Boxed: the task of an open socket has no room for it.
                let _ = Box::pin(tokio::time::timeout(LINGER, drain(&self.connection))).await;
            }
        }
    }

    /// Ready with `Ok` once everything is out, with an error where the connection is beyond saving.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { seat, connection, unsent } = self;
        for _ in 0..TURN {
            let mut bytes = match unsent.take() {
                Some(bytes) => *bytes,
                None => match ready!(seat.worker.hub().poll_take(seat.key, cx)) {
                    Taken::Bytes(bytes) => bytes,
                    Taken::End => return Poll::Ready(Ok(())),
                },
            };
            while !bytes.is_empty() {
                if seat.is_gone() {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                match connection.try_write(&bytes) {
                    Ok(count) => {
                        bytes.advance(count);
                        seat.worker.hub().took(seat.key);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        seat.worker.hub().stall(seat.key, cx);
                        if connection.poll_write_ready(cx)?.is_pending() {
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

/// Reads and drops until the client closes.
async fn drain(connection: &TcpStream) {
    let mut scrap = [0; 512];
    while connection.readable().await.is_ok() {
        match connection.try_read(&mut scrap) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
