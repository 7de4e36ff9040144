//! Dropout: what goes to the device is a bit for each number.

use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{empty_like, numbers, units};

/// Bits of a word.
const BITS: usize = u32::BITS as usize;

/// A row begins with a word, its first number with the lowest bit; rows come again and again.
#[cube(launch, address_type = "dynamic")]
fn masked_kernel<F: Float>(
    map: &Array<F>,
    words: &Array<u32>,
    output: &mut Array<F>,
    row: usize,
    words_of_row: usize,
    factor: InputScalar,
    #[define(F)] _dtype: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at >= map.len() {
        terminate!();
    }
    let rows = words.len() / words_of_row;
    let number = at % row;
    let word = words[at / row % rows * words_of_row + number / BITS];
    let kept = (word >> (number % BITS) as u32) & 1u32;
    output[at] = map[at] * F::cast_from(kept) * factor.get::<F>();
}

/// What a mask makes of a map that is not empty, given its words on the device, each as two
/// halves, the lower one first.
pub(super) fn masked<R: CubeRuntime>(
    map: CubeTensor<R>,
    words: CubeTensor<R>,
    [row, words_of_row]: [usize; 2],
    factor: f32,
) -> CubeTensor<R> {
    let map = into_contiguous(map);
    let output = empty_like(&map);
    let (count, dim) = units(&map, numbers(&map));
    let (client, dtype) = (map.client.clone(), map.dtype.into());
    masked_kernel::launch::<R>(
        &client,
        count,
        dim,
        map.required_address_type(),
        map.into_array_arg(),
        words.into_array_arg(),
        output.clone().into_array_arg(),
        row,
        words_of_row,
        InputScalar::new(f64::from(factor), dtype),
        dtype,
    );
    output
}
