//! A picture with some images of every class, to look at before training on them.

use std::io::Cursor;
use std::path::Path;

use image::imageops::{FilterType, replace, resize};
use image::{ImageFormat, Rgb, RgbImage};
use lasnn_core::Shape;

use crate::dataset::Images;
use crate::error::DatasetError;
use crate::write::write_atomically;

/// The grey between the images.
const BACKGROUND: Rgb<u8> = Rgb([128; 3]);
/// Pixels between two images; between two classes side by side it is twice as many.
const GAP: usize = 2;
/// Images with a shorter side than this are enlarged.
const SMALLEST_SIDE: usize = 32;
/// The most pixels of a sheet; they take 200 MB.
const MOST_PIXELS: usize = 1 << 26;

/// A picture of images side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactSheet(RgbImage);

/// Puts the first images of each class among `indices` on a sheet. The place of a missing image
/// stays empty.
///
/// Up to 20 classes have a row of ten images each. More classes have four images each, five classes
/// share a row, and images are reduced to a side of 64 pixels instead of 256.
///
/// # Errors
///
/// Fails if there are so many classes that the sheet would be too large to look at.
pub fn contact_sheet(
    images: &Images,
    indices: &[u32],
    classes: usize,
) -> Result<ContactSheet, DatasetError> {
    let (per_class, across, side) = if classes <= 20 { (10, 1, 256) } else { (4, 5, 64) };
    let [width, height] = tile_size(images.shape, side);
    let strip = per_class * (width + GAP) + GAP;
    let [sheet_width, sheet_height] =
        [across * strip, classes.div_ceil(across).saturating_mul(height + GAP) + GAP];
    if sheet_width.saturating_mul(sheet_height) > MOST_PIXELS {
        return Err(DatasetError::Sheet { classes, shape: images.shape, most: MOST_PIXELS });
    }
    let mut sheet = RgbImage::from_pixel(sheet_width as u32, sheet_height as u32, BACKGROUND);
    let mut placed = vec![0; classes];
    for &index in indices {
        let class = images.labels[index as usize] as usize;
        if placed[class] < per_class {
            let x = class % across * strip + GAP + placed[class] * (width + GAP);
            let y = class / across * (height + GAP) + GAP;
            let image = picture(images, index as usize);
            // Enlarged pixels keep their edges.
            let enlarges = width > images.shape.width;
            let filter = if enlarges { FilterType::Nearest } else { FilterType::Triangle };
            let tile = resize(&image, width as u32, height as u32, filter);
            replace(&mut sheet, &tile, x as i64, y as i64);
            placed[class] += 1;
        }
    }
    Ok(ContactSheet(sheet))
}

/// Width and height of an image on the sheet: enlarged by a whole number if the image is small,
/// reduced in proportion if a side is longer than `largest`.
fn tile_size(shape: Shape, largest: usize) -> [usize; 2] {
    let zoom = (SMALLEST_SIDE / shape.height.min(shape.width).max(1)).max(1);
    let sides = [shape.width * zoom, shape.height * zoom];
    let longest = sides[0].max(sides[1]).max(largest);
    sides.map(|side| (side * largest / longest).max(1))
}

/// An image with three equal channels if it is grey.
fn picture(images: &Images, index: usize) -> RgbImage {
    let Shape { channels, height, width } = images.shape;
    let pixels = images.image(index);
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        Rgb([0, 1, 2].map(|colour: usize| pixels[colour.min(channels - 1) * height * width + at]))
    })
}

impl ContactSheet {
    /// Writes the sheet as a PNG file, completely or not at all.
    ///
    /// # Errors
    ///
    /// Names the file if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DatasetError> {
        let mut png = Cursor::new(Vec::new());
        let encoded = self.0.write_to(&mut png, ImageFormat::Png).map_err(std::io::Error::other);
        let written =
            encoded.and_then(|()| write_atomically(path, |file| file.write_all(&png.into_inner())));
        written.map_err(|source| DatasetError::Unwritable { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images whose channel `c` has the value `10 * label + c`.
    fn images(labels: &[u32], channels: usize) -> Images {
        let shape = Shape { channels, height: 16, width: 8 };
        let image =
            |&label: &u32| (0..shape.len()).map(move |at| (label * 10) as u8 + (at / 128) as u8);
        let pixels: Vec<u8> = labels.iter().flat_map(image).collect();
        Images { pixels: pixels.into(), labels: labels.to_vec(), shape }
    }

    #[track_caller]
    fn check(sheet: &ContactSheet, x: u32, y: u32, expected: [u8; 3]) {
        assert_eq!(sheet.0.get_pixel(x, y).0, expected);
    }

    #[test]
    fn every_class_has_its_row() {
        let sheet = contact_sheet(&images(&[1, 0, 1, 2], 3), &[0, 1, 2, 3], 3).unwrap();
        // Images are enlarged four times: cells of 34 by 66 pixels, ten in a row.
        assert_eq!(sheet.0.dimensions(), (342, 200));
        check(&sheet, 2, 2, [0, 1, 2]);
        check(&sheet, 2, 68, [10, 11, 12]);
        check(&sheet, 67, 131, [10, 11, 12]);
        check(&sheet, 2, 134, [20, 21, 22]);
        for (x, y) in [(0, 0), (36, 2), (34, 68), (341, 199)] {
            check(&sheet, x, y, [128; 3]);
        }
    }

    #[test]
    fn only_the_indices_are_shown_and_grey_stays_grey() {
        let sheet = contact_sheet(&images(&[0, 0, 1], 1), &[2], 2).unwrap();
        check(&sheet, 2, 2, [128; 3]);
        check(&sheet, 2, 68, [10; 3]);
    }

    #[test]
    fn many_classes_share_a_row_and_too_many_are_refused() {
        let labels: Vec<u32> = (0..25).collect();
        let sheet = contact_sheet(&images(&labels, 3), &labels, 25).unwrap();
        assert_eq!(sheet.0.dimensions(), (5 * (4 * 34 + 2), 5 * 66 + 2));
        check(&sheet, 4 * 138 + 2, 4 * 66 + 2, [240, 241, 242]);
        let error = contact_sheet(&images(&[], 3), &[], 1_000_000).unwrap_err();
        assert!(matches!(error, DatasetError::Sheet { classes: 1_000_000, .. }), "{error}");
    }

    #[test]
    fn large_images_are_reduced() {
        let shape = |height, width| Shape { channels: 3, height, width };
        assert_eq!(tile_size(shape(512, 1024), 256), [256, 128]);
        assert_eq!(tile_size(shape(64, 64), 64), [64, 64]);
        assert_eq!(tile_size(shape(1, 10_000), 64), [64, 1]);
    }

    #[test]
    fn the_file_holds_the_sheet() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("sheet.png");
        let sheet = contact_sheet(&images(&[0, 1], 3), &[0, 1], 2).unwrap();
        sheet.save(&path).unwrap();
        let read = image::load_from_memory(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read.to_rgb8(), sheet.0);
        let error = sheet.save(&folder.path().join("no/such/folder.png")).unwrap_err();
        assert!(error.to_string().contains("no/such/folder.png cannot be written"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
