//! Augmentation of training images: padded random crop, horizontal flip and cutout, in this order.
//!
//! Like torchvision's transforms, they act on `u8` pixels before normalisation, and the padding is
//! black. The square of the cutout has the middle value 128. The normalisation `signed` makes it
//! almost zero, so a Poisson encoder sends no spikes there.

use lasnn_core::random::{Draws, below};
use lasnn_core::{Seed, Shape, Stream};
use serde::{Deserialize, Serialize};

use crate::error::DatasetError;

/// How training images are augmented: the table `augment` in `data`. By default they are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// The width in pixels of the black padding from which a random crop of the image's size is
    /// taken; 0 for no crop.
    pub crop_padding: usize,
    /// Whether images are mirrored left to right with probability 1/2.
    pub flip: bool,
    /// The side in pixels of a grey square around a random pixel, clipped at the image's edge
    /// (DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    /// 2017); 0 for no square.
    pub cutout: usize,
}

/// The value of the pixels in the square.
const MID: u8 = 128;

impl AugmentConfig {
    /// Checks that a part of the image remains.
    pub(crate) fn validate(&self, shape: Shape) -> Result<(), DatasetError> {
        let side = shape.height.min(shape.width);
        for (key, value) in
            [("augment.crop_padding", self.crop_padding), ("augment.cutout", self.cutout)]
        {
            if value > 0 && value >= side {
                let expected = format!("less than {side}, the smaller side of a {shape} image");
                return Err(DatasetError::config(key, value, expected));
            }
        }
        Ok(())
    }

    /// Draws the variation of `sample` in `epoch`. Each operation has its own random numbers, so
    /// enabling one does not change the others.
    pub(crate) fn draw(&self, shape: Shape, seed: Seed, epoch: u32, sample: u32) -> Variation {
        let draws: Draws = seed.draws(Stream::Augment, [epoch, sample, 0]);
        let [down, right, flip, _] = draws.block(0);
        let [row, column, ..] = draws.block(1);
        let offset = |bits| {
            below(bits, 2 * self.crop_padding as u32 + 1) as isize - self.crop_padding as isize
        };
        let centre = |bits, size| below(bits, size as u32) as usize;
        Variation {
            down: offset(down),
            right: offset(right),
            flip: self.flip && below(flip, 2) == 1,
            cutout: (self.cutout > 0)
                .then(|| (centre(row, shape.height), centre(column, shape.width), self.cutout)),
        }
    }
}

/// One drawn variation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variation {
    /// Pixel (y, x) is taken from (y + down, x + right); it is black if that is outside the image.
    down: isize,
    right: isize,
    flip: bool,
    /// The row and column of the centre of the square, and its side.
    cutout: Option<(usize, usize, usize)>,
}

impl Variation {
    /// Writes the variation of `image` to `out`; both have the shape `shape`.
    pub(crate) fn apply(&self, image: &[u8], shape: Shape, out: &mut [u8]) {
        let Shape { height, width, .. } = shape;
        let plane = height * width;
        let columns = overlap(self.right, width);
        for (image, out) in image.chunks_exact(plane).zip(out.chunks_exact_mut(plane)) {
            for (y, out) in out.chunks_exact_mut(width).enumerate() {
                out.fill(0);
                let row = y as isize + self.down;
                if (0..height as isize).contains(&row) && !columns.is_empty() {
                    let from = row as usize * width;
                    let start = (columns.start as isize + self.right) as usize;
                    let source = &image[from + start..from + start + columns.len()];
                    out[columns.clone()].copy_from_slice(source);
                }
                if self.flip {
                    out.reverse();
                }
            }
            if let Some((row, column, side)) = self.cutout {
                let columns = square(column, side, width);
                for y in square(row, side, height) {
                    out[y * width..][columns.clone()].fill(MID);
                }
            }
        }
    }
}

/// The `x` in `0..size` for which `x + offset` is in `0..size`, too.
fn overlap(offset: isize, size: usize) -> std::ops::Range<usize> {
    let gap = offset.unsigned_abs().min(size);
    if offset < 0 { gap..size } else { 0..size - gap }
}

