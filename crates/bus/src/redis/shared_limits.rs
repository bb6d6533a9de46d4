//! Limits over all instances, in Redis.

use std::time::Duration;

use trunkline_domain::{InstanceId, millis};

use super::{bus::RedisBus, error::unexpected_reply, scripts};
use crate::{BusError, Charge, Charged, REPORT_GRACE, SharedLimits, SocketChange, SocketExchange};

/// Keys or changes per call of a script. A call of this size takes Redis about 1 ms.
const RECORDS_PER_CALL: usize = 256;
/// Time for which Redis remembers the sockets of a user who opens no further one.
const SOCKET_MEMORY: Duration = Duration::from_secs(24 * 3600);

impl SharedLimits for RedisBus {
    fn is_shared(&self) -> bool {
        true
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Vec<Charged>, BusError> {
        let base = self.names.shared("usage");
        let mut charged = Vec::with_capacity(charges.len());
        for charges in charges.chunks(RECORDS_PER_CALL) {
            let mut command = redis::cmd("EVALSHA");
            command.arg(scripts::CHARGE.get_hash()).arg(charges.len());
            for charge in charges {
                command.arg(format!("{base}:{}", charge.key));
            }
            command.arg(micros(REPORT_GRACE));
            for charge in charges {
                command.arg(charge.count).arg(micros(charge.interval).max(1));
                command.arg(charge.max_backlog.map_or(-1, micros));
            }
            let reply: Vec<i64> = self.shards.query(&base, |_| command.clone()).await?;
            if reply.len() != 2 * charges.len() {
                return Err(unexpected_reply("the charge script returned another number of keys"));
            }
            charged.extend(reply.chunks_exact(2).map(|pair| Charged {
                is_admitted: pair[0] == 1,
                backlog: Duration::from_micros(pair[1].unsigned_abs()),
            }));
        }
        Ok(charged)
    }

    async fn exchange_sockets(
        &self,
        instance: InstanceId,
        max: u32,
        changes: &[SocketChange],
    ) -> Result<SocketExchange, BusError> {
        let key = self.names.shared("sockets");
        let mut exchange = SocketExchange { was_known: true, evict: Vec::new() };
        let mut rest = changes;
        loop {
            let (now, later) = rest.split_at(rest.len().min(RECORDS_PER_CALL));
            let mut command = redis::cmd("EVALSHA");
            command.arg(scripts::SOCKETS.get_hash()).arg(2 + now.len()).arg(&key).arg(format!("{key}:evict"));
            for SocketChange { user, .. } in now {
                command.arg(format!("{key}:of:{}", user.as_str()));
            }
            command.arg(instance.to_string()).arg(millis(self.config.lease).max(1)).arg(max).arg(millis(SOCKET_MEMORY));
            for SocketChange { user, number, age } in now {
                command.arg(user.as_str()).arg(*number);
                command.arg(age.map_or(-1, |age| i64::try_from(millis(age)).unwrap_or(i64::MAX)));
            }
            let reply: Vec<redis::Value> = self.shards.query(&key, |_| command.clone()).await?;
            let (known, sockets) = decode(&reply)?;
            exchange.was_known &= known == 1;
            // Names that are no user names were written by another program.
            exchange.evict.extend(sockets.into_iter().filter_map(|(user, number)| Some((user.parse().ok()?, number))));
            rest = later;
            if rest.is_empty() {
                return Ok(exchange);
            }
        }
    }
}

fn decode(reply: &[redis::Value]) -> Result<(u8, Vec<(String, u64)>), BusError> {
    let decode = || {
        let (known, sockets) = reply.split_first()?;
        let known: u8 = redis::from_redis_value_ref(known).ok()?;
        let socket = |pair: &[redis::Value]| {
            Some((redis::from_redis_value_ref(&pair[0]).ok()?, redis::from_redis_value_ref(&pair[1]).ok()?))
        };
        Some((known, sockets.chunks_exact(2).map(socket).collect::<Option<_>>()?))
    };
    decode().ok_or_else(|| unexpected_reply("the socket script returned no list of sockets"))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
