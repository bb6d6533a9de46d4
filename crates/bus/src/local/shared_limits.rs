//! A [`LocalBus`] serves one process, whose own limits are those of the cluster.

use std::time::Duration;

use trunkline_domain::InstanceId;

use super::bus::LocalBus;
use crate::{BusError, Charge, Charged, SharedLimits, SocketChange, SocketExchange};

impl SharedLimits for LocalBus {
    fn is_shared(&self) -> bool {
        false
    }

    /// Admits everything: no other process uses the keys.
    async fn charge(&self, charges: &[Charge]) -> Result<Vec<Charged>, BusError> {
        Ok(vec![Charged { is_admitted: true, backlog: Duration::ZERO }; charges.len()])
    }

    /// Evicts nothing: no other process has sockets.
    async fn exchange_sockets(&self, _: InstanceId, _: u32, _: &[SocketChange]) -> Result<SocketExchange, BusError> {
        Ok(SocketExchange { was_known: true, evict: Vec::new() })
    }
}
