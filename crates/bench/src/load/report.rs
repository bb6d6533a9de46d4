//! The measurements of a load.

use serde::Serialize;

use crate::dialect::Dialect;

use super::LoadKind;

/// The measurements of one load. All counts and CPU times are those of the measured window, unless stated otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    pub(super) dialect: Dialect,
    pub(super) workload: LoadKind,
    pub(super) sockets: usize,
    pub(super) rooms: usize,
    pub(super) targets: usize,
    /// Length of the window in seconds.
    pub(super) seconds: f64,
    /// Number of messages sent.
    pub(super) sent: u64,
    /// Number of acknowledgements. `None` if the protocol has none.
    pub(super) acknowledged: Option<u64>,
    /// Number of deliveries, over all sockets.
    pub(super) delivered: u64,
    /// Number of deliveries of the window's messages that did not arrive before the end of the settle time.
    pub(super) lost: u64,
    /// Number of deliveries in excess of those expected, including the settle time.
    pub(super) repeated: u64,
    /// Number of sockets that the server closed, over the whole run.
    pub(super) closed: u64,
    pub(super) server_cpu_us: u64,
    pub(super) redis_cpu_us: u64,
    /// The same per process, in the order of `--redis-pid`.
    pub(super) redis_cpu_us_each: Vec<u64>,
    pub(super) load_cpu_us: u64,
    /// Highest sustained rate in messages per second, and 0 if no rate was sustained. `None` without a search. All other
    /// measurements are those of the window with this rate.
    pub(super) capacity: Option<f64>,
    /// Steps of the search, in their order.
    pub(super) steps: Vec<CapacityStep>,
    /// Time from the intended send to the read of the message, in µs. Zero without deliveries.
    pub(super) latency_us: LatencyQuantiles,
    /// Number of sockets that were opened at the beginning or, in a herd, that reconnected.
    pub(super) connects: u64,
    pub(super) connect_seconds: f64,
    /// CPU time of the servers while these sockets were opened.
    pub(super) connect_cpu_us: u64,
    /// Memory of the servers before the first socket and with all sockets.
    pub(super) pss_kib_before: u64,
    pub(super) pss_kib_after: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct LatencyQuantiles {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// One step of the search for the capacity.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct CapacityStep {
    /// Messages per second.
    pub(super) rate: f64,
    pub(super) latency_us: LatencyQuantiles,
    pub(super) lost: u64,
    pub(super) is_sustained: bool,
}

impl LoadReport {
    /// The measurements as one line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
