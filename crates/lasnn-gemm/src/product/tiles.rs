//! Products in tiles of 16×16 sums.
//!
//! One step multiplies a tile of 16 rows and 16 packed elements by a tile of 16 packed elements and
//! 16 columns, and adds the product to 16×16 sums. AMX has an instruction for it. Elements are
//! `u32`, each with two bfloat16 numbers.

use super::BLOCK;

/// Rows of a tile, its columns, and the elements along the depth that one step multiplies.
pub const SIDE: usize = 16;

/// An inner loop in tiles, generic over their implementation.
pub trait TileTask {
    /// Runs the loop.
    fn run<T: Tiles>(self, tiles: T);
}

/// The sums of up to 2×2 tiles.
///
/// The argument `size` of the methods is the number of tiles along the rows and along the columns,
/// 1 or 2 each.
pub trait Tiles {
    /// Whether [`masked_product`](Self::masked_product) is implemented. The method is faster than
    /// complete products if few sums are needed; see [`prefers_masked`](Self::prefers_masked).
    const HAS_MASKED_PRODUCT: bool = false;

    /// Sets all sums to zero.
    fn zero(&mut self);

    /// Loads sums, to which [`add`](Self::add) then adds.
    ///
    /// # Panics
    ///
    /// Panics if a tile exceeds `from`.
    fn load(&mut self, size: [usize; 2], from: &[f32], layout: TileLayout);

    /// Adds products, in their order. A product has a left operand of `size[0]` tiles, and a right
    /// operand of `size[1]` tiles.
    ///
    /// # Panics
    ///
    /// Panics if a tile exceeds the slice of its operand.
    fn add<'a>(&mut self, size: [usize; 2], products: impl Iterator<Item = [Operand<'a>; 2]>);

    /// Writes the sums.
    ///
    /// # Panics
    ///
    /// Panics if a tile exceeds `to`.
    fn store(&mut self, size: [usize; 2], to: &mut [f32], layout: TileLayout);

    /// Whether the masked product is cheaper than the complete product, for `needed` sums in `rows`
    /// rows, if each sum adds up `products` products.
    fn prefers_masked(&self, _needed: usize, _rows: usize, _products: usize) -> bool {
        false
    }

    /// Computes a subset of the sums of `needed.len()` rows and [`BLOCK`] columns, and writes zeros
    /// to the others.
    ///
    /// `needed` contains one bit for each column of a row. A product has a left operand
    /// `[rows, SIDE]` and a right operand `[BLOCK, SIDE]`, both along the depth, and `sums` is
    /// `[rows, BLOCK]`. The sum of row `r` and column `c` is the dot product of row `r` on the left
    /// and row `c` on the right, added up over all `products`.
    ///
    /// # Panics
    ///
    /// Panics if an operand or `sums` is too short, or if the method is not implemented; see
    /// [`HAS_MASKED_PRODUCT`](Self::HAS_MASKED_PRODUCT).
    fn masked_product(&mut self, _needed: &[u32], _products: &[[&[u32]; 2]], _sums: &mut [f32]) {
        unreachable!("tiles without masked products")
    }
}

/// One or two tiles of packed elements, one operand of a product.
///
/// A left operand has its tiles below each other, and elements of a row are neighbours along the
/// depth. A right operand has its tiles side by side, and elements of a row are neighbours along
/// the columns.
#[derive(Clone, Copy, Default)]
pub struct Operand<'a> {
    /// For each tile, the slice that begins with its first element.
    pub tiles: [&'a [u32]; 2],
    /// The distance between the starts of two rows of a tile.
    pub pitch: usize,
}

impl<'a> Operand<'a> {
    /// Two tiles in `numbers`: the first begins at the start, the second at index `second`. If the
    /// slice is shorter than `second`, there is only one tile.
    pub fn new(numbers: &'a [u32], pitch: usize, second: usize) -> Self {
        Self { tiles: [numbers, numbers.get(second..).unwrap_or_default()], pitch }
    }

    /// The addresses of the first `tiles` tiles. Panics if one of these exceeds its slice.
    pub(super) fn checked(&self, tiles: usize) -> [*const u32; 2] {
        for tile in &self.tiles[..tiles] {
            assert!((SIDE - 1) * self.pitch + SIDE <= tile.len(), "elements of a tile");
        }
        self.tiles.map(<[u32]>::as_ptr)
    }
}

/// Where the sums of 2×2 tiles are in a slice. Sums of a row of a tile are consecutive.
#[derive(Clone, Copy)]
pub struct TileLayout {
    /// The distance between two rows of a tile.
    pub pitch: usize,
    /// The distance between a tile and the tile below it.
    pub down: usize,
    /// The distance between a tile and the tile to its right.
    pub right: usize,
}

impl TileLayout {
    /// The layout in a row-major matrix whose rows are `pitch` apart.
    pub fn matrix(pitch: usize) -> Self {
        Self { pitch, down: SIDE * pitch, right: SIDE }
    }

    /// The index after the last sum of `[rows, columns]` tiles.
    pub(super) fn end(self, [rows, columns]: [usize; 2]) -> usize {
        (rows - 1) * self.down + (columns - 1) * self.right + (SIDE - 1) * self.pitch + SIDE
    }
}

/// How many tiles a loop over `length` rows or columns multiplies next, after `done` of these: 1 or
/// 2.
///
/// The rest, `length - done`, must be at least [`SIDE`].
pub fn tiles_left(done: usize, length: usize) -> usize {
    ((length - done) / SIDE).min(2)
}

/// Panics unless the arguments of [`Tiles::masked_product`] have the required lengths.
pub(super) fn check_masked(rows: usize, products: &[[&[u32]; 2]], sums: &[f32]) {
    assert_eq!(rows * BLOCK, sums.len(), "sums of all rows");
    for [left, right] in products {
        let [least, found] = [[rows, BLOCK].map(|rows| rows * SIDE), [left.len(), right.len()]];
        assert!(least[0] <= found[0] && least[1] <= found[1], "elements of all rows");
    }
}
