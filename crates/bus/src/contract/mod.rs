//! What every [`Bus`] must do, as tests. Whoever writes one runs them all with [`contract!`](crate::contract!):
//!
//! ```
//! use trunkline_bus::{LocalBus, LocalConfig, contract};
//!
//! struct Local(LocalBus);
//!
//! impl contract::Store for Local {
//!     type Bus = LocalBus;
//!     fn bus(&self) -> LocalBus {
//!         self.0.clone()
//!     }
//! }
//!
//! # mod tests {
//! # use super::*;
//! trunkline_bus::contract!({
//!     let config = LocalConfig { retain: contract::RETAIN, ..LocalConfig::default() };
//!     Local(LocalBus::new(config))
//! });
//! # }
//! ```

mod hearing;
mod presence;
mod publishing;
mod reading;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::mpsc::Receiver,
    task::unconstrained,
    time::{sleep, timeout},
};
use trunkline_domain::{Draft, Entry, Position, Room};

pub use self::{hearing::*, presence::*, publishing::*, reading::*};
use crate::{Bus, Delivery, Page, Range, Receipt};

/// Where the logs of one test are.
pub trait Store {
    /// The bus under test.
    type Bus: Bus;

    /// A bus as a process of its own would make it. All buses of one store share its logs, which are empty at first, and
    /// keep [`RETAIN`] entries a room, or somewhat more.
    fn bus(&self) -> Self::Bus;
}

/// Entries that the store keeps of a room at least; it keeps fewer than four times as many.
pub const RETAIN: usize = 100;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing must happen to be taken for nothing.
const SILENCE: Duration = Duration::from_millis(300);

/// Runs every test of the contract against a [`Store`], made anew for each by the given expression. Needs `tokio` with
/// `macros` and `rt`.
#[macro_export]
macro_rules! contract {
    ($store:expr) => {
        $crate::contract! { $store;
            positions_start_at_one_and_count_up,
            every_entry_follows_the_one_before,
            a_repeated_id_keeps_its_place_and_first_text,
            ids_are_scoped_to_room_and_user,
            calls_keep_the_order_of_their_first_poll,
            concurrent_publishers_share_one_sequence,
            an_empty_room_has_nothing_after_its_origin,
            reading_forward_keeps_to_the_limit,
            reading_backward_keeps_to_the_limit,
            only_what_is_in_the_log_proves_continuity,
            old_entries_go_and_the_gap_is_told,
            heads_come_in_the_order_asked_for,
            two_listeners_hear_the_same_in_order,
            nothing_is_heard_without_interest,
            subscribed_comes_once_before_any_entry,
            unwanted_rooms_fall_silent_until_wanted_again,
            whispers_are_heard_and_not_logged,
            a_slow_listener_is_never_deceived,
            a_listener_ends_with_its_interest,
        }
    };
    ($store:expr; $($name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let store = $store;
                $crate::contract::$name(&store).await;
            }
        )*
    };
}

/// A bus that answers.
async fn ready(store: &impl Store) -> impl Bus {
    let bus = store.bus();
    within(async {
        while bus.heads(&[room("lobby")]).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    bus
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("this takes too long")
}

fn room(name: &str) -> Room {
    name.parse().expect("a room name")
}

/// Ann's message number `number`.
fn draft(number: usize) -> Draft {
    draft_of("ann", &format!("m{number}"), &format!("text {number}"))
}

fn draft_of(user: &str, id: &str, text: &str) -> Draft {
    Draft { id: id.parse().expect("an id"), user: user.parse().expect("a name"), text: text.parse().expect("a text") }
}

async fn publish(bus: &impl Bus, room: &Room, draft: Draft) -> Receipt {
    within(bus.publish(room, draft)).await.expect("published")
}

async fn read(bus: &impl Bus, room: &Room, range: Range) -> Page {
    within(bus.read(room, range)).await.expect("read")
}

/// Publishes ann's messages `numbers` and returns their positions.
async fn fill(bus: &impl Bus, room: &Room, numbers: std::ops::Range<usize>) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(publish(bus, room, draft(number)).await.pos);
    }
    positions
}

fn positions(entries: &[Entry]) -> Vec<Position> {
    entries.iter().map(|entry| entry.message.pos).collect()
}

/// The next delivery.
async fn hear(deliveries: &mut Receiver<Delivery>) -> Delivery {
    within(deliveries.recv()).await.expect("the listener lives")
}

/// Waits until the room is subscribed.
async fn subscribed(deliveries: &mut Receiver<Delivery>, room: &Room) {
    assert_eq!(hear(deliveries).await, Delivery::Subscribed(room.clone()));
}

/// Nothing comes for a while.
async fn silent(deliveries: &mut Receiver<Delivery>) {
    if let Ok(delivery) = timeout(SILENCE, deliveries.recv()).await {
        panic!("heard {delivery:?}");
    }
}

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

/// A call that was begun, and its answer once it has come.
struct Call<F: Future> {
    future: Pin<Box<F>>,
    answer: Option<F::Output>,
}

impl<F: Future> Call<F> {
    fn new(future: F) -> Self {
        Self { future: Box::pin(future), answer: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if self.answer.is_none()
            && let Poll::Ready(answer) = self.future.as_mut().poll(cx)
        {
            self.answer = Some(answer);
        }
    }
}

/// Polls each call once, in order, even where tokio would make a busy task wait.
async fn poll_once<F: Future>(calls: &mut [Call<F>]) {
    let polled = poll_fn(|cx| {
        calls.iter_mut().for_each(|call| call.poll(cx));
        Poll::Ready(())
    });
    unconstrained(polled).await;
}

/// Polls the calls in order, whenever something happens, until all are done.
async fn finish<F: Future>(mut calls: Vec<Call<F>>) -> Vec<F::Output> {
    poll_fn(|cx| {
        calls.iter_mut().for_each(|call| call.poll(cx));
        if calls.iter().all(|call| call.answer.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    calls.into_iter().filter_map(|call| call.answer).collect()
}

async fn in_order<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    finish(futures.into_iter().map(Call::new).collect()).await
}
