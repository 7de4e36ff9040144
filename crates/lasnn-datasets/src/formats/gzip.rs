//! Gzip files that are small when unpacked.

use std::io::Read;

use flate2::bufread::GzDecoder;

use crate::error::Flaw;
use crate::read;

/// Unpacks a gzip file with one member of at most `longest` bytes. Whatever size the file claims,
/// at most `longest + 1` bytes are unpacked.
///
/// # Errors
///
/// Fails if the bytes are not a gzip file, are damaged, end early, continue after the end of the
/// gzip file, or unpack to more than `longest` bytes.
pub fn gunzip(bytes: &[u8], longest: usize) -> Result<Vec<u8>, Flaw> {
    let mut decoder = GzDecoder::new(bytes);
    // Deflate expands a byte to at most 1,032 bytes, so a small file reserves little memory.
    let known = bytes.len().saturating_mul(1032) as u64;
    let unpacked = read::read_from(decoder.by_ref(), longest, known).map_err(|error| {
        Flaw::file(format!("gzip data that cannot be unpacked ({error})"), "a complete gzip file")
    })?;
    read::check_length(&unpacked, longest)?;
    let rest = decoder.into_inner().len();
    if rest > 0 {
        let found = format!("{rest} more bytes");
        return Err(Flaw::byte(bytes.len() - rest, found, "the end of the gzip file"));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn refuses(bytes: &[u8], longest: usize, message: &str) {
        let error = gunzip(bytes, longest).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn packed_bytes_are_restored() {
        for bytes in [&b""[..], &b"x"[..], &[7; 100_000][..]] {
            assert_eq!(gunzip(&gzip(bytes), bytes.len()).unwrap(), bytes);
        }
    }

    #[test]
    fn a_bomb_is_unpacked_no_further_than_allowed() {
        let bomb = gzip(&vec![0; 5_000_000]);
        assert!(bomb.len() < 6_000);
        refuses(&bomb, 1000, "byte 1000: found byte 0, expected the end of the file after at most");
    }

    #[test]
    fn damage_is_noticed() {
        let complete = gzip(b"some text that is worth packing, packing, packing");
        for end in 0..complete.len() {
            refuses(&complete[..end], 100, "expected a complete gzip file");
        }
        let mut changed = complete.clone();
        let checksum = changed.len() - 8;
        changed[checksum] ^= 1;
        refuses(&changed, 100, "expected a complete gzip file");
        refuses(b"no gzip file", 100, "expected a complete gzip file");
        refuses(
            &[&complete[..], b"and more"].concat(),
            100,
            "found 8 more bytes, expected the end",
        );
    }
}
