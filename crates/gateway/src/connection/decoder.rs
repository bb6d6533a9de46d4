//! Decodes the bytes of a client into messages. Pure; both transports use it.

use actix_http::ws::{Codec, Frame, Item};
use bytes::{Bytes, BytesMut};
use trunkline_domain::CloseCode;
// The decoder trait that actix-http's codec implements.
use tokio_util::codec::Decoder as _;

use super::frame_check::{MessageRules, ProtocolViolation, check_frame_header};

/// The receiving half of a WebSocket. It buffers at most one message of 32 KiB and the rest of one read; between messages it
/// holds no memory.
#[derive(Debug)]
pub(crate) struct MessageDecoder(Option<Box<PartialMessage>>);

/// The start of a message.
#[derive(Debug)]
struct PartialMessage {
    buffer: BytesMut,
    /// It tracks whether a message in several frames has begun.
    codec: Codec,
    /// The payload of the frames of that message so far, which may be empty.
    fragments: Option<BytesMut>,
    /// Whether that message is binary.
    is_binary: bool,
}

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// A WebSocket ping, to be answered with its payload.
    Ping(Bytes),
    /// A WebSocket pong.
    Pong,
    /// A close frame, with its code if it has one.
    Close(Option<u16>),
}

impl MessageDecoder {
    /// Creates a decoder that has received nothing.
    pub(crate) fn new() -> Self {
        Self(None)
    }

    /// Adds bytes that were received.
    pub(crate) fn receive(&mut self, bytes: Bytes) {
        let PartialMessage { buffer, .. } = &mut **self.0.get_or_insert_with(Box::default);
        if buffer.is_empty() {
            *buffer = BytesMut::from(bytes);
        } else {
            buffer.extend_from_slice(&bytes);
        }
    }

    /// Returns the next complete message; `None` until more bytes are received.
    ///
    /// # Errors
    /// [`ProtocolViolation`] if the client broke the protocol. The bytes that follow cannot be decoded: close the connection.
    pub(crate) fn next(&mut self) -> Result<Option<ClientMessage>, ProtocolViolation> {
        self.next_under(MessageRules::CHAT)
    }

    /// As [`Self::next`], with other rules for messages. All calls of a connection use the same rules.
    ///
    /// # Errors
    /// See [`Self::next`].
    pub(super) fn next_under(&mut self, rules: MessageRules) -> Result<Option<ClientMessage>, ProtocolViolation> {
        let Some(partial) = &mut self.0 else { return Ok(None) };
        let message = partial.next(rules)?;
        if message.is_none() && partial.buffer.is_empty() && partial.fragments.is_none() {
            self.0 = None;
        }
        Ok(message)
    }
}

impl Default for PartialMessage {
    fn default() -> Self {
        // The frame check has limited the size before the codec reads the frame.
        let codec = Codec::new().max_size(usize::MAX);
        Self { buffer: BytesMut::new(), codec, fragments: None, is_binary: false }
    }
}

impl PartialMessage {
    fn next(&mut self, rules: MessageRules) -> Result<Option<ClientMessage>, ProtocolViolation> {
        loop {
            check_frame_header(&self.buffer, self.fragments.as_ref().map_or(0, BytesMut::len), rules)?;
            let frame = self.codec.decode(&mut self.buffer).map_err(|_| ProtocolViolation {
                code: CloseCode::Protocol,
                reason: "this is not a valid WebSocket frame",
            })?;
            let message = match frame {
                None => {
                    if self.buffer.is_empty() {
                        self.buffer = BytesMut::new();
                    }
                    return Ok(None);
                }
                Some(Frame::Text(bytes)) => ClientMessage::Text(utf8(bytes.into())?),
                Some(Frame::Continuation(item)) => match self.assemble(item)? {
                    Some(message) => message,
                    None => continue,
                },
                Some(Frame::Ping(payload)) => ClientMessage::Ping(payload),
                Some(Frame::Pong(_)) => ClientMessage::Pong,
                Some(Frame::Close(reason)) => ClientMessage::Close(reason.map(|reason| reason.code.into())),
                Some(Frame::Binary(bytes)) => ClientMessage::Binary(bytes),
            };
            return Ok(Some(message));
        }
    }

