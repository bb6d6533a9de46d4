//! The text of a load message, which carries the message's id and scheduled time.

use trunkline_domain::{MessageId, MessageText};

use crate::history::Micros;

/// Text of a load message: scheduled time, id and padding. A receiver detects altered texts and measures latencies with it.
pub(crate) struct TracedText<'a> {
    /// Scheduled time of the send.
    pub(crate) due: Micros,
    pub(crate) id: &'a str,
}

impl<'a> TracedText<'a> {
    /// Composes a text of `bytes` bytes, or a longer one if time and id need more.
    pub(crate) fn compose(due: Micros, id: &MessageId, bytes: usize) -> Option<MessageText> {
        let mut text = format!("{due} {id} .");
        while text.len() < bytes.min(MessageText::MAX_BYTES) {
            text.push('.');
        }
        text.parse().ok()
    }

    /// Parses a text; `None` if it was altered or is not the text of a load message.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let (due, id, padding) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        padding.bytes().all(|byte| byte == b'.').then_some(Self { due, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altered_text_is_detected() {
        let id: MessageId = "w1-7".parse().unwrap();
        let text = TracedText::compose(42, &id, 64).unwrap();
        assert_eq!(text.as_str().len(), 64);
        let parsed = TracedText::parse(text.as_str()).unwrap();
        assert_eq!((parsed.due, parsed.id), (42, "w1-7"));
        assert!(TracedText::parse(&text.as_str().replace("..", ". ")).is_none());
        assert!(TracedText::parse("hello").is_none());
    }
}
