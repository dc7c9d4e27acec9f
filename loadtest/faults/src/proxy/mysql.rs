//! As much of the `MySQL` client protocol as it takes to see a COMMIT.
//!
//! Source: <https://mariadb.com/kb/en/0-packet/> and `COM_QUERY` there.

use bytes::{Bytes, BytesMut};

/// Three bytes of length, little-endian, and the number in the exchange.
const HEADER_BYTES: usize = 4;
/// The first byte of a text command's payload.
const COM_QUERY: u8 = 3;

/// Takes the first packet when it is there as a whole.
pub(super) fn packet(bytes: &mut BytesMut) -> Option<Bytes> {
    let [low, middle, high, _] = *bytes.first_chunk::<HEADER_BYTES>()?;
    let length = HEADER_BYTES + u32::from_le_bytes([low, middle, high, 0]) as usize;
    (bytes.len() >= length).then(|| bytes.split_to(length).freeze())
}

/// Whether it begins an exchange with a text command whose last statement is COMMIT.
pub(super) fn is_commit(packet: &[u8]) -> bool {
    match packet {
        [_, _, _, 0, COM_QUERY, text @ ..] => {
            let text = text.trim_ascii_end();
            let last = text.len().saturating_sub(b"COMMIT".len());
            text[last..].eq_ignore_ascii_case(b"COMMIT")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len() + 1).unwrap();
        [&[length, 0, 0, 0, COM_QUERY], text.as_bytes()].concat()
    }

    #[test]
    fn a_packet_is_taken_once_it_is_whole() {
        let whole = query("SELECT 1");
        let mut bytes = BytesMut::from(&whole[..whole.len() - 1]);
        assert_eq!(packet(&mut bytes), None);
        bytes.extend_from_slice(&whole[whole.len() - 1..]);
        bytes.extend_from_slice(&query("COMMIT")[..6]);
        assert_eq!(packet(&mut bytes).unwrap(), whole);
        assert_eq!((packet(&mut bytes), bytes.len()), (None, 6));
    }

    #[test]
    fn a_commit_is_a_text_command_that_ends_in_commit() {
        for text in ["COMMIT", "commit ", "UPDATE t SET a = 1; COMMIT"] {
            assert!(is_commit(&query(text)), "{text}");
        }
        for text in ["", "ROLLBACK", "SELECT 'COMMIT'", "BEGIN"] {
            assert!(!is_commit(&query(text)), "{text}");
        }
        let mut password = query("COMMIT");
        password[3] = 1;
        assert!(!is_commit(&password), "the second packet of an exchange");
    }
}
