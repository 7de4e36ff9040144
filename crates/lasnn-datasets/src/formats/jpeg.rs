//! Whether a JPEG is whole. Decoders are lenient: they paint what is missing grey.

/// Whether a JPEG's end mark comes after its pixels began. Bytes behind it, which some cameras and
/// programs leave there, do no harm.
///
/// Within pixels the byte 255 is followed by 0 or a mark, so the end mark cannot be a part of them.
pub fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = match bytes {
        [0xFF, 0xD8, rest @ ..] => rest,
        _ => return false,
    };
    // The parts of the header, each with its length; a preview in one of them has an end of its own.
    loop {
        match rest {
            // Bytes that fill up, and marks without a part.
            [0xFF, 0xFF, ..] => rest = &rest[1..],
            [0xFF, 0x01 | 0xD0..=0xD7, after @ ..] => rest = after,
            [0xFF, mark, high, low, ..] => {
                let length = 2 + usize::from(u16::from_be_bytes([*high, *low]));
                let Some(after) = rest.get(length..) else { return false };
                if *mark == 0xDA {
                    return after.windows(2).any(|pair| pair == [0xFF, 0xD9]);
                }
                rest = after;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_preview_is_not_the_end() {
        let header = [0xFF, 0xD8, 0xFF, 0xE1, 0, 4, 0xFF, 0xD9];
        let pixels = [0xFF, 0xFF, 0xDA, 0, 3, 0, 1, 2, 0xFF, 0, 3];
        assert!(!is_whole(&header));
        assert!(!is_whole(&[&header[..], &pixels].concat()));
        assert!(is_whole(&[&header[..], &pixels, &[0xFF, 0xD9]].concat()));
        assert!(is_whole(&[&header[..], &pixels, &[0xFF, 0xD9, 0, 0]].concat()));
        assert!(!is_whole(&[&header[..], &[7, 7], &pixels, &[0xFF, 0xD9]].concat()));
        assert!(!is_whole(b"") && !is_whole(&[0xFF]) && !is_whole(&[0xFF, 0xD8, 0xFF, 0xDA, 0]));
    }
}
