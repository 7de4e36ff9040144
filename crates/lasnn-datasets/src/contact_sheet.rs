//! Some images of every class on one sheet, to look at before training on them.
//!
//! Each class has a strip of images side by side; strips follow each other from left to right and from
//! top to bottom in the order of the classes.
//!
//! A sheet of large images or many classes would be larger than anybody can look at, and than memory
//! is. Its images are made smaller then, and fewer for each class.

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

/// No sheet has more pixels: 100 MB of them.
const MOST_PIXELS: usize = 1 << 25;

/// Images keep about this side, if they have it, as long as one of each class has room.
const LEGIBLE_SIDE: usize = 64;

/// Nothing could be seen on images that are made smaller than this.
const LEAST_SIDE: usize = 8;

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
///
/// # Errors
///
/// Fails if there are so many classes that not even one small image of each has room.
pub fn contact_sheet(
    images: &Images,
    indices: &[u32],
    classes: usize,
) -> Result<ContactSheet, DatasetError> {
    let layout = Layout::new(images.shape, classes, MOST_PIXELS)?;
    Ok(fill(&layout, images, indices))
}

fn fill(layout: &Layout, images: &Images, indices: &[u32]) -> ContactSheet {
    let mut sheet = layout.empty();
    let mut found = vec![0; layout.classes];
    for &index in indices {
        let class = images.labels[index as usize] as usize;
        if found[class] < layout.per_class {
            sheet.draw(layout.place(class, found[class]), images, index as usize, layout);
            found[class] += 1;
        }
    }
    sheet
}

/// Where images go.
struct Layout {
    shape: Shape,
    classes: usize,
    /// How often each pixel is there, across and down.
    zoom: usize,
    /// Of so many pixels one is shown, across and down.
    step: usize,
    per_class: usize,
    strips: usize,
}

impl Layout {
    /// The usual layout, or the first one with at most `most` pixels: smaller images before fewer of
    /// them, as long as they are legible, and after that smaller ones still.
    fn new(shape: Shape, classes: usize, most: usize) -> Result<Self, DatasetError> {
        let [least, largest] = [shape.height.min(shape.width), shape.height.max(shape.width)];
        let zoom = (SMALLEST_SIDE / least.max(1)).max(1);
        let usual = if classes <= COLUMNS { 10 } else { 4 };
        let tries = [(usual, LEGIBLE_SIDE), (2, LEGIBLE_SIDE), (1, LEGIBLE_SIDE), (1, LEAST_SIDE)];
        for (per_class, side) in tries {
            let strips = if classes <= COLUMNS { 1 } else { COLUMNS / per_class };
            for step in 1..=(largest / side).max(1) {
                let zoom = if step == 1 { zoom } else { 1 };
                let layout = Self { shape, classes, zoom, step, per_class, strips };
                if layout.pixels().is_some_and(|pixels| pixels <= most) {
                    return Ok(layout);
                }
            }
        }
        Err(DatasetError::Sheet { classes, shape, most })
    }

    /// Width and height of an image as it is shown.
    fn image(&self) -> [usize; 2] {
        [self.shape.width, self.shape.height].map(|side| side.div_ceil(self.step) * self.zoom)
    }

    /// The same with the gap behind it.
    fn cell(&self) -> [usize; 2] {
        self.image().map(|side| side + GAP)
    }

    fn strip(&self) -> usize {
        self.per_class * self.cell()[0] + GAP
    }

    /// Width and height of the sheet; none that no number can say.
    fn size(&self) -> Option<[usize; 2]> {
        let rows = self.classes.div_ceil(self.strips).checked_mul(self.cell()[1]);
        Some([self.strips * self.strip(), rows?.checked_add(GAP)?])
    }

    fn pixels(&self) -> Option<usize> {
        let [width, height] = self.size()?;
        width.checked_mul(height)
    }

    fn empty(&self) -> ContactSheet {
        let [width, height] = self.size().unwrap_or_default();
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
    fn draw(&mut self, [left, top]: [usize; 2], images: &Images, index: usize, layout: &Layout) {
        let Shape { channels, height, width } = images.shape;
        let (image, [across, down]) = (images.image(index), layout.image());
        let from = |at: usize| at / layout.zoom * layout.step;
        for y in 0..down {
            for x in 0..across {
                let to = ((top + y) * self.width + left + x) * 3;
                for (colour, to) in self.pixels[to..to + 3].iter_mut().enumerate() {
                    // Grey images show their one channel three times.
                    let channel = colour.min(channels - 1);
                    *to = image[(channel * height + from(y)) * width + from(x)];
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
        let side = |pixels: usize| u32::try_from(pixels).map_err(io::Error::other);
        let (width, height) = (side(self.width)?, side(self.height)?);
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

    fn contact_sheet(images: &Images, indices: &[u32], classes: usize) -> ContactSheet {
        super::contact_sheet(images, indices, classes).unwrap()
    }

    #[test]
    fn many_large_images_make_no_huge_sheet() {
        let shape = |side| Shape { channels: 3, height: side, width: side };
        // Tiny ImageNet: all images at their size.
        let layout = Layout::new(shape(64), 200, MOST_PIXELS).unwrap();
        assert_eq!((layout.per_class, layout.step), (4, 1));
        for (classes, per_class, step) in [(10, 10, 2), (100, 4, 4), (2000, 2, 12), (20_000, 1, 28)]
        {
            let layout = Layout::new(shape(1024), classes, MOST_PIXELS).unwrap();
            assert!(layout.pixels().unwrap() <= MOST_PIXELS);
            assert_eq!((layout.per_class, layout.step), (per_class, step), "{classes} classes");
        }
        let error = Layout::new(shape(1024), 1_000_000, MOST_PIXELS).err().unwrap().to_string();
        assert_eq!(
            error,
            "no contact sheet has room for an image of 3x1024x1024 for each of 1000000 classes, \
             expected so few that 33554432 pixels are enough"
        );
        assert!(Layout::new(shape(1024), usize::MAX, MOST_PIXELS).is_err());
    }

    #[test]
    fn images_that_are_made_smaller_show_every_so_many_pixels() {
        let shape = Shape { channels: 1, height: 130, width: 129 };
        let pixels: Vec<u8> = (0..shape.len()).map(|at| (at % 129 + at / 129) as u8).collect();
        let images = Images { pixels: pixels.into(), labels: vec![0], shape };
        let layout = Layout::new(shape, 1, 60_000).unwrap();
        assert_eq!((layout.per_class, layout.step), (10, 2));
        let sheet = fill(&layout, &images, &[0]);
        assert_eq!((sheet.width, sheet.height), (10 * 67 + 2, 67 + 2));
        for (x, y) in [(0, 0), (1, 0), (64, 64)] {
            assert_eq!(pixel(&sheet, 2 + x, 2 + y), [(2 * x + 2 * y) as u8; 3]);
        }
        assert_eq!(pixel(&sheet, 67, 2), [BACKGROUND; 3]);
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
