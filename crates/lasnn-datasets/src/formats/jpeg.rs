//! JPEG files, decoded strictly.
//!
//! A lenient decoder paints missing pixels grey. So `zune-jpeg` runs in its strict mode here, and
//! the file must have an end marker after the start of its pixel data.
//!
//! One kind of damage is usually not found: strict mode reads zeros where pixel data end too early.
//! A file that has lost a part of its pixel data but not its end marker is accepted in most cases,
//! and its last pixels are wrong. A file that was cut off has lost its end marker, too, and is
//! refused.

use image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Decodes a JPEG file: a grey file to a grey image, every other file to red, green and blue. The
/// caller checks the size in the header first.
///
/// # Errors
///
/// Returns the decoder's description of what is wrong with the file.
pub(super) fn decode(bytes: &[u8]) -> Result<DynamicImage, DecodeErrors> {
    if !has_end_marker(bytes) {
        return Err(DecodeErrors::FormatStatic("the end marker is missing"));
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers()?;
    let colours = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(colours));
    let pixels = decoder.decode()?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (width as u32, height as u32);
    let image = match colours {
        ColorSpace::Luma => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    image.ok_or(DecodeErrors::FormatStatic("the number of pixels does not match the header"))
}

/// Whether an end marker follows the start of the pixel data. Bytes after the end marker, which
/// some cameras and programs leave there, are allowed.
///
/// In pixel data, the byte 255 is followed by 0 or by a marker, so no pixel looks like an end
/// marker.
pub fn has_end_marker(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(&[0xFF, 0xD8]) else { return false };
    // Header segments are skipped by their length: a preview image in one has its own end marker.
    loop {
        rest = match rest {
            [0xFF, 0xFF, ..] => &rest[1..],
            [0xFF, 0xDA, after @ ..] => return after.windows(2).any(|pair| pair == [0xFF, 0xD9]),
            [0xFF, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                match rest.get(2 + length..) {
                    Some(next) if length >= 2 => next,
                    _ => return false,
                }
            }
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of several scans; its colours have half the resolution.
    const PROGRESSIVE: &[u8] = include_bytes!("../../fuzz/seeds/jpeg/good-progressive");
    /// Of one scan, with a restart marker after every unit.
    const RESTARTS: &[u8] = include_bytes!("../../fuzz/seeds/jpeg/good-restarts");

    #[test]
    fn pixels_are_those_of_the_lenient_decoder() {
        for bytes in [PROGRESSIVE, RESTARTS] {
            let expected = image::load_from_memory(bytes).unwrap();
            assert_eq!(decode(bytes).unwrap(), expected);
            assert_eq!(decode(&[bytes, b"more"].concat()).unwrap(), expected);
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        for bytes in [PROGRESSIVE, RESTARTS] {
            let end = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xD9]).unwrap();
            for length in 0..end + 2 {
                assert!(decode(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn the_end_marker_of_a_preview_is_not_the_end_of_the_file() {
        let header = [0xFF, 0xD8, 0xFF, 0xE1, 0, 4, 0xFF, 0xD9];
        let pixels = [0xFF, 0xFF, 0xDA, 0, 3, 0, 1, 2, 0xFF, 0, 3];
        assert!(!has_end_marker(&header));
        assert!(!has_end_marker(&[&header[..], &pixels].concat()));
        assert!(has_end_marker(&[&header[..], &pixels, &[0xFF, 0xD9]].concat()));
        assert!(has_end_marker(&[&header[..], &pixels, &[0xFF, 0xD9, 0, 0]].concat()));
        assert!(!has_end_marker(&[&header[..], &[7, 7], &pixels, &[0xFF, 0xD9]].concat()));
        for bytes in [&b""[..], &[0xFF], &[0xFF, 0xD8, 0xFF, 0xDA, 0], &[0xFF, 0xD8, 0xFF, 0xE1]] {
            assert!(!has_end_marker(bytes), "{bytes:?}");
        }
    }
}
