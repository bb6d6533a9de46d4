//! Decodes what Redis sends to a subscriber in RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>). Pure.

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use redis::Value;

/// Maximum size of a reply, and of a part of one. A larger one was not requested by Trunkline.
const MAX_PART: usize = 64 << 20;
/// Maximum length of a line.
const MAX_LINE: usize = 64 << 10;
/// Maximum depth of aggregates in a reply.
const MAX_DEPTH: usize = 8;

/// What Redis sends to a subscriber.
#[derive(Clone, Debug, PartialEq)]
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
    /// The reply to a command that subscribes or unsubscribes nothing, or [`Value::ServerError`] for any command that Redis
    /// refused.
    Reply(Value),
    /// A push of another kind.
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

/// What a reply is, and where its parts are.
enum ReplyParts {
    Reply,
    /// Kind, channel, and payload if it is a text.
    Push([Range<usize>; 2], Option<Range<usize>>),
    OtherPush,
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
            Err(Stop::Incomplete) if self.buffer.len() > MAX_PART + MAX_LINE => {
                return Err("Redis sent a reply of more than 64 MiB");
            }
            Err(Stop::Incomplete) => return Ok(None),
            Err(Stop::Malformed(reason)) => return Err(reason),
        };
        let reply = match parts {
            ReplyParts::OtherPush => SubscriberReply::Other,
            ReplyParts::Reply => {
                let value = redis::parse_redis_value(&self.buffer[..end]);
                SubscriberReply::Reply(value.map_err(|_| "Redis sent a reply that cannot be parsed")?)
            }
            ReplyParts::Push([kind, channel], payload) => {
                // One allocation for a push, which its parts share.
                let push = Bytes::copy_from_slice(&self.buffer[..end]);
                let channel = push.slice(channel);
                match (&push[kind], payload) {
                    (b"message" | b"smessage", Some(payload)) => {
                        SubscriberReply::Message { channel, payload: push.slice(payload) }
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
        if self.first()? != b'>' {
            return self.skip(MAX_DEPTH).map(|()| ReplyParts::Reply);
        }
        let count = self.number()?;
        if count != 3 {
            self.skip_all(count, MAX_DEPTH)?;
            return Ok(ReplyParts::OtherPush);
        }
        let parts = [self.text()?, self.text()?, self.text()?];
        Ok(match parts {
            [Some(kind), Some(channel), payload] => ReplyParts::Push([kind, channel], payload),
            _ => ReplyParts::OtherPush,
        })
    }

    /// Advances behind a value of any type.
    fn skip(&mut self, depth: usize) -> Result<(), Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Malformed("Redis sent a deeply nested reply"))?;
        match self.first()? {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => self.line().map(drop),
            b'$' | b'=' | b'!' => self.text().map(drop),
            b'*' | b'~' | b'>' => {
                let count = self.number()?;
                self.skip_all(count, depth)
            }
            b'%' => {
                let count = self.number()?;
                self.skip_all(count.saturating_mul(2), depth)
            }
            _ => Err(Stop::Malformed("Redis sent what is no reply in RESP3")),
        }
    }

    /// Advances behind `count` values. A negative number stands for nil.
    fn skip_all(&mut self, count: i64, depth: usize) -> Result<(), Stop> {
        (0..count).try_for_each(|_| self.skip(depth))
    }

    fn first(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    /// The rest of the line behind its first byte.
    fn line(&mut self) -> Result<Range<usize>, Stop> {
        let rest = &self.bytes[self.at..];
        let Some(length) = memchr::memchr(b'\n', &rest[..rest.len().min(MAX_LINE)]) else {
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

    /// A text of the given length; `None` for a value of another type, and for nil.
    fn text(&mut self) -> Result<Option<Range<usize>>, Stop> {
        if !matches!(self.first()?, b'$' | b'=' | b'!') {
            return self.skip(MAX_DEPTH).map(|()| None);
        }
        let length = self.number()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).ok().filter(|&length| length <= MAX_PART);
        let length = length.ok_or(Stop::Malformed("Redis sent a text of more than 64 MiB"))?;
        let text = self.at..self.at + length;
        self.at = text.end + 2;
        if self.at > self.bytes.len() { Err(Stop::Incomplete) } else { Ok(Some(text)) }
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
        let text: &[u8] = b"+OK\r\n>3\r\n$10\r\nssubscribe\r\n$4\r\n{a}b\r\n:1\r\n>3\r\n$8\r\nsmessage\r\n$4\r\n{a}b\r\n$4\r\na\r\nb\r\n\
            *2\r\n$3\r\n1-1\r\n:0\r\n>3\r\n$12\r\nsunsubscribe\r\n$4\r\n{a}b\r\n:0\r\n-MOVED 1 :7001\r\n\
            >2\r\n+invalidate\r\n*1\r\n_\r\n%1\r\n$5\r\nproto\r\n:3\r\n>3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n";
        let bytes = Bytes::from_static;
        let text_of = |text: &[u8]| Value::BulkString(text.to_vec());
        let error = redis::parse_redis_value(b"-MOVED 1 :7001\r\n").unwrap();
        assert!(matches!(&error, Value::ServerError(error) if error.code() == "MOVED"));
        let expected = [
            SubscriberReply::Reply(Value::Okay),
            SubscriberReply::Subscribed(bytes(b"{a}b")),
            SubscriberReply::Message { channel: bytes(b"{a}b"), payload: bytes(b"a\r\nb") },
            SubscriberReply::Reply(Value::Array(vec![text_of(b"1-1"), Value::Int(0)])),
            SubscriberReply::Unsubscribed(bytes(b"{a}b")),
            SubscriberReply::Reply(error),
            SubscriberReply::Other,
            SubscriberReply::Reply(Value::Map(vec![(text_of(b"proto"), Value::Int(3))])),
            SubscriberReply::Message { channel: bytes(b""), payload: bytes(b"") },
        ];
        assert_eq!(decode(&[text]).unwrap(), expected);
        let pieces: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(decode(&pieces).unwrap(), expected, "byte by byte");
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let deep = [b"*1\r\n".repeat(MAX_DEPTH + 1), b":1\r\n".to_vec()].concat();
        for bad in [&b"?3\r\nabc\r\n"[..], b"*x\r\n", b">3\r\n$99999999999\r\n", b"*1\r\n\r\n", b"\r\n", &deep] {
            assert!(decode(&[bad]).is_err(), "{bad:?}");
        }
        assert!(decode(&[&vec![b'-'; MAX_LINE + 1]]).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'*'), Just(b'>'), Just(b'%'), Just(b'$'), Just(b'3'), Just(b'\r'), Just(b'\n')], 0..60)) {
            let _ = decode(&[&bytes]);
        }

        #[test]
        fn messages_arrive_whole_however_they_are_split(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            split in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                bytes.extend_from_slice(format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n", payload.len()).as_bytes());
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
