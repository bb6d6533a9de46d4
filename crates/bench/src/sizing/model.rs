//! From a load and unit costs to numbers of gateways and shards, and what limits them. Pure.
//!
//! docs/SCALING.md explains each term. A resource is used evenly by all gateways, or by all shards: rooms are placed by
//! hash, and members of a room by a balancer that knows nothing about rooms.

use std::fmt;

use serde::Serialize;

use super::costs::{Cost, UnitCosts};

/// Bytes of headers of a segment on the wire: Ethernet 14, IPv4 20, TCP with timestamps 32.
const SEGMENT_BYTES: f64 = 66.0;
/// Maximum number of frames in the tail of a room, and of their bytes (`Tail` in the gateway).
const TAIL_FRAMES: f64 = 1024.0;
const TAIL_BYTES: f64 = 1_048_576.0;
/// Maximum number of connections of an instance to a master: link, subscription, sessions and a spare one.
const CONNECTIONS_PER_MASTER: u64 = 4;
/// Connections that a Redis server accepts (`maxclients`, its default).
const MAX_CLIENTS: f64 = 10_000.0;
/// Sockets of one process: the default of `fs.nr_open`.
const MAX_SOCKETS: f64 = 1_048_576.0;
/// Masters of one cluster: Redis recommends at most 1,000 nodes, and each master has a replica.
const MAX_SHARDS: f64 = 500.0;
/// Share of a machine's memory that a gateway may use.
const GATEWAY_MEMORY_SHARE: f64 = 0.8;
/// Share of a machine's memory that the data of a Redis server may use: a fork for persistence or for a new replica copies
/// pages that change meanwhile.
const REDIS_MEMORY_SHARE: f64 = 0.5;
const GIB: f64 = 1_073_741_824.0;

/// What users do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct SystemLoad {
    /// Users with a socket at the same time.
    pub(crate) users: f64,
    /// Rooms with members.
    pub(crate) rooms: f64,
    /// Messages per second and user.
    pub(crate) rate: f64,
    /// Members of a room with a socket at the same time.
    pub(crate) members: f64,
    /// Bytes of a message's text.
    pub(crate) text: f64,
    /// Mean length of a socket's life, in seconds.
    pub(crate) visit_seconds: f64,
    /// Retained messages per room, and for how many seconds.
    pub(crate) retain: f64,
    pub(crate) retain_seconds: f64,
}

/// What one machine has, and how much of it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Machines {
    /// Cores per gateway.
    pub(crate) cores: f64,
    /// GiB per gateway and per master.
    pub(crate) gateway_gib: f64,
    pub(crate) redis_gib: f64,
    /// Mbit/s in each direction, per gateway and per master.
    pub(crate) network: f64,
    /// Share of the CPU time and of the network that may be used.
    pub(crate) busy: f64,
}

/// Something that a gateway or a shard has a limited amount of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Resource {
    GatewayCpu,
    BusThread,
    GatewayMemory,
    GatewaySockets,
    GatewayNetwork,
    RedisCpu,
    RedisMemory,
    RedisNetwork,
    RedisConnections,
    Shards,
}

impl Resource {
    /// What to do when it is used up.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::GatewayCpu => "add gateways, or give each more cores: fewer instances receive each message",
            Self::BusThread => "add gateways until each has members of few rooms; more cores per gateway do not help",
            Self::GatewayMemory => {
                "add gateways or memory; the tails of rooms grow with rooms per gateway, not with users"
            }
            Self::GatewaySockets => "add gateways, or raise fs.nr_open",
            Self::GatewayNetwork => "add gateways or faster links",
            Self::RedisCpu => "add shards; or use fewer, larger gateways: each message is published to fewer of them",
            Self::RedisMemory => "add shards or memory, or lower --retain or --retain-for",
            Self::RedisNetwork => "add shards, or use fewer, larger gateways",
            Self::RedisConnections => "raise maxclients, or use fewer, larger gateways; shards do not help",
            Self::Shards => "divide the rooms between several deployments",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::GatewayCpu => "CPU of the gateways",
            Self::BusThread => "bus thread of a gateway",
            Self::GatewayMemory => "memory of the gateways",
            Self::GatewaySockets => "sockets of a gateway",
            Self::GatewayNetwork => "network of the gateways",
            Self::RedisCpu => "CPU of Redis",
            Self::RedisMemory => "memory of Redis",
            Self::RedisNetwork => "network of Redis",
            Self::RedisConnections => "connections of a master",
            Self::Shards => "shards of a cluster",
        })
    }
}

