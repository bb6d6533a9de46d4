//! What a cluster says about where a command belongs, and when to ask it for its map. Pure: times are given as the time
//! since some fixed moment.

use std::{mem, time::Duration};

use redis::Value;

use crate::{slots::parse_node, url::NodeAddress};

/// Wait before a command is repeated that the cluster cannot execute anywhere yet. Also the wait after the second redirection
/// in a row, so that two servers that name each other are not asked in a tight loop.
const RETRY_WAIT: Duration = Duration::from_millis(20);

/// An error with which a cluster answers a command that this server does not execute. The command had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// The slot belongs to another master for good: send the command there, and refresh the map.
    Moved {
        /// The slot of the command's keys.
        slot: u16,
        /// Its owner.
        node: NodeAddress,
    },
    /// The slot is on its way to another master, where these keys already are: send `ASKING` and the command there, once.
    Ask {
        /// The slot of the command's keys.
        slot: u16,
        /// Where the keys are.
        node: NodeAddress,
    },
    /// The slot is on its way, and the command's keys are not all on one side: repeat the command later.
    TryAgain,
    /// The cluster, or the owner of the slot, is not available: repeat the command later.
    ClusterDown,
}

impl Redirect {
    /// Reads an error reply. `code` is its first word, `detail` the rest, `asked` the host of the server that replied. `None`
    /// if it is another error.
    #[must_use]
    pub fn parse(code: &str, detail: &str, asked: &str) -> Option<Self> {
        let target = || {
            let (slot, address) = detail.split_once(' ')?;
            Some((slot.parse().ok()?, parse_node(address.trim_end(), asked)?))
        };
        match code {
            "MOVED" => target().map(|(slot, node)| Self::Moved { slot, node }),
            "ASK" => target().map(|(slot, node)| Self::Ask { slot, node }),
            "TRYAGAIN" => Some(Self::TryAgain),
            "CLUSTERDOWN" => Some(Self::ClusterDown),
            _ => None,
        }
    }

    /// Reads a reply. `None` if it is no redirection.
    #[must_use]
    pub fn of_reply(reply: &Value, asked: &str) -> Option<Self> {
        let Value::ServerError(error) = reply else { return None };
        Self::parse(error.code(), error.details().unwrap_or_default(), asked)
    }

    /// Whether it shows that the slot map is old.
    #[must_use]
    pub fn shows_old_map(&self) -> bool {
        matches!(self, Self::Moved { .. } | Self::ClusterDown)
    }
}

/// The redirections that one command met: where it is sent next, and when it fails. A redirected command had no effect, so
/// it is sent again until a master executes it, for up to [`TIMEOUT`](Self::TIMEOUT).
#[derive(Debug)]
pub struct Redirections {
    slot: u16,
    is_first: bool,
}

/// Where a redirected command is sent next.
#[derive(Debug, PartialEq, Eq)]
pub struct NextAttempt {
    /// Time to wait first, if any.
    pub wait: Option<Duration>,
    /// The master. `None`: the one that owns the slot after that time.
    pub node: Option<NodeAddress>,
    /// Whether to send `ASKING` before the command: the master does not own the slot yet.
    pub is_asking: bool,
}

impl Redirections {
    /// Maximum time for which a command is repeated while its slot is on its way or has no owner.
    pub const TIMEOUT: Duration = Duration::from_secs(2);

    /// None yet.
    #[must_use]
    pub fn new(slot: u16) -> Self {
        Self { slot, is_first: true }
    }

    /// Takes the redirection with which a master answered, `elapsed` after the command was first sent.
    ///
    /// # Errors
    /// The time is over: the command fails, and had no effect. For people.
    pub fn follow(&mut self, redirect: Redirect, elapsed: Duration) -> Result<NextAttempt, String> {
        if elapsed >= Self::TIMEOUT {
            return Err(format!("slot {} is not served: {redirect:?}", self.slot));
        }
        let (node, is_asking) = match redirect {
            Redirect::Moved { node, .. } => (Some(node), false),
            Redirect::Ask { node, .. } => (Some(node), true),
            Redirect::TryAgain | Redirect::ClusterDown => (None, false),
        };
        let is_at_once = mem::take(&mut self.is_first) && node.is_some();
        Ok(NextAttempt { wait: (!is_at_once).then_some(RETRY_WAIT), node, is_asking })
    }
}

