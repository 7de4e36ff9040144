//! Sums of whole tensors in an order that follows from the shape alone.
//!
//! In Burn's sum of a whole tensor the order depends on which multiprocessor finishes first.

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{elements, empty, units};

/// The maximum number of partial sums after each round. The first number keeps a large GPU busy,
/// the last is small enough for one multiprocessor.
const ROUNDS: [usize; 2] = [1 << 16, 1 << 10];

/// Unit `u` of `n` adds up the elements `u`, `u + n`, `u + 2n`, … or their squares.
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
    let mut index = ABSOLUTE_POS;
    while index < value_count {
        let value = values[index];
        if comptime!(squared) {
            sum += value * value;
        } else {
            sum += value;
        }
        index += sum_count;
    }
    sums[ABSOLUTE_POS] = sum;
}

/// At most 1024 partial sums of the squares of `values`.
pub(super) fn partial_sums_of_squares<R: CubeRuntime>(values: CubeTensor<R>) -> CubeTensor<R> {
    let (mut values, mut squared) = (into_contiguous(values), true);
    for sums in ROUNDS {
        let count = sums.min(elements(&values));
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
    let partial = empty(&values, Shape::new([sums]));
    let (count, dim) = units(&values, sums);
    sums_kernel::launch::<R>(
        &client,
        count,
        dim,
        values.required_address_type(),
        values.into_array_arg(),
        partial.clone().into_array_arg(),
        squared,
        dtype,
    );
    partial
}
