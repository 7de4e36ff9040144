//! Number formats: how the factors of a product are stored.

use pulp::bytemuck::Pod;

use super::accumulators::Task;
use super::tiles::TileTask;

/// A computation that is generic over the number format of its factors.
pub trait FormatTask {
    /// The result.
    type Output;

    /// Runs the computation with factors in `format`.
    fn run<F: Format>(self, format: F) -> Self::Output;
}

/// A number format of factors, on an instruction set that multiplies it.
///
/// There are two kinds: one `f32` for each [`Element`](Self::Element), and two bfloat16 numbers
/// packed into each `u32`. If two numbers are packed, they must be neighbours along the depth of
/// the product, since a multiply-add adds both of their products to the same sum.
///
/// A value of a format is evidence that the processor has the instructions it uses.
pub trait Format: Copy + Send + Sync {
    /// What a factor is stored as: `f32`, or `u32` for two packed bfloat16 numbers.
    type Element: Pod + Default + Send + Sync;

    /// How many numbers an element contains: 1 or 2.
    const PACKED: usize;

    /// Whether all products of this format are computed in [`Tiles`](super::Tiles) of `u32`
    /// elements.
    const TILED: bool = false;

    /// How many multiply-adds of [`Tiles`](super::Tiles) take the time in which a sparse kernel
    /// adds one number of an event list. Unspecified for formats without tiles.
    const TILE_PRODUCTS_PER_EVENT: usize = 0;

    /// An element that contains `first` and `second`, rounded to the format. If an element contains
    /// one number, `second` is ignored.
    fn pack(self, first: f32, second: f32) -> Self::Element;

    /// Packs a row along the depth. Element `i` contains the [`PACKED`](Self::PACKED) numbers from
    /// `row[i · PACKED]` on.
    ///
    /// The length of `row` must be a multiple of `PACKED`.
    fn pack_row(self, row: &[f32], to: &mut [Self::Element]);

    /// Packs two rows. Element `i` contains `first[i]` and `second[i]`. If an element contains one
    /// number, `second` is ignored.
    fn interleave(self, first: &[f32], second: &[f32], to: &mut [Self::Element]);

    /// Calls [`interleave`](Self::interleave) for several rows of two planes.
    fn interleave_rows(
        self,
        [first, second]: [&[f32]; 2],
        to: &mut [Self::Element],
        rows: RowCopy,
    ) {
        for row in 0..rows.rows {
            let from = row * rows.from_pitch..row * rows.from_pitch + rows.length;
            let second = if Self::PACKED == 1 { &[] } else { &second[from.clone()] };
            self.interleave(&first[from], second, &mut to[row * rows.to_pitch..][..rows.length]);
        }
    }

    /// Runs a task in tiles if the format is [`TILED`](Self::TILED), and in vectors otherwise.
    fn multiply(self, task: impl Task<Self::Element, Output = ()> + TileTask) {
        if Self::TILED { self.with_tiles(task) } else { self.dispatch(task) }
    }

    /// Runs a task with the widest vectors of the processor.
    ///
    /// # Panics
    ///
    /// May panic if the format is [`TILED`](Self::TILED).
    fn dispatch<T: Task<Self::Element>>(self, task: T) -> T::Output;

    /// Runs a task with the tiles of this thread.
    ///
    /// The task must not wait for other threads. While it waits, `rayon` could run another task in
    /// this thread, which would overwrite the tiles.
    ///
    /// # Panics
    ///
    /// Panics if the elements of the format are not `u32`.
    fn with_tiles(self, _: impl TileTask) {
        unreachable!("a format without tiles")
    }
}

/// Which rows [`Format::interleave_rows`] reads from a source plane, and where it writes them.
#[derive(Clone, Copy, Debug)]
pub struct RowCopy {
    /// The number of rows.
    pub rows: usize,
    /// The number of elements of a row.
    pub length: usize,
    /// The distance between the starts of two rows in the source.
    pub from_pitch: usize,
    /// The distance between the starts of two rows in the destination.
    pub to_pitch: usize,
}