/// The result of asking a cluster for its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The map differs from the one before.
    Changed,
    /// The map is the same.
    Unchanged,
    /// No server returned a map.
    Failed,
}

/// Decides when to ask a cluster for its map: on request, and every 15 s. At most one request is under way, and requests
/// that change nothing are made at growing intervals of 50 ms to 1 s.
#[derive(Debug, Default)]
pub struct MapRefresh {
    is_under_way: bool,
    is_requested: bool,
    /// Number of refreshes since one changed the map, or since none was requested.
    fruitless: u32,
    /// When the last refresh ended. `None` before the first.
    ended: Option<Duration>,
    /// Whether a shard is known to be away.
    is_degraded: bool,
}

impl MapRefresh {
    /// Time between two refreshes that were not requested.
    pub const PERIOD: Duration = Duration::from_secs(15);
    /// Time between two refreshes while a shard is away: its replica may have been promoted.
    pub const PERIOD_DEGRADED: Duration = Duration::from_millis(500);
    const WAIT_FIRST: Duration = Duration::from_millis(50);
    const WAIT_MAX: Duration = Duration::from_secs(1);

    /// Something shows that the map is old. A request during a refresh leads to another one afterwards.
    pub fn request(&mut self) {
        self.is_requested = true;
    }

    /// Whether a shard is away.
    pub fn set_degraded(&mut self, is_degraded: bool) {
        self.is_degraded = is_degraded;
    }

