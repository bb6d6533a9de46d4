//! Who is where.

use std::time::Duration;

use tokio::{sync::mpsc::Receiver, time::sleep};
use trunkline_domain::{Holder, Moves, Room, Roster, UserName};

use super::{Store, hear, room, subscribed, within};
use crate::{Bus, Delivery, Interest, Lease, Presence, Standing};

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

/// One process: a holder, and the roster that it keeps from what it hears.
struct Process<B: Bus> {
    bus: B,
    holder: Holder,
    room: Room,
    deliveries: Receiver<Delivery>,
    _interest: B::Interest,
    roster: Roster,
}

impl<B: Bus + Presence> Process<B> {
    async fn start(store: &impl Store<Bus = B>, holder: u128) -> Self {
        let (bus, lobby) = (store.bus(), room("lobby"));
        let (interest, mut deliveries) = bus.open();
        interest.want(&lobby);
        subscribed(&mut deliveries, &lobby).await;
        let mut process = Self {
            bus,
            holder: Holder(holder),
            room: lobby,
            deliveries,
            _interest: interest,
            roster: Roster::default(),
        };
        within(async {
            while process.bus.present(&process.room).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        process.read().await;
        process
    }

    async fn read(&mut self) -> Moves {
        self.roster.replace(within(self.bus.present(&self.room)).await.expect("read"))
    }

    /// The next change that moves anybody, as a gateway takes it.
    async fn moves(&mut self) -> (Vec<String>, Vec<String>) {
        loop {
            let Delivery::Presence(_, turn) = hear(&mut self.deliveries).await else { continue };
            let moves = self.roster.hear(turn);
            assert!(!self.roster.must_read(), "nothing was lost");
            if moves != Moves::default() {
                let names = |users: &[UserName]| users.iter().map(ToString::to_string).collect();
                return (names(&moves.came), names(&moves.went));
            }
        }
    }

    async fn enter(&self, users: &[&str]) {
        within(self.bus.enter(&self.room, self.holder, &names(users))).await.expect("entered");
    }

    async fn shift(&self, came: &[&str], went: &[&str]) -> Lease {
        within(self.bus.shift(&self.room, self.holder, &names(came), &names(went))).await.expect("shifted")
    }

    async fn beat(&self) -> Vec<u128> {
        let mut alive = within(self.bus.beat(self.holder)).await.expect("beaten");
        alive.sort();
        alive.into_iter().map(|holder| holder.0).collect()
    }

    async fn check(&self) -> Standing {
        within(self.bus.check(self.holder, std::slice::from_ref(&self.room))).await.expect("checked")[0]
    }

    async fn end(&self, other: u128) {
        within(self.bus.end(Holder(other), std::slice::from_ref(&self.room))).await.expect("ended");
    }
}

fn names(users: &[&str]) -> Vec<UserName> {
    users.iter().map(|user| user.parse().expect("a name")).collect()
}

fn moved(came: &[&str], went: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |users: &[&str]| users.iter().map(|&user| user.to_owned()).collect();
    (owned(came), owned(went))
}

/// Every process hears of every change, its own too, in one order; whoever comes later reads the same.
pub async fn two_processes_see_each_other_come_and_go<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let (mut one, mut other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    one.enter(&["ann", "Ünal"]).await;
    assert_eq!(one.moves().await, moved(&["ann", "Ünal"], &[]));
    other.enter(&["bob"]).await;
    assert_eq!(one.shift(&["cai"], &["ann"]).await, Lease::Held);
    assert_eq!(other.moves().await, moved(&["ann", "Ünal"], &[]));
    for process in [&mut one, &mut other] {
        assert_eq!(process.moves().await, moved(&["bob"], &[]));
        assert_eq!(process.moves().await, moved(&["cai"], &["ann"]));
    }
    let late = Process::start(store, 3).await;
    assert_eq!(late.roster.number(), one.roster.number());
    assert_eq!(late.roster.count(), 3);
    assert_eq!(one.check().await, Standing::Held(late.roster.number()), "a check tells what should have been heard");
}

/// Two processes hold the same user: one user, who goes with the last of them.
pub async fn a_user_at_two_processes_is_one_user<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let (mut one, other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    one.enter(&["ann"]).await;
    other.enter(&["ann", "bob"]).await;
    one.enter(&[]).await;
    assert_eq!(other.shift(&[], &["ann"]).await, Lease::Held);
    assert_eq!(one.moves().await, moved(&["ann"], &[]));
    assert_eq!(one.moves().await, moved(&["bob"], &[]));
    assert_eq!(one.moves().await, moved(&[], &["ann"]));
}

/// A process counts as alive for half a lease after its last beat, and as long as it beats.
pub async fn whoever_beats_no_more_is_alive_no_more<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let (one, other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    assert_eq!(one.beat().await, [1]);
    assert_eq!(other.beat().await, [1, 2]);
    let last = std::time::Instant::now();
    while one.beat().await == [1, 2] {
        assert!(last.elapsed() < other.bus.lease());
        sleep(one.bus.lease() / 20).await;
    }
    assert!(last.elapsed() > other.bus.lease() / 4);
    assert_eq!(other.beat().await, [1, 2], "nobody is dead for good");
}

/// A dead process goes at once, for everybody, and however many end it; the others stay.
pub async fn a_dead_process_is_ended_once<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let (mut one, mut third) = (Process::start(store, 1).await, Process::start(store, 3).await);
    one.enter(&["ann"]).await;
    {
        let dying = Process::start(store, 2).await;
        dying.enter(&["ann", "bob", "cai"]).await;
    }
    third.enter(&["dan"]).await;
    tokio::join!(one.end(2), third.end(2));
    one.end(2).await;
    third.enter(&["dan", "eve"]).await;
    for process in [&mut one, &mut third] {
        assert_eq!(process.moves().await, moved(&["ann"], &[]));
        assert_eq!(process.moves().await, moved(&["bob", "cai"], &[]));
        assert_eq!(process.moves().await, moved(&["dan"], &[]));
        assert_eq!(process.moves().await, moved(&[], &["bob", "cai"]));
        assert_eq!(process.moves().await, moved(&["eve"], &[]));
    }
    assert_eq!(one.check().await, Standing::Held(one.roster.number()), "told once");
    one.read().await;
    assert_eq!(one.roster.count(), 3);
}

/// A process that was taken for dead is told so, and enters again.
pub async fn a_lost_lease_is_told_to_its_holder<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let (mut one, other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    assert_eq!(one.check().await, Standing::Lost, "never taken");
    assert_eq!(one.shift(&["ann"], &[]).await, Lease::Lost);
    one.enter(&["ann"]).await;
    assert_eq!(one.moves().await, moved(&["ann"], &[]));
    other.end(1).await;
    assert_eq!(one.moves().await, moved(&[], &["ann"]));
    assert_eq!(one.check().await, Standing::Lost);
    assert_eq!(one.shift(&["cai"], &[]).await, Lease::Lost);
    one.enter(&["ann", "cai"]).await;
    assert_eq!(one.moves().await.0.len(), 2);
    one.read().await;
    assert_eq!(one.roster.count(), 2);
}

/// Whatever a failed call did or did not do: entering puts it right. Any number of users, in one call.
pub async fn entering_replaces_what_was<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let mut one = Process::start(store, 1).await;
    let crowd: Vec<String> = (0..9000).map(|n| format!("user{n}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    one.enter(&["ann", "user7"]).await;
    one.enter(&crowd).await;
    assert_eq!(one.moves().await.0.len(), 2);
    let (came, went) = one.moves().await;
    assert_eq!((came.len(), went), (8999, vec!["ann".to_owned()]));
    assert_eq!(one.shift(&["ann"], &crowd).await, Lease::Held);
    assert_eq!(one.moves().await.1.len(), 9000);
    assert_eq!(one.roster.count(), 1);
}

/// Without users there is no lease and nothing to expire, and numbers go on.
pub async fn the_last_one_leaves_nothing<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let mut one = Process::start(store, 1).await;
    one.enter(&["ann"]).await;
    assert_eq!(one.shift(&[], &["ann"]).await, Lease::Held);
    assert_eq!(one.check().await, Standing::Lost);
    one.enter(&["ann"]).await;
    one.enter(&[]).await;
    one.enter(&[]).await;
    assert_eq!(one.check().await, Standing::Lost);
    for _ in 0..2 {
        assert_eq!(one.moves().await, moved(&["ann"], &[]));
        assert_eq!(one.moves().await, moved(&[], &["ann"]));
    }
    let snapshot = within(one.bus.present(&one.room)).await.expect("read");
    assert!(snapshot.holders.is_empty() && snapshot.number == one.roster.number());
}

/// The list of rooms holds what was said within one lease.
pub async fn rooms_are_listed_until_nobody_says_so<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let (one, other) = (Process::start(store, 1).await.bus, Process::start(store, 2).await.bus);
    let rooms = |list: &[(&str, usize)]| list.iter().map(|(name, count)| (room(name), *count)).collect::<Vec<_>>();
    within(one.list(&rooms(&[("lobby", 3), ("a", 1), ("b", 1)]))).await.expect("listed");
    within(other.list(&rooms(&[("lobby", 4), ("b", 0)]))).await.expect("listed");
    let mut found = within(other.rooms()).await.expect("found");
    found.sort();
    assert_eq!(found, rooms(&[("a", 1), ("lobby", 4)]));
    sleep(one.lease() + one.lease() / 8).await;
    assert_eq!(within(one.rooms()).await.expect("found"), vec![]);
}

/// Every process's last words, for one lease.
pub async fn reports_come_from_all_and_vanish<B: Bus + Presence>(store: &impl Store<Bus = B>) {
    let (one, other) = (Process::start(store, 1).await, Process::start(store, 2).await);
    for text in ["early", "late"] {
        within(one.bus.report(one.holder, text)).await.expect("reported");
    }
    within(other.bus.report(other.holder, "{}")).await.expect("reported");
    let mut reports = within(one.bus.reports()).await.expect("found");
    reports.sort_by_key(|report| report.holder);
    assert!(reports.iter().all(|report| report.age < one.bus.lease()));
    let told: Vec<_> = reports.iter().map(|report| (report.holder.0, report.about.as_str())).collect();
    assert_eq!(told, [(1, "late"), (2, "{}")]);
    within(one.bus.report(one.holder, "")).await.expect("taken out");
    assert_eq!(within(one.bus.reports()).await.expect("found").len(), 1);
    sleep(one.bus.lease() + one.bus.lease() / 8).await;
    assert_eq!(within(one.bus.reports()).await.expect("found"), vec![]);
}
