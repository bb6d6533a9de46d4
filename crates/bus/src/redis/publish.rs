//! The call of the publish script.

use redis::{Cmd, Script};
use trunkline_domain::{Content, Data, DisplayName, Draft, Position};

use super::{error::unexpected_reply, keys::Keys};
use crate::{BusError, ErrorKind, Receipt};

/// How much of a log is retained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// Minimum number of entries, at least 1.
    pub(super) entries: usize,
    /// Minimum time without a send, in ms, at least 1.
    pub(super) millis: u64,
}

/// The call of a loaded script for a plain text. It never falls back to sending the text of the script: the reply NOSCRIPT
/// means that the connection leads to another Redis than the one for which the script was compiled.
pub(super) fn plain(script: &Script, keys: &Keys, retention: Retention, (user, id, text): (&str, &str, &str)) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(script.get_hash()).arg(4).arg(keys.log()).arg(keys.meta()).arg(keys.ids(0)).arg(keys.ids(1));
    cmd.arg(user).arg(id).arg(text).arg(keys.channel());
    cmd.arg(retention.entries).arg(retention.millis);
    cmd
}

/// The call of a loaded script for any message.
pub(super) fn command(script: &Script, keys: &Keys, retention: Retention, draft: &Draft) -> Cmd {
    let fields = draft.content.fields();
    let body = fields.data.as_ref().map(Data::as_str).or(fields.text).unwrap_or_default();
    let mut cmd = plain(script, keys, retention, (draft.user.as_str(), draft.id.as_str(), body));
    if !matches!(draft, Draft { name: None, content: Content::Text { reply_to: None, .. }, .. }) {
        let reference = fields.reference.map(|position| position.to_string()).unwrap_or_default();
        cmd.arg(draft.name.as_ref().map(DisplayName::as_str).unwrap_or_default());
        cmd.arg(reference).arg(fields.event.unwrap_or_default());
        cmd.arg(if fields.data.is_some() { "data" } else { "text" }).arg(u8::from(draft.may_moderate));
    }
    cmd
}

/// The receipt in the script's reply.
///
/// # Errors
/// `NotFound` or `Forbidden` if the script refused an amendment; `Unavailable` if the reply is malformed.
pub(super) fn receipt((pos, status): (&str, u8)) -> Result<Receipt, BusError> {
    match (status, pos) {
        (2, "forbidden") => Err(ErrorKind::Forbidden.into()),
        (2, _) => Err(ErrorKind::NotFound.into()),
        _ => {
            let pos: Result<Position, _> = pos.parse();
            let pos = pos.map_err(|_| unexpected_reply("the publish script returned no position"))?;
            Ok(Receipt { pos, repeated: status == 1 })
        }
    }
}