    /// Adds a fragment (RFC 6455 section 5.4). Returns the whole message with the last one.
    fn assemble(&mut self, item: Item) -> Result<Option<ClientMessage>, ProtocolViolation> {
        let is_first_binary = matches!(item, Item::FirstBinary(_));
        match item {
            Item::FirstText(bytes) | Item::FirstBinary(bytes) => {
                self.is_binary = is_first_binary;
                self.fragments = Some(bytes.into());
                Ok(None)
            }
            Item::Continue(bytes) => {
                self.fragments.get_or_insert_default().extend_from_slice(&bytes);
                Ok(None)
            }
            Item::Last(bytes) => {
                let mut whole = self.fragments.take().unwrap_or_default();
                whole.extend_from_slice(&bytes);
                Ok(Some(if self.is_binary {
                    ClientMessage::Binary(whole.freeze())
                } else {
                    ClientMessage::Text(utf8(whole.into())?)
                }))
            }
        }
    }
}

/// Decodes a text message, which must be UTF-8 (RFC 6455 section 8.1).
fn utf8(bytes: Vec<u8>) -> Result<String, ProtocolViolation> {
    String::from_utf8(bytes)
        .map_err(|_| ProtocolViolation { code: CloseCode::InvalidUtf8, reason: "a text frame is UTF-8" })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{super::frame_check::MAX_MESSAGE_BYTES, *};

    /// Returns a masked frame, as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            medium @ 126..=0xFFFF => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        bytes
    }

    fn decode(chunks: &[&[u8]]) -> Result<Vec<ClientMessage>, ProtocolViolation> {
        decode_under(MessageRules::CHAT, chunks)
    }

    fn decode_under(rules: MessageRules, chunks: &[&[u8]]) -> Result<Vec<ClientMessage>, ProtocolViolation> {
        let mut decoder = MessageDecoder::new();
        let mut messages = Vec::new();
        for chunk in chunks {
            decoder.receive(Bytes::copy_from_slice(chunk));
            while let Some(message) = decoder.next_under(rules)? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn violation_code(bytes: &[u8]) -> CloseCode {
        decode(&[bytes]).unwrap_err().code
    }

    #[test]
    fn breaches_of_rfc_6455_are_answered_with_the_close_code_of_the_rfc() {
        let unmasked = [0x81, 2, b'h', b'i'];
        let table: [(&str, Vec<u8>, CloseCode); 12] = [
            ("unmasked (5.1)", unmasked.to_vec(), CloseCode::Protocol),
            ("reserved bit (5.2)", frame(0xC1, b"hi"), CloseCode::Protocol),
            ("opcode 3 (5.2)", frame(0x83, b""), CloseCode::Protocol),
            ("opcode 11 (5.2)", frame(0x8B, b""), CloseCode::Protocol),
            ("fragmented ping (5.5)", frame(0x09, b""), CloseCode::Protocol),
            ("long ping (5.5)", frame(0x89, &[0; 126]), CloseCode::Protocol),
            ("short ping with an extended length (5.5)", vec![0x89, 0xFE, 0, 0, 0, 0, 0, 0], CloseCode::Protocol),
            ("continuation without a start (5.4)", frame(0x80, b"x"), CloseCode::Protocol),
            ("binary (ours)", frame(0x82, b"x"), CloseCode::Unsupported),
            ("fragmented binary (ours)", frame(0x02, b"x"), CloseCode::Unsupported),
            ("not UTF-8 (8.1)", frame(0x81, &[0xC3, 0x28]), CloseCode::InvalidUtf8),
            ("too big (ours)", frame(0x81, &[b'x'; MAX_MESSAGE_BYTES + 1]), CloseCode::TooBig),
        ];
        for (what, bytes, code) in table {
            assert_eq!(violation_code(&bytes), code, "{what}");
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_header_alone() {
        let mut header = vec![0x81, 0xFF];
        header.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        assert_eq!(violation_code(&header), CloseCode::TooBig);
    }

    #[test]
    fn the_size_limit_applies_to_all_fragments_together() {
        let half = vec![b'x'; MAX_MESSAGE_BYTES / 2 + 1];
        assert_eq!(decode(&[&frame(0x01, &half), &frame(0x80, &half)]).unwrap_err().code, CloseCode::TooBig);
    }

    #[test]
    fn a_new_text_before_the_last_fragment_is_refused() {
        assert_eq!(decode(&[&frame(0x01, b"a"), &frame(0x81, b"b")]).unwrap_err().code, CloseCode::Protocol);
    }

    #[test]
    fn echo_rules_allow_binary_messages_in_one_and_in_several_frames() {
        let binary = |bytes| ClientMessage::Binary(Bytes::from_static(bytes));
        let decode = |frames: &[&[u8]]| decode_under(MessageRules::ECHO, frames).unwrap();
        assert_eq!(decode(&[&frame(0x82, &[0xC3, 0x28])]), [binary(&[0xC3, 0x28])]);
        let fragments: [&[u8]; 4] =
            [&frame(0x02, &[0xFF]), &frame(0x89, b"p"), &frame(0x00, b""), &frame(0x80, &[0xFE])];
        assert_eq!(decode(&fragments), [ClientMessage::Ping(Bytes::from_static(b"p")), binary(&[0xFF, 0xFE])]);
        // The type of a message does not carry over to the next one.
        let messages = decode(&[&frame(0x02, b"a"), &frame(0x80, b""), &frame(0x01, b"b"), &frame(0x80, b"")]);
        assert_eq!(messages, [binary(b"a"), ClientMessage::Text("b".to_owned())]);
    }

    #[test]
    fn echo_rules_limit_messages_to_16_mib() {
        let header = |first: u8, length: u64| [&[first, 0xFF][..], &length.to_be_bytes()].concat();
        let limit = 16 << 20;
        for first in [0x81, 0x82] {
            assert_eq!(decode_under(MessageRules::ECHO, &[&header(first, limit)]).unwrap(), []);
            let violation = decode_under(MessageRules::ECHO, &[&header(first, limit + 1)]).unwrap_err();
            assert_eq!(violation.code, CloseCode::TooBig);
        }
    }

    #[test]
    fn control_frames_may_arrive_between_fragments() {
        let messages = decode(&[&frame(0x01, "hé".as_bytes()), &frame(0x89, b"p"), &frame(0x80, b"llo")]).unwrap();
        assert_eq!(messages, [ClientMessage::Ping(Bytes::from_static(b"p")), ClientMessage::Text("héllo".to_owned())]);
    }

    #[test]
    fn a_first_fragment_may_be_empty() {
        let fragments: [&[u8]; 3] = [&frame(0x01, b""), &frame(0x00, b"h"), &frame(0x80, b"i")];
        assert_eq!(decode(&fragments).unwrap(), [ClientMessage::Text("hi".to_owned())]);
    }

    #[test]
    fn a_decoder_between_messages_holds_no_memory() {
        let mut decoder = MessageDecoder::new();
        let (whole, cut) = (frame(0x81, b"hi"), [frame(0x01, b""), frame(0x80, b"hi")].concat());
        for bytes in [&whole[..], &cut[..], &[&whole[..], &cut[..]].concat()] {
            decoder.receive(Bytes::copy_from_slice(bytes));
            while decoder.next().unwrap().is_some() {}
            assert!(decoder.0.is_none(), "{decoder:?}");
        }
    }

    #[test]
    fn a_close_frame_is_decoded_with_its_code() {
        assert_eq!(decode(&[&frame(0x88, &[0x03, 0xE9])]).unwrap(), [ClientMessage::Close(Some(1001))]);
        assert_eq!(decode(&[&frame(0x88, b"")]).unwrap(), [ClientMessage::Close(None)]);
        assert_eq!(violation_code(&frame(0x88, &[0x03])), CloseCode::Protocol);
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_change_the_messages(texts in vec("\\PC{0,300}", 1..5), cuts in vec(any::<prop::sample::Index>(), 0..6)) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let expected: Vec<ClientMessage> = texts.into_iter().map(ClientMessage::Text).collect();
            prop_assert_eq!(decode(&chunks).unwrap(), expected);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(chunks in vec(vec(any::<u8>(), 0..64), 0..8)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = decode(&chunks);
        }
    }
}
