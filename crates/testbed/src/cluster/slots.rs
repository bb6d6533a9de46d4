//! Moving slots between the masters of a cluster.

use super::{ClusterNodeView, RedisCluster, STEP_TIMEOUT, cli, view::SLOTS};
use crate::{Result, TestbedError, process::poll};

/// Maximum number of keys that one `MIGRATE` moves.
const KEYS_PER_MOVE: usize = 100;

/// A slot while it moves: some of its keys may be at the source, others at the target. The source answers `ASK` for keys
/// that it does not have. Ends with [`RedisCluster::finish_move`]; without that, the slot remains open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSlot {
    /// The slot.
    pub slot: u16,
    /// Index of the node that owns the slot.
    pub from: usize,
    /// Index of the node that imports it.
    pub to: usize,
}

impl RedisCluster {
    /// Moves `count` slots with their keys from one master to another, as an operator does: `redis-cli --cluster reshard`.
    /// Returns when all nodes agree about the new owners.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if `from` owns fewer slots, if `to` is a replica, or if the nodes do not agree within
    /// 60 s, and [`TestbedError::Command`] if `redis-cli` fails, for example because one of the two is down.
    pub fn reshard(&self, count: usize, from: usize, to: usize) -> Result<()> {
        self.wait_until_agreed()?;
        let view = self.view()?;
        let node = |index: usize| view.iter().find(|(number, _)| *number == index).map(|(_, node)| node);
        // redis-cli would move all that there are, and report success.
        let owned = node(from).map_or(0, ClusterNodeView::slot_count);
        if owned < count {
            return Err(TestbedError::Reply(format!("node {from} owns {owned} slots, not {count}")));
        }
        if !node(to).is_some_and(ClusterNodeView::is_master) {
            return Err(TestbedError::Reply(format!("node {to} is no master")));
        }
        let count = count.to_string();
        let place = self.place(from);
        let moved = ["--cluster-from", self.id(from), "--cluster-to", self.id(to), "--cluster-slots", &count];
        let args = ["--cluster", "reshard", &place].into_iter().chain(moved).chain(["--cluster-yes"]);
        cli::run(self, args)?;
        self.wait_until_agreed()
    }

    /// Opens a slot for a move (`CLUSTER SETSLOT … IMPORTING` and `MIGRATING`). No key moves yet.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if no node owns the slot, or if a node refuses.
    pub fn open_slot(&self, slot: u16, to: usize) -> Result<OpenSlot> {
        let from = self.master_of_slot(slot)?;
        let number = slot.to_string();
        self.node(to).cli(&["CLUSTER", "SETSLOT", &number, "IMPORTING", self.id(from)])?;
        self.node(from).cli(&["CLUSTER", "SETSLOT", &number, "MIGRATING", self.id(to)])?;
        Ok(OpenSlot { slot, from, to })
    }

    /// The keys of the slot that are still at the source.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if the source does not answer.
    pub fn keys_left(&self, open: OpenSlot) -> Result<Vec<String>> {
        let keys = self.node(open.from).cli(&["CLUSTER", "GETKEYSINSLOT", &open.slot.to_string(), "100000"])?;
        Ok(keys.lines().map(str::to_owned).collect())
    }

    /// Moves the keys that `choose` accepts and returns their number (`MIGRATE`). To move about half of them, accept every
    /// second.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if the source or the target refuses. Some keys may have moved.
    pub fn move_keys(&self, open: OpenSlot, mut choose: impl FnMut(&str) -> bool) -> Result<usize> {
        let keys = self.keys_left(open)?;
        let chosen: Vec<&str> = keys.iter().map(String::as_str).filter(|key| choose(key)).collect();
        chosen.chunks(KEYS_PER_MOVE).try_for_each(|keys| self.migrate(open, keys))?;
        Ok(chosen.len())
    }

    /// Moves all remaining keys and makes the target the owner of the slot, at the target first. Returns when all nodes
    /// agree.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if a node refuses, or if the nodes do not agree within 60 s.
    pub fn finish_move(&self, open: OpenSlot) -> Result<()> {
        let slot = open.slot.to_string();
        // Writes may add keys in the meantime.
        let empty = poll(STEP_TIMEOUT, || Ok((self.move_keys(open, |_| true)? == 0).then_some(())))?;
        empty.ok_or_else(|| TestbedError::Reply(format!("slot {slot} is not empty after 60 s")))?;
        let masters = self.answering().map(|(index, _)| index).filter(|index| ![open.to, open.from].contains(index));
        for node in [open.to, open.from].into_iter().chain(masters.collect::<Vec<_>>()) {
            match self.node(node).cli(&["CLUSTER", "SETSLOT", &slot, "NODE", self.id(open.to)]) {
                // Replicas learn of it from their masters.
                Err(TestbedError::Reply(text)) if text.contains("only with masters") => {}
                other => _ = other?,
            }
        }
        self.wait_until_agreed()
    }

    fn migrate(&self, open: OpenSlot, keys: &[&str]) -> Result<()> {
        let port = self.node(open.to).port().to_string();
        let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000"];
        if let Some(password) = self.password() {
            command.extend(["AUTH", password]);
        }
        command.push("KEYS");
        command.extend(keys);
        self.node(open.from).cli(&command).map(drop)
    }

    /// Waits until all running nodes name the same owner for each slot, whether it answers or not.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] after 60 s.
    pub fn wait_until_agreed(&self) -> Result<()> {
        let agreed = poll(STEP_TIMEOUT, || {
            let mut owners = self.answering().map(|(_, node)| {
                let view = node.view().ok()?;
                let mut owners: Vec<_> = view.into_iter().filter(|node| !node.slots.is_empty()).collect();
                owners.sort_by(|a, b| a.id.cmp(&b.id));
                Some(owners.into_iter().map(|node| (node.id, node.slots)).collect::<Vec<_>>())
            });
            let Some(Some(first)) = owners.next() else { return Ok(None) };
            let all = first.iter().flat_map(|(_, slots)| slots.iter().map(ExactSizeIterator::len)).sum::<usize>();
            Ok((all == usize::from(SLOTS) && owners.all(|view| view.as_ref() == Some(&first))).then_some(()))
        })?;
        agreed.ok_or_else(|| TestbedError::Reply("the nodes do not agree about the owners of the slots".to_owned()))
    }
}
