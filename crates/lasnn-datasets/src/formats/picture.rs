//! Encoded images (PNG, JPEG and WebP), decoded into planes of bytes with a given shape.

use std::fmt::Display;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::imageops::{FilterType, resize};
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Pixel};
use lasnn_core::Shape;

use super::{jpeg, png};
use crate::error::Flaw;

/// The most rows or columns of an image that is decoded.
pub const LARGEST_SIDE: u32 = 16_384;
/// The most pixels of an image that is decoded.
pub const LARGEST_IMAGE: u64 = 1 << 26;
/// The version of the decoding rules. It increases with every change of the accepted files or of
/// the decoded pixels, so that packs made by other rules are not used. Version 3 decodes JPEG files
/// in strict mode.
pub(crate) const RULES: u32 = 3;
/// The most bytes that a decoder may allocate: eight for each pixel, enough for every format here.
const LARGEST_MEMORY: u64 = 8 * LARGEST_IMAGE;

/// The formats of image files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP, with loss or without.
    WebP,
}

impl Format {
    /// The format that the extension of a file name stands for, in upper or lower case.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }

    /// The format that the first bytes of a file stand for.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Self::Png),
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            _ => None,
        }
    }

    /// The format's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        }
    }
}

/// The form that every image of a data set is decoded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The shape, with 3 channels (red, green, blue) or 1 channel (grey).
    pub shape: Shape,
    /// Whether an image of another size is resized (without keeping its proportions) or refused.
    pub resize: bool,
}

/// Decodes a file of the format `named`, which its file name has, and writes its pixels to `out`,
/// channel by channel, row by row.
///
/// If the target has 3 channels, each of them gets the values of a grey image. If it has 1 channel,
/// a coloured image is converted to grey with the weights of Rec. 709. Values of 16 bits are
/// rounded to 8. Like torchvision's `ImageFolder`, the decoder ignores transparency, the
/// orientation and colour profiles of cameras, and all but the first picture of an animation.
/// Resizing is bilinear and averages all source pixels that a new pixel covers.
///
/// The size in the header is checked before any pixel is decoded, so an image that is too large
/// costs nothing.
///
/// # Errors
///
/// Says that the bytes have another format than `named`, that the image has a size other than that
/// of the target, that it is larger than [`LARGEST_SIDE`] or [`LARGEST_IMAGE`], or that it cannot
/// be decoded.
///
/// # Panics
///
/// Panics if the length of `out` does not match the shape.
pub fn decode(bytes: &[u8], named: Format, target: Target, out: &mut [u8]) -> Result<(), Flaw> {
    let Target { shape, resize } = target;
    assert!(out.len() == shape.len(), "{} bytes for an image of {shape}", out.len());
    match Format::of_bytes(bytes) {
        Some(format) if format == named => {}
        Some(format) => {
            let found = format!("{} data", format.name());
            return Err(Flaw::file(found, format!("{}, as the name says", named.name())));
        }
        None => {
            let found = format!("{} bytes that no {} begins with", bytes.len(), named.name());
            return Err(Flaw::file(found, format!("{}, as the name says", named.name())));
        }
    }
    let decoder = decoder(bytes, named)?;
    let (width, height) = decoder.dimensions();
    let found = || format!("an image of {height} x {width} (height x width)");
    let fits = (height as usize, width as usize) == (shape.height, shape.width);
    if !fits && !resize {
        let expected = format!("{} x {}, since images are not resized", shape.height, shape.width);
        return Err(Flaw::file(found(), expected));
    }
    if width.max(height) > LARGEST_SIDE || u64::from(width) * u64::from(height) > LARGEST_IMAGE {
        let expected = format!("at most {LARGEST_SIDE} a side and {LARGEST_IMAGE} pixels in all");
        return Err(Flaw::file(found(), expected));
    }
    if !is_complete(bytes, named) {
        return Err(undecodable(named, "it breaks off"));
    }
    let image = match named {
        Format::Jpeg => guarded(named, || jpeg::decode(bytes))?,
        _ => guarded(named, || DynamicImage::from_decoder(decoder))?,
    };
    if shape.channels == 1 {
        write_planes(&sized(image.into_luma8(), shape), out);
    } else {
        write_planes(&sized(image.into_rgb8(), shape), out);
    }
    Ok(())
}

/// Whether a file is complete, as far as its decoder does not check that itself.
fn is_complete(bytes: &[u8], format: Format) -> bool {
    match (format, bytes) {
        (Format::Png, _) => png::is_complete(bytes),
        (Format::WebP, [_, _, _, _, a, b, c, d, rest @ ..]) => {
            rest.len() as u64 >= u64::from(u32::from_le_bytes([*a, *b, *c, *d]))
        }
        (Format::WebP, _) => false,
        (Format::Jpeg, _) => true,
    }
}

