//! Whether a PNG is whole. Decoders stop once they have all pixels, and never miss what is behind.

/// Whether a PNG's chunks go on to its end chunk. Bytes behind that, which some programs leave there,
/// do no harm. What is in the chunks, their checksums included, is the decoder's to check.
pub fn is_whole(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(b"\x89PNG\r\n\x1A\n") else { return false };
    // Each chunk is its length, its name, that many bytes, and a checksum of four.
    while let [a, b, c, d, name @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let end = length.checked_add(8);
        let Some(after) = end.and_then(|end| name.get(end..)) else { return false };
        if name.starts_with(b"IEND") {
            return true;
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_chunk_must_be_there_as_a_whole() {
        let mut bytes = b"\x89PNG\r\n\x1A\n".to_vec();
        bytes.extend(b"\0\0\0\x04IDATIEND????");
        let without_end = bytes.len();
        bytes.extend(b"\0\0\0\0IEND????");
        assert!(is_whole(&bytes));
        for length in 0..bytes.len() {
            assert!(!is_whole(&bytes[..length]), "{length} of {without_end} + 12 bytes");
        }
        bytes.extend(b"more");
        assert!(is_whole(&bytes));
        bytes[8] = 0xFF;
        assert!(!is_whole(&bytes), "a chunk that is longer than the file");
    }
}
