//! Bytes of a client in, messages out. Pure: both transports use it.

use actix_http::ws::{Codec, Frame, Item};
use bytes::{Bytes, BytesMut};
use trunkline_domain::CloseCode;
// The decoder trait that actix-http's codec implements.
use tokio_util::codec::Decoder as _;

use super::guard::{MAX_MESSAGE, Violation, judge};

/// The receiving half of a WebSocket. Holds at most one message of 16 KiB and what one read brought beyond it; an idle
/// one holds nothing.
#[derive(Debug)]
pub(crate) struct Inbound(Option<Box<Unfinished>>);

/// What came and is not a whole message yet.
#[derive(Debug)]
struct Unfinished {
    buffer: BytesMut,
    /// Knows whether a message in several frames is under way.
    codec: Codec,
    /// The beginning of that message, which may be empty.
    fragments: Option<BytesMut>,
}

/// One thing that a client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A text message.
    Text(String),
    /// A WebSocket ping, to be answered with its payload.
    Ping(Bytes),
    /// A WebSocket pong.
    Pong,
    /// The client closes, perhaps with a code.
    Close(Option<u16>),
}

impl Inbound {
    /// Nothing received yet.
    pub(crate) fn new() -> Self {
        Self(None)
    }

    /// Bytes came.
    pub(crate) fn receive(&mut self, bytes: Bytes) {
        let Unfinished { buffer, .. } = &mut **self.0.get_or_insert_with(Box::default);
        if buffer.is_empty() {
            *buffer = BytesMut::from(bytes);
        } else {
            buffer.extend_from_slice(&bytes);
        }
    }

    /// The next whole message; `None` until more bytes come.
    ///
    /// # Errors
    /// What the client may not do; nothing that follows on this socket is to be believed.
    pub(crate) fn next(&mut self) -> Result<Option<Input>, Violation> {
        let Some(unfinished) = &mut self.0 else { return Ok(None) };
        let input = unfinished.next()?;
        if input.is_none() && unfinished.buffer.is_empty() && unfinished.fragments.is_none() {
            self.0 = None;
        }
        Ok(input)
    }
}

impl Default for Unfinished {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), codec: Codec::new().max_size(MAX_MESSAGE), fragments: None }
    }
}

impl Unfinished {
    fn next(&mut self) -> Result<Option<Input>, Violation> {
        loop {
            judge(&self.buffer, self.fragments.as_ref().map_or(0, BytesMut::len))?;
            let frame = self.codec.decode(&mut self.buffer).map_err(|_| Violation {
                code: CloseCode::Protocol,
                reason: "the bytes are no valid WebSocket frame",
            })?;
            let input = match frame {
                None => {
                    if self.buffer.is_empty() {
                        self.buffer = BytesMut::new();
                    }
                    return Ok(None);
                }
                Some(Frame::Text(bytes)) => Input::Text(utf8(bytes.into())?),
                Some(Frame::Continuation(item)) => match self.assemble(item)? {
                    Some(text) => Input::Text(text),
                    None => continue,
                },
                Some(Frame::Ping(payload)) => Input::Ping(payload),
                Some(Frame::Pong(_)) => Input::Pong,
                Some(Frame::Close(reason)) => Input::Close(reason.map(|reason| reason.code.into())),
                Some(Frame::Binary(_)) => return Err(Violation { code: CloseCode::Unsupported, reason: "text only" }),
            };
            return Ok(Some(input));
        }
    }

    /// Adds a fragment (RFC 6455 section 5.4); the whole text with the last one.
    fn assemble(&mut self, item: Item) -> Result<Option<String>, Violation> {
        match item {
            Item::FirstText(bytes) | Item::Continue(bytes) => {
                self.fragments.get_or_insert_default().extend_from_slice(&bytes);
                Ok(None)
            }
            Item::Last(bytes) => {
                let mut whole = self.fragments.take().unwrap_or_default();
                whole.extend_from_slice(&bytes);
                utf8(whole.into()).map(Some)
            }
            Item::FirstBinary(_) => Err(Violation { code: CloseCode::Unsupported, reason: "text frames only" }),
        }
    }
}

