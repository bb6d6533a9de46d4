//! The commands of a subscription connection that Redis has not answered yet. Pure.

use std::collections::{BTreeMap, VecDeque};

use redis::{ServerError, Value};
use tokio::sync::oneshot;
use trunkline_redis::slots::slot_of;

use crate::redis::mode::PubSubMode;

/// Matches replies with commands: Redis answers commands in order. It confirms each channel of a command that subscribes or
/// unsubscribes, or refuses the command with one error, and sends one reply to any other command.
#[derive(Debug)]
pub(super) struct Requests {
    mode: PubSubMode,
    commands: VecDeque<Request>,
}

#[derive(Debug)]
enum Request {
    /// A command that subscribes or unsubscribes.
    Channels {
        is_subscribe: bool,
        /// The channels that were not confirmed yet. Redis confirms them in this order.
        channels: VecDeque<String>,
    },
    /// Other commands, `count` of them, with the replies to the first ones.
    Batch { count: usize, values: Vec<Value>, replies: oneshot::Sender<Vec<Value>> },
}

/// What a reply means.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// It belongs to a batch.
    Taken,
    /// Redis refused a command that subscribes or unsubscribes, and left these channels as they were.
    Refused(Vec<String>, ServerError),
    /// It belongs to no command.
    Unexpected(Value),
}

impl Requests {
    pub(super) fn new(mode: PubSubMode) -> Self {
        Self { mode, commands: VecDeque::new() }
    }

    /// Whether a command that subscribes or unsubscribes is under way.
    pub(super) fn awaits_confirmation(&self) -> bool {
        // There are few commands besides.
        self.commands.iter().any(|command| matches!(command, Request::Channels { .. }))
    }

    /// Adds other commands. Their replies are sent together.
    pub(super) fn add_batch(&mut self, count: usize, replies: oneshot::Sender<Vec<Value>>) {
        self.commands.push_back(Request::Batch { count, values: Vec::with_capacity(count), replies });
    }

    /// Adds commands that subscribe to channels, or unsubscribe from them, and returns them packed. Sharded channels of one
    /// command must share a slot.
    pub(super) fn add(&mut self, is_subscribe: bool, channels: impl IntoIterator<Item = String>) -> Vec<u8> {
        let mut groups: BTreeMap<u16, VecDeque<String>> = BTreeMap::new();
        for channel in channels {
            let group = match self.mode {
                PubSubMode::Classic => 0,
                PubSubMode::Sharded => slot_of(&channel),
            };
            groups.entry(group).or_default().push_back(channel);
        }
        let name = if is_subscribe { self.mode.subscribe() } else { self.mode.unsubscribe() };
        let mut packed = Vec::new();
        for channels in groups.into_values() {
            packed.extend(redis::cmd(name).arg(Vec::from(channels.clone())).get_packed_command());
            self.commands.push_back(Request::Channels { is_subscribe, channels });
        }
        packed
    }

    /// Redis confirmed a channel. Whether that was requested: Redis unsubscribes channels of slots that move by itself.
    pub(super) fn confirmed(&mut self, is_subscribe: bool, channel: &str) -> bool {
        match self.commands.front_mut() {
            Some(Request::Channels { is_subscribe: requested, channels })
                if *requested == is_subscribe && channels.front().is_some_and(|next| next == channel) =>
            {
                channels.pop_front();
                if channels.is_empty() {
                    self.commands.pop_front();
                }
                true
            }
            _ => false,
        }
    }

    /// Redis replied to the oldest command with something else than a confirmation.
    pub(super) fn answered(&mut self, value: Value) -> Answer {
        match (self.commands.pop_front(), value) {
            (Some(Request::Batch { count, mut values, replies }), value) => {
                values.push(value);
                if values.len() < count {
                    self.commands.push_front(Request::Batch { count, values, replies });
                } else {
                    // The caller may have stopped waiting.
                    let _ = replies.send(values);
                }
                Answer::Taken
            }
            (Some(Request::Channels { channels, .. }), Value::ServerError(error)) => {
                Answer::Refused(channels.into(), error)
            }
            (_, value) => Answer::Unexpected(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn sharded_channels_are_requested_by_slot() {
        let mut requests = Requests::new(PubSubMode::Sharded);
        let packed = String::from_utf8(requests.add(true, channels(&["a{x}", "{y}", "b{x}"]))).unwrap();
        assert_eq!(packed.matches("SSUBSCRIBE").count(), 2);
        let mut requests = Requests::new(PubSubMode::Classic);
        let packed = String::from_utf8(requests.add(false, channels(&["a{x}", "{y}", "b{x}"]))).unwrap();
        assert_eq!(packed.matches("UNSUBSCRIBE").count(), 1);
    }

    #[test]
    fn replies_are_matched_in_order() {
        let mut requests = Requests::new(PubSubMode::Classic);
        requests.add(true, channels(&["a", "b"]));
        requests.add(false, channels(&["c"]));
        assert!(!requests.confirmed(false, "c"), "sent by Redis because the slot moved");
        assert!(requests.confirmed(true, "a"));
        let refused = |answer, names: &[&str]| matches!(answer, Answer::Refused(left, _) if left == channels(names));
        assert!(refused(requests.answered(refusal()), &["b"]));
        assert!(requests.confirmed(false, "c"));
        assert!(!requests.awaits_confirmation());
        assert!(!requests.confirmed(false, "c"));
        assert_eq!(requests.answered(refusal()), Answer::Unexpected(refusal()));
        requests.add(true, channels(&["d"]));
        let answer = requests.answered(Value::Okay);
        assert_eq!(answer, Answer::Unexpected(Value::Okay), "no confirmation is a plain reply");
    }

    #[test]
    fn a_batch_is_answered_when_its_last_reply_arrives() {
        let mut requests = Requests::new(PubSubMode::Classic);
        requests.add(true, channels(&["a"]));
        let (replies, mut received) = oneshot::channel();
        requests.add_batch(2, replies);
        requests.add(true, channels(&["b"]));
        assert!(!requests.confirmed(true, "b"), "the batch is before it");
        assert!(requests.confirmed(true, "a"));
        assert!(!requests.confirmed(false, "b"), "sent by Redis because the slot moved");
        assert_eq!(requests.answered(Value::Int(1)), Answer::Taken);
        assert!(received.try_recv().is_err());
        assert_eq!(requests.answered(refusal()), Answer::Taken);
        assert_eq!(received.try_recv(), Ok(vec![Value::Int(1), refusal()]));
        assert!(requests.awaits_confirmation());
        assert!(requests.confirmed(true, "b"));
    }

    fn refusal() -> Value {
        redis::parse_redis_value(b"-MOVED 1 :7001\r\n").unwrap()
    }
}
