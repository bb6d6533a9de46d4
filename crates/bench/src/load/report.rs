//! What a run found, as `cargo xtask bench` reads it.

use serde::Serialize;

use crate::dialect::Dialect;

use super::LoadKind;

/// One run. Every figure is counted or read from the kernel, inside the window unless it says otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    pub(super) dialect: Dialect,
    pub(super) workload: LoadKind,
    pub(super) sockets: usize,
    pub(super) rooms: usize,
    pub(super) targets: usize,
    /// Length of the window.
    pub(super) seconds: f64,
    /// Messages sent.
    pub(super) sent: u64,
    /// Acknowledgements; nothing where the server gives none.
    pub(super) acknowledged: Option<u64>,
    /// Deliveries, over all sockets.
    pub(super) delivered: u64,
    /// Deliveries of the window's messages that had not come when the settle time was over.
    pub(super) lost: u64,
    /// Deliveries beyond those expected, settle time included.
    pub(super) repeated: u64,
    /// Sockets that the server closed, over the whole run.
    pub(super) closed: u64,
    pub(super) server_cpu_us: u64,
    pub(super) redis_cpu_us: u64,
    pub(super) load_cpu_us: u64,
    /// From the intended send time to the read that brought the message; zero where there was none.
    pub(super) latency_us: LatencyQuantiles,
    /// Sockets that were opened: all at the beginning, or, in a herd, those that came back.
    pub(super) connects: u64,
    pub(super) connect_seconds: f64,
    /// CPU time of the servers meanwhile.
    pub(super) connect_cpu_us: u64,
    /// Memory of the servers before the first socket and with all of them.
    pub(super) pss_kib_before: u64,
    pub(super) pss_kib_after: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct LatencyQuantiles {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

impl LoadReport {
    /// One line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