/// Reads the header.
fn decoder(bytes: &[u8], format: Format) -> Result<impl ImageDecoder + '_, Flaw> {
    let image_format = match format {
        Format::Png => ImageFormat::Png,
        Format::Jpeg => ImageFormat::Jpeg,
        Format::WebP => ImageFormat::WebP,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), image_format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST_MEMORY);
    reader.limits(limits);
    guarded(format, || reader.into_decoder())
}

/// Runs a decoder and turns its panic into an error of the file. In builds with overflow checks,
/// image-webp panics on some damaged files (its issue 118).
fn guarded<T, E: Display>(
    format: Format,
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, Flaw> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(decoded) => decoded.map_err(|error| undecodable(format, error)),
        Err(_) => Err(undecodable(format, "its decoder panicked")),
    }
}

fn undecodable(format: Format, error: impl Display) -> Flaw {
    let name = format.name();
    Flaw::file(format!("a {name} that cannot be decoded ({error})"), format!("a complete {name}"))
}

type Picture<P> = ImageBuffer<P, Vec<u8>>;

fn sized<P: Pixel<Subpixel = u8> + 'static>(image: Picture<P>, shape: Shape) -> Picture<P> {
    let (width, height) = (shape.width as u32, shape.height as u32);
    if image.dimensions() == (width, height) {
        return image;
    }
    resize(&image, width, height, FilterType::Triangle)
}

