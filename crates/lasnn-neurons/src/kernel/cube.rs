//! The kernels for GPUs, in CubeCL. One unit runs one neuron through all time steps.
//!
//! Neighbouring units read neighbouring values of a step, so memory accesses are coalesced. The
//! membrane potential stays in a register.

use burn::tensor::{Tensor, ops::FloatTensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::{calculate_cube_count_elemwise, prelude::*};
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::Surrogate;
use serde::{Deserialize, Serialize};

use crate::backend::{SpikingBackend, into_primitive};

/// The kind of a [`Surrogate`], a compile-time constant of the kernel. The surrogate's parameter is
/// an argument instead, so that other values need no new kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum SurrogateKind {
    Linear,
    Atan,
    FastSigmoid,
    Rectangular,
}

impl SurrogateKind {
    fn of(surrogate: Surrogate) -> Self {
        match surrogate {
            Surrogate::Linear { .. } => Self::Linear,
            Surrogate::Atan { .. } => Self::Atan,
            Surrogate::FastSigmoid { .. } => Self::FastSigmoid,
            Surrogate::Rectangular { .. } => Self::Rectangular,
        }
    }
}

/// 1 above the threshold, else 0.
#[cube]
fn spike<F: Float>(u: F, threshold: F) -> F {
    F::cast_from(u > threshold)
}

/// The membrane potential after a step.
#[cube]
fn integrate<F: Float>(u: F, current: F, threshold: F, leak: F, #[comptime] reset: Reset) -> F {
    let previous = spike::<F>(u, threshold);
    match comptime!(reset) {
        Reset::Subtract => leak * u + current - threshold * previous,
        Reset::Zero => leak * u * (F::new(1.0) - previous) + current,
    }
}

/// `σ'(z)`
#[cube]
fn surrogate_grad<F: Float>(z: F, parameter: F, #[comptime] kind: SurrogateKind) -> F {
    match comptime!(kind) {
        SurrogateKind::Linear => parameter * max(F::new(1.0) - z.abs(), F::new(0.0)),
        SurrogateKind::Atan => {
            let x = z * F::new(std::f32::consts::FRAC_PI_2) * parameter;
            parameter / F::new(2.0) / (x * x + F::new(1.0))
        }
        SurrogateKind::FastSigmoid => {
            let x = z.abs() * parameter + F::new(1.0);
            F::new(1.0) / (x * x)
        }
        SurrogateKind::Rectangular => F::cast_from(z.abs() < parameter / F::new(2.0)) / parameter,
    }
}

/// The membrane gradient that a step passes to the step before it.
#[cube]
fn carried<F: Float>(membrane_grad: F, u: F, threshold: F, leak: F, #[comptime] reset: Reset) -> F {
    match comptime!(reset) {
        Reset::Subtract => leak * membrane_grad,
        Reset::Zero => leak * membrane_grad * (F::new(1.0) - spike::<F>(u, threshold)),
    }
}

/// Advances one neuron by all steps.
#[cube(launch, address_type = "dynamic")]
fn advance_kernel<F: Float>(
    currents: &Array<F>,
    start: &Array<F>,
    threshold: &Array<F>,
    leak: &Array<F>,
    spikes: &mut Array<F>,
    end: &mut Array<F>,
    neurons: usize,
    steps: usize,
    #[comptime] reset: Reset,
    #[comptime] step_order: StepOrder,
    #[define(F)] _dtype: StorageType,
) {
    let neuron = ABSOLUTE_POS;
    if neuron >= neurons {
        terminate!();
    }
    let threshold = threshold[0];
    let leak = leak[0];
    let mut u = start[neuron];
    for step in 0..steps {
        let at = step * neurons + neuron;
        let next = integrate::<F>(u, currents[at], threshold, leak, reset);
        match comptime!(step_order) {
            StepOrder::IntegrateThenFire => spikes[at] = spike::<F>(next, threshold),
            StepOrder::FireThenIntegrate => spikes[at] = spike::<F>(u, threshold),
        }
        u = next;
    }
    end[neuron] = u;
}

