//! The kernels for GPUs, in CubeCL. One unit runs one neuron through all time steps.
//!
//! Neighbouring units read neighbouring values of a step, so memory accesses are coalesced. The
//! membrane potential stays in a register.

use burn::tensor::{Shape, Tensor, ops::FloatTensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::{calculate_cube_count_elemwise, prelude::*};
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::Surrogate;
use serde::{Deserialize, Serialize};

use crate::backend::{ScanGrads, ScanParams, SpikingBackend, from_primitive, into_primitive};
use crate::reference;

/// The kind of a [`Surrogate`], a compile-time constant of the kernel. The surrogate's parameter is
/// an argument instead, so that other values need no new kernel. There is no kernel for
/// [`Surrogate::SpikeTime`], which has a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum SurrogateKind {
    Linear,
    Atan,
    FastSigmoid,
    Rectangular,
}

impl SurrogateKind {
    /// The kind and the parameter, or `None` if there is no kernel.
    fn of(surrogate: Surrogate) -> Option<(Self, f64)> {
        Some(match surrogate {
            Surrogate::Linear { damping } => (Self::Linear, damping),
            Surrogate::Atan { alpha } => (Self::Atan, alpha),
            Surrogate::FastSigmoid { slope } => (Self::FastSigmoid, slope),
            Surrogate::Rectangular { width } => (Self::Rectangular, width),
            Surrogate::SpikeTime { .. } => return None,
        })
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

/// 1, or with the reset `zero` 0 for a membrane potential that is above the threshold: the share of
/// it that the next step keeps.
#[cube]
fn kept<F: Float>(u: F, threshold: F, #[comptime] reset: Reset) -> F {
    match comptime!(reset) {
        Reset::Subtract => F::new(1.0),
        Reset::Zero => F::new(1.0) - spike::<F>(u, threshold),
    }
}

/// Advances one neuron by all steps. A parameter has one number, or one for each neuron.
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
    let mut u = start[neuron % start.len()];
    let threshold = threshold[neuron % threshold.len()];
    let leak = leak[neuron % leak.len()];
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
/// overwrite them. `param_grads` is `[membrane, threshold, leak] × neurons`; it is not written if
/// not `with_params`.
#[cube(launch, address_type = "dynamic")]
fn backward_kernel<F: Float>(
    currents: &Array<F>,
    start: &Array<F>,
    threshold: &Array<F>,
    leak: &Array<F>,
    output_grad: &Array<F>,
    grad: &mut Array<F>,
    param_grads: &mut Array<F>,
    neurons: usize,
    steps: usize,
    parameter: InputScalar,
    #[comptime] reset: Reset,
    #[comptime] step_order: StepOrder,
    #[comptime] surrogate: SurrogateKind,
    #[comptime] with_params: bool,
    #[define(F)] _dtype: StorageType,
) {
    let neuron = ABSOLUTE_POS;
    if neuron >= neurons {
        terminate!();
    }
    let start = start[neuron % start.len()];
    let threshold = threshold[neuron % threshold.len()];
    let leak = leak[neuron % leak.len()];
    let parameter = parameter.get::<F>();
    let mut u = start;
    for step in 0..steps {
        let at = step * neurons + neuron;
        u = integrate::<F>(u, currents[at], threshold, leak, reset);
        grad[at] = u;
    }

    // The gradient that a step passes to the step before it.
    let mut carried = F::new(0.0);
    let mut threshold_grad = F::new(0.0);
    let mut leak_grad = F::new(0.0);
    // With `fire-then-integrate`, the spike of a step is sent in the next step, and the last one
    // never.
    let mut next_grad = F::new(0.0);
    for back in 0..steps {
        let step = steps - 1 - back;
        let at = step * neurons + neuron;
        let membrane = grad[at];
        let mut before = start;
        if step > 0 {
            before = grad[at - neurons];
        }
        let output_grad = output_grad[at];
        let spike_grad = match comptime!(step_order) {
            StepOrder::IntegrateThenFire => output_grad,
            StepOrder::FireThenIntegrate => next_grad,
        };
        let ratio = membrane / threshold;
        let z = ratio - F::new(1.0);
        let through_spike = spike_grad * surrogate_grad::<F>(z, parameter, surrogate) / threshold;
        let membrane_grad = through_spike + carried;
        let kept = kept::<F>(before, threshold, reset);
        carried = leak * membrane_grad * kept;
        if comptime!(with_params) {
            threshold_grad -= through_spike * ratio;
            match comptime!(reset) {
                Reset::Subtract => {
                    threshold_grad -= membrane_grad * spike::<F>(before, threshold);
                }
                Reset::Zero => {}
            }
            leak_grad += membrane_grad * before * kept;
        }
        grad[at] = membrane_grad;
        next_grad = output_grad;
    }
    if comptime!(with_params) {
        param_grads[neuron] = carried;
        param_grads[neurons + neuron] = threshold_grad;
        param_grads[2 * neurons + neuron] = leak_grad;
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
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        Self::advance(currents, params, options).0
    }

    fn scan_backward(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        (options, with_params): (NeuronOptions, bool),
    ) -> ScanGrads<FloatTensor<Self>> {
        let Some((surrogate, parameter)) = SurrogateKind::of(options.surrogate) else {
            let (currents, output_grad) = (from_primitive(currents), from_primitive(output_grad));
            let params = params.map(from_primitive);
            let mut grads =
                reference::scan_backward::<Self>(currents, params, output_grad, options);
            grads.params = grads.params.filter(|_| with_params);
            return grads.into_primitives();
        };
        let grad = empty(&currents, currents.meta.shape().clone());
        let (steps, neurons) = (currents.meta.shape()[0], currents.meta.shape()[1]);
        let of_params = empty(&currents, Shape::new([3, if with_params { neurons } else { 1 }]));
        let client = currents.client.clone();
        let dtype = currents.dtype.into();
        if steps * neurons > 0 {
            let dim = CubeDim::new(&client, neurons);
            backward_kernel::launch::<R>(
                &client,
                calculate_cube_count_elemwise(&client, neurons, dim),
                dim,
                grad.required_address_type(),
                into_contiguous(currents).into_array_arg(),
                into_contiguous(params.membrane).into_array_arg(),
                into_contiguous(params.threshold).into_array_arg(),
                into_contiguous(params.leak).into_array_arg(),
                into_contiguous(output_grad).into_array_arg(),
                grad.clone().into_array_arg(),
                of_params.clone().into_array_arg(),
                neurons,
                steps,
                InputScalar::new(parameter, dtype),
                options.reset,
                options.step_order,
                surrogate,
                with_params,
                dtype,
            );
        }
        let row = |row: usize| {
            let all: Tensor<Self, 2> = from_primitive(of_params.clone());
            into_primitive(all.slice([row..row + 1, 0..neurons]).reshape([neurons]))
        };
        let params =
            with_params.then(|| ScanParams { membrane: row(0), threshold: row(1), leak: row(2) });
        ScanGrads { currents: grad, params }
    }

    fn advance(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (steps, neurons) = (currents.meta.shape()[0], currents.meta.shape()[1]);
        let spikes = empty(&currents, currents.meta.shape().clone());
        let end = empty(&currents, Shape::new([neurons]));
        if steps * neurons == 0 {
            return (spikes, end);
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
            into_contiguous(params.membrane).into_array_arg(),
            into_contiguous(params.threshold).into_array_arg(),
            into_contiguous(params.leak).into_array_arg(),
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

/// An uninitialised contiguous tensor of the float type and on the device of `like`.
fn empty<R: CubeRuntime>(like: &CubeTensor<R>, shape: Shape) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, like.dtype)
}
