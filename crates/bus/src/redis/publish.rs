//! The call of the publish script.

use redis::{Cmd, Script};
use trunkline_domain::Position;

use super::keys::Keys;
use crate::Receipt;

/// How much of a log is retained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// Minimum number of entries, at least 1.
    pub(super) entries: usize,
    /// Minimum time without a send, in ms, at least 1.
    pub(super) millis: u64,
}

/// The call of a loaded script. It never falls back to sending the text: the reply NOSCRIPT means that the connection
/// leads to another Redis than the one for which the script was compiled.
pub(super) fn command(script: &Script, keys: &Keys, retention: Retention, (user, id, text): (&str, &str, &str)) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(script.get_hash()).arg(4).arg(keys.log()).arg(keys.meta()).arg(keys.ids(0)).arg(keys.ids(1));
    cmd.arg(user).arg(id).arg(text).arg(keys.channel());
    cmd.arg(retention.entries).arg(retention.millis);
    cmd
}

/// The receipt in the script's reply. `None` if the position is malformed.
pub(super) fn receipt(pos: &str, repeated: u8) -> Option<Receipt> {
    let pos: Position = pos.parse().ok()?;
    Some(Receipt { pos, repeated: repeated == 1 })
}
