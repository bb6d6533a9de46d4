//! Pages, login, probes and assets: everything that is not a socket.

pub(crate) mod forwarded;
pub(crate) mod origin;

pub use origin::{InvalidOrigin, Origin};
