//! The backward pass of max pooling.

use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{elements, empty_like, units};

/// One unit writes one element. The first maximum of each window gets the gradient of the window;
/// all other elements, and elements outside every window, get zero.
#[cube(launch, address_type = "dynamic")]
fn max_pool_grad_kernel<F: Float>(
    input: &Array<F>,
    output_grad: &Array<F>,
    input_grad: &mut Array<F>,
    height: usize,
    width: usize,
    #[comptime] size: usize,
    #[define(F)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= input.len() {
        terminate!();
    }
    let plane = index / (height * width);
    let y = index / width % height;
    let x = index % width;
    let (rows, columns) = (height / size, width / size);
    let (row, column) = (y / size, x / size);
    let mut grad = F::new(0.0);
    if row < rows && column < columns {
        let own = input[index];
        let first = (plane * height + row * size) * width + column * size;
        let mut is_max = true;
        #[unroll]
        for i in 0..size {
            #[unroll]
            for j in 0..size {
                let other_index = first + i * width + j;
                let other = input[other_index];
                if other > own || (other == own && other_index < index) {
                    is_max = false;
                }
            }
        }
        if is_max {
            grad = output_grad[(plane * rows + row) * columns + column];
        }
    }
    input_grad[index] = grad;
}

/// [`max_pool_backward`](crate::DenseBackend::max_pool_backward) of a non-empty input.
pub(super) fn max_pool_backward<R: CubeRuntime>(
    input: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    size: usize,
) -> CubeTensor<R> {
    let (input, output_grad) = (into_contiguous(input), into_contiguous(output_grad));
    let [_, _, height, width] = input.meta.shape().dims();
    let input_grad = empty_like(&input);
    let (count, dim) = units(&input, elements(&input));
    let (client, dtype) = (input.client.clone(), input.dtype.into());
    max_pool_grad_kernel::launch::<R>(
        &client,
        count,
        dim,
        input.required_address_type(),
        input.into_array_arg(),
        output_grad.into_array_arg(),
        input_grad.clone().into_array_arg(),
        height,
        width,
        size,
        dtype,
    );
    input_grad
}
