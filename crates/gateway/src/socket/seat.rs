//! A socket's place in its worker's hub, given up when the last who works on the socket lets go.

use std::rc::Rc;

use trunkline_domain::{Event, UserName};

use crate::{
    census::{Place, Registered},
    fanout::{Key, Newcomer, SocketRef, Worker},
};

/// Held by the task that reads and by the body that writes.
pub(super) struct Seat {
    pub(super) worker: Rc<Worker>,
    pub(super) key: Key,
    registered: Registered,
}

impl Seat {
    /// Takes a seat: from here on the hub knows the socket, and `welcome` is its first frame. Also answers the user's
    /// oldest sockets, where there are too many now.
    pub(super) fn take(
        worker: Rc<Worker>,
        newcomer: Newcomer,
        welcome: &Event,
        place: Place,
    ) -> (Rc<Self>, Vec<SocketRef>) {
        let (user, session) = (newcomer.user.clone(), newcomer.sid);
        let key = worker.hub().open(newcomer, welcome);
        tracing::info!(connection = worker.name(key), %user, %session, "socket opened");
        let (registered, surplus) = place.register(user, worker.socket(key));
        worker.metrics().sockets.inc();
        worker.metrics().opened.inc();
        (Rc::new(Self { worker, key, registered }), surplus)
    }

    /// Whose socket it is.
    pub(super) fn user(&self) -> &UserName {
        self.registered.user()
    }

    /// What the log calls this connection: unique in the life of the process.
    pub(super) fn connection(&self) -> String {
        self.worker.name(self.key)
    }

    /// Whether the connection was given up: nothing more is to be written.
    pub(super) fn is_gone(&self) -> bool {
        self.worker.hub().is_gone(self.key)
    }

    /// The connection is gone, or will be: whoever still works on it ends.
    pub(super) fn hang_up(&self) {
        self.worker.hub().hang_up(self.key);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let code = self.worker.hub().forget(self.key);
        tracing::info!(connection = self.connection(), code, "socket closed");
        self.worker.metrics().sockets.dec();
    }
}
