//! Asks Sentinels for the master, and hears from them when another server becomes it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use redis::{RedisConnectionInfo, RedisError};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout, timeout_at},
};

use crate::{
    connection::{open_command, open_pubsub},
    dial::{Dialer, within},
    error::{ConnectError, ConnectStep},
    master::{Master, decide},
    url::{Endpoint, NodeAddress},
};

/// How long the answers of further Sentinels are awaited after the first one. One that is stopped does not delay a connect for
/// longer.
const FURTHER_ANSWERS: Duration = Duration::from_millis(250);
/// Time between two attempts to subscribe at a Sentinel that is away.
const RETRY: Duration = Duration::from_secs(2);
/// Time between two PINGs to a Sentinel. A subscriber writes nothing else, so without them it would not notice a dead
/// connection.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Where Sentinels publish that a failover has ended: `<master name> <old ip> <old port> <new ip> <new port>`.
const SWITCHED: &str = "+switch-master";
/// Where the Sentinel that leads a failover publishes that it begins, at least one of its ticks (100 ms) before it promotes
/// the replica: `master <master name> <ip> <port>`.
const BEGUN: &str = "+failover-state-select-slave";
/// Where that Sentinel publishes that a failover has failed: `master <master name> <ip> <port>`.
const ABORTED: [&str; 2] = ["-failover-abort-no-good-slave", "-failover-abort-slave-timeout"];
/// Maximum time for which nothing is sent to the master after a failover began. When measured, one took 1.2 s.
const FAILOVER_PAUSE: Duration = Duration::from_secs(5);

/// The Sentinels of one master. At each of them one connection is subscribed, from the first question until this value is
/// dropped.
pub(crate) struct Sentinels {
    group: Arc<SentinelGroup>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

struct SentinelGroup {
    dialer: Arc<Dialer>,
    settings: RedisConnectionInfo,
    sentinels: Vec<NodeAddress>,
    name: String,
    /// The last decision.
    master: watch::Sender<Option<Master>>,
    /// While a failover is under way: when it is given up. What the old master accepts in this time is lost.
    failover: watch::Sender<Option<Instant>>,
}

impl Sentinels {
    pub(crate) fn new(
        dialer: Arc<Dialer>,
        settings: RedisConnectionInfo,
        sentinels: Vec<NodeAddress>,
        name: String,
    ) -> Self {
        let group = SentinelGroup {
            dialer,
            settings,
            sentinels,
            name,
            master: watch::channel(None).0,
            failover: watch::channel(None).0,
        };
        Self { group: Arc::new(group), listener: Mutex::default() }
    }

    /// The master. If no Sentinel answers, the master that they named last: while it works, nothing changes. While a failover
    /// is under way, waits for its end.
    ///
    /// # Errors
    /// Why no Sentinel answers, if none ever did; or that the failover takes longer than a step may.
    pub(crate) async fn master(&self) -> Result<Endpoint, ConnectError> {
        self.listen();
        let limit = self.group.dialer.step_timeout;
        if timeout(limit, self.group.failover_ended()).await.is_err() {
            return Err(ConnectError::new(ConnectStep::Discovery, &self.group.name, "a failover is under way"));
        }
        let master = match self.group.ask_all().await {
            Ok(master) => master,
            Err(error) => self.group.master.borrow().clone().ok_or(error)?,
        };
        Ok(Endpoint::Tcp(master.node))
    }

    /// False if the Sentinels named another master since, or if a failover is under way.
    pub(crate) fn is_master(&self, endpoint: &Endpoint) -> bool {
        !is_another(self.group.master.borrow().as_ref(), endpoint) && !self.group.is_failing_over()
    }

    /// Waits until the Sentinels name another master or begin a failover, and returns this reason.
    pub(crate) async fn superseded(&self, endpoint: &Endpoint) -> String {
        let (mut master, mut failover) = (self.group.master.subscribe(), self.group.failover.subscribe());
        tokio::select! {
            // `self` owns the senders, so both succeed.
            _ = master.wait_for(|master| is_another(master.as_ref(), endpoint)) => {}
            _ = failover.wait_for(|until| until.is_some_and(|until| until > Instant::now())) => {
                return "the Sentinels began a failover".to_owned();
            }
        }
        let master = self.group.master.borrow().as_ref().map(|master| master.node.to_string()).unwrap_or_default();
        format!("the Sentinels name another master: {master} instead of {endpoint}")
    }

    /// Starts the task that listens, unless it runs. It ends with the runtime on which it was started; the next call starts
    /// another one.
    fn listen(&self) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.as_ref().is_none_or(JoinHandle::is_finished) {
            let group = self.group.clone();
            *listener = Some(tokio::spawn(async move {
                join_all(group.sentinels.iter().map(|sentinel| group.listen(sentinel))).await;
            }));
        }
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get_mut().unwrap_or_else(PoisonError::into_inner) {
            listener.abort();
        }
    }
}

fn is_another(master: Option<&Master>, endpoint: &Endpoint) -> bool {
    matches!((master, endpoint), (Some(master), Endpoint::Tcp(node)) if master.node != *node)
}

impl SentinelGroup {
    fn is_failing_over(&self) -> bool {
        self.failover.borrow().is_some_and(|until| until > Instant::now())
    }

    /// Waits while a failover is under way.
    async fn failover_ended(&self) {
        let mut failover = self.failover.subscribe();
        let Some(until) = *failover.borrow_and_update() else { return };
        let _ = timeout_at(until, failover.wait_for(Option::is_none)).await;
    }

