//! The commands of a subscription connection that Redis has not answered yet. Pure.

use std::collections::{BTreeMap, VecDeque};

use trunkline_redis::slots::slot_of;

use crate::redis::mode::PubSubMode;

/// Matches replies with commands: Redis answers commands in order, with one confirmation per channel or one error for all.
#[derive(Debug)]
pub(super) struct Requests {
    mode: PubSubMode,
    commands: VecDeque<Request>,
}

/// A command.
#[derive(Debug)]
struct Request {
    is_subscribe: bool,
    /// The channels that were not confirmed yet. Redis confirms them in this order.
    channels: VecDeque<String>,
}

impl Requests {
    pub(super) fn new(mode: PubSubMode) -> Self {
        Self { mode, commands: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
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
            self.commands.push_back(Request { is_subscribe, channels });
        }
        packed
    }

    /// Redis confirmed a channel. Whether that was requested: Redis unsubscribes channels of slots that move by itself.
    pub(super) fn confirmed(&mut self, is_subscribe: bool, channel: &str) -> bool {
        let Some(first) = self.commands.front_mut() else { return false };
        if first.is_subscribe != is_subscribe || first.channels.front().is_none_or(|next| next != channel) {
            return false;
        }
        first.channels.pop_front();
        if first.channels.is_empty() {
            self.commands.pop_front();
        }
        true
    }

    /// Redis refused a command: the channels that it left as they were. `None` if no command was under way.
    pub(super) fn refused(&mut self) -> Option<Vec<String>> {
        self.commands.pop_front().map(|request| request.channels.into())
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
        assert_eq!(requests.refused(), Some(channels(&["b"])));
        assert!(requests.confirmed(false, "c"));
        assert!(requests.is_empty());
        assert!(!requests.confirmed(false, "c"));
        assert_eq!(requests.refused(), None);
    }
}
