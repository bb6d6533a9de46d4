//! From the bus to the sockets.
//!
//! One [`RoomReader`](reader::RoomReader) per process receives the deliveries of the bus, keeps the tail of every room that
//! a local connection follows, repairs gaps from the log, and encodes each message once. One [`Hub`](hub::Hub) per worker thread has
//! a copy of these tails and a cursor for every subscription. Both are synchronous state machines: they never wait and take
//! no lock. [`reader_task`] and [`worker`] are the tasks around them, and [`messages`] is everything that these tasks send
//! each other.

mod connection;
mod cursor;
mod deletions;
mod ephemeral;
mod heartbeat;
mod hub;
mod messages;
mod mutants;
mod reader;
mod reader_task;
mod room_feed;
#[cfg(test)]
mod simulation;
mod tail;
mod worker;

pub(crate) use connection::{Outgoing, Transport};
pub(crate) use ephemeral::{Control, Ephemeral, SocketOrigin};
pub(crate) use hub::MAX_CHUNKS_PER_TURN;
pub(crate) use messages::{DeletionApplied, ReaderCommand};
pub(crate) use mutants::replace_start;
pub(crate) use reader_task::run;
pub(crate) use worker::{ConnectionHandle, LocalWorker, Worker};
#[cfg(any(test, feature = "bench"))]
pub(crate) use {hub::Hub, messages::HubEvent, tail::Tail};
