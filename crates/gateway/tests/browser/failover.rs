//! Instances and masters of a Redis Cluster are killed and restarted while people write.

use std::cell::Cell;

use tokio::task::spawn_blocking;
use trunkline_testbed::RedisCluster;

use crate::{
    person::{Person, Watched, now},
    site::{Site, eventually},
};

#[tokio::test]
async fn no_message_is_lost_or_repeated_when_an_instance_is_killed() {
    let mut site = Site::start(3).await;
    let (ann, bob) = site.ann_and_bob().await;
    let victim = ann.instance().await;
    ann.watch().await;

    let writing = Writing::default();
    let breaking = async {
        writing.go_on_for(4).await;
        let killed = now();
        site.kill(&victim);
        ann.until_sees("ann is back", async |ann| !outages(&ann.watched().await).is_empty()).await;
        writing.go_on_for(4).await;
        writing.over.set(true);
        killed
    };
    let (from_ann, from_bob, killed) = tokio::join!(writing.by(&ann, "ann"), writing.by(&bob, "bob"), breaking);
    assert_same_conversation(&ann, &bob, &from_ann, &from_bob).await;

    assert_ne!(ann.instance().await, victim);
    let back = outages(&ann.watched().await)[0].1;
    println!("ann was back on another instance {} ms after the kill of hers", back - killed);

    site.start_again(&victim).await;
    site.move_to(&victim, &bob).await;
    bob.until_sees("the conversation on it", async |bob| bob.texts().await == ann.texts().await).await;
    assert_eq!(bob.messages().await.len(), from_ann.len() + from_bob.len());
}

#[tokio::test]
async fn no_message_is_lost_or_repeated_in_a_rolling_restart() {
    let mut site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    ann.watch().await;
    bob.watch().await;

    let writing = Writing::default();
    let rolling = async {
        for name in site.names() {
            writing.go_on_for(2).await;
            site.stop(&name).await;
            site.start_again(&name).await;
        }
        writing.go_on_for(2).await;
        writing.over.set(true);
    };
    let (from_ann, from_bob, ()) = tokio::join!(writing.by(&ann, "ann"), writing.by(&bob, "bob"), rolling);
    assert_same_conversation(&ann, &bob, &from_ann, &from_bob).await;

    for (name, person) in [("ann", &ann), ("bob", &bob)] {
        let watched = person.watched().await;
        let instances =
            watched.iter().filter(|each| each.state.as_deref() == Some("connected")).map(|each| &*each.text);
        let moved = instances.collect::<Vec<_>>().chunk_by(|a, b| a == b).count() - 1;
        assert!(moved >= 1, "each instance was restarted, so {name} moved");
        let gone: Vec<_> = outages(&watched).iter().map(|(from, to)| format!("{} ms", to - from)).collect();
        println!("{name} moved {moved} times, disconnected for {gone:?}");
    }
}

#[tokio::test]
async fn no_message_is_lost_or_repeated_when_a_master_of_redis_is_killed_and_slots_move() {
    const LOG: &str = "tl:{lobby}:log";
    const SLOTS: usize = 500;
    let mut redis = spawn_blocking(|| RedisCluster::start(3).unwrap()).await.unwrap();
    let site = Site::start_over_cluster(&redis, 2).await;
    let (ann, bob) = site.ann_and_bob().await;
    ann.watch().await;
    bob.watch().await;

    let writing = Writing::default();
    let breaking = async {
        writing.go_on_for(4).await;
        let killed = redis.master_of(LOG).unwrap();
        redis.kill(killed).unwrap();
        for person in [&ann, &bob] {
            person
                .until("word of the delay", "document.getElementById('banner').textContent.includes('delayed')")
                .await;
        }
        ann.picture("redis-killed").await;
        writing.go_on_for(4).await;
        let (promoted, mut redis) =
            spawn_blocking(move || (redis.wait_for_another(LOG, killed).unwrap(), redis)).await.unwrap();
        writing.go_on_for(4).await;
        let redis = spawn_blocking(move || {
            redis.restart(killed).unwrap();
            redis.wait_until_stable().unwrap();
            let other = (0..3).find(|&node| node != killed && node != promoted).unwrap();
            redis.reshard(SLOTS, promoted, other).unwrap();
            redis
        });
        let redis = redis.await.unwrap();
        writing.go_on_for(4).await;
        writing.over.set(true);
        redis
    };
    let (from_ann, from_bob, _redis) = tokio::join!(writing.by(&ann, "ann"), writing.by(&bob, "bob"), breaking);
    assert_same_conversation(&ann, &bob, &from_ann, &from_bob).await;
    for person in [&ann, &bob] {
        assert!(person.watched().await.iter().all(|each| each.state.as_deref() == Some("connected")));
        assert_eq!(person.text("#banner").await, "", "nothing is delayed any more");
        assert_eq!(person.console_errors().await, [""; 0]);
    }
}

/// Two people who write without pause until `over` is set.
#[derive(Default)]
struct Writing {
    over: Cell<bool>,
    written: Cell<usize>,
}

impl Writing {
    /// Writes as this person; returns the texts in order.
    async fn by(&self, person: &Person, name: &str) -> Vec<String> {
        let mut written = Vec::new();
        while !self.over.get() {
            let text = format!("{name} writes {}", written.len() + 1);
            person.say(&text).await;
            written.push(text);
            self.written.set(self.written.get() + 1);
        }
        written
    }

    /// Returns when this many more messages were written.
    async fn go_on_for(&self, messages: usize) {
        let goal = self.written.get() + messages;
        eventually("people write", || self.written.get() >= goal).await;
    }
}

/// Waits until both pages show the same messages in the same order, each once and in the order of its author.
async fn assert_same_conversation(ann: &Person, bob: &Person, from_ann: &[String], from_bob: &[String]) {
    for person in [ann, bob] {
        person
            .until_sees("everything that was written, nothing on its way", async |me| {
                me.unsent().await.is_empty() && me.messages().await.len() >= from_ann.len() + from_bob.len()
            })
            .await;
    }
    let (seen, seen_by_bob) = (ann.messages().await, bob.messages().await);
    let positions = |seen: &[crate::person::Shown]| -> Vec<_> { seen.iter().map(|each| each.pos.clone()).collect() };
    assert_eq!(positions(&seen), positions(&seen_by_bob));
    assert_eq!(ann.texts().await, bob.texts().await);
    let texts =
        |own: bool| -> Vec<_> { seen.iter().filter(|each| each.own == own).map(|each| each.text.clone()).collect() };
    assert_eq!(texts(true), from_ann);
    assert_eq!(texts(false), from_bob);
    println!("{} messages, the same on both screens", seen.len());
}

/// Start and end of each time without a connection, in milliseconds since the Unix epoch.
fn outages(watched: &[Watched]) -> Vec<(u64, u64)> {
    let mut outages = Vec::new();
    let mut since = None;
    for each in watched {
        if each.state.as_deref() != Some("connected") {
            since = since.or(Some(each.at));
        } else if let Some(from) = since.take() {
            outages.push((from, each.at));
        }
    }
    outages
}
