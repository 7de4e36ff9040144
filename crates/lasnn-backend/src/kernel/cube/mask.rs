//! Dropout masks: the device gets one bit per element.

use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{elements, empty_like, units};

/// Bits in a word of the mask.
const BITS: usize = u32::BITS as usize;

/// One unit multiplies one element. Each row of the mask starts at a word, its first element at the
/// lowest bit. The rows of the mask repeat until the input ends.
#[cube(launch, address_type = "dynamic")]
fn masked_kernel<F: Float>(
    input: &Array<F>,
    words: &Array<u32>,
    output: &mut Array<F>,
    row: usize,
    words_per_row: usize,
    factor: InputScalar,
    #[define(F)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= input.len() {
        terminate!();
    }
    let rows = words.len() / words_per_row;
    let column = index % row;
    let word = words[index / row % rows * words_per_row + column / BITS];
    let keep = (word >> (column % BITS) as u32) & 1u32;
    output[index] = input[index] * F::cast_from(keep) * factor.get::<F>();
}

/// A non-empty tensor times a dropout mask. `words` are the mask's words on the device: each word
/// of 64 bits is two of 32, the lower one first.
pub(super) fn masked<R: CubeRuntime>(
    input: CubeTensor<R>,
    words: CubeTensor<R>,
    [row, words_per_row]: [usize; 2],
    factor: f32,
) -> CubeTensor<R> {
    let input = into_contiguous(input);
    let output = empty_like(&input);
    let (count, dim) = units(&input, elements(&input));
    let (client, dtype) = (input.client.clone(), input.dtype.into());
    masked_kernel::launch::<R>(
        &client,
        count,
        dim,
        input.required_address_type(),
        input.into_array_arg(),
        words.into_array_arg(),
        output.clone().into_array_arg(),
        row,
        words_per_row,
        InputScalar::new(f64::from(factor), dtype),
        dtype,
    );
    output
}