    /// When the next refresh is due; `None` while one is under way. If it is not after the present, call
    /// [`start`](Self::start).
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        if self.is_under_way {
            return None;
        }
        let Some(ended) = self.ended else { return Some(Duration::ZERO) };
        let period = if self.is_degraded { Self::PERIOD_DEGRADED } else { Self::PERIOD };
        Some(ended + if self.is_requested { self.wait() } else { period })
    }

    fn wait(&self) -> Duration {
        Self::WAIT_FIRST.saturating_mul(1 << self.fruitless.min(10)).min(Self::WAIT_MAX)
    }

    /// A refresh begins. It fulfils all requests made so far.
    pub fn start(&mut self) {
        if !self.is_requested {
            self.fruitless = 0;
        }
        self.is_under_way = true;
        self.is_requested = false;
    }

    /// The refresh ended at `now`. A failed one is repeated.
    pub fn end(&mut self, result: Refreshed, now: Duration) {
        self.is_under_way = false;
        self.ended = Some(now);
        self.fruitless = if result == Refreshed::Changed { 0 } else { self.fruitless.saturating_add(1) };
        self.is_requested |= result == Refreshed::Failed;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn redirections_are_read() {
        let node = |host: &str| NodeAddress::new(host, 7001);
        let parse = |code, detail| Redirect::parse(code, detail, "seed");
        assert_eq!(parse("MOVED", "3999 10.0.0.1:7001"), Some(Redirect::Moved { slot: 3999, node: node("10.0.0.1") }));
        assert_eq!(parse("MOVED", "3999 :7001"), Some(Redirect::Moved { slot: 3999, node: node("seed") }));
        assert_eq!(
            parse("ASK", "3999 host.example:7001"),
            Some(Redirect::Ask { slot: 3999, node: node("host.example") })
        );
        assert_eq!(parse("TRYAGAIN", "Multiple keys request during rehashing of slot"), Some(Redirect::TryAgain));
        assert_eq!(parse("CLUSTERDOWN", "Hash slot not served"), Some(Redirect::ClusterDown));
        assert_eq!(parse("NOSCRIPT", "No matching script."), None);
        assert_eq!(parse("MOVED", "x"), None);
    }

    #[test]
    fn first_named_master_is_asked_at_once_and_everything_else_after_a_wait() {
        let start = Duration::ZERO;
        let node = NodeAddress::new("10.0.0.1", 7001);
        let moved = || Redirect::Moved { slot: 7, node: node.clone() };
        let ask = || Redirect::Ask { slot: 7, node: node.clone() };
        let next = |wait, node, is_asking| Ok(NextAttempt { wait, node, is_asking });
        let named = || Some(node.clone());
        let mut redirections = Redirections::new(7);
        assert_eq!(redirections.follow(moved(), start), next(None, named(), false));
        assert_eq!(redirections.follow(moved(), start), next(Some(RETRY_WAIT), named(), false));
        assert_eq!(redirections.follow(ask(), start), next(Some(RETRY_WAIT), named(), true));
        assert_eq!(redirections.follow(Redirect::TryAgain, start), next(Some(RETRY_WAIT), None, false));
        assert_eq!(Redirections::new(7).follow(ask(), start), next(None, named(), true));
        for redirect in [Redirect::TryAgain, Redirect::ClusterDown] {
            let first = Redirections::new(7).follow(redirect, start);
            assert_eq!(first, next(Some(RETRY_WAIT), None, false), "no master is named");
        }
        assert!([moved(), Redirect::ClusterDown].iter().all(Redirect::shows_old_map));
        assert!(![ask(), Redirect::TryAgain].iter().any(Redirect::shows_old_map));
    }

    #[test]
    fn command_that_no_master_executes_fails_after_two_seconds() {
        let mut redirections = Redirections::new(7);
        assert!(redirections.follow(Redirect::TryAgain, Duration::from_millis(1999)).is_ok());
        let error = redirections.follow(Redirect::TryAgain, Duration::from_secs(2)).unwrap_err();
        assert_eq!(error, "slot 7 is not served: TryAgain");
    }

    #[test]
    fn requests_that_change_nothing_are_made_ever_more_rarely() {
        let mut refresh = MapRefresh::default();
        assert_eq!(refresh.due(), Some(Duration::ZERO));
        let mut now = Duration::from_secs(1);
        let mut waits = Vec::new();
        for _ in 0..8 {
            refresh.start();
            assert_eq!(refresh.due(), None, "one at a time");
            refresh.request();
            refresh.end(Refreshed::Unchanged, now);
            waits.push((refresh.due().unwrap() - now).as_millis());
            now = refresh.due().unwrap();
        }
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
        refresh.start();
        refresh.end(Refreshed::Changed, now);
        assert_eq!(refresh.due(), Some(now + MapRefresh::PERIOD));
        refresh.request();
        assert_eq!(refresh.due(), Some(now + Duration::from_millis(50)));
    }

    #[test]
    fn map_is_refreshed_often_while_a_shard_is_away() {
        let mut refresh = MapRefresh::default();
        refresh.start();
        refresh.end(Refreshed::Changed, Duration::ZERO);
        refresh.set_degraded(true);
        assert_eq!(refresh.due(), Some(MapRefresh::PERIOD_DEGRADED));
    }

    proptest! {
        /// Whatever happens, a request is followed by a refresh that starts within a second of it or of the end of the one
        /// that was under way, and no two refreshes start within 50 ms.
        #[test]
        fn every_request_is_fulfilled_and_refreshes_are_bounded(
            steps in prop::collection::vec((0_u64..700, 0_u8..3, 0_u8..3), 1..100),
        ) {
            let mut refresh = MapRefresh::default();
            let mut now = Duration::from_secs(1);
            let mut requested: Option<Duration> = None;
            let mut ended: Option<Duration> = None;
            for (pause, what, result) in steps {
                now += Duration::from_millis(pause);
                match (what, refresh.due()) {
                    (0, _) => {
                        refresh.request();
                        requested.get_or_insert(now);
                    }
                    (_, None) => {
                        let results = [Refreshed::Changed, Refreshed::Unchanged, Refreshed::Failed];
                        refresh.end(results[usize::from(result)], now);
                        ended = Some(now);
                    }
                    (_, Some(due)) => {
                        if let Some(requested) = requested {
                            prop_assert!(due <= requested.max(ended.unwrap_or_default()) + MapRefresh::WAIT_MAX);
                        }
                        if let Some(ended) = ended {
                            prop_assert!(due >= ended + MapRefresh::WAIT_FIRST);
                        }
                        if due <= now {
                            refresh.start();
                            requested = None;
                        }
                    }
                }
            }
        }
    }
}
