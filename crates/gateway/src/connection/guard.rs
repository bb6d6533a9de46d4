//! The lifetime of a connection in its worker's hub.

use std::{cell::RefCell, rc::Rc, time::SystemTime};

use trunkline_domain::{Event, InstanceId, UserId};

use crate::{
    fanout::{ConnectionHandle, SocketOrigin, Worker},
    identity::Identity,
    ids::ConnectionKey,
    limits::{Permit, UserPermit},
};

/// A connection that is in its worker's hub and counts against the limits. Both end when the guard is dropped: the task that
/// reads and the one that writes share it.
pub(super) struct ConnectionGuard {
    pub(super) worker: Rc<Worker>,
    pub(super) key: ConnectionKey,
    permit: UserPermit,
    identity: RefCell<Rc<Identity>>,
}

impl ConnectionGuard {
    /// Adds a connection to the hub, with `welcome` as its first frame. Also returns the user's oldest connections that are
    /// over the limit now.
    pub(super) fn open(
        worker: Rc<Worker>,
        identity: Identity,
        welcome: &Event,
        permit: Permit,
    ) -> (Rc<Self>, Vec<ConnectionHandle>) {
        let identity = Rc::new(identity);
        let left = identity.expires_in(SystemTime::now());
        let key = worker.hub().open(identity.clone(), left, welcome);
        let (user, session) = (identity.user(), identity.session().map(tracing::field::display));
        tracing::info!(connection = worker.connection_name(key), %user, session, "socket opened");
        let (permit, surplus) = permit.register(user.clone(), worker.handle(key));
        worker.metrics().sockets.inc();
        worker.metrics().opened.inc();
        (Rc::new(Self { worker, key, permit, identity: RefCell::new(identity) }), surplus)
    }

    /// Returns the user of the connection.
    pub(super) fn user(&self) -> &UserId {
        self.permit.user()
    }

    /// Returns the identity of the connection.
    pub(super) fn identity(&self) -> Rc<Identity> {
        self.identity.borrow().clone()
    }

    /// Replaces the identity by another of the same user.
    pub(super) fn replace_identity(&self, identity: Identity) {
        let identity = Rc::new(identity);
        let left = identity.expires_in(SystemTime::now());
        self.worker.hub().replace_identity(self.key, identity.clone(), left);
        self.identity.replace(identity);
    }

    /// Returns the connection among all of the cluster.
    pub(super) fn origin(&self, instance: InstanceId) -> SocketOrigin {
        SocketOrigin { instance, worker: self.worker.id(), key: self.key }
    }

    /// Returns the connection's name in the log, which is unique in the process.
    pub(super) fn name(&self) -> String {
        self.worker.connection_name(self.key)
    }

    /// Returns whether the connection was aborted, so that nothing more can be written.
    pub(super) fn is_aborted(&self) -> bool {
        self.worker.hub().is_aborted(self.key)
    }

    /// Returns whether the connection ends because the client answered no ping or took no bytes.
    pub(super) fn is_unresponsive(&self) -> bool {
        self.worker.hub().is_unresponsive(self.key)
    }

    /// Aborts the connection: its tasks end.
    pub(super) fn abort(&self) {
        self.worker.hub().abort(self.key);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let code = self.worker.hub().remove(self.key);
        tracing::info!(connection = self.name(), code, "socket closed");
        self.worker.metrics().sockets.dec();
    }
}