fn write_planes<P: Pixel<Subpixel = u8>>(image: &Picture<P>, out: &mut [u8]) {
    let channels = usize::from(P::CHANNEL_COUNT);
    for (channel, plane) in out.chunks_exact_mut(image.as_raw().len() / channels).enumerate() {
        for (out, pixel) in plane.iter_mut().zip(image.as_raw().chunks_exact(channels)) {
            *out = pixel[channel];
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb, Rgba};

    use super::*;

    const SMALL: Shape = Shape { channels: 3, height: 2, width: 3 };

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Pixel (x, y) is (10 x, 100 y, 200).
    fn coloured() -> DynamicImage {
        ImageBuffer::from_fn(3, 2, |x, y| Rgb([10 * x as u8, 100 * y as u8, 200])).into()
    }

    fn decoded(bytes: &[u8], named: Format, shape: Shape, resize: bool) -> Result<Vec<u8>, String> {
        let mut out = vec![0; shape.len()];
        decode(bytes, named, Target { shape, resize }, &mut out)
            .map_err(|flaw| flaw.to_string())?;
        Ok(out)
    }

    #[track_caller]
    fn refuses(bytes: &[u8], named: Format, message: &str) {
        let error = decoded(bytes, named, SMALL, false).unwrap_err();
        assert!(error.contains(message), "{error}");
    }

    /// A PNG header with a size and a right checksum, but without pixels.
    fn claim(width: u32, height: u32) -> Vec<u8> {
        let chunk = |bytes: &mut Vec<u8>, content: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(content);
            bytes.extend((content.len() as u32 - 4).to_be_bytes());
            bytes.extend(content);
            bytes.extend(crc.sum().to_be_bytes());
        };
        let mut header = b"IHDR".to_vec();
        header.extend(width.to_be_bytes());
        header.extend(height.to_be_bytes());
        header.extend([8, 2, 0, 0, 0]);
        let mut bytes = b"\x89PNG\r\n\x1A\n".to_vec();
        chunk(&mut bytes, &header);
        chunk(&mut bytes, b"IDAT");
        bytes
    }

    #[test]
    fn pixels_come_out_channel_by_channel() {
        let expected = [[0, 10, 20, 0, 10, 20], [0, 0, 0, 100, 100, 100], [200; 6]].concat();
        for (format, named) in [(ImageFormat::Png, Format::Png), (ImageFormat::WebP, Format::WebP)]
        {
            let bytes = encode(coloured(), format);
            assert_eq!(decoded(&bytes, named, SMALL, false).unwrap(), expected);
        }
        let plain = ImageBuffer::from_pixel(3, 2, Rgb([90_u8, 90, 90]));
        let bytes = encode(plain, ImageFormat::Jpeg);
        let pixels = decoded(&bytes, Format::Jpeg, SMALL, false).unwrap();
        assert!(pixels.iter().all(|pixel| pixel.abs_diff(90) <= 2), "{pixels:?}");
    }

    #[test]
    fn images_are_converted_to_the_channels_of_the_target() {
        let grey = ImageBuffer::from_fn(3, 2, |x, y| Luma([(50 * x + y) as u8]));
        let one = Shape { channels: 1, ..SMALL };
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let bytes = encode(grey.clone(), format);
            let named = Format::of_bytes(&bytes).unwrap();
            let three = decoded(&bytes, named, SMALL, false).unwrap();
            let single = decoded(&bytes, named, one, false).unwrap();
            assert_eq!(three, single.repeat(3));
            if named == Format::Png {
                assert_eq!(single, [0, 50, 100, 1, 51, 101]);
            }
        }
        let white = encode(ImageBuffer::from_pixel(3, 2, Rgb([255_u8; 3])), ImageFormat::Png);
        assert_eq!(decoded(&white, Format::Png, one, false).unwrap(), [255; 6]);
    }

    #[test]
    fn sixteen_bits_and_transparency_come_down_to_eight_bits() {
        let deep = ImageBuffer::from_pixel(3, 2, Rgb([65_535_u16, 0, 257 * 77]));
        let bytes = encode(deep, ImageFormat::Png);
        let pixels = decoded(&bytes, Format::Png, SMALL, false).unwrap();
        assert_eq!(pixels, [[255; 6], [0; 6], [77; 6]].concat());
        let clear = ImageBuffer::from_pixel(3, 2, Rgba([1_u8, 2, 3, 0]));
        let bytes = encode(clear, ImageFormat::Png);
        let pixels = decoded(&bytes, Format::Png, SMALL, false).unwrap();
        assert_eq!(pixels, [[1; 6], [2; 6], [3; 6]].concat());
    }

    #[test]
    fn another_size_is_refused_or_resized() {
        let image = ImageBuffer::from_pixel(8, 6, Rgb([9_u8, 8, 7]));
        let bytes = encode(image, ImageFormat::Png);
        refuses(
            &bytes,
            Format::Png,
            "found an image of 6 x 8 (height x width), expected 2 x 3, since images are not \
             resized",
        );
        let pixels = decoded(&bytes, Format::Png, SMALL, true).unwrap();
        assert_eq!(pixels, [[9; 6], [8; 6], [7; 6]].concat());
    }

    #[test]
    fn a_huge_image_is_refused_by_its_header() {
        for resize in [false, true] {
            let error = decoded(&claim(100_000, 100_000), Format::Png, SMALL, resize).unwrap_err();
            assert!(error.contains("found an image of 100000 x 100000"), "{error}");
        }
        let error = decoded(&claim(16_384, 16_384), Format::Png, SMALL, true).unwrap_err();
        assert!(error.contains("expected at most 16384 a side and 67108864 pixels"), "{error}");
    }

    #[test]
    fn the_content_must_match_the_name() {
        let png = encode(coloured(), ImageFormat::Png);
        refuses(&png, Format::Jpeg, "found PNG data, expected JPEG, as the name says");
        refuses(b"hello", Format::WebP, "found 5 bytes that no WebP begins with, expected WebP");
        refuses(b"", Format::Png, "found 0 bytes that no PNG begins with");
        assert_eq!(Format::of_name("n01_2.JPEG"), Some(Format::Jpeg));
        assert_eq!(Format::of_name("a.tar.webp"), Some(Format::WebP));
        assert_eq!((Format::of_name("png"), Format::of_name("a.gif")), (None, None));
    }

    #[test]
    fn a_decoder_that_panics_is_an_error() {
        let flaw = guarded(Format::WebP, || -> Result<(), String> { panic!("on purpose") });
        let message = flaw.unwrap_err().to_string();
        assert!(
            message.contains("a WebP that cannot be decoded (its decoder panicked)"),
            "{message}"
        );
    }

    #[test]
    fn an_image_that_breaks_off_is_refused() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let complete = encode(coloured(), format);
            let named = Format::of_bytes(&complete).unwrap();
            for length in 0..complete.len() {
                let cut = decoded(&complete[..length], named, SMALL, false);
                assert!(cut.is_err(), "{named:?} of {length} bytes");
            }
        }
    }

    /// The lenient decoder of the crate `image` accepts this file and paints the lost pixels grey.
    #[test]
    fn a_jpeg_without_its_last_pixels_is_refused() {
        let complete = encode(coloured(), ImageFormat::Jpeg);
        assert!(decoded(&complete, Format::Jpeg, SMALL, false).is_ok());
        let cut = &complete[..complete.len() - 20];
        refuses(cut, Format::Jpeg, "a JPEG that cannot be decoded");
        assert!(image::load_from_memory(cut).is_ok());
    }
}
