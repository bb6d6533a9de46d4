//! What all handlers and threads of a gateway share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use trunkline_bus::SharedLimits;
use trunkline_domain::{InstanceId, UserName};

use crate::{
    Config,
    drain::Drain,
    fanout::ReaderCommand,
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
}

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
    pub(crate) fn admit_send(&self, user: &UserName) -> Result<(), Duration> {
        self.send_limits.as_ref().map_or(Ok(()), |limits| limits.admit(user))
    }
}
