//! What an instance asks about its quiet rooms again and again: the heads of their logs, and its presence leases.

use redis::{Cmd, FromRedisValue};
use trunkline_domain::{InstanceId, Position, Room};

use super::{
    bus::{RedisBus, known},
    connection::Link,
    error::unexpected_reply,
    keys::Keys,
    scripts,
};
use crate::{BusError, LeaseStatus, sync::lock};

/// Maximum number of rooms per call; more take several calls, one after the other. Redis executes nothing else meanwhile, for
/// about 1 ms.
const ROOMS_PER_CALL: usize = 256;

impl RedisBus {
    /// Compares the heads of the rooms' logs with the positions given; see [`Bus::changed_heads`](crate::Bus::changed_heads).
    pub(super) async fn compare_heads(&self, rooms: &[(Room, Position)]) -> Result<Vec<(Room, Position)>, BusError> {
        let command = |rooms: &[(Room, Position)]| {
            let rooms: Vec<(Keys, Position)> =
                rooms.iter().map(|(room, head)| (self.names.room(room), *head)).collect();
            scripts::heads(&rooms)
        };
        let replies = self.ask_about(rooms, |(room, _)| room, command).await.into_iter();
        let changed = replies.map(|(rooms, reply)| {
            let heads: Vec<(usize, String)> = reply?;
            let head = |(number, head): (usize, String)| {
                let (room, _) = rooms.get(number.checked_sub(1)?)?;
                // Empty if the log cannot be read.
                Some((room.clone(), head.parse().ok()?))
            };
            Ok(heads.into_iter().filter_map(head).collect::<Vec<_>>())
        });
        Ok(known(changed.collect())?.into_iter().flatten().flatten().collect())
    }

    /// Checks the leases of `instance`; see [`PresenceStore::check`](crate::PresenceStore::check).
    pub(super) async fn check_leases(
        &self,
        instance: InstanceId,
        rooms: &[Room],
    ) -> Result<Vec<Option<LeaseStatus>>, BusError> {
        let command = |rooms: &[Room]| {
            let rooms: Vec<Keys> = rooms.iter().map(|room| self.names.room(room)).collect();
            scripts::leases(&rooms, instance)
        };
        let mut statuses = Vec::with_capacity(rooms.len());
        for (rooms, reply) in self.ask_about(rooms, |room| room, command).await {
            let reply = reply.and_then(|versions: Vec<i64>| {
                let is_complete = versions.len() == rooms.len();
                let incomplete = || unexpected_reply("the script of leases did not return one status per room");
                if is_complete { Ok(versions) } else { Err(incomplete()) }
            });
            match reply {
                Ok(versions) => statuses.extend(versions.into_iter().map(lease_status)),
                Err(error) => statuses.extend(rooms.iter().map(|_| Err(error.clone()))),
            }
        }
        if statuses.iter().any(|status| matches!(status, Ok(LeaseStatus::Lost))) {
            // What lost the lease may have lost the user counts too.
            lock(&self.room_counts).cache.clear();
        }
        known(statuses)
    }

    /// Calls a script for all of `items`, each of which is about one room. Returns the replies, each with the items that it is
    /// about: up to [`ROOMS_PER_CALL`] with one server; one in a cluster, where a call has keys of one slot only and calls
    /// for the same shard are sent together.
    async fn ask_about<'a, I: Sync, T: FromRedisValue + Send>(
        &self,
        items: &'a [I],
        room: impl Fn(&I) -> &Room,
        command: impl Fn(&[I]) -> Cmd + Send + Sync,
    ) -> Vec<(&'a [I], Result<T, BusError>)> {
        let items_per_call = if self.shards.is_cluster() { 1 } else { ROOMS_PER_CALL };
        let mut answered = Vec::new();
        for items in items.chunks(ROOMS_PER_CALL) {
            let calls: Vec<&[I]> = items.chunks(items_per_call).collect();
            let keys: Vec<String> =
                calls.iter().map(|items| self.names.room(room(&items[0])).tagged().to_owned()).collect();
            let replies = self.shards.query_each(&keys, 1, |_: &Link, index| vec![command(calls[index])]).await;
            let reply = |replies: Result<Vec<T>, BusError>| {
                replies?.pop().ok_or_else(|| unexpected_reply("the script returned nothing"))
            };
            answered.extend(calls.into_iter().zip(replies.into_iter().map(reply)));
        }
        answered
    }
}

/// The status of a lease, from the reply of leases.lua.
fn lease_status(version: i64) -> Result<LeaseStatus, BusError> {
    match version {
        0.. => Ok(LeaseStatus::Held(version.unsigned_abs())),
        -1 => Ok(LeaseStatus::Lost),
        _ => Err(unexpected_reply(
            "the lease cannot be checked: a key of the room's presence has another type or is read-only",
        )),
    }
}
