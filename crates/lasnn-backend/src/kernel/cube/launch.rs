//! Helpers to launch a kernel.

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// An uninitialised contiguous tensor on the device and of the type of `like`.
pub(super) fn empty<R: CubeRuntime>(like: &CubeTensor<R>, shape: Shape) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, like.dtype)
}

/// An uninitialised contiguous tensor of the shape and type of `like`, on its device.
pub(super) fn empty_like<R: CubeRuntime>(like: &CubeTensor<R>) -> CubeTensor<R> {
    empty(like, like.meta.shape().clone())
}

/// The number of elements of a tensor.
pub(super) fn elements<R: CubeRuntime>(tensor: &CubeTensor<R>) -> usize {
    tensor.meta.shape().num_elements()
}

/// A launch of at least `count` units, for a kernel with one unit per element.
pub(super) fn units<R: CubeRuntime>(tensor: &CubeTensor<R>, count: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(&tensor.client, count);
    (calculate_cube_count_elemwise(&tensor.client, count, dim), dim)
}