    /// Asks all Sentinels at the same time, and decides.
    async fn ask_all(&self) -> Result<Master, ConnectError> {
        let mut asked: FuturesUnordered<_> = self.sentinels.iter().map(|sentinel| self.ask(sentinel)).collect();
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        let mut take = |answer: Result<Master, ConnectError>| match answer {
            Ok(answer) => {
                answers.push(answer);
                true
            }
            Err(failure) => {
                failures.push(failure.to_string());
                false
            }
        };
        while let Some(answer) = asked.next().await {
            if take(answer) {
                break;
            }
        }
        let further = async {
            while let Some(answer) = asked.next().await {
                take(answer);
            }
        };
        // Elapsed or not, the answers are in `answers`.
        let _ = timeout(FURTHER_ANSWERS, further).await;
        if answers.is_empty() {
            return Err(ConnectError::new(ConnectStep::Discovery, &self.name, failures.join("; ")));
        }
        let decided = |known: &mut Option<Master>| {
            let master = decide(known.as_ref(), &answers, self.sentinels.len());
            let changed = *known != master;
            if changed {
                tracing::info!(
                    name = self.name,
                    master = master.as_ref().map(|m| m.node.to_string()),
                    "the Sentinels name the master"
                );
            }
            *known = master;
            if changed {
                self.failover.send_replace(None);
            }
            changed
        };
        self.master.send_if_modified(decided);
        self.master.borrow().clone().ok_or_else(|| ConnectError::new(ConnectStep::Discovery, &self.name, "no answer"))
    }

    async fn ask(&self, sentinel: &NodeAddress) -> Result<Master, ConnectError> {
        let endpoint = Endpoint::Tcp(sentinel.clone());
        let opened = open_command(&self.dialer, &endpoint, &self.settings, None).await?;
        let (mut one, mut other) = (opened.connection.clone(), opened.connection.clone());
        let question = |what| redis::cmd("SENTINEL").arg(what).arg(&self.name).take();
        // The first reply names a new master as soon as it is promoted. In the second one only the epoch is that recent.
        let (address, fields) = (question("GET-MASTER-ADDR-BY-NAME"), question("MASTER"));
        let questions = async {
            let replies = tokio::try_join!(address.query_async(&mut one), fields.query_async(&mut other));
            let (address, fields): (Option<(String, u16)>, HashMap<String, String>) =
                replies.map_err(|error| explain(&error))?;
            let (host, port) = address.ok_or(UNKNOWN_NAME)?;
            let config_epoch = fields.get("config-epoch").and_then(|epoch| epoch.parse().ok());
            let config_epoch = config_epoch.ok_or("its reply has no config-epoch")?;
            Ok::<_, String>(Master { config_epoch, node: NodeAddress { host, port } })
        };
        within(self.dialer.step_timeout, ConnectStep::ServerCheck, opened.address(), questions).await
    }

    /// Subscribes at a Sentinel again and again, and asks all of them whenever it reports a failover.
    async fn listen(&self, sentinel: &NodeAddress) {
        let mut lost = false;
        loop {
            let Err(error) = self.hear(sentinel, &mut lost).await;
            if !lost {
                tracing::warn!(%sentinel, %error, "a Sentinel cannot be heard; trying again every {} s", RETRY.as_secs());
            }
            lost = true;
            sleep(RETRY).await;
        }
    }

    async fn hear(&self, sentinel: &NodeAddress, lost: &mut bool) -> Result<std::convert::Infallible, ConnectError> {
        let limit = self.dialer.step_timeout;
        let opened = open_pubsub(&self.dialer, &Endpoint::Tcp(sentinel.clone()), &self.settings).await?;
        let (mut sink, mut messages) = opened.pubsub.split();
        within(limit, ConnectStep::SetUp, &opened.address, sink.subscribe(&[SWITCHED, BEGUN, ABORTED[0], ABORTED[1]]))
            .await?;
        if std::mem::take(lost) {
            tracing::info!(%sentinel, "the Sentinel is heard again");
        }
        // For failovers before the subscription. Errors are those of other Sentinels, which their own tasks report.
        let _ = self.ask_all().await;
        let mut ping = interval(PING_INTERVAL);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let closed = || ConnectError::new(ConnectStep::Connect, &opened.address, "the connection was closed");
                    let message = message.ok_or_else(closed)?;
                    let text = message.get_payload::<String>().unwrap_or_default();
                    let words: Vec<_> = text.split(' ').collect();
                    match (message.get_channel_name(), &words[..]) {
                        (SWITCHED, [name, ..]) if *name == self.name => {
                            let _ = self.ask_all().await;
                        }
                        (BEGUN, ["master", name, ..]) if *name == self.name => {
                            tracing::info!(name, "the Sentinels began a failover");
                            self.failover.send_replace(Some(Instant::now() + FAILOVER_PAUSE));
                        }
                        (channel, ["master", name, ..]) if *name == self.name && ABORTED.contains(&channel) => {
                            self.failover.send_replace(None);
                        }
                        _ => {}
                    }
                }
                _ = ping.tick() => {
                    within(limit, ConnectStep::Connect, &opened.address, sink.ping::<redis::Value>()).await?;
                }
            }
        }
    }
}

const UNKNOWN_NAME: &str = "this Sentinel watches no master of this name; compare the name after # in the URL";

fn explain(error: &RedisError) -> String {
    match error.code() {
        Some("NOAUTH") => format!("this Sentinel requires a password of its own, and none is set ({error})"),
        _ if error.to_string().contains("No such master") => UNKNOWN_NAME.to_owned(),
        _ => error.to_string(),
    }
}
