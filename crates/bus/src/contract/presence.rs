//! Who is where.

use std::time::Duration;

use tokio::{sync::mpsc::Receiver, time::sleep};
use trunkline_domain::{InstanceId, PresenceDiff, Room, Roster, UserName};

use super::{Store, hear, room, subscribed, within};
use crate::{Bus, Delivery, InstanceRegistry, Lease, LeaseStatus, PresenceStore, Subscriptions};

/// Runs every test of presence against a [`Store`], made anew for each by the given expression, whose leases last about
/// three seconds. Needs `tokio` with `macros` and `rt`.
#[macro_export]
macro_rules! presence_contract {
    ($store:expr) => {
        $crate::contract! { $store;
            two_processes_see_each_other_come_and_go,
            a_user_at_two_processes_is_one_user,
            whoever_beats_no_more_is_alive_no_more,
            a_dead_process_is_ended_once,
            a_lost_lease_is_told_to_its_holder,
            entering_replaces_what_was,
            the_last_one_leaves_nothing,
            rooms_are_listed_until_nobody_says_so,
            reports_come_from_all_and_vanish,
        }
    };
}

/// One process: a instance, and the roster that it keeps from what it hears.
struct Process<B: Bus> {
    bus: B,
    instance: InstanceId,
    room: Room,
    deliveries: Receiver<Delivery>,
    _interest: B::Subscriptions,
    roster: Roster,
}

