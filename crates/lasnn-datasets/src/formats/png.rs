//! Whether a PNG file is complete. Decoders stop after the last pixel and do not notice a missing
//! end chunk.

/// Whether the chunks of a PNG file continue to the end chunk `IEND`. Bytes after it, which some
/// programs leave there, are allowed. The decoder checks the contents of the chunks.
pub fn is_complete(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(b"\x89PNG\r\n\x1A\n") else { return false };
    // A chunk consists of its length, its name, its contents and a checksum of four bytes.
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
    fn the_end_chunk_must_be_complete() {
        let mut bytes = b"\x89PNG\r\n\x1A\n".to_vec();
        bytes.extend(b"\0\0\0\x04IDATIEND????");
        let without_end = bytes.len();
        bytes.extend(b"\0\0\0\0IEND????");
        assert!(is_complete(&bytes));
        for length in 0..bytes.len() {
            assert!(!is_complete(&bytes[..length]), "{length} of {without_end} + 12 bytes");
        }
        bytes.extend(b"more");
        assert!(is_complete(&bytes));
        bytes[8] = 0xFF;
        assert!(!is_complete(&bytes), "a chunk that is longer than the file");
    }
}
