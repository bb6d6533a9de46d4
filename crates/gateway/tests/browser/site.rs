//! The system under test: real instances behind the real balancer, over one Redis or a Redis Cluster.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use trunkline_testbed::{ChromeDriver, Gateway, HaProxy, ProcessEnd, Redis, RedisCluster, free_port};

use crate::{POLL_INTERVAL, WAIT_TIMEOUT, person::Person};

const BINARY: &str = env!("CARGO_BIN_EXE_trunkline");
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Instances behind `deploy/haproxy.cfg`, and the driver of the browsers. All processes end on drop.
pub(crate) struct Site {
    driver: ChromeDriver,
    // Dropped in this order, so that no process loses one that it depends on.
    instances: Vec<Instance>,
    balancer: HaProxy,
    /// The only Redis, unless the instances use a cluster.
    _redis: Option<Redis>,
    redis_url: String,
    /// Flags of every instance, beside those of the cluster.
    flags: Vec<String>,
}

struct Instance {
    name: String,
    /// Kept over restarts, so that the balancer finds the instance again.
    port: u16,
    process: Gateway,
}

impl Site {
    /// Starts `gw-1` to `gw-<count>`, and returns when the balancer sends requests to all of them.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, |_| Vec::new()).await
    }

    /// As [`Self::start`], with the flags that `flags` returns for the balancer's port.
    pub(crate) async fn start_with(count: usize, flags: impl FnOnce(u16) -> Vec<String>) -> Self {
        // A Redis of its own: names and rooms of other tests would interfere.
        let redis = Redis::builder().start().unwrap();
        Self::start_over(redis.url(), Some(redis), count, flags).await
    }

    /// As [`Self::start`], over this cluster, which the test breaks.
    pub(crate) async fn start_over_cluster(cluster: &RedisCluster, count: usize) -> Self {
        Self::start_over(cluster.url(), None, count, |_| Vec::new()).await
    }

    async fn start_over(
        redis_url: String,
        redis: Option<Redis>,
        count: usize,
        flags: impl FnOnce(u16) -> Vec<String>,
    ) -> Self {
        let balancer = HaProxy::start().unwrap();
        let driver = ChromeDriver::start().unwrap();
        let flags = flags(balancer.port());
        let start = |number| Instance::start(format!("gw-{number}"), free_port().unwrap(), &redis_url, &flags);
        let instances = (1..=count).map(start).collect();
        let site = Self { driver, instances, balancer, _redis: redis, redis_url, flags };
        for (slot, instance) in (1..).zip(&site.instances) {
            site.balancer.fill_slot(slot, instance.port).unwrap();
        }
        for name in site.names() {
            site.until_serving(&name).await;
        }
        site
    }

    /// The balancer's port.
    pub(crate) fn port(&self) -> u16 {
        self.balancer.port()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.instances.iter().map(|instance| instance.name.clone()).collect()
    }

    /// Opens a new browser with an empty profile on the login page.
    pub(crate) async fn visitor(&self) -> Person {
        let person = Person::open(&self.driver, self.port()).await;
        person.go("/").await;
        person
    }

    /// Opens a new browser and logs in.
    pub(crate) async fn person(&self, name: &str) -> Person {
        let person = self.visitor().await;
        person.log_in(name).await;
        person
    }

    /// Logs two people in, served by different instances.
    pub(crate) async fn ann_and_bob(&self) -> (Person, Person) {
        let (ann, bob) = tokio::join!(self.person("ann"), self.person("bob"));
        let on = ann.instance().await;
        if bob.instance().await == on {
            let other = self.names().into_iter().find(|name| *name != on).unwrap();
            self.move_to(&other, &bob).await;
        }
        (ann, bob)
    }

    /// Reloads a person's page while new requests reach this instance only; open sockets stay where they are. Without this,
    /// the balancer may choose another instance each time.
    pub(crate) async fn move_to(&self, name: &str, person: &Person) {
        self.send_all_to(name).await;
        person.reload().await;
        person.until_connected().await;
        assert_eq!(person.instance().await, name);
        for (slot, instance) in (1..).zip(&self.instances).filter(|(_, instance)| instance.name != name) {
            self.balancer.fill_slot(slot, instance.port).unwrap();
            self.until_serving(&instance.name).await;
        }
    }

    /// From now on, new requests reach this instance only; open sockets stay where they are.
    pub(crate) async fn send_all_to(&self, name: &str) {
        for (slot, instance) in (1..).zip(&self.instances) {
            if instance.name == name {
                self.balancer.fill_slot(slot, instance.port).unwrap();
                self.until_serving(name).await;
            }
        }
        for (slot, _) in (1..).zip(&self.instances).filter(|(_, instance)| instance.name != name) {
            self.balancer.clear_slot(slot).unwrap();
        }
    }

    /// Kills an instance with SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) {
        self.instance(name).process.kill().unwrap();
    }

    /// Kills every instance with SIGKILL.
    pub(crate) fn kill_all(&mut self) {
        self.instances.iter_mut().for_each(|instance| instance.process.kill().unwrap());
    }

    /// Sends SIGTERM, and waits until the instance has ended with code 0.
    pub(crate) async fn stop(&mut self, name: &str) {
        let process = &mut self.instance(name).process;
        process.terminate().unwrap();
        let mut ended = None;
        eventually(&format!("{name} has ended"), || {
            ended = process.ended();
            ended.is_some()
        })
        .await;
        assert_eq!(ended, Some(ProcessEnd::Code(0)), "{name} said:\n{}", process.last_lines());
    }

    /// Starts an instance that was killed or stopped, at its old address.
    pub(crate) async fn start_again(&mut self, name: &str) {
        let (redis, flags) = (self.redis_url.clone(), self.flags.clone());
        let instance = self.instance(name);
        instance.process = spawn(name, instance.port, &redis, &flags);
        self.until_serving(name).await;
    }

    /// Returns when the balancer sends requests to this instance.
    async fn until_serving(&self, name: &str) {
        let slot = 1 + self.instances.iter().position(|instance| instance.name == name).unwrap();
        eventually(&format!("{name} gets traffic"), || self.balancer.slot_is_up(slot).unwrap()).await;
    }

    fn instance(&mut self, name: &str) -> &mut Instance {
        self.instances.iter_mut().find(|instance| instance.name == name).unwrap()
    }
}

impl Instance {
    fn start(name: String, port: u16, redis: &str, flags: &[String]) -> Self {
        let process = spawn(&name, port, redis, flags);
        Self { name, port, process }
    }
}

/// Starts an instance without waiting until it listens: the balancer's checks show it.
fn spawn(name: &str, port: u16, redis: &str, flags: &[String]) -> Gateway {
    let builder = Gateway::builder(BINARY).instance(name).listen(port).redis(redis).env("TRUNKLINE_SECRET", SECRET);
    // The settings of `cargo xtask cluster`, with a drain that is just long enough for the balancer's checks.
    let cluster = ["--trust-proxy", "127.0.0.1/32", "--login-rate", "0"];
    builder.args(cluster).args(["--drain-delay", "1500ms", "--drain-window", "1s"]).args(flags).spawn().unwrap()
}

/// Waits until a condition holds; returns how long that took.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WAIT_TIMEOUT, "after {} s still not: {what}", WAIT_TIMEOUT.as_secs());
        sleep(POLL_INTERVAL).await;
    }
    start.elapsed()
}
