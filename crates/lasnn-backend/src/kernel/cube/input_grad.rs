//! The gradient of a convolution's input where the window moves by more than one position.
//!
//! It is that of a convolution whose window moves by one and whose output gradients are zero in between,
//! which Burn has a kernel in tensor cores for. What it has for other strides gives zeros for a window of one
//! position and a stride of two (seen on Vulkan, and wrong on CUDA).

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{empty, numbers, units};

/// Number `(y, x)` of a plane of `grad` comes to `(y · stride, x · stride)`.
#[cube(launch, address_type = "dynamic")]
fn spread_kernel<F: Float>(
    grad: &Array<F>,
    spread: &mut Array<F>,
    rows: usize,
    columns: usize,
    height: usize,
    width: usize,
    #[comptime] stride: usize,
    #[define(F)] _dtype: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at >= spread.len() {
        terminate!();
    }
    let plane = at / (height * width);
    let y = at / width % height;
    let x = at % width;
    let (row, column) = (y / stride, x / stride);
    let mut value = F::new(0.0);
    if row * stride == y && column * stride == x && row < rows && column < columns {
        value = grad[(plane * rows + row) * columns + column];
    }
    spread[at] = value;
}

/// The output gradients with zeros in between, as planes of `height` × `width`.
pub(super) fn spread<R: CubeRuntime>(
    output_grad: CubeTensor<R>,
    [height, width]: [usize; 2],
    stride: usize,
) -> CubeTensor<R> {
    let grad = into_contiguous(output_grad);
    let [batch, channels, rows, columns] = grad.meta.shape().dims();
    let spread = empty(&grad, Shape::new([batch, channels, height, width]));
    let (count, dim) = units(&grad, numbers(&spread));
    let (client, dtype) = (grad.client.clone(), grad.dtype.into());
    spread_kernel::launch::<R>(
        &client,
        count,
        dim,
        spread.required_address_type(),
        grad.into_array_arg(),
        spread.clone().into_array_arg(),
        rows,
        columns,
        height,
        width,
        stride,
        dtype,
    );
    spread
}
