//! Optimiser steps: one or two passes over a parameter where Burn's operations take about ten.

use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

use super::launch::{elements, empty_like, units};

/// The gradient plus the weight decay.
#[cube]
fn decayed<F: Float>(gradient: F, parameter: F, decay: F) -> F {
    gradient + parameter * decay
}

/// The new moments of Adam, by the formula of [`AdamStep`].
#[cube(launch, address_type = "dynamic")]
fn moments_kernel<F: Float>(
    parameter: &Array<F>,
    gradient: &Array<F>,
    mean: &Array<F>,
    square: &Array<F>,
    new_mean: &mut Array<F>,
    new_square: &mut Array<F>,
    decay: InputScalar,
    beta1: InputScalar,
    share1: InputScalar,
    beta2: InputScalar,
    share2: InputScalar,
    #[define(F)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= parameter.len() {
        terminate!();
    }
    let gradient = decayed::<F>(gradient[index], parameter[index], decay.get::<F>());
    new_mean[index] = mean[index] * beta1.get::<F>() + gradient * share1.get::<F>();
    new_square[index] = square[index] * beta2.get::<F>() + gradient * gradient * share2.get::<F>();
}

/// The parameter after a step of Adam with the new moments.
#[cube(launch, address_type = "dynamic")]
fn adam_kernel<F: Float>(
    parameter: &Array<F>,
    mean: &Array<F>,
    square: &Array<F>,
    new_parameter: &mut Array<F>,
    kept: InputScalar,
    rate: InputScalar,
    root: InputScalar,
    epsilon: InputScalar,
    #[define(F)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= parameter.len() {
        terminate!();
    }
    let scale = square[index].sqrt() / root.get::<F>() + epsilon.get::<F>();
    new_parameter[index] =
        parameter[index] * kept.get::<F>() - mean[index] / scale * rate.get::<F>();
}

/// The parameter and the momentum buffer after a step of gradient descent, by the formula of
/// [`SgdStep`].
#[cube(launch, address_type = "dynamic")]
fn sgd_kernel<F: Float>(
    parameter: &Array<F>,
    gradient: &Array<F>,
    buffer: &Array<F>,
    new_parameter: &mut Array<F>,
    new_buffer: &mut Array<F>,
    decay: InputScalar,
    rate: InputScalar,
    momentum: InputScalar,
    #[comptime] nesterov: bool,
    #[define(F)] _dtype: StorageType,
) {
    let index = ABSOLUTE_POS;
    if index >= parameter.len() {
        terminate!();
    }
    let gradient = decayed::<F>(gradient[index], parameter[index], decay.get::<F>());
    let velocity = buffer[index] * momentum.get::<F>() + gradient;
    new_buffer[index] = velocity;
    let direction =
        if comptime!(nesterov) { gradient + velocity * momentum.get::<F>() } else { velocity };
    new_parameter[index] = parameter[index] - direction * rate.get::<F>();
}

/// [`adam`](crate::DenseBackend::adam). `new_max_square`, for AMSGrad, computes the maximum of the
/// second moment from the new second moment.
pub(super) fn adam<R: CubeRuntime>(
    step: AdamStep,
    parameter: CubeTensor<R>,
    gradient: CubeTensor<R>,
    moments: [CubeTensor<R>; 2],
    new_max_square: Option<impl FnOnce(CubeTensor<R>) -> CubeTensor<R>>,
) -> (CubeTensor<R>, [CubeTensor<R>; 2], Option<CubeTensor<R>>) {
    let [parameter, gradient] = [parameter, gradient].map(into_contiguous);
    let [mean, square] = moments.map(into_contiguous);
    let [new_mean, new_square, new_parameter] = [(); 3].map(|()| empty_like(&parameter));
    let (client, dtype) = (parameter.client.clone(), parameter.dtype.into());
    let scalar = |value: f64| InputScalar::new(value, dtype);
    let (count, dim) = units(&parameter, elements(&parameter));
    moments_kernel::launch::<R>(
        &client,
        count.clone(),
        dim,
        parameter.required_address_type(),
        parameter.clone().into_array_arg(),
        gradient.into_array_arg(),
        mean.into_array_arg(),
        square.into_array_arg(),
        new_mean.clone().into_array_arg(),
        new_square.clone().into_array_arg(),
        scalar(step.coupled_decay()),
        scalar(step.beta1),
        scalar(1.0 - step.beta1),
        scalar(step.beta2),
        scalar(1.0 - step.beta2),
        dtype,
    );
    let new_max_square = new_max_square.map(|compute| into_contiguous(compute(new_square.clone())));
    let scale = new_max_square.as_ref().unwrap_or(&new_square).clone();
    adam_kernel::launch::<R>(
        &client,
        count,
        dim,
        parameter.required_address_type(),
        parameter.into_array_arg(),
        new_mean.clone().into_array_arg(),
        scale.into_array_arg(),
        new_parameter.clone().into_array_arg(),
        scalar(step.decay_factor()),
        scalar(step.corrected_rate()),
        scalar(step.root()),
        scalar(step.epsilon),
        dtype,
    );
    (new_parameter, [new_mean, new_square], new_max_square)
}

/// [`sgd`](crate::DenseBackend::sgd) with momentum.
pub(super) fn sgd<R: CubeRuntime>(
    step: SgdStep,
    parameter: CubeTensor<R>,
    gradient: CubeTensor<R>,
    buffer: CubeTensor<R>,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let [parameter, gradient, buffer] = [parameter, gradient, buffer].map(into_contiguous);
    let [new_parameter, new_buffer] = [(); 2].map(|()| empty_like(&parameter));
    let (client, dtype) = (parameter.client.clone(), parameter.dtype.into());
    let (count, dim) = units(&parameter, elements(&parameter));
    sgd_kernel::launch::<R>(
        &client,
        count,
        dim,
        parameter.required_address_type(),
        parameter.into_array_arg(),
        gradient.into_array_arg(),
        buffer.into_array_arg(),
        new_parameter.clone().into_array_arg(),
        new_buffer.clone().into_array_arg(),
        InputScalar::new(step.weight_decay, dtype),
        InputScalar::new(step.rate, dtype),
        InputScalar::new(step.momentum, dtype),
        step.nesterov,
        dtype,
    );
    (new_parameter, new_buffer)
}
