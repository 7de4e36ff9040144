//! Update rules: one pass over a parameter where stock operations take ten.

use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

use super::launch::{empty_like, numbers, units};

/// A gradient with the parameter's share of the weight decay.
#[cube]
fn decayed<F: Float>(gradient: F, parameter: F, decay: F) -> F {
    gradient + parameter * decay
}

/// The new moments of Adam; [`AdamStep`] has the formula.
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
    let at = ABSOLUTE_POS;
    if at >= parameter.len() {
        terminate!();
    }
    let gradient = decayed::<F>(gradient[at], parameter[at], decay.get::<F>());
    new_mean[at] = mean[at] * beta1.get::<F>() + gradient * share1.get::<F>();
    new_square[at] = square[at] * beta2.get::<F>() + gradient * gradient * share2.get::<F>();
}

/// The parameter after a step of Adam with these moments.
#[cube(launch, address_type = "dynamic")]
fn adam_kernel<F: Float>(
    parameter: &Array<F>,
    mean: &Array<F>,
    square: &Array<F>,
    moved: &mut Array<F>,
    kept: InputScalar,
    rate: InputScalar,
    root: InputScalar,
    epsilon: InputScalar,
    #[define(F)] _dtype: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at >= parameter.len() {
        terminate!();
    }
    let scale = square[at].sqrt() / root.get::<F>() + epsilon.get::<F>();
    moved[at] = parameter[at] * kept.get::<F>() - mean[at] / scale * rate.get::<F>();
}

/// Parameter and buffer after a step of gradient descent; [`SgdStep`] has the formula.
#[cube(launch, address_type = "dynamic")]
fn sgd_kernel<F: Float>(
    parameter: &Array<F>,
    gradient: &Array<F>,
    buffer: &Array<F>,
    moved: &mut Array<F>,
    new_buffer: &mut Array<F>,
    decay: InputScalar,
    rate: InputScalar,
    momentum: InputScalar,
    #[comptime] nesterov: bool,
    #[define(F)] _dtype: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at >= parameter.len() {
        terminate!();
    }
    let gradient = decayed::<F>(gradient[at], parameter[at], decay.get::<F>());
    let velocity = buffer[at] * momentum.get::<F>() + gradient;
    new_buffer[at] = velocity;
    let direction =
        if comptime!(nesterov) { gradient + velocity * momentum.get::<F>() } else { velocity };
    moved[at] = parameter[at] - direction * rate.get::<F>();
}

/// One step of Adam, as [`DenseBackend::adam`](crate::DenseBackend::adam) says; `largest` makes AMSGrad's
/// largest second moment of the new one.
pub(super) fn adam<R: CubeRuntime>(
    step: AdamStep,
    parameter: CubeTensor<R>,
    gradient: CubeTensor<R>,
    moments: [CubeTensor<R>; 2],
    largest: Option<impl FnOnce(CubeTensor<R>) -> CubeTensor<R>>,
) -> (CubeTensor<R>, [CubeTensor<R>; 2], Option<CubeTensor<R>>) {
    let [parameter, gradient] = [parameter, gradient].map(into_contiguous);
    let [mean, square] = moments.map(into_contiguous);
    let [new_mean, new_square, moved] = [(); 3].map(|()| empty_like(&parameter));
    let (client, dtype) = (parameter.client.clone(), parameter.dtype.into());
    let scalar = |value: f64| InputScalar::new(value, dtype);
    let (count, dim) = units(&parameter, numbers(&parameter));
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
    let largest = largest.map(|largest| into_contiguous(largest(new_square.clone())));
    let scale = largest.as_ref().unwrap_or(&new_square).clone();
    adam_kernel::launch::<R>(
        &client,
        count,
        dim,
        parameter.required_address_type(),
        parameter.into_array_arg(),
        new_mean.clone().into_array_arg(),
        scale.into_array_arg(),
        moved.clone().into_array_arg(),
        scalar(step.decay_factor()),
        scalar(step.corrected_rate()),
        scalar(step.root()),
        scalar(step.epsilon),
        dtype,
    );
    (moved, [new_mean, new_square], largest)
}

/// One step of gradient descent with momentum, as [`DenseBackend::sgd`](crate::DenseBackend::sgd) says.
pub(super) fn sgd<R: CubeRuntime>(
    step: SgdStep,
    parameter: CubeTensor<R>,
    gradient: CubeTensor<R>,
    buffer: CubeTensor<R>,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let [parameter, gradient, buffer] = [parameter, gradient, buffer].map(into_contiguous);
    let [moved, new_buffer] = [(); 2].map(|()| empty_like(&parameter));
    let (client, dtype) = (parameter.client.clone(), parameter.dtype.into());
    let (count, dim) = units(&parameter, numbers(&parameter));
    sgd_kernel::launch::<R>(
        &client,
        count,
        dim,
        parameter.required_address_type(),
        parameter.into_array_arg(),
        gradient.into_array_arg(),
        buffer.into_array_arg(),
        moved.clone().into_array_arg(),
        new_buffer.clone().into_array_arg(),
        InputScalar::new(step.weight_decay, dtype),
        InputScalar::new(step.rate, dtype),
        InputScalar::new(step.momentum, dtype),
        step.nesterov,
        dtype,
    );
    (moved, new_buffer)
}
