//! The contract suite for both buses.

use trunkline_bus::contract;

mod local {
    use trunkline_bus::{LocalBus, LocalConfig};

    use super::contract::{RETAIN, Store};
    use crate::redis::LEASE;

    struct Local(LocalBus);

    impl Store for Local {
        type Bus = LocalBus;

        fn bus(&self) -> LocalBus {
            self.0.clone()
        }
    }

    trunkline_bus::contract!(Local(LocalBus::new(LocalConfig { retain: RETAIN, ..LocalConfig::default() })));
    trunkline_bus::presence_contract!(Local(LocalBus::new(LocalConfig { lease: LEASE, ..LocalConfig::default() })));
}

mod cluster {
    use trunkline_bus::RedisBus;

    use super::contract::Store;
    use crate::cluster::Cluster;

    impl Store for Cluster {
        type Bus = RedisBus;

        fn bus(&self) -> RedisBus {
            self.connect()
        }
    }

    trunkline_bus::contract!(Cluster::without_replicas());
    trunkline_bus::presence_contract!(Cluster::without_replicas());
}

mod redis {
    use trunkline_bus::RedisBus;

    use super::contract::Store;
    use crate::redis::Server;

    impl Store for Server {
        type Bus = RedisBus;

        fn bus(&self) -> RedisBus {
            self.connect()
        }
    }

    trunkline_bus::contract!(Server::shared());
    trunkline_bus::presence_contract!(Server::shared());
}