/// A text message is UTF-8 (RFC 6455 section 8.1).
fn utf8(bytes: Vec<u8>) -> Result<String, Violation> {
    String::from_utf8(bytes).map_err(|_| Violation { code: CloseCode::InvalidUtf8, reason: "a text frame is UTF-8" })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A masked frame as a client sends it.
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

    fn feed(chunks: &[&[u8]]) -> Result<Vec<Input>, Violation> {
        let mut inbound = Inbound::new();
        let mut inputs = Vec::new();
        for chunk in chunks {
            inbound.receive(Bytes::copy_from_slice(chunk));
            while let Some(input) = inbound.next()? {
                inputs.push(input);
            }
        }
        Ok(inputs)
    }

    fn refusal(bytes: &[u8]) -> CloseCode {
        feed(&[bytes]).unwrap_err().code
    }

    #[test]
    fn what_rfc_6455_forbids_is_refused_with_its_code() {
        let unmasked = [0x81, 2, b'h', b'i'];
        let table: [(&str, Vec<u8>, CloseCode); 11] = [
            ("unmasked (5.1)", unmasked.to_vec(), CloseCode::Protocol),
            ("reserved bit (5.2)", frame(0xC1, b"hi"), CloseCode::Protocol),
            ("opcode 3 (5.2)", frame(0x83, b""), CloseCode::Protocol),
            ("opcode 11 (5.2)", frame(0x8B, b""), CloseCode::Protocol),
            ("fragmented ping (5.5)", frame(0x09, b""), CloseCode::Protocol),
            ("long ping (5.5)", frame(0x89, &[0; 126]), CloseCode::Protocol),
            ("continuation of nothing (5.4)", frame(0x80, b"x"), CloseCode::Protocol),
            ("binary (ours)", frame(0x82, b"x"), CloseCode::Unsupported),
            ("fragmented binary (ours)", frame(0x02, b"x"), CloseCode::Unsupported),
            ("not UTF-8 (8.1)", frame(0x81, &[0xC3, 0x28]), CloseCode::InvalidUtf8),
            ("too big (ours)", frame(0x81, &[b'x'; MAX_MESSAGE + 1]), CloseCode::TooBig),
        ];
        for (what, bytes, code) in table {
            assert_eq!(refusal(&bytes), code, "{what}");
        }
    }

    #[test]
    fn a_giant_is_refused_by_its_header_alone() {
        let mut header = vec![0x81, 0xFF];
        header.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        assert_eq!(refusal(&header), CloseCode::TooBig);
    }

    #[test]
    fn fragments_count_together() {
        let half = vec![b'x'; MAX_MESSAGE / 2 + 1];
        assert_eq!(feed(&[&frame(0x01, &half), &frame(0x80, &half)]).unwrap_err().code, CloseCode::TooBig);
    }

    #[test]
    fn a_text_started_anew_before_its_last_fragment_is_refused() {
        assert_eq!(feed(&[&frame(0x01, b"a"), &frame(0x81, b"b")]).unwrap_err().code, CloseCode::Protocol);
    }

    #[test]
    fn control_frames_come_between_fragments() {
        let inputs = feed(&[&frame(0x01, "hé".as_bytes()), &frame(0x89, b"p"), &frame(0x80, b"llo")]).unwrap();
        assert_eq!(inputs, [Input::Ping(Bytes::from_static(b"p")), Input::Text("héllo".to_owned())]);
    }

    #[test]
    fn a_first_fragment_may_be_empty() {
        let fragments: [&[u8]; 3] = [&frame(0x01, b""), &frame(0x00, b"h"), &frame(0x80, b"i")];
        assert_eq!(feed(&fragments).unwrap(), [Input::Text("hi".to_owned())]);
    }

    #[test]
    fn an_idle_one_holds_nothing() {
        let mut inbound = Inbound::new();
        let (whole, cut) = (frame(0x81, b"hi"), [frame(0x01, b""), frame(0x80, b"hi")].concat());
        for bytes in [&whole[..], &cut[..], &[&whole[..], &cut[..]].concat()] {
            inbound.receive(Bytes::copy_from_slice(bytes));
            while inbound.next().unwrap().is_some() {}
            assert!(inbound.0.is_none(), "{inbound:?}");
        }
    }

    #[test]
    fn a_close_gives_its_code() {
        assert_eq!(feed(&[&frame(0x88, &[0x03, 0xE9])]).unwrap(), [Input::Close(Some(1001))]);
        assert_eq!(feed(&[&frame(0x88, b"")]).unwrap(), [Input::Close(None)]);
        assert_eq!(refusal(&frame(0x88, &[0x03])), CloseCode::Protocol);
    }

    proptest! {
        #[test]
        fn the_cut_of_the_bytes_does_not_matter(texts in vec("\\PC{0,300}", 1..5), cuts in vec(any::<prop::sample::Index>(), 0..6)) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let expected: Vec<Input> = texts.into_iter().map(Input::Text).collect();
            prop_assert_eq!(feed(&chunks).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(chunks in vec(vec(any::<u8>(), 0..64), 0..8)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = feed(&chunks);
        }
    }
}
