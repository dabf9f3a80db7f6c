//! The least of RFC 6455 that thousands of cheap clients need: they share a small machine with what they measure.
//! Connections are in `member.rs`.

use std::ops::Range;

/// What a text frame is.
pub(crate) const TEXT: u8 = 1;
/// The end.
pub(crate) const CLOSE: u8 = 8;
/// To be answered by a pong.
pub(crate) const PING: u8 = 9;
/// The answer.
pub(crate) const PONG: u8 = 10;

/// A frame of a server at the beginning of some bytes.
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    /// Where its payload stands.
    pub(crate) payload: Range<usize>,
}

impl Frame {
    /// None while it is not complete. Servers do not mask, and these do not split messages.
    pub(crate) fn first(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (begin, length) = match second & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
            length => (2, usize::from(length)),
        };
        let payload = begin..begin + length;
        (bytes.len() >= payload.end).then_some(Self { opcode: first & 0x0f, payload })
    }
}

/// A client's frame. Its mask is 0: nothing between here and the server is to be protected from itself.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The request for an upgrade.
pub(crate) fn request(host: &str, token: Option<&str>) -> String {
    let own = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\nSec-WebSocket-Protocol: {}\r\n", wire::SUBPROTOCOL)
    });
    format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{own}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_frames_are_found_one_after_the_other_and_only_whole_ones() {
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x81, 126, 0, 200];
        bytes.extend([b'x'; 200]);
        let first = Frame::first(&bytes).unwrap();
        assert_eq!((first.opcode, &bytes[first.payload.clone()]), (TEXT, &b"hi"[..]));
        let second = Frame::first(&bytes[first.payload.end..]).unwrap();
        assert_eq!(second.payload, 4..204);
        assert!(Frame::first(&bytes[first.payload.end..bytes.len() - 1]).is_none());
    }

    #[test]
    fn the_length_of_a_clients_frame_has_three_forms() {
        let head = |length: usize| masked(TEXT, &vec![0; length])[1..4].to_vec();
        assert_eq!(head(125)[0], 0x80 | 125);
        assert_eq!(head(126), [0x80 | 126, 0, 126]);
        assert_eq!(head(70_000)[0], 0x80 | 127);
    }
}
