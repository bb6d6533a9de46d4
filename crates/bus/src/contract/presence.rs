//! Presence.

use std::time::Duration;

use tokio::{sync::mpsc::Receiver, time::sleep};
use trunkline_domain::{InstanceId, Member, PresenceDiff, Room, Roster};

use super::{Store, expect_subscribed, next_delivery, room, within};
use crate::{Bus, Delivery, InstanceRegistry, Lease, LeaseStatus, PresenceStore, Subscriptions};

/// Runs every test of presence against a [`Store`](crate::contract::Store) whose leases last about 3 s. The expression creates the store; it is
/// evaluated once per test. Requires tokio with `macros` and `rt`.
#[macro_export]
macro_rules! presence_contract {
    ($store:expr) => {
        $crate::contract! { $store;
            instances_receive_each_others_changes_in_one_order,
            user_at_two_instances_leaves_with_the_last_one,
            instance_without_heartbeats_is_dead_after_half_a_lease,
            dead_instance_is_expired_once,
            expired_instance_learns_that_its_lease_is_lost,
            leases_are_checked_in_the_order_of_the_rooms,
            replace_restores_a_known_state,
            lease_ends_with_the_last_user,
            room_counts_are_listed_for_one_lease,
            reports_of_all_instances_are_returned_for_one_lease,
        }
    };
}

/// An instance, with the roster that it maintains from its deliveries.
struct TestInstance<B: Bus> {
    bus: B,
    instance: InstanceId,
    room: Room,
    deliveries: Receiver<Delivery>,
    _subscriptions: B::Subscriptions,
    roster: Roster,
}

impl<B: Bus + PresenceStore + InstanceRegistry> TestInstance<B> {
    async fn start(store: &impl Store<Bus = B>, instance: u128) -> Self {
        let (bus, lobby) = (store.bus(), room("lobby"));
        let (subscriptions, mut deliveries) = bus.open();
        subscriptions.subscribe(&lobby);
        expect_subscribed(&mut deliveries, &lobby).await;
        let mut instance = Self {
            bus,
            instance: InstanceId(instance),
            room: lobby,
            deliveries,
            _subscriptions: subscriptions,
            roster: Roster::default(),
        };
        within(async {
            while instance.bus.snapshot(&instance.room).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        instance.load_snapshot().await;
        instance
    }

    async fn load_snapshot(&mut self) -> PresenceDiff {
        self.roster.replace(within(self.bus.snapshot(&self.room)).await.expect("read"))
    }

    /// The users that joined and left by the next change that changes the roster.
    async fn next_diff(&mut self) -> (Vec<String>, Vec<String>) {
        loop {
            let Delivery::Presence(_, change) = next_delivery(&mut self.deliveries).await else { continue };
            let diff = self.roster.apply(change);
            assert!(!self.roster.needs_snapshot(), "no change was lost");
            if diff != PresenceDiff::default() {
                let names = |users: &[Member]| users.iter().map(ToString::to_string).collect();
                return (names(&diff.joined), names(&diff.left));
            }
        }
    }

    async fn replace(&self, users: &[&str]) {
        within(self.bus.replace(&self.room, self.instance, &names(users))).await.expect("replaced");
    }

    async fn update(&self, joined: &[&str], left: &[&str]) -> Lease {
        within(self.bus.update(&self.room, self.instance, &names(joined), &names(left))).await.expect("updated")
    }

    async fn heartbeat(&self) -> Vec<u128> {
        let mut alive = within(self.bus.heartbeat(self.instance)).await.expect("recorded");
        alive.sort();
        alive.into_iter().map(|instance| instance.0).collect()
    }

    async fn check(&self) -> LeaseStatus {
        within(self.bus.check(self.instance, std::slice::from_ref(&self.room))).await.expect("checked")[0]
            .expect("known")
    }

    async fn expire(&self, other: u128) {
        within(self.bus.expire(InstanceId(other), std::slice::from_ref(&self.room))).await.expect("expired");
    }
}

fn names(users: &[&str]) -> Vec<Member> {
    users.iter().map(|user| user.parse().expect("a name")).collect()
}

fn diff(joined: &[&str], left: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |users: &[&str]| users.iter().map(|&user| user.to_owned()).collect();
    (owned(joined), owned(left))
}

/// Every instance receives every change, its own included, in one order. An instance that starts later reads the same
/// state.
pub async fn instances_receive_each_others_changes_in_one_order<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (mut one, mut other) = (TestInstance::start(store, 1).await, TestInstance::start(store, 2).await);
    one.replace(&["ann", "Ünal"]).await;
    assert_eq!(one.next_diff().await, diff(&["ann", "Ünal"], &[]));
    other.replace(&["bob"]).await;
    assert_eq!(one.update(&["cai"], &["ann"]).await, Lease::Held);
    assert_eq!(other.next_diff().await, diff(&["ann", "Ünal"], &[]));
    for instance in [&mut one, &mut other] {
        assert_eq!(instance.next_diff().await, diff(&["bob"], &[]));
        assert_eq!(instance.next_diff().await, diff(&["cai"], &["ann"]));
    }
    let late = TestInstance::start(store, 3).await;
    assert_eq!(late.roster.version(), one.roster.version());
    assert_eq!(late.roster.count(), 3);
    assert_eq!(
        one.check().await,
        LeaseStatus::Held(late.roster.version()),
        "a check returns the version that should have been received"
    );
}

/// A user at two instances is one user, and leaves with the last of them.
pub async fn user_at_two_instances_leaves_with_the_last_one<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (mut one, other) = (TestInstance::start(store, 1).await, TestInstance::start(store, 2).await);
    one.replace(&["ann"]).await;
    other.replace(&["ann", "bob"]).await;
    one.replace(&[]).await;
    assert_eq!(other.update(&[], &["ann"]).await, Lease::Held);
    assert_eq!(one.next_diff().await, diff(&["ann"], &[]));
    assert_eq!(one.next_diff().await, diff(&["bob"], &[]));
    assert_eq!(one.next_diff().await, diff(&[], &["ann"]));
}