/// The backward pass of one neuron. `grad` holds the membrane potentials first; the gradients
/// overwrite them.
#[cube(launch, address_type = "dynamic")]
fn backward_kernel<F: Float>(
    currents: &Array<F>,
    threshold: &Array<F>,
    leak: &Array<F>,
    output_grad: &Array<F>,
    grad: &mut Array<F>,
    neurons: usize,
    steps: usize,
    parameter: InputScalar,
    #[comptime] reset: Reset,
    #[comptime] step_order: StepOrder,
    #[comptime] surrogate: SurrogateKind,
    #[define(F)] _dtype: StorageType,
) {
    let neuron = ABSOLUTE_POS;
    if neuron >= neurons {
        terminate!();
    }
    let threshold = threshold[0];
    let leak = leak[0];
    let parameter = parameter.get::<F>();
    let mut u = F::new(0.0);
    for step in 0..steps {
        let at = step * neurons + neuron;
        u = integrate::<F>(u, currents[at], threshold, leak, reset);
        grad[at] = u;
    }

    let mut membrane_grad = F::new(0.0);
    // With `fire-then-integrate`, the spike of a step is sent in the next step, and the last one
    // never.
    let mut next_grad = F::new(0.0);
    for back in 0..steps {
        let at = (steps - 1 - back) * neurons + neuron;
        let membrane = grad[at];
        let output_grad = output_grad[at];
        let spike_grad = match comptime!(step_order) {
            StepOrder::IntegrateThenFire => output_grad,
            StepOrder::FireThenIntegrate => next_grad,
        };
        let z = membrane / threshold - F::new(1.0);
        membrane_grad = spike_grad * surrogate_grad::<F>(z, parameter, surrogate) / threshold
            + carried::<F>(membrane_grad, membrane, threshold, leak, reset);
        grad[at] = membrane_grad;
        next_grad = output_grad;
    }
}

impl<R, F, I, BT> SpikingBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn scan(
        currents: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        let neurons = currents.meta.shape()[1];
        let rest = Tensor::<Self, 1>::zeros([neurons], (&currents.device, currents.dtype));
        Self::advance(currents, into_primitive(rest), threshold, leak, options).0
    }

    fn scan_backward(
        currents: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        let grad = empty_like(&currents);
        let (steps, neurons) = (currents.meta.shape()[0], currents.meta.shape()[1]);
        if steps * neurons == 0 {
            return grad;
        }
        let client = currents.client.clone();
        let dtype = currents.dtype.into();
        let dim = CubeDim::new(&client, neurons);
        backward_kernel::launch::<R>(
            &client,
            calculate_cube_count_elemwise(&client, neurons, dim),
            dim,
            grad.required_address_type(),
            into_contiguous(currents).into_array_arg(),
            into_contiguous(threshold).into_array_arg(),
            into_contiguous(leak).into_array_arg(),
            into_contiguous(output_grad).into_array_arg(),
            grad.clone().into_array_arg(),
            neurons,
            steps,
            InputScalar::new(options.surrogate.parameter().1, dtype),
            options.reset,
            options.step_order,
            SurrogateKind::of(options.surrogate),
            dtype,
        );
        grad
    }

    fn advance(
        currents: FloatTensor<Self>,
        membrane: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (spikes, end) = (empty_like(&currents), empty_like(&membrane));
        let (steps, neurons) = (currents.meta.shape()[0], currents.meta.shape()[1]);
        if steps * neurons == 0 {
            return (spikes, membrane);
        }
        let client = currents.client.clone();
        let dtype = currents.dtype.into();
        let dim = CubeDim::new(&client, neurons);
        advance_kernel::launch::<R>(
            &client,
            calculate_cube_count_elemwise(&client, neurons, dim),
            dim,
            spikes.required_address_type(),
            into_contiguous(currents).into_array_arg(),
            into_contiguous(membrane).into_array_arg(),
            into_contiguous(threshold).into_array_arg(),
            into_contiguous(leak).into_array_arg(),
            spikes.clone().into_array_arg(),
            end.clone().into_array_arg(),
            neurons,
            steps,
            options.reset,
            options.step_order,
            dtype,
        );
        (spikes, end)
    }
}

/// An uninitialised contiguous tensor of the shape and type of `tensor`.
fn empty_like<R: CubeRuntime>(tensor: &CubeTensor<R>) -> CubeTensor<R> {
    empty_device_contiguous_dtype(
        tensor.client.clone(),
        tensor.device.clone(),
        tensor.meta.shape().clone(),
        tensor.dtype,
    )
}
