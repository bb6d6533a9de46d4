//! The call of the publish script.

use redis::{Cmd, Script};
use trunkline_domain::{Draft, Position, Room};

use super::{config::RedisConfig, keys::Keys};
use crate::Receipt;

/// The call of a loaded script. It never falls back to sending the text: the reply NOSCRIPT means that the connection
/// leads to another Redis than the one for which the script was compiled.
pub(super) fn command(script: &Script, config: &RedisConfig, room: &Room, draft: &Draft) -> Cmd {
    let keys = Keys::of(&config.prefix, room);
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(script.get_hash()).arg(4).arg(keys.log()).arg(keys.meta()).arg(keys.ids(0)).arg(keys.ids(1));
    cmd.arg(draft.user.as_str()).arg(draft.id.as_str()).arg(draft.text.as_str()).arg(keys.channel());
    cmd.arg(config.retain.max(1)).arg(config.retain_millis());
    cmd
}

/// The receipt in the script's reply. `None` if the position is malformed.
pub(super) fn receipt(pos: &str, repeated: u8) -> Option<Receipt> {
    let pos: Position = pos.parse().ok()?;
    Some(Receipt { pos, repeated: repeated == 1 })
}
