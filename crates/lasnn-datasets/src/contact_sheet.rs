//! Some images of every class on one sheet, to look at before training on them.
//!
//! Each class has a strip of images side by side; strips follow each other from left to right and from
//! top to bottom in the order of the classes.

use std::io::{self, Write};
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use lasnn_core::Shape;

use crate::dataset::Images;
use crate::error::DatasetError;
use crate::write::write_whole;

/// Grey between the images.
const BACKGROUND: u8 = 128;

/// Pixels between images; strips are twice as far apart.
const GAP: usize = 2;

/// Smaller images are enlarged to about this side.
const SMALLEST_SIDE: usize = 32;

/// The sheet's images in a row, about.
const COLUMNS: usize = 20;

/// A picture of three bytes per pixel, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactSheet {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each pixel.
    pub pixels: Vec<u8>,
}

/// Puts the first images of each class among `indices` on a sheet. The place of a class with fewer
/// images than the others stays empty.
pub fn contact_sheet(images: &Images, indices: &[u32], classes: usize) -> ContactSheet {
    let layout = Layout::new(images.shape, classes);
    let mut sheet = layout.empty();
    let mut found = vec![0; classes];
    for &index in indices {
        let class = images.labels[index as usize] as usize;
        if found[class] < layout.per_class {
            sheet.draw(layout.place(class, found[class]), images, index as usize, layout.zoom);
            found[class] += 1;
        }
    }
    sheet
}

/// Where images go.
struct Layout {
    shape: Shape,
    classes: usize,
    zoom: usize,
    per_class: usize,
    strips: usize,
}

impl Layout {
    fn new(shape: Shape, classes: usize) -> Self {
        let side = shape.height.min(shape.width).max(1);
        let per_class = if classes <= COLUMNS { 10 } else { 4 };
        let strips = if classes <= COLUMNS { 1 } else { COLUMNS / per_class };
        Self { shape, classes, zoom: (SMALLEST_SIDE / side).max(1), per_class, strips }
    }

    /// Width and height of an image with the gap behind it.
    fn cell(&self) -> [usize; 2] {
        [self.shape.width, self.shape.height].map(|side| side * self.zoom + GAP)
    }

    fn strip(&self) -> usize {
        self.per_class * self.cell()[0] + GAP
    }

    fn empty(&self) -> ContactSheet {
        let width = self.strips * self.strip();
        let height = self.classes.div_ceil(self.strips) * self.cell()[1] + GAP;
        ContactSheet { width, height, pixels: vec![BACKGROUND; width * height * 3] }
    }

    /// The upper left corner of an image.
    fn place(&self, class: usize, image: usize) -> [usize; 2] {
        let [width, height] = self.cell();
        let x = class % self.strips * self.strip() + GAP + image * width;
        [x, class / self.strips * height + GAP]
    }
}

impl ContactSheet {
    fn draw(&mut self, [left, top]: [usize; 2], images: &Images, index: usize, zoom: usize) {
        let Shape { channels, height, width } = images.shape;
        let image = images.image(index);
        for y in 0..height * zoom {
            for x in 0..width * zoom {
                let to = ((top + y) * self.width + left + x) * 3;
                for (colour, to) in self.pixels[to..to + 3].iter_mut().enumerate() {
                    // Grey images show their one channel three times.
                    let channel = colour.min(channels - 1);
                    *to = image[(channel * height + y / zoom) * width + x / zoom];
                }
            }
        }
    }

    /// Writes the sheet as a PNG file, whole or not at all.
    ///
    /// # Errors
    ///
    /// Names the file if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DatasetError> {
        write_whole(path, |file| self.write(file))
            .map_err(|source| DatasetError::Unwritable { path: path.to_owned(), source })
    }

    fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        let (width, height) = (self.width as u32, self.height as u32);
        let written =
            PngEncoder::new(file).write_image(&self.pixels, width, height, ExtendedColorType::Rgb8);
        written.map_err(|error| match error {
            ImageError::IoError(error) => error,
            other => io::Error::other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of one colour each, by class.
    fn images(labels: &[u32], channels: usize) -> Images {
        let shape = Shape { channels, height: 16, width: 8 };
        let pixels = labels
            .iter()
            .flat_map(|&label| {
                (0..shape.len()).map(move |at| (label * 10) as u8 + (at / 128) as u8)
            })
            .collect::<Vec<u8>>();
        Images { pixels: pixels.into(), labels: labels.to_vec(), shape }
    }

    fn pixel(sheet: &ContactSheet, x: usize, y: usize) -> [u8; 3] {
        let at = (y * sheet.width + x) * 3;
        [sheet.pixels[at], sheet.pixels[at + 1], sheet.pixels[at + 2]]
    }

    #[test]
    fn every_class_has_its_strip() {
        let images = images(&[1, 0, 1, 2], 3);
        let sheet = contact_sheet(&images, &[0, 1, 2, 3], 3);
        // Enlarged four times: cells of 34 by 66 pixels, ten in a strip.
        assert_eq!((sheet.width, sheet.height), (342, 200));
        assert_eq!(pixel(&sheet, 2, 2), [0, 1, 2]);
        assert_eq!(pixel(&sheet, 2, 68), [10, 11, 12]);
        assert_eq!(pixel(&sheet, 36, 68), [10, 11, 12]);
        assert_eq!(pixel(&sheet, 33, 131), [10, 11, 12]);
        assert_eq!(pixel(&sheet, 2, 134), [20, 21, 22]);
        // What no image covers.
        for (x, y) in [(0, 0), (36, 2), (34, 68), (341, 199)] {
            assert_eq!(pixel(&sheet, x, y), [BACKGROUND; 3], "{x} {y}");
        }
    }

    #[test]
    fn only_the_indices_are_shown_and_grey_stays_grey() {
        let images = images(&[0, 0, 1], 1);
        let sheet = contact_sheet(&images, &[2], 2);
        assert_eq!(pixel(&sheet, 2, 2), [BACKGROUND; 3]);
        assert_eq!(pixel(&sheet, 2, 68), [10; 3]);
    }

    #[test]
    fn many_classes_share_a_row() {
        let labels: Vec<u32> = (0..25).collect();
        let indices: Vec<u32> = (0..25).collect();
        let sheet = contact_sheet(&images(&labels, 3), &indices, 25);
        // Five strips of four images in a row, five rows.
        assert_eq!((sheet.width, sheet.height), (5 * (4 * 34 + 2), 5 * 66 + 2));
        assert_eq!(pixel(&sheet, 4 * 138 + 2, 4 * 66 + 2), [240, 241, 242]);
    }

    #[test]
    fn the_file_holds_the_sheet() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("sheet.png");
        let sheet = contact_sheet(&images(&[0, 1], 3), &[0, 1], 2);
        sheet.save(&path).unwrap();
        let read = image::load_from_memory(&std::fs::read(&path).unwrap()).unwrap().to_rgb8();
        assert_eq!((read.width() as usize, read.height() as usize), (sheet.width, sheet.height));
        assert_eq!(read.into_raw(), sheet.pixels);

        let nowhere = folder.path().join("no/such/folder.png");
        let error = sheet.save(&nowhere).unwrap_err().to_string();
        assert!(error.contains("no/such/folder.png cannot be written"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