/// The `side` pixels around `centre`, clipped to `0..size`.
fn square(centre: usize, side: usize, size: usize) -> std::ops::Range<usize> {
    let end = (centre + side).saturating_sub(side / 2).min(size);
    centre.saturating_sub(side / 2)..end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STILL: Variation = Variation { down: 0, right: 0, flip: false, cutout: None };

    #[track_caller]
    fn check(variation: Variation, expected: [u8; 12]) {
        let image = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let mut out = [99; 12];
        variation.apply(&image, Shape { channels: 1, height: 3, width: 4 }, &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn each_operation_is_applied() {
        check(STILL, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        check(Variation { down: 1, right: -2, ..STILL }, [0, 0, 5, 6, 0, 0, 9, 10, 0, 0, 0, 0]);
        check(Variation { flip: true, ..STILL }, [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9]);
        check(
            Variation { cutout: Some((1, 1, 2)), ..STILL },
            [128, 128, 3, 4, 128, 128, 7, 8, 9, 10, 11, 12],
        );
        check(
            Variation { cutout: Some((2, 3, 3)), ..STILL },
            [1, 2, 3, 4, 5, 6, 128, 128, 9, 10, 128, 128],
        );
    }

    #[test]
    fn crops_reach_every_offset_and_flips_half_of_the_images() {
        let config = AugmentConfig { crop_padding: 2, flip: true, cutout: 0 };
        let shape = Shape { channels: 1, height: 8, width: 8 };
        let drawn: Vec<Variation> =
            (0..2000).map(|sample| config.draw(shape, Seed(1), 0, sample)).collect();
        for offset in -2..=2 {
            let share = |of: fn(&Variation) -> isize| {
                drawn.iter().filter(|variation| of(variation) == offset).count()
            };
            assert!((300..500).contains(&share(|v| v.down)));
            assert!((300..500).contains(&share(|v| v.right)));
        }
        assert!((900..1100).contains(&drawn.iter().filter(|variation| variation.flip).count()));
        assert!(drawn.iter().all(|variation| variation.cutout.is_none()));
    }

    #[test]
    fn the_draw_depends_on_seed_epoch_and_sample() {
        let config = AugmentConfig { crop_padding: 100, flip: false, cutout: 3 };
        let shape = Shape { channels: 1, height: 200, width: 200 };
        let first = config.draw(shape, Seed(1), 2, 3);
        assert_eq!(first, config.draw(shape, Seed(1), 2, 3));
        for (seed, epoch, sample) in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            assert_ne!(first, config.draw(shape, Seed(seed), epoch, sample));
        }
        let without = AugmentConfig { cutout: 0, ..config }.draw(shape, Seed(1), 2, 3);
        assert_eq!((first.down, first.right), (without.down, without.right));
    }

    proptest! {
        #[test]
        fn no_operation_invents_pixels(
            (height, width) in (1_usize..9, 1_usize..9),
            (down, right) in (-10_isize..10, -10_isize..10),
            cutout in prop::option::of((0_usize..9, 0_usize..9, 1_usize..9)),
            flip: bool,
        ) {
            let shape = Shape { channels: 2, height, width };
            // All pixels have different values, neither black nor that of the square.
            let distinct = |value| if value < 127 { value + 1 } else { value + 2 };
            let image: Vec<u8> = (0..shape.len() as u8).map(distinct).collect();
            let cutout = cutout.map(|(row, column, side)| (row % height, column % width, side));
            let mut out = vec![0; shape.len()];
            Variation { down, right, flip, cutout }.apply(&image, shape, &mut out);

            let visible = height.saturating_sub(down.unsigned_abs())
                * width.saturating_sub(right.unsigned_abs());
            for (plane, of) in out.chunks(height * width).zip(image.chunks(height * width)) {
                let grey = plane.iter().filter(|&&pixel| pixel == MID).count();
                let mut kept: Vec<u8> =
                    plane.iter().copied().filter(|&pixel| pixel != 0 && pixel != MID).collect();
                prop_assert!(kept.iter().all(|pixel| of.contains(pixel)));
                let count = kept.len();
                kept.sort_unstable();
                kept.dedup();
                prop_assert_eq!(kept.len(), count, "no pixel appears twice");
                prop_assert!(count <= visible && count + grey >= visible);
                let side = cutout.map_or(0, |(_, _, side)| side);
                prop_assert!(grey <= side * side && (grey > 0) == (side > 0));
            }
        }

        #[test]
        fn flipping_twice_and_shifting_back_and_forth_restore(
            size in 3_usize..9, flip: bool, offset in -2_isize..3,
        ) {
            let shape = Shape { channels: 1, height: size, width: size };
            let image: Vec<u8> = (1..=shape.len() as u8).collect();
            let (mut there, mut back) = (image.clone(), image.clone());
            Variation { flip, down: offset, ..STILL }.apply(&image, shape, &mut there);
            Variation { flip, down: -offset, ..STILL }.apply(&there, shape, &mut back);
            for (before, after) in image.iter().zip(&back) {
                prop_assert!(after == before || *after == 0);
            }
            let lost = size * offset.unsigned_abs();
            prop_assert_eq!(back.iter().filter(|&&pixel| pixel == 0).count(), lost);
        }
    }
}
