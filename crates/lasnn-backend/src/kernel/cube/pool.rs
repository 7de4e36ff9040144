//! The way back through a maximum pooling.

use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{empty_like, numbers, units};

/// A number has the gradient of its window if it is the first of the largest there. What no window covers
/// has none.
#[cube(launch, address_type = "dynamic")]
fn maximum_grad_kernel<F: Float>(
    map: &Array<F>,
    output_grad: &Array<F>,
    input_grad: &mut Array<F>,
    height: usize,
    width: usize,
    #[comptime] size: usize,
    #[define(F)] _dtype: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at >= map.len() {
        terminate!();
    }
    let plane = at / (height * width);
    let y = at / width % height;
    let x = at % width;
    let (rows, columns) = (height / size, width / size);
    let (row, column) = (y / size, x / size);
    let mut grad = F::new(0.0);
    if row < rows && column < columns {
        let own = map[at];
        let first = (plane * height + row * size) * width + column * size;
        let mut largest = true;
        #[unroll]
        for i in 0..size {
            #[unroll]
            for j in 0..size {
                let other_at = first + i * width + j;
                let other = map[other_at];
                if other > own || (other == own && other_at < at) {
                    largest = false;
                }
            }
        }
        if largest {
            grad = output_grad[(plane * rows + row) * columns + column];
        }
    }
    input_grad[at] = grad;
}

/// [`DenseBackend::maximum_pool_backward`](crate::DenseBackend::maximum_pool_backward) of a map that is not
/// empty.
pub(super) fn maximum_pool_backward<R: CubeRuntime>(
    map: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    size: usize,
) -> CubeTensor<R> {
    let (map, output_grad) = (into_contiguous(map), into_contiguous(output_grad));
    let [_, _, height, width] = map.meta.shape().dims();
    let input_grad = empty_like(&map);
    let (count, dim) = units(&map, numbers(&map));
    let (client, dtype) = (map.client.clone(), map.dtype.into());
    maximum_grad_kernel::launch::<R>(
        &client,
        count,
        dim,
        map.required_address_type(),
        map.into_array_arg(),
        output_grad.into_array_arg(),
        input_grad.clone().into_array_arg(),
        height,
        width,
        size,
        dtype,
    );
    input_grad
}
