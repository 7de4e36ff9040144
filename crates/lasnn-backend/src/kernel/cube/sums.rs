//! Sums of whole tensors whose order does not depend on which multiprocessor ends first, as that of Burn's does.

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{empty, numbers, units};

/// How many sums each round leaves at most: the first keeps a large GPU busy, what the last leaves is
/// little enough for one multiprocessor.
const ROUNDS: [usize; 2] = [1 << 16, 1 << 10];

/// Unit `u` of `n` adds up the numbers `u`, `u + n`, `u + 2 n` ..., or their squares.
#[cube(launch, address_type = "dynamic")]
fn sums_kernel<F: Float>(
    values: &Array<F>,
    sums: &mut Array<F>,
    #[comptime] squared: bool,
    #[define(F)] _dtype: StorageType,
) {
    let sum_count = sums.len();
    let value_count = values.len();
    if ABSOLUTE_POS >= sum_count {
        terminate!();
    }
    let mut sum = F::new(0.0);
    let mut at = ABSOLUTE_POS;
    while at < value_count {
        let value = values[at];
        if comptime!(squared) {
            sum += value * value;
        } else {
            sum += value;
        }
        at += sum_count;
    }
    sums[ABSOLUTE_POS] = sum;
}

/// A few numbers whose sum is that of the squares of all `values`.
pub(super) fn partial_sums_of_squares<R: CubeRuntime>(values: CubeTensor<R>) -> CubeTensor<R> {
    let (mut values, mut squared) = (into_contiguous(values), true);
    for sums in ROUNDS {
        let count = sums.min(numbers(&values));
        values = partial_sums(values, count, squared);
        squared = false;
    }
    values
}

fn partial_sums<R: CubeRuntime>(
    values: CubeTensor<R>,
    sums: usize,
    squared: bool,
) -> CubeTensor<R> {
    let (client, dtype) = (values.client.clone(), values.dtype.into());
    let found = empty(&values, Shape::new([sums]));
    let (count, dim) = units(&values, sums);
    sums_kernel::launch::<R>(
        &client,
        count,
        dim,
        values.required_address_type(),
        values.into_array_arg(),
        found.clone().into_array_arg(),
        squared,
        dtype,
    );
    found
}
