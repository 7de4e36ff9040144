//! Small images in files, for tests.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb};

use super::Keeping;

/// An image of one colour that `seed` decides, encoded as the end of `name` says.
pub(crate) fn encoded(name: &str, height: u32, width: u32, seed: u8) -> Vec<u8> {
    let image = ImageBuffer::from_pixel(width, height, Rgb([seed, seed / 2, 255 - seed]));
    encode(image.into(), name)
}

/// The same in grey.
pub(crate) fn grey(name: &str, height: u32, width: u32, seed: u8) -> Vec<u8> {
    encode(ImageBuffer::from_pixel(width, height, Luma([seed])).into(), name)
}

fn encode(image: DynamicImage, name: &str) -> Vec<u8> {
    let format = ImageFormat::from_path(name).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Writes a file and the folders above it.
pub(crate) fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Packs are kept in `cache_dir`, and nobody wants to know about progress.
pub(crate) fn keeping(cache_dir: &Path) -> Keeping<'_> {
    Keeping { cache_dir, again: false, progress: None }
}
