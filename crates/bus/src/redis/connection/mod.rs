//! The connection for commands.
//!
//! A [`Link`] is one connection to one run of one Redis, and never reconnects by itself. The [`Supervisor`] connects,
//! probes the link every 2 s, and replaces it when a command times out, when the connection fails, or when Redis was
//! restarted or failed over. The [`batcher`] sends the commands of all callers in order, under load many at once;
//! publications take the subscription's connection while there is one ([`PublishPort`]).

mod backoff;
mod batcher;
mod generation;
mod link;
mod map_requests;
mod policy;
mod probe;
mod publish_port;
mod step;
mod supervisor;

pub(super) use self::{
    backoff::Backoff,
    generation::Generation,
    link::{Link, LinkSettings},
    map_requests::MapRequests,
    publish_port::{PublishBatch, PublishPort},
    supervisor::{LinkState, Supervisor},
};