/// An instance counts as alive for half a lease after its last heartbeat.
pub async fn instance_without_heartbeats_is_dead_after_half_a_lease<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (one, other) = (TestInstance::start(store, 1).await, TestInstance::start(store, 2).await);
    assert_eq!(one.heartbeat().await, [1]);
    assert_eq!(other.heartbeat().await, [1, 2]);
    let last = std::time::Instant::now();
    while one.heartbeat().await == [1, 2] {
        assert!(last.elapsed() < other.bus.lease());
        sleep(one.bus.lease() / 20).await;
    }
    assert!(last.elapsed() > other.bus.lease() / 4);
    assert_eq!(other.heartbeat().await, [1, 2], "an instance that resumes its heartbeats is alive again");
}

/// The users of a dead instance leave at once and for all instances, however many instances expire it. Others stay.
pub async fn dead_instance_is_expired_once<B: Bus + PresenceStore + InstanceRegistry>(store: &impl Store<Bus = B>) {
    let (mut one, mut third) = (TestInstance::start(store, 1).await, TestInstance::start(store, 3).await);
    one.replace(&["ann"]).await;
    {
        let dying = TestInstance::start(store, 2).await;
        dying.replace(&["ann", "bob", "cai"]).await;
    }
    third.replace(&["dan"]).await;
    tokio::join!(one.expire(2), third.expire(2));
    one.expire(2).await;
    third.replace(&["dan", "eve"]).await;
    for instance in [&mut one, &mut third] {
        assert_eq!(instance.next_diff().await, diff(&["ann"], &[]));
        assert_eq!(instance.next_diff().await, diff(&["bob", "cai"], &[]));
        assert_eq!(instance.next_diff().await, diff(&["dan"], &[]));
        assert_eq!(instance.next_diff().await, diff(&[], &["bob", "cai"]));
        assert_eq!(instance.next_diff().await, diff(&["eve"], &[]));
    }
    assert_eq!(one.check().await, LeaseStatus::Held(one.roster.version()), "published once");
    one.load_snapshot().await;
    assert_eq!(one.roster.count(), 3);
}

/// An instance that was expired while alive learns it, and sets its users again.
pub async fn expired_instance_learns_that_its_lease_is_lost<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (mut one, other) = (TestInstance::start(store, 1).await, TestInstance::start(store, 2).await);
    assert_eq!(one.check().await, LeaseStatus::Lost, "the lease was never taken");
    assert_eq!(one.update(&["ann"], &[]).await, Lease::Lost);
    one.replace(&["ann"]).await;
    assert_eq!(one.next_diff().await, diff(&["ann"], &[]));
    other.expire(1).await;
    assert_eq!(one.next_diff().await, diff(&[], &["ann"]));
    assert_eq!(one.check().await, LeaseStatus::Lost);
    assert_eq!(one.update(&["cai"], &[]).await, Lease::Lost);
    one.replace(&["ann", "cai"]).await;
    assert_eq!(one.next_diff().await.0.len(), 2);
    one.load_snapshot().await;
    assert_eq!(one.roster.count(), 2);
}

