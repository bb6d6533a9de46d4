//! Who sits where: the sockets of a run, worked out before the first is opened. Pure.

use std::net::Ipv4Addr;

use super::{Settings, Workload};
use crate::dialect::Role;

/// Sockets that connect from one address. A port is taken by one socket of an address at a time, and Linux has some 28,000
/// of them to give (`ip_local_port_range`).
const FROM_ONE_ADDRESS: usize = 8_000;
/// Share of the sockets of a mixed load that come and go, one in this many.
const RESTLESS: usize = 10;

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) role: Role,
    pub(super) room: usize,
    pub(super) target: usize,
    /// Comes and goes while others write, so no message is expected there.
    pub(super) restless: bool,
}

/// All sockets, and who writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) places: Vec<Place>,
    /// Of each room, the sockets that write, as indices into `places`.
    pub(super) writers: Vec<Vec<usize>>,
    /// Of each room, the members that every message is expected at.
    pub(super) expected: Vec<u32>,
}

impl Plan {
    pub(super) fn new(settings: &Settings) -> Self {
        let (rooms, targets) = (settings.rooms, settings.targets.len());
        let sizes = match settings.workload {
            Workload::Mixed => uneven(settings.sockets, rooms),
            _ => {
                (0..rooms).map(|room| settings.sockets / rooms + usize::from(room < settings.sockets % rooms)).collect()
            }
        };
        let writers = match settings.workload {
            Workload::Connect | Workload::Idle => 0,
            _ => settings.writers.div_ceil(rooms),
        };
        let members_write = settings.dialect.members_write();
        let mut plan = Self { places: Vec::new(), writers: Vec::new(), expected: Vec::new() };
        for (room, size) in sizes.into_iter().enumerate() {
            let first = plan.places.len();
            let place = |role| move |nth| Place { role, room, target: (nth + room) % targets, restless: false };
            plan.places.extend((0..size).map(place(Role::Member)));
            if members_write {
                plan.writers.push((first..first + writers.min(size)).collect());
            } else {
                plan.writers.push((first + size..first + size + writers).collect());
                plan.places.extend((0..writers).map(place(Role::Writer)));
            }
            // Those at the end, so that writers stay.
            let restless = if settings.workload == Workload::Mixed { size / RESTLESS } else { 0 };
            plan.places[first + size - restless..first + size].iter_mut().for_each(|place| place.restless = true);
            plan.expected.push((size - restless) as u32);
        }
        plan
    }
}

/// Sizes of rooms as people fill them: the second has half as many as the first, the third a third (Zipf's law); each at
/// least one.
fn uneven(sockets: usize, rooms: usize) -> Vec<usize> {
    let harmonic: f64 = (1..=rooms).map(|rank| 1.0 / rank as f64).sum();
    let spare = sockets - rooms;
    let mut sizes: Vec<_> = (1..=rooms).map(|rank| 1 + (spare as f64 / harmonic / rank as f64) as usize).collect();
    sizes[0] += sockets - sizes.iter().sum::<usize>();
    sizes
}

/// The loopback address from which a socket connects.
pub(super) fn source(index: usize) -> Ipv4Addr {
    // Two million sockets would be needed to leave the range.
    Ipv4Addr::new(127, 0, 0, u8::try_from(1 + index / FROM_ONE_ADDRESS).unwrap_or(u8::MAX))
}
