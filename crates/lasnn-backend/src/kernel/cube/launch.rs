//! What every kernel is launched with.

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// A tensor on the device and of the type of `like`, row by row, whose numbers are yet to be written.
pub(super) fn empty<R: CubeRuntime>(like: &CubeTensor<R>, shape: Shape) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, like.dtype)
}

/// The same of the same shape.
pub(super) fn empty_like<R: CubeRuntime>(like: &CubeTensor<R>) -> CubeTensor<R> {
    empty(like, like.meta.shape().clone())
}

/// How many numbers a tensor has.
pub(super) fn numbers<R: CubeRuntime>(tensor: &CubeTensor<R>) -> usize {
    tensor.meta.shape().num_elements()
}

/// At least so many units.
pub(super) fn units<R: CubeRuntime>(tensor: &CubeTensor<R>, count: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(&tensor.client, count);
    (calculate_cube_count_elemwise(&tensor.client, count, dim), dim)
}
