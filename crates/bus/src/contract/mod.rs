//! The contract of [`Bus`] and of the presence traits, as tests. An implementation runs them with
//! [`contract!`](crate::contract!) and [`presence_contract!`](crate::presence_contract!):
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

mod amend;
mod delivery;
mod presence;
mod publish;
mod read;

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

pub use self::{amend::*, delivery::*, presence::*, publish::*, read::*};
use crate::{Bus, Delivery, Page, Range, Receipt};

/// The storage of one test.
pub trait Store {
    /// The bus under test.
    type Bus: Bus;

    /// A bus as a separate process would create it. All buses of one store share its logs, which are empty at first. They
    /// retain at least [`RETAIN`] entries per room, and fewer than four times as many.
    fn bus(&self) -> Self::Bus;
}

/// Minimum number of entries that the store retains per room.
pub const RETAIN: usize = 100;

/// Maximum time for any step, on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Time without a delivery after which a test concludes that none arrives.
const SILENCE: Duration = Duration::from_millis(300);

/// Runs every test of [`Bus`](crate::Bus) against a [`Store`](crate::contract::Store). The expression creates the store; it is evaluated once per
/// test. Requires tokio with `macros` and `rt`.
#[macro_export]
macro_rules! contract {
    ($store:expr) => {
        $crate::contract! { $store;
            offsets_count_up_from_one,
            prev_of_each_entry_is_the_position_before_it,
            repeated_id_returns_the_first_position_and_appends_nothing,
            ids_are_scoped_to_room_and_user,
            calls_are_executed_in_the_order_of_their_first_poll,
            concurrent_publishers_share_one_sequence,
            every_content_is_read_and_delivered_as_it_was_sent,
            amendments_need_a_retained_text_of_the_same_author,
            moderators_delete_the_texts_of_others_and_edit_none,
            deleted_texts_are_in_no_page,
            read_marks_move_forward_up_to_the_head,
            empty_log_follows_only_the_origin,
            reading_forward_returns_the_oldest_entries_up_to_the_limit,
            reading_backward_returns_the_newest_entries_up_to_the_limit,
            unknown_position_does_not_prove_continuity,
            trimmed_entries_are_reported_as_a_gap,
            heads_are_returned_in_the_order_of_the_rooms,
            changed_heads_are_those_that_differ,
            all_subscribers_receive_every_entry_in_log_order,
            rooms_that_are_not_subscribed_deliver_nothing,
            subscribed_is_delivered_once_before_any_entry,
            unsubscribed_rooms_deliver_nothing_until_subscribed_again,
            ephemeral_events_are_delivered_and_not_logged,
            slow_consumer_receives_everything_or_another_subscribed,
            dropping_the_last_handle_ends_the_deliveries,
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

/// A bus whose log is reachable.
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
    timeout(TEST_TIMEOUT, future).await.expect("a step took more than 20 s")
}

fn room(name: &str) -> Room {
    name.parse().expect("a room name")
}

/// Ann's message number `number`.
fn draft(number: usize) -> Draft {
    draft_of("ann", &format!("m{number}"), &format!("text {number}"))
}

fn draft_of(user: &str, id: &str, text: &str) -> Draft {
    Draft::text(id.parse().expect("an id"), user.parse().expect("a user id"), text.parse().expect("a text"))
}

async fn publish_one(bus: &impl Bus, room: &Room, draft: Draft) -> Receipt {
    within(bus.publish(room, draft)).await.expect("published")
}

async fn read_page(bus: &impl Bus, room: &Room, range: Range) -> Page {
    within(bus.read(room, range)).await.expect("read")
}

/// Publishes ann's messages `numbers` and returns their positions.
async fn fill(bus: &impl Bus, room: &Room, numbers: std::ops::Range<usize>) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(publish_one(bus, room, draft(number)).await.pos);
    }
    positions
}

fn positions(entries: &[Entry]) -> Vec<Position> {
    entries.iter().map(|entry| entry.message.pos).collect()
}

/// The next delivery.
async fn next_delivery(deliveries: &mut Receiver<Delivery>) -> Delivery {
    within(deliveries.recv()).await.expect("the subscription is open")
}

/// Waits for the announcement of the room.
async fn expect_subscribed(deliveries: &mut Receiver<Delivery>, room: &Room) {
    assert_eq!(next_delivery(deliveries).await, Delivery::Subscribed(room.clone()));
}

/// Checks that no delivery arrives.
async fn expect_silence(deliveries: &mut Receiver<Delivery>) {
    if let Ok(delivery) = timeout(SILENCE, deliveries.recv()).await {
        panic!("received {delivery:?}");
    }
}

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

/// A call that was started, and its result once it is known.
struct Call<F: Future> {
    future: Pin<Box<F>>,
    result: Option<F::Output>,
}

impl<F: Future> Call<F> {
    fn new(future: F) -> Self {
        Self { future: Box::pin(future), result: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if self.result.is_none()
            && let Poll::Ready(result) = self.future.as_mut().poll(cx)
        {
            self.result = Some(result);
        }
    }
}

/// Polls each call once, in order. Outside tokio's cooperative budget, which would make a busy task yield.
async fn poll_once<F: Future>(calls: &mut [Call<F>]) {
    let polled = poll_fn(|cx| {
        calls.iter_mut().for_each(|call| call.poll(cx));
        Poll::Ready(())
    });
    unconstrained(polled).await;
}

/// Polls the calls in order whenever one makes progress, until all are done.
async fn finish<F: Future>(mut calls: Vec<Call<F>>) -> Vec<F::Output> {
    poll_fn(|cx| {
        calls.iter_mut().for_each(|call| call.poll(cx));
        if calls.iter().all(|call| call.result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    calls.into_iter().filter_map(|call| call.result).collect()
}

async fn in_order<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    finish(futures.into_iter().map(Call::new).collect()).await
}
