//! The product of a convolution window with its weights.

use std::ops::Range;

use super::frames::LaneGroup;
use super::{FRAMES, Frames, TILE_LEN};
use lasnn_core::Shape;
use lasnn_gemm::product::{BLOCK, Operand, SIDE, TileLayout, Tiles, tiles_left};

/// A kernel tap and the input position that it reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowTap {
    pub tap: usize,
    pub position: usize,
}

/// For each position of the outputs, the taps that do not lie in the padding around `pooled`.
pub(super) fn windows(
    pooled: Shape,
    outputs: Shape,
    kernel: usize,
    stride: usize,
) -> Vec<Vec<WindowTap>> {
    let window = |position: usize| {
        let (row, column) = (position / outputs.width * stride, position % outputs.width * stride);
        let of = |tap: usize| {
            let y = (row + tap / kernel).checked_sub(kernel / 2).filter(|&y| y < pooled.height)?;
            let x =
                (column + tap % kernel).checked_sub(kernel / 2).filter(|&x| x < pooled.width)?;
            Some(WindowTap { tap, position: y * pooled.width + x })
        };
        (0..kernel * kernel).filter_map(of).collect()
    };
    (0..outputs.positions()).map(window).collect()
}

/// The factors of one position of the outputs.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub frames: &'a Frames,
    pub taps: &'a [WindowTap],
    /// `[block of outputs][tap][group of inputs][pair of inputs][output of the block]`.
    pub weights: &'a [u32],
    /// A multiple of [`BLOCK`].
    pub outputs: usize,
}

impl Window<'_> {
    /// Writes the sums `[frame][output]` of a range of frames that starts with a whole tile.
    #[inline(always)]
    pub fn product<T: Tiles>(self, tiles: &mut T, range: Range<usize>, sums: &mut [f32]) {
        let Self { frames, taps, weights, outputs } = self;
        let of_tap = frames.groups * SIDE * BLOCK;
        let of_block = weights.len() / (outputs / BLOCK);
        for first in range.clone().step_by(FRAMES) {
            let size = [tiles_left(first, range.end), BLOCK / SIDE];
            for (block, weights) in weights.chunks_exact(of_block).enumerate() {
                tiles.zero();
                let products = taps.iter().flat_map(|&WindowTap { tap, position }| {
                    let weights = weights[tap * of_tap..][..of_tap].chunks_exact(SIDE * BLOCK);
                    weights.enumerate().map(move |(group, weights)| {
                        let rows = frames.channel_pairs(LaneGroup { position, group }, first);
                        [Operand::new(rows, SIDE, TILE_LEN), Operand::new(weights, BLOCK, SIDE)]
                    })
                });
                tiles.add(size, products);
                let place = (first - range.start) * outputs + block * BLOCK;
                tiles.store(size, &mut sums[place..], TileLayout::matrix(outputs));
            }
        }
    }
}
