//! Decodes what Redis sends to a subscriber in RESP2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>). Pure.

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

/// Maximum size of a part of a reply. A larger one was not written by Trunkline.
const MAX_PART: usize = 64 << 20;
/// Maximum length of a line.
const MAX_LINE: usize = 64 << 10;

/// What Redis sends to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriberReply {
    /// A message that was published to a channel.
    Message {
        /// Name of the channel.
        channel: Bytes,
        /// What was published.
        payload: Bytes,
    },
    /// A channel was subscribed.
    Subscribed(Bytes),
    /// A channel was unsubscribed: on request, or because its slot moved to another master.
    Unsubscribed(Bytes),
    /// Redis refused a command.
    Error(String),
    /// The reply to another command.
    Other,
}

/// Splits the bytes of a connection into replies. Holds at most one incomplete reply besides what was read at once.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
}

enum Stop {
    /// More bytes are needed.
    Incomplete,
    Malformed(&'static str),
}

/// Where the parts of a reply are.
enum ReplyParts {
    Other,
    Error(Range<usize>),
    /// Kind, channel, and payload if it is a text.
    Array([Range<usize>; 2], Option<Range<usize>>),
}

impl Decoder {
    /// The bytes that were read and not yet decoded. Append to them.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next complete reply.
    pub(super) fn next(&mut self) -> Result<Option<SubscriberReply>, &'static str> {
        let mut cursor = ReplyCursor { bytes: &self.buffer, at: 0 };
        let (parts, end) = match cursor.reply() {
            Ok(parts) => (parts, cursor.at),
            Err(Stop::Incomplete) => return Ok(None),
            Err(Stop::Malformed(reason)) => return Err(reason),
        };
        let reply = match parts {
            ReplyParts::Other => SubscriberReply::Other,
            ReplyParts::Error(text) => SubscriberReply::Error(String::from_utf8_lossy(&self.buffer[text]).into_owned()),
            ReplyParts::Array([kind, channel], payload) => {
                // One allocation for a reply, which its parts share.
                let reply = Bytes::copy_from_slice(&self.buffer[..end]);
                let channel = reply.slice(channel);
                match (&reply[kind], payload) {
                    (b"message" | b"smessage", Some(payload)) => {
                        SubscriberReply::Message { channel, payload: reply.slice(payload) }
                    }
                    (b"subscribe" | b"ssubscribe", None) => SubscriberReply::Subscribed(channel),
                    (b"unsubscribe" | b"sunsubscribe", None) => SubscriberReply::Unsubscribed(channel),
                    _ => SubscriberReply::Other,
                }
            }
        };
        self.buffer.advance(end);
        Ok(Some(reply))
    }
}

struct ReplyCursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl ReplyCursor<'_> {
    fn reply(&mut self) -> Result<ReplyParts, Stop> {
        match self.first()? {
            b'+' | b':' => self.line().map(|_| ReplyParts::Other),
            b'-' => self.line().map(ReplyParts::Error),
            b'*' => {
                if self.number()? != 3 {
                    return Err(Stop::Malformed("Redis sent an array that is no message to a subscriber"));
                }
                let mut text = || self.text()?.ok_or(Stop::Malformed("Redis sent a message without a channel"));
                let parts = [text()?, text()?];
                Ok(ReplyParts::Array(parts, self.text()?))
            }
            _ => Err(Stop::Malformed("Redis sent what is no reply to a subscriber")),
        }
    }

    fn first(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    /// The rest of the line behind its first byte.
    fn line(&mut self) -> Result<Range<usize>, Stop> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
            return Err(if rest.len() < MAX_LINE {
                Stop::Incomplete
            } else {
                Stop::Malformed("Redis sent a long line")
            });
        };
        let line = self.at + 1..(self.at + length).saturating_sub(1).max(self.at + 1);
        self.at += length + 1;
        Ok(line)
    }

    fn number(&mut self) -> Result<i64, Stop> {
        let line = self.line()?;
        let number = std::str::from_utf8(&self.bytes[line]).ok().and_then(|number| number.parse().ok());
        number.ok_or(Stop::Malformed("Redis sent a length that is no number"))
    }

    /// A bulk string; `None` for nil and for an integer.
    fn text(&mut self) -> Result<Option<Range<usize>>, Stop> {
        match self.first()? {
            b':' => self.line().map(|_| None),
            b'$' => {
                let length = self.number()?;
                if length == -1 {
                    return Ok(None);
                }
                let length = usize::try_from(length).ok().filter(|&length| length <= MAX_PART);
                let length = length.ok_or(Stop::Malformed("Redis sent a message of more than 64 MiB"))?;
                let text = self.at..self.at + length;
                self.at = text.end + 2;
                if self.at > self.bytes.len() { Err(Stop::Incomplete) } else { Ok(Some(text)) }
            }
            _ => Err(Stop::Malformed("Redis sent a message with another structure")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<SubscriberReply>, &'static str> {
        let mut decoder = Decoder::default();
        let mut replies = Vec::new();
        for piece in pieces {
            decoder.buffer().extend_from_slice(piece);
            while let Some(reply) = decoder.next()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    #[test]
    fn replies_of_redis_are_decoded() {
        let text: &[u8] = b"+OK\r\n*3\r\n$10\r\nssubscribe\r\n$4\r\n{a}b\r\n:1\r\n*3\r\n$8\r\nsmessage\r\n$4\r\n{a}b\r\n$4\r\na\r\nb\r\n\
            *3\r\n$12\r\nsunsubscribe\r\n$4\r\n{a}b\r\n:0\r\n-MOVED 1 :7001\r\n*3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n";
        let bytes = Bytes::from_static;
        let expected = [
            SubscriberReply::Other,
            SubscriberReply::Subscribed(bytes(b"{a}b")),
            SubscriberReply::Message { channel: bytes(b"{a}b"), payload: bytes(b"a\r\nb") },
            SubscriberReply::Unsubscribed(bytes(b"{a}b")),
            SubscriberReply::Error("MOVED 1 :7001".to_owned()),
            SubscriberReply::Message { channel: bytes(b""), payload: bytes(b"") },
        ];
        assert_eq!(decode(&[text]).unwrap(), expected);
        let pieces: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(decode(&pieces).unwrap(), expected, "byte by byte");
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bad in [&b"$3\r\nabc\r\n"[..], b"*2\r\n", b"*3\r\n:1\r\n", b"*x\r\n", b"*3\r\n$99999999999\r\n", b"\r\n"] {
            assert!(decode(&[bad]).is_err(), "{bad:?}");
        }
        assert!(decode(&[&vec![b'-'; MAX_LINE + 1]]).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'*'), Just(b'$'), Just(b'3'), Just(b'\r'), Just(b'\n')], 0..60)) {
            let _ = decode(&[&bytes]);
        }

        #[test]
        fn messages_arrive_whole_however_they_are_split(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            split in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                bytes.extend_from_slice(format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n", payload.len()).as_bytes());
                bytes.extend_from_slice(payload);
                bytes.extend_from_slice(b"\r\n");
            }
            let pieces: Vec<&[u8]> = bytes.chunks(split).collect();
            let replies = decode(&pieces).unwrap();
            let expected: Vec<_> = payloads
                .into_iter()
                .map(|payload| SubscriberReply::Message { channel: Bytes::from_static(b"c"), payload: payload.into() })
                .collect();
            prop_assert_eq!(replies, expected);
        }
    }
}
