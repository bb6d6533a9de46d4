//! The state that all handlers and threads of a gateway share.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use trunkline_bus::{Bus, BusError, Page, Range, Receipt, SharedLimits};
use trunkline_domain::{Content, Draft, Entry, InstanceId, Position, Room, UserId};

use crate::{
    Config,
    drain::Drain,
    fanout::{DeletionApplied, ReaderCommand},
    limits::{ConnectionLimits, Rate, SendLimits},
    metrics::Metrics,
};

/// The state of one gateway.
pub(crate) struct GatewayState<B, P> {
    pub(crate) config: Config,
    pub(crate) bus: B,
    pub(crate) policy: P,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) drain: Drain,
    pub(crate) join_rate: Option<Rate>,
    send_limits: Option<Arc<SendLimits>>,
    started: Instant,
    /// Identifies this run of this gateway to the other instances.
    pub(crate) instance: InstanceId,
    /// Sends commands to the reader's task.
    pub(crate) reader: mpsc::UnboundedSender<ReaderCommand>,
    /// Texts that this instance deleted: pages of history that were read before are redacted by it.
    deletions: Mutex<VecDeque<(Room, Position)>>,
}

/// Maximum number of deleted texts that are remembered. A read of the log ends within 2 s, so the text of a page would have
/// to be deleted before that many others of this instance in that time.
const MAX_DELETIONS: usize = 1024;

impl<B: SharedLimits, P> GatewayState<B, P> {
    /// Creates the state of a gateway that starts now, and starts the exchange of its limits with other instances.
    pub(crate) fn new(
        bus: B,
        config: Config,
        policy: P,
        instance: InstanceId,
        metrics: Arc<Metrics>,
        reader: mpsc::UnboundedSender<ReaderCommand>,
    ) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        let limits = &config.limits;
        Self {
            connection_limits: ConnectionLimits::start(limits.clone(), &bus, instance),
            drain: Drain::new(),
            join_rate: limits.join_rate.map(|per_second| Rate::new(per_second, SECOND, per_second.get())),
            send_limits: limits.send_rate.map(|per_second| SendLimits::start(per_second, &bus)),
            started: Instant::now(),
            instance,
            config,
            bus,
            policy,
            metrics,
            reader,
            deletions: Mutex::default(),
        }
    }
}

impl<B, P> GatewayState<B, P> {
    /// Returns the time since the gateway was created.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts a message of `user`, over all connections of all instances.
    ///
    /// # Errors
    /// The time to wait, if the user sends too fast. After it, a second's worth of messages may come at once.
    pub(crate) fn admit_send(&self, user: &UserId) -> Result<(), Duration> {
        self.send_limits.as_ref().map_or(Ok(()), |limits| limits.admit(user))
    }
}

impl<B: Bus, P> GatewayState<B, P> {
    /// Publishes a message. After a deletion it returns once no answer of this instance contains the deleted text.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub(crate) async fn publish(&self, room: &Room, draft: Draft) -> Result<Receipt, BusError> {
        let deleted = if let Content::Delete { of } = draft.content { Some(of) } else { None };
        let receipt = self.bus.publish(room, draft).await?;
        if let Some(deleted) = deleted {
            self.forget_text(room, deleted).await;
        }
        Ok(receipt)
    }

    /// Reads part of the log, without the texts that this instance deleted while it was being read.
    ///
    /// # Errors
    /// As [`Bus::read`].
    pub(crate) async fn read(&self, room: &Room, range: Range) -> Result<Page, BusError> {
        let mut page = self.bus.read(room, range).await?;
        let deletions = self.deletions.lock().unwrap_or_else(PoisonError::into_inner);
        if !deletions.is_empty() {
            for Entry { message, .. } in &mut page.entries {
                message.redact(|position| deletions.iter().any(|(one, deleted)| (one, *deleted) == (room, position)));
            }
        }
        Ok(page)
    }

    /// Removes every copy of a deleted text in this process, and remembers it for reads in flight.
    async fn forget_text(&self, room: &Room, position: Position) {
        {
            let mut deletions = self.deletions.lock().unwrap_or_else(PoisonError::into_inner);
            if deletions.len() == MAX_DELETIONS {
                deletions.pop_front();
            }
            deletions.push_back((room.clone(), position));
        }
        let (applied, all_applied) = DeletionApplied::new();
        let _ = self.reader.send(ReaderCommand::Delete(room.clone(), position, applied));
        // Nothing is sent: the channel closes once every worker has applied the deletion.
        let _ = all_applied.await;
    }
}