/// `check` returns one status per room, in their order, however many there are.
pub async fn leases_are_checked_in_the_order_of_the_rooms<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let one = TestInstance::start(store, 1).await;
    let rooms: Vec<Room> = (0..600).map(|number| room(&format!("room{number}"))).collect();
    let held = [0, 255, 256, 400, 599];
    for index in held {
        within(one.bus.replace(&rooms[index], one.instance, &names(&["ann"]))).await.expect("replaced");
    }
    let statuses = within(one.bus.check(one.instance, &rooms)).await.expect("checked");
    assert_eq!(statuses.len(), rooms.len());
    for (index, status) in statuses.into_iter().enumerate() {
        let is_held = matches!(status.expect("known"), LeaseStatus::Held(_));
        assert_eq!(is_held, held.contains(&index), "{}", rooms[index]);
    }
    assert_eq!(within(one.bus.check(one.instance, &[])).await.expect("checked"), []);
}

/// `replace` sets the state whatever earlier calls did, with any number of users in one call.
pub async fn replace_restores_a_known_state<B: Bus + PresenceStore + InstanceRegistry>(store: &impl Store<Bus = B>) {
    let mut one = TestInstance::start(store, 1).await;
    let crowd: Vec<String> = (0..9000).map(|n| format!("user{n}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    one.replace(&["ann", "user7"]).await;
    one.replace(&crowd).await;
    assert_eq!(one.next_diff().await.0.len(), 2);
    let (joined, left) = one.next_diff().await;
    assert_eq!((joined.len(), left), (8999, vec!["ann".to_owned()]));
    assert_eq!(one.update(&["ann"], &crowd).await, Lease::Held);
    assert_eq!(one.next_diff().await.1.len(), 9000);
    assert_eq!(one.roster.count(), 1);
}

/// Without users there is no lease and nothing to expire, and versions continue.
pub async fn lease_ends_with_the_last_user<B: Bus + PresenceStore + InstanceRegistry>(store: &impl Store<Bus = B>) {
    let mut one = TestInstance::start(store, 1).await;
    one.replace(&["ann"]).await;
    assert_eq!(one.update(&[], &["ann"]).await, Lease::Held);
    assert_eq!(one.check().await, LeaseStatus::Lost);
    one.replace(&["ann"]).await;
    one.replace(&[]).await;
    one.replace(&[]).await;
    assert_eq!(one.check().await, LeaseStatus::Lost);
    for _ in 0..2 {
        assert_eq!(one.next_diff().await, diff(&["ann"], &[]));
        assert_eq!(one.next_diff().await, diff(&[], &["ann"]));
    }
    let snapshot = within(one.bus.snapshot(&one.room)).await.expect("read");
    assert!(snapshot.instances.is_empty() && snapshot.version == one.roster.version());
}

/// The list of rooms contains the counts that were set within one lease.
pub async fn room_counts_are_listed_for_one_lease<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (one, other) = (TestInstance::start(store, 1).await.bus, TestInstance::start(store, 2).await.bus);
    let rooms = |list: &[(&str, usize)]| list.iter().map(|(name, count)| (room(name), *count)).collect::<Vec<_>>();
    within(one.set_room_counts(&rooms(&[("lobby", 3), ("a", 1), ("b", 1)]))).await.expect("set");
    within(other.set_room_counts(&rooms(&[("lobby", 4), ("b", 0)]))).await.expect("set");
    let mut found = within(other.room_counts()).await.expect("read");
    found.sort();
    assert_eq!(found, rooms(&[("a", 1), ("lobby", 4)]));
    sleep(one.lease() + one.lease() / 8).await;
    assert_eq!(within(one.room_counts()).await.expect("read"), vec![]);
}

/// The last report of each instance is returned for one lease.
pub async fn reports_of_all_instances_are_returned_for_one_lease<B: Bus + PresenceStore + InstanceRegistry>(
    store: &impl Store<Bus = B>,
) {
    let (one, other) = (TestInstance::start(store, 1).await, TestInstance::start(store, 2).await);
    for text in ["early", "late"] {
        within(one.bus.report(one.instance, text)).await.expect("reported");
    }
    within(other.bus.report(other.instance, "{}")).await.expect("reported");
    let mut reports = within(one.bus.reports()).await.expect("read");
    reports.sort_by_key(|report| report.instance);
    assert!(reports.iter().all(|report| report.age < one.bus.lease()));
    let texts: Vec<_> = reports.iter().map(|report| (report.instance.0, report.text.as_str())).collect();
    assert_eq!(texts, [(1, "late"), (2, "{}")]);
    within(one.bus.report(one.instance, "")).await.expect("removed");
    assert_eq!(within(one.bus.reports()).await.expect("read").len(), 1);
    sleep(one.bus.lease() + one.bus.lease() / 8).await;
    assert_eq!(within(one.bus.reports()).await.expect("read"), vec![]);
}
