//! Raw bytes that RFC 6455 forbids, and frames built to exhaust memory.

use super::{
    Site, Transport,
    client::{End, Person},
    generous, over_both_transports,
};

over_both_transports!(
    forbidden_frames_close_the_socket_with_their_code,
    oversized_frame_is_refused_before_it_is_buffered,
    frame_that_arrives_byte_by_byte_is_decoded,
);

async fn forbidden_frames_close_the_socket_with_their_code(transport: Transport) {
    let site = Site::start(transport, generous());
    let person = Person::log_in(&site, "ann").await;
    let table: [(&str, &[u8], u16); 5] = [
        ("unmasked", &[0x81, 0x02, b'h', b'i'], 1002),
        ("reserved bit", &[0xC1, 0x80, 0, 0, 0, 0], 1002),
        ("fragmented ping", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        ("binary", &[0x82, 0x81, 0, 0, 0, 0, 7], 1003),
        ("not UTF-8", &[0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28], 1007),
    ];
    for (what, bytes, code) in table {
        let mut peer = person.connect().await;
        peer.write(bytes).await;
        assert_eq!(peer.end().await, End::Close(code), "{what}");
    }
}

async fn oversized_frame_is_refused_before_it_is_buffered(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut peer = Person::log_in(&site, "ann").await.connect().await;
    let mut header = vec![0x81, 0xFF];
    header.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    peer.write(&header).await;
    assert_eq!(peer.end().await, End::Close(1009));
}

async fn frame_that_arrives_byte_by_byte_is_decoded(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut peer = Person::log_in(&site, "ann").await.connect().await;
    let json = br#"{"type":"join","room":"lobby"}"#;
    let mut frame = vec![0x81, 0x80 | u8::try_from(json.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(json);
    for byte in frame {
        peer.write(&[byte]).await;
    }
    assert_eq!(peer.next_of("joined").await["room"], "lobby");
}
