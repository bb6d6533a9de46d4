//! What all handlers and threads of a gateway share.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use trunkline_domain::{InstanceId, UserName};

use crate::{
    Config,
    drain::Drain,
    fanout::ReaderCommand,
    limits::{ConnectionLimits, Rate, RateTable},
    metrics::Metrics,
};

/// Messages that a user may send at once after a pause, as a multiple of the messages per second.
const SEND_BURST_FACTOR: u32 = 3;

/// The state of one gateway.
pub(crate) struct GatewayState<B, P> {
    pub(crate) config: Config,
    pub(crate) bus: B,
    pub(crate) policy: P,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) drain: Drain,
    pub(crate) join_rate: Option<Rate>,
    send_rates: Option<Mutex<RateTable<UserName>>>,
    started: Instant,
    /// Identifies this run of this gateway to the other instances.
    pub(crate) instance: InstanceId,
    /// Sends commands to the reader's task.
    pub(crate) reader: mpsc::UnboundedSender<ReaderCommand>,
}

impl<B, P> GatewayState<B, P> {
    /// Creates the state of a gateway that starts now.
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
        let send_rates = |per_second: NonZeroU32| {
            let rate = Rate::new(per_second, SECOND, per_second.get().saturating_mul(SEND_BURST_FACTOR));
            Mutex::new(RateTable::new(rate, per_second))
        };
        Self {
            connection_limits: Arc::new(ConnectionLimits::new(limits.clone())),
            drain: Drain::new(),
            join_rate: limits.join_rate.map(|per_second| Rate::new(per_second, SECOND, per_second.get())),
            send_rates: limits.send_rate.map(send_rates),
            started: Instant::now(),
            instance,
            config,
            bus,
            policy,
            metrics,
            reader,
        }
    }

    /// Returns the time since the gateway was created.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts a message of `user`, over all connections of this instance.
    ///
    /// # Errors
    /// The time to wait, if the user sends too fast. After it, a second's worth of messages may come at once.
    pub(crate) fn admit_send(&self, user: &UserName) -> Result<(), Duration> {
        let Some(rates) = &self.send_rates else { return Ok(()) };
        rates.lock().unwrap_or_else(PoisonError::into_inner).admit(user, self.started.elapsed())
    }
}
