//! Small images in files, for tests.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb};

use super::CacheOptions;

/// An encoded image of one colour. The seed gives the colour, the extension of `name` the format.
pub(crate) fn encoded(name: &str, height: u32, width: u32, seed: u8) -> Vec<u8> {
    let image = ImageBuffer::from_pixel(width, height, Rgb([seed, seed / 2, 255 - seed]));
    encode(image.into(), name)
}

/// Like [`encoded`], but grey.
pub(crate) fn grey(name: &str, height: u32, width: u32, seed: u8) -> Vec<u8> {
    encode(ImageBuffer::from_pixel(width, height, Luma([seed])).into(), name)
}

fn encode(image: DynamicImage, name: &str) -> Vec<u8> {
    let format = ImageFormat::from_path(name).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Writes a file and makes the folders above it.
pub(crate) fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Packs are kept in `cache_dir`, and progress is not reported.
pub(crate) fn cache_options(cache_dir: &Path) -> CacheOptions<'_> {
    CacheOptions { cache_dir, again: false, progress: None }
}