/// Use of a resource by one gateway, or by one shard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct ResourceUse {
    pub(crate) resource: Resource,
    /// Use divided by the limit: above 1 it does not fit.
    pub(crate) of_limit: f64,
}

/// Numbers of gateways and shards, and what they use. Rates are per second, memory in GiB, network in Mbit/s.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SystemPlan {
    pub(crate) messages: f64,
    pub(crate) deliveries: f64,
    pub(crate) handshakes: f64,
    /// Gateways, without spare ones.
    pub(crate) gateways: u64,
    /// Instances with members in a room: that many receive each message.
    pub(crate) reach: f64,
    /// Cores in use, over all gateways.
    pub(crate) gateway_cores: f64,
    pub(crate) gateway_gib: f64,
    /// Clients' and Redis's traffic of one gateway.
    pub(crate) gateway_in: f64,
    pub(crate) gateway_out: f64,
    pub(crate) sockets_per_gateway: f64,
    /// Masters.
    pub(crate) shards: u64,
    /// Cores in use, over all masters.
    pub(crate) redis_cores: f64,
    pub(crate) redis_gib: f64,
    /// Traffic of one master.
    pub(crate) redis_in: f64,
    pub(crate) redis_out: f64,
    /// At most this many from gateways to one master, and from one gateway to all masters.
    pub(crate) connections_per_master: u64,
    pub(crate) connections_per_gateway: u64,
    /// The most used resource comes first: it is the bottleneck.
    pub(crate) uses: Vec<ResourceUse>,
}

impl SystemPlan {
    /// The resource that reaches its limit first if the load grows and no machine is added.
    pub(crate) fn bottleneck(&self) -> ResourceUse {
        self.uses.first().copied().unwrap_or(ResourceUse { resource: Resource::GatewayCpu, of_limit: 0.0 })
    }

    /// Whether nothing is used beyond its limit.
    pub(crate) fn fits(&self) -> bool {
        self.bottleneck().of_limit <= 1.0
    }

    /// The plan with the smallest number of gateways that suffices, and then of shards. If a limit is exceeded that no
    /// further machine lifts, the plan does not [fit](Self::fits).
    pub(crate) fn new(load: &SystemLoad, machines: &Machines, costs: &UnitCosts) -> Self {
        let model = Model { load, machines, costs };
        // Each gateway's part falls with the number of gateways.
        let (mut too_few, mut gateways) = (0, 1);
        while !model.gateway(gateways).suffices() && gateways < 1 << 24 {
            (too_few, gateways) = (gateways, gateways * 2);
        }
        while gateways - too_few > 1 {
            let middle = too_few + (gateways - too_few) / 2;
            if model.gateway(middle).suffices() { gateways = middle } else { too_few = middle }
        }
        model.plan(gateways)
    }
}

struct Model<'a> {
    load: &'a SystemLoad,
    machines: &'a Machines,
    costs: &'a UnitCosts,
}

/// What one of so many gateways uses, per second.
struct GatewayUse {
    cores: f64,
    gib: f64,
    mbit_in: f64,
    mbit_out: f64,
    sockets: f64,
    uses: [ResourceUse; 5],
}

impl GatewayUse {
    fn suffices(&self) -> bool {
        self.uses.iter().all(|used| used.of_limit <= 1.0)
    }
}

