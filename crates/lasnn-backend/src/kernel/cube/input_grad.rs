//! The input gradient of a convolution with a stride above 1.
//!
//! It equals the input gradient of a convolution with stride 1 whose output gradient has zeros
//! between its elements. Burn has a kernel in tensor cores for stride 1. Burn's kernel for other
//! strides is wrong for a 1×1 window and stride 2: it gave zeros on Vulkan, and wrong values on
//! CUDA.

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{elements, empty, units};

/// One unit writes one element: `grad[y, x]` of each plane goes to `dilated[y · stride, x ·
/// stride]`, and all other elements are zero.
#[cube(launch, address_type = "dynamic")]
fn dilate_kernel<F: Float>(
    grad: &Array<F>,
    dilated: &mut Array<F>,
    rows: usize,
    columns: usize,
    height: usize,
    width: usize,
    #[comptime] stride: usize,
    #[define(F)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= dilated.len() {
        terminate!();
    }
    let plane = index / (height * width);
    let y = index / width % height;
    let x = index % width;
    let (row, column) = (y / stride, x / stride);
    let mut value = F::new(0.0);
    if row * stride == y && column * stride == x && row < rows && column < columns {
        value = grad[(plane * rows + row) * columns + column];
    }
    dilated[index] = value;
}

/// The output gradient with zeros between its elements, in planes of `height` × `width`.
pub(super) fn dilate<R: CubeRuntime>(
    output_grad: CubeTensor<R>,
    [height, width]: [usize; 2],
    stride: usize,
) -> CubeTensor<R> {
    let grad = into_contiguous(output_grad);
    let [batch, channels, rows, columns] = grad.meta.shape().dims();
    let dilated = empty(&grad, Shape::new([batch, channels, height, width]));
    let (count, dim) = units(&grad, elements(&dilated));
    let (client, dtype) = (grad.client.clone(), grad.dtype.into());
    dilate_kernel::launch::<R>(
        &client,
        count,
        dim,
        dilated.required_address_type(),
        grad.into_array_arg(),
        dilated.clone().into_array_arg(),
        rows,
        columns,
        height,
        width,
        stride,
        dtype,
    );
    dilated
}
