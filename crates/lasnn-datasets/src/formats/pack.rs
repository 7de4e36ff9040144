//! A pack: the decoded pixels of a data set in one file, made by this program.
//!
//! A header of 64 bytes, the pixels of the images one after the other, and the SHA-256 of all
//! before. Numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `lasnnpix` |
//! | 4 | version |
//! | 3 · 4 | channels, height, width |
//! | 8 | number of images |
//! | 32 | the key: what the pixels were made from |

use lasnn_core::Shape;

use crate::error::Flaw;

const MAGIC: [u8; 8] = *b"lasnnpix";
/// Another number makes packs of before worthless: for another layout, and for any change of how
/// images are decoded or resized, the versions of libraries included.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER: usize = 64;
/// Bytes of the checksum at the end.
pub const CHECKSUM: usize = 32;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The shape of every image.
    pub shape: Shape,
    /// How many images.
    pub images: usize,
    /// What the pixels were made from.
    pub key: [u8; 32],
}

impl Header {
    /// The bytes of the header; none where a number has no room there.
    pub fn bytes(&self) -> Option<[u8; HEADER]> {
        let Shape { channels, height, width } = self.shape;
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        for size in [channels, height, width] {
            bytes.extend(u32::try_from(size).ok()?.to_le_bytes());
        }
        bytes.extend((self.images as u64).to_le_bytes());
        bytes.extend(self.key);
        bytes.try_into().ok()
    }

    /// Bytes of all pixels; none where there are too many to count.
    pub fn pixels(&self) -> Option<usize> {
        let Shape { channels, height, width } = self.shape;
        [channels, height, width].into_iter().try_fold(self.images, usize::checked_mul)
    }

    /// Bytes of the whole file; none where there are too many to count.
    pub fn length(&self) -> Option<usize> {
        self.pixels()?.checked_add(HEADER + CHECKSUM)
    }
}

/// Reads the header of a pack that is `length` bytes long.
///
/// # Errors
///
/// Says that it is no pack, is of another version, or does not have the length that follows.
pub fn header(bytes: &[u8], length: u64) -> Result<Header, Flaw> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        let found = format!("the end of the file after {} bytes", bytes.len());
        return Err(Flaw::byte(bytes.len(), found, format!("the {HEADER} bytes of a header")));
    };
    if header[..8] != MAGIC {
        return Err(Flaw::byte(0, "another kind of file", "a pack of pixels"));
    }
    let number = |at: usize| {
        let bytes = header[at..].first_chunk().copied().unwrap_or_default();
        u32::from_le_bytes(bytes)
    };
    if number(8) != VERSION {
        let found = format!("version {}", number(8));
        return Err(Flaw::byte(8, found, format!("version {VERSION}")));
    }
    let [channels, height, width] = [12, 16, 20].map(|at| number(at) as usize);
    let images = u64::from(number(24)) | u64::from(number(28)) << 32;
    let header = Header {
        shape: Shape { channels, height, width },
        images: usize::try_from(images).unwrap_or(usize::MAX),
        key: header.last_chunk().copied().unwrap_or_default(),
    };
    match header.length() {
        Some(expected) if expected as u64 == length => Ok(header),
        _ => Err(Flaw::byte(
            12,
            format!("{images} images of {} in a file of {length} bytes", header.shape),
            "as many bytes as they take",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER_OF_TWO: Header =
        Header { shape: Shape { channels: 3, height: 4, width: 5 }, images: 2, key: [7; 32] };

    #[test]
    fn a_header_comes_back() {
        let bytes = HEADER_OF_TWO.bytes().unwrap();
        assert_eq!(header(&bytes, 64 + 120 + 32).unwrap(), HEADER_OF_TWO);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let check = |spoil: &dyn Fn(&mut Vec<u8>), message: &str| {
            let mut bytes = HEADER_OF_TWO.bytes().unwrap().to_vec();
            spoil(&mut bytes);
            assert_eq!(header(&bytes, 216).unwrap_err().to_string(), message);
        };
        check(
            &|bytes| bytes.truncate(63),
            "byte 63: found the end of the file after 63 bytes, expected the 64 bytes of a header",
        );
        check(
            &|bytes| bytes[0] = 0,
            "byte 0: found another kind of file, expected a pack of pixels",
        );
        check(&|bytes| bytes[8] = 9, "byte 8: found version 9, expected version 1");
        check(
            &|bytes| bytes[24] = 3,
            "byte 12: found 3 images of 3x4x5 in a file of 216 bytes, expected as many bytes as they \
             take",
        );
        check(
            &|bytes| bytes[12..32].fill(255),
            "byte 12: found 18446744073709551615 images of 4294967295x4294967295x4294967295 in a \
             file of 216 bytes, expected as many bytes as they take",
        );
    }
}