impl Model<'_> {
    fn messages(&self) -> f64 {
        self.load.users * self.load.rate
    }

    fn deliveries(&self) -> f64 {
        self.messages() * self.load.members
    }

    fn handshakes(&self) -> f64 {
        self.load.users / self.load.visit_seconds
    }

    /// Expected number of instances with members in a room, if each member is on any of them with equal probability.
    fn reach(&self, gateways: u64) -> f64 {
        let gateways = gateways as f64;
        gateways * -(self.load.members * (-1.0 / gateways).ln_1p()).exp_m1()
    }

    fn frame_bytes(&self) -> f64 {
        self.load.text + self.costs.get(Cost::Frame)
    }

    /// Bytes in the tail of a room that has members for as long as messages are retained.
    fn tail_bytes(&self) -> f64 {
        let received = self.messages() / self.load.rooms * self.load.retain_seconds;
        (received.min(TAIL_FRAMES) * self.frame_bytes()).min(TAIL_BYTES)
    }

    fn gateway(&self, gateways: u64) -> GatewayUse {
        let Self { load, machines, costs } = self;
        let us = |cost| costs.get(cost) / 1e6;
        let (number, reach) = (gateways as f64, self.reach(gateways));
        let (messages, deliveries) = (self.messages() / number, self.deliveries() / number);
        let (sockets, rooms, received) = (load.users / number, load.rooms * reach / number, messages * reach);
        let cores = messages * us(Cost::GatewaySend)
            + messages * (reach - 1.0).max(0.0) * us(Cost::GatewayPublication)
            + deliveries * us(Cost::GatewayDelivery)
            + self.handshakes() / number * us(Cost::GatewayHandshake)
            + sockets * us(Cost::GatewaySocket)
            + rooms * us(Cost::GatewayRoom);
        let kib = sockets * (costs.get(Cost::SocketUser) + costs.get(Cost::SocketKernel));
        let gib = (kib * 1024.0 + rooms * self.tail_bytes()) / GIB;
        let (segment, mbit) = (self.frame_bytes() + SEGMENT_BYTES, 8.0 / 1e6);
        // Each segment is confirmed by one in the other direction, which is the most that TCP sends.
        let mbit_out = (deliveries * segment + messages * 2.0 * segment + received * SEGMENT_BYTES) * mbit;
        let mbit_in = (messages * 2.0 * segment + received * segment + deliveries * SEGMENT_BYTES) * mbit;
        let limit = |resource, used: f64, limit: f64| ResourceUse { resource, of_limit: used / limit };
        let uses = [
            limit(Resource::GatewayCpu, cores, machines.cores * machines.busy),
            limit(Resource::BusThread, received * us(Cost::GatewayBusThread), machines.busy),
            limit(Resource::GatewayMemory, gib, machines.gateway_gib * GATEWAY_MEMORY_SHARE),
            limit(Resource::GatewaySockets, sockets, MAX_SOCKETS),
            limit(Resource::GatewayNetwork, mbit_in.max(mbit_out), machines.network * machines.busy),
        ];
        GatewayUse { cores, gib, mbit_in, mbit_out, sockets, uses }
    }

    fn plan(&self, gateways: u64) -> SystemPlan {
        let Self { load, machines, costs } = self;
        let us = |cost| costs.get(cost) / 1e6;
        let (messages, reach) = (self.messages(), self.reach(gateways));
        let gateway = self.gateway(gateways);
        // A handshake looks up its session with one script call.
        let redis_cores = (messages + self.handshakes()) * us(Cost::RedisSend)
            + messages * (reach - 1.0).max(0.0) * us(Cost::RedisPublication)
            + load.rooms * reach * us(Cost::RedisRoom);
        let retained = (messages / load.rooms * load.retain_seconds).min(load.retain);
        let redis_gib =
            load.rooms * retained * (costs.get(Cost::RedisMessage) - 100.0 + load.text).max(load.text) / GIB;
        let (segment, mbit) = (self.frame_bytes() + SEGMENT_BYTES, 8.0 / 1e6);
        let redis_in = messages * (segment + reach * SEGMENT_BYTES) * mbit;
        let redis_out = messages * (reach + 1.0) * segment * mbit;
        let totals = [
            (Resource::RedisCpu, redis_cores, machines.busy),
            (Resource::RedisMemory, redis_gib, machines.redis_gib * REDIS_MEMORY_SHARE),
            (Resource::RedisNetwork, redis_in.max(redis_out), machines.network * machines.busy),
        ];
        let shards = totals.iter().map(|(_, used, limit)| (used / limit).ceil()).fold(1.0, f64::max);
        let connections_per_master = gateways * CONNECTIONS_PER_MASTER;
        let mut uses = gateway.uses.to_vec();
        uses.extend(totals.map(|(resource, used, limit)| ResourceUse { resource, of_limit: used / limit / shards }));
        let connections = connections_per_master as f64 / MAX_CLIENTS;
        uses.push(ResourceUse { resource: Resource::RedisConnections, of_limit: connections });
        uses.push(ResourceUse { resource: Resource::Shards, of_limit: shards / MAX_SHARDS });
        uses.sort_by(|a, b| b.of_limit.total_cmp(&a.of_limit));
        SystemPlan {
            messages,
            deliveries: self.deliveries(),
            handshakes: self.handshakes(),
            gateways,
            reach,
            gateway_cores: gateway.cores * gateways as f64,
            gateway_gib: gateway.gib,
            gateway_in: gateway.mbit_in,
            gateway_out: gateway.mbit_out,
            sockets_per_gateway: gateway.sockets,
            shards: shards as u64,
            redis_cores,
            redis_gib: redis_gib / shards,
            redis_in: redis_in / shards,
            redis_out: redis_out / shards,
            connections_per_master,
            connections_per_gateway: shards as u64 * CONNECTIONS_PER_MASTER,
            uses,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const LOAD: SystemLoad = SystemLoad {
        users: 10_000.0,
        rooms: 2_000.0,
        rate: 0.02,
        members: 5.0,
        text: 100.0,
        visit_seconds: 1200.0,
        retain: 1000.0,
        retain_seconds: 604_800.0,
    };
    pub(crate) const MACHINES: Machines =
        Machines { cores: 8.0, gateway_gib: 16.0, redis_gib: 16.0, network: 10_000.0, busy: 0.6 };

    fn plan(load: SystemLoad, machines: Machines) -> SystemPlan {
        SystemPlan::new(&load, &machines, &UnitCosts::checked_in().unwrap())
    }

    #[test]
    fn small_load_needs_one_gateway_and_one_shard() {
        let plan = plan(LOAD, MACHINES);
        assert_eq!((plan.gateways, plan.shards, plan.reach), (1, 1, 1.0));
        assert_eq!((plan.messages, plan.deliveries), (200.0, 1000.0));
        assert!(plan.fits(), "{plan:?}");
    }

    #[test]
    fn cost_of_a_message_is_the_sum_of_its_parts() {
        let costs = UnitCosts::checked_in().unwrap();
        let idle = plan(SystemLoad { rate: 0.0, ..LOAD }, MACHINES);
        let busy = plan(LOAD, MACHINES);
        let per_message = (busy.gateway_cores - idle.gateway_cores) * 1e6 / busy.messages;
        let expected = costs.get(Cost::GatewaySend) + 5.0 * costs.get(Cost::GatewayDelivery);
        assert!((per_message - expected).abs() < 1e-6, "{per_message}");
        let per_message = (busy.redis_cores - idle.redis_cores) * 1e6 / busy.messages;
        assert!((per_message - costs.get(Cost::RedisSend)).abs() < 1e-6, "{per_message}");
    }

    #[test]
    fn members_of_a_room_are_on_fewer_instances_than_there_are() {
        let costs = UnitCosts::checked_in().unwrap();
        let reach = |members, gateways| {
            Model { load: &SystemLoad { members, ..LOAD }, machines: &MACHINES, costs: &costs }.reach(gateways)
        };
        assert!((reach(1.0, 50) - 1.0).abs() < 1e-9);
        assert!((reach(2.0, 2) - 1.5).abs() < 1e-9);
        assert!((reach(1e6, 10) - 10.0).abs() < 1e-6);
    }

    #[test]
    fn each_resource_can_be_the_bottleneck() {
        use Resource::{BusThread, GatewayCpu, GatewayMemory, GatewaySockets, RedisConnections, RedisMemory, Shards};
        let big = Machines { cores: 1000.0, gateway_gib: 1e6, redis_gib: 1e6, network: 1e9, busy: 1.0 };
        let cases = [
            (GatewayCpu, SystemLoad { members: 5_000.0, rooms: 10.0, ..LOAD }, Machines { cores: 1.0, ..big }),
            (BusThread, SystemLoad { users: 1e6, members: 2.0, rate: 0.13, rooms: 2e4, ..LOAD }, big),
            (GatewayMemory, SystemLoad { rate: 0.0001, ..LOAD }, Machines { gateway_gib: 0.5, ..MACHINES }),
            (GatewaySockets, SystemLoad { users: 1e6, rate: 0.0, rooms: 1.0, ..LOAD }, big),
            (RedisMemory, SystemLoad { retain: 1e6, ..LOAD }, Machines { gateway_gib: 100.0, ..MACHINES }),
            (
                RedisConnections,
                SystemLoad { users: 3e8, rooms: 1e6, rate: 0.0, ..LOAD },
                Machines { gateway_gib: 0.5, ..big },
            ),
            (
                Shards,
                SystemLoad { users: 1e9, rooms: 1e9, rate: 1.0, members: 1.0, ..LOAD },
                Machines { cores: 10_000.0, ..big },
            ),
        ];
        for (expected, load, machines) in cases {
            let plan = plan(load, machines);
            assert_eq!(plan.bottleneck().resource, expected, "{plan:#?}");
            assert!(!expected.remedy().is_empty());
        }
    }

    #[test]
    fn tails_are_as_long_as_those_of_the_gateway() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/src/fanout/tail.rs");
        let source = std::fs::read_to_string(path).unwrap();
        assert!(source.contains(&format!("MAX_FRAMES: usize = {TAIL_FRAMES};")));
        assert!(source.contains("MAX_BYTES: usize = 1 << 20;") && TAIL_BYTES == f64::from(1 << 20));
    }

    proptest! {
        #[test]
        fn one_gateway_less_does_not_suffice_and_everything_is_finite(
            users in 1.0..1e8, rooms in 1.0..1e7, rate in 0.0..1.0, members in 1.0..1e4, cores in 1.0..64.0,
        ) {
            let load = SystemLoad { users, rooms, rate, members, ..LOAD };
            let machines = Machines { cores, ..MACHINES };
            let costs = UnitCosts::checked_in().unwrap();
            let plan = SystemPlan::new(&load, &machines, &costs);
            let model = Model { load: &load, machines: &machines, costs: &costs };
            prop_assert!(plan.gateways >= 1 && plan.shards >= 1);
            prop_assert!(model.gateway(plan.gateways).suffices() || !plan.fits());
            prop_assert!(plan.gateways == 1 || !model.gateway(plan.gateways - 1).suffices());
            prop_assert!(plan.uses.iter().all(|used| used.of_limit.is_finite() && used.of_limit >= 0.0), "{plan:?}");
            prop_assert!(plan.reach <= members.min(plan.gateways as f64) * (1.0 + 1e-9));
        }

        #[test]
        fn more_users_never_need_fewer_machines(users in 1e3..1e7, more in 1.0..10.0) {
            let at = |users: f64| {
                plan(SystemLoad { users, rooms: users / 50.0, members: 50.0, ..LOAD }, MACHINES)
            };
            let (small, large) = (at(users), at(users * more));
            prop_assert!(small.gateways <= large.gateways && small.shards <= large.shards);
        }
    }
}