impl<B: Bus + PresenceStore + InstanceRegistry> Process<B> {
    async fn start(store: &impl Store<Bus = B>, instance: u128) -> Self {
        let (bus, lobby) = (store.bus(), room("lobby"));
        let (interest, mut deliveries) = bus.open();
        interest.subscribe(&lobby);
        subscribed(&mut deliveries, &lobby).await;
        let mut process = Self {
            bus,
            instance: InstanceId(instance),
            room: lobby,
            deliveries,
            _interest: interest,
            roster: Roster::default(),
        };
        within(async {
            while process.bus.snapshot(&process.room).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        process.read().await;
        process
    }

    async fn read(&mut self) -> PresenceDiff {
        self.roster.replace(within(self.bus.snapshot(&self.room)).await.expect("read"))
    }

    /// The next change that diff anybody, as a gateway takes it.
    async fn diff(&mut self) -> (Vec<String>, Vec<String>) {
        loop {
            let Delivery::Presence(_, change) = hear(&mut self.deliveries).await else { continue };
            let diff = self.roster.hear(change);
            assert!(!self.roster.must_read(), "nothing was lost");
            if diff != PresenceDiff::default() {
                let names = |users: &[UserName]| users.iter().map(ToString::to_string).collect();
                return (names(&diff.joined), names(&diff.left));
            }
        }
    }

    async fn replace(&self, users: &[&str]) {
        within(self.bus.replace(&self.room, self.instance, &names(users))).await.expect("entered");
    }

    async fn update(&self, joined: &[&str], left: &[&str]) -> Lease {
        within(self.bus.update(&self.room, self.instance, &names(joined), &names(left))).await.expect("shifted")
    }

    async fn heartbeat(&self) -> Vec<u128> {
        let mut alive = within(self.bus.heartbeat(self.instance)).await.expect("beaten");
        alive.sort();
        alive.into_iter().map(|instance| instance.0).collect()
    }

    async fn check(&self) -> LeaseStatus {
        within(self.bus.check(self.instance, std::slice::from_ref(&self.room))).await.expect("checked")[0]
    }

    async fn expire(&self, other: u128) {
        within(self.bus.expire(InstanceId(other), std::slice::from_ref(&self.room))).await.expect("ended");
    }
}

fn names(users: &[&str]) -> Vec<UserName> {
    users.iter().map(|user| user.parse().expect("a name")).collect()
}

fn moved(joined: &[&str], left: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |users: &[&str]| users.iter().map(|&user| user.to_owned()).collect();
    (owned(joined), owned(left))
}

/// Every process hears of every change, its own too, in one order; whoever comes later reads the same.
pub async fn two_processes_see_each_other_come_and_go<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (mut one, mut other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    one.replace(&["ann", "Ünal"]).await;
    assert_eq!(one.diff().await, moved(&["ann", "Ünal"], &[]));
    other.replace(&["bob"]).await;
    assert_eq!(one.update(&["cai"], &["ann"]).await, Lease::Held);
    assert_eq!(other.diff().await, moved(&["ann", "Ünal"], &[]));
    for process in [&mut one, &mut other] {
        assert_eq!(process.diff().await, moved(&["bob"], &[]));
        assert_eq!(process.diff().await, moved(&["cai"], &["ann"]));
    }
    let late = Process::start(store, 3).await;
    assert_eq!(late.roster.version(), one.roster.version());
    assert_eq!(late.roster.count(), 3);
    assert_eq!(
        one.check().await,
        LeaseStatus::Held(late.roster.version()),
        "a check tells what should have been heard"
    );
}

/// Two processes hold the same user: one user, who goes with the last of them.
pub async fn a_user_at_two_processes_is_one_user<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (mut one, other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    one.replace(&["ann"]).await;
    other.replace(&["ann", "bob"]).await;
    one.replace(&[]).await;
    assert_eq!(other.update(&[], &["ann"]).await, Lease::Held);
    assert_eq!(one.diff().await, moved(&["ann"], &[]));
    assert_eq!(one.diff().await, moved(&["bob"], &[]));
    assert_eq!(one.diff().await, moved(&[], &["ann"]));
}

/// A process counts as alive for half a lease after its last beat, and as long as it beats.
pub async fn whoever_beats_no_more_is_alive_no_more<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (one, other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    assert_eq!(one.heartbeat().await, [1]);
    assert_eq!(other.heartbeat().await, [1, 2]);
    let last = std::time::Instant::now();
    while one.heartbeat().await == [1, 2] {
        assert!(last.elapsed() < other.bus.lease());
        sleep(one.bus.lease() / 20).await;
    }
    assert!(last.elapsed() > other.bus.lease() / 4);
    assert_eq!(other.heartbeat().await, [1, 2], "nobody is dead for good");
}

/// A dead process goes at once, for everybody, and however many end it; the others stay.
pub async fn a_dead_process_is_ended_once<B: Bus + PresenceStore + InstanceRegistry>(store: &impl Store<Bus = B>) {
    let (mut one, mut third) = (Process::start(store, 1).await, Process::start(store, 3).await);
    one.replace(&["ann"]).await;
    {
        let dying = Process::start(store, 2).await;
        dying.replace(&["ann", "bob", "cai"]).await;
    }
    third.replace(&["dan"]).await;
    tokio::join!(one.expire(2), third.expire(2));
    one.expire(2).await;
    third.replace(&["dan", "eve"]).await;
    for process in [&mut one, &mut third] {
        assert_eq!(process.diff().await, moved(&["ann"], &[]));
        assert_eq!(process.diff().await, moved(&["bob", "cai"], &[]));
        assert_eq!(process.diff().await, moved(&["dan"], &[]));
        assert_eq!(process.diff().await, moved(&[], &["bob", "cai"]));
        assert_eq!(process.diff().await, moved(&["eve"], &[]));
    }
    assert_eq!(one.check().await, LeaseStatus::Held(one.roster.version()), "told once");
    one.read().await;
    assert_eq!(one.roster.count(), 3);
}

/// A process that was taken for dead is told so, and enters again.
pub async fn a_lost_lease_is_told_to_its_holder<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (mut one, other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    assert_eq!(one.check().await, LeaseStatus::Lost, "never taken");
    assert_eq!(one.update(&["ann"], &[]).await, Lease::Lost);
    one.replace(&["ann"]).await;
    assert_eq!(one.diff().await, moved(&["ann"], &[]));
    other.expire(1).await;
    assert_eq!(one.diff().await, moved(&[], &["ann"]));
    assert_eq!(one.check().await, LeaseStatus::Lost);
    assert_eq!(one.update(&["cai"], &[]).await, Lease::Lost);
    one.replace(&["ann", "cai"]).await;
    assert_eq!(one.diff().await.0.len(), 2);
    one.read().await;
    assert_eq!(one.roster.count(), 2);
}

/// Whatever a failed call did or did not do: entering puts it right. Any number of users, in one call.
pub async fn entering_replaces_what_was<B: Bus + PresenceStore + InstanceRegistry>(store: &impl Store<Bus = B>) {
    let mut one = Process::start(store, 1).await;
    let crowd: Vec<String> = (0..9000).map(|n| format!("user{n}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    one.replace(&["ann", "user7"]).await;
    one.replace(&crowd).await;
    assert_eq!(one.diff().await.0.len(), 2);
    let (joined, left) = one.diff().await;
    assert_eq!((joined.len(), left), (8999, vec!["ann".to_owned()]));
    assert_eq!(one.update(&["ann"], &crowd).await, Lease::Held);
    assert_eq!(one.diff().await.1.len(), 9000);
    assert_eq!(one.roster.count(), 1);
}

/// Without users there is no lease and nothing to expire, and numbers go on.
pub async fn the_last_one_leaves_nothing<B: Bus + PresenceStore + InstanceRegistry>(store: &impl Store<Bus = B>) {
    let mut one = Process::start(store, 1).await;
    one.replace(&["ann"]).await;
    assert_eq!(one.update(&[], &["ann"]).await, Lease::Held);
    assert_eq!(one.check().await, LeaseStatus::Lost);
    one.replace(&["ann"]).await;
    one.replace(&[]).await;
    one.replace(&[]).await;
    assert_eq!(one.check().await, LeaseStatus::Lost);
    for _ in 0..2 {
        assert_eq!(one.diff().await, moved(&["ann"], &[]));
        assert_eq!(one.diff().await, moved(&[], &["ann"]));
    }
    let snapshot = within(one.bus.snapshot(&one.room)).await.expect("read");
    assert!(snapshot.instances.is_empty() && snapshot.version == one.roster.version());
}

/// The list of rooms holds what was said within one lease.
pub async fn rooms_are_listed_until_nobody_says_so<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (one, other) = (Process::start(store, 1).await.bus, Process::start(store, 2).await.bus);
    let rooms = |list: &[(&str, usize)]| list.iter().map(|(name, count)| (room(name), *count)).collect::<Vec<_>>();
    within(one.set_room_counts(&rooms(&[("lobby", 3), ("a", 1), ("b", 1)]))).await.expect("listed");
    within(other.set_room_counts(&rooms(&[("lobby", 4), ("b", 0)]))).await.expect("listed");
    let mut found = within(other.room_counts()).await.expect("found");
    found.sort();
    assert_eq!(found, rooms(&[("a", 1), ("lobby", 4)]));
    sleep(one.lease() + one.lease() / 8).await;
    assert_eq!(within(one.room_counts()).await.expect("found"), vec![]);
}

/// Every process's last words, for one lease.
pub async fn reports_come_from_all_and_vanish<B: Bus + PresenceStore + InstanceRegistry>(store: &impl Store<Bus = B>) {
    let (one, other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    for text in ["early", "late"] {
        within(one.bus.report(one.instance, text)).await.expect("reported");
    }
    within(other.bus.report(other.instance, "{}")).await.expect("reported");
    let mut reports = within(one.bus.reports()).await.expect("found");
    reports.sort_by_key(|report| report.instance);
    assert!(reports.iter().all(|report| report.age < one.bus.lease()));
    let told: Vec<_> = reports.iter().map(|report| (report.instance.0, report.text.as_str())).collect();
    assert_eq!(told, [(1, "late"), (2, "{}")]);
    within(one.bus.report(one.instance, "")).await.expect("taken out");
    assert_eq!(within(one.bus.reports()).await.expect("found").len(), 1);
    sleep(one.bus.lease() + one.bus.lease() / 8).await;
    assert_eq!(within(one.bus.reports()).await.expect("found"), vec![]);
}
