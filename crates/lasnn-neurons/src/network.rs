//! A whole spiking network as one operation.
//!
//! Between the operations of a tensor library stand dense tensors of floats. A network that is one
//! operation keeps its spikes to itself, a bit each, and computes only where there is one; what
//! comes out is what a loss needs: the readout and, where asked for, how often neurons fired.
//!
//! The kernels are those of [`lasnn_kernels::spiking`]; [`crate::SpikingBackend::network`] says on
//! which backends.

use std::sync::Arc;

use burn::tensor::{Shape, TensorMetadata, backend::Backend, ops::FloatTensor};
use lasnn_kernels::spiking::{
    self as kernels, Call, Circuit, Drive, Membranes, Neurons, Outcome, OutcomeGrad, Prepared,
    Tape, WeightFormat,
};
use lasnn_kernels::{Precision, memory};

use crate::backend::SpikingBackend;
use crate::neuron::{Dynamics, Reset, StepOrder};
use crate::surrogate::Surrogate;

/// What drives the first neurons.
#[derive(Clone, Debug)]
pub enum NetworkInput<T> {
    /// Currents `[batch, channels, height, width]`, the same at every step.
    Currents(T),
    /// Spikes `[steps * batch, channels, height, width]`: 0 where there is none.
    Spikes(T),
}

/// A pass of a spiking network.
#[derive(Clone, Debug)]
pub struct NetworkPass<B: Backend> {
    /// What is connected to what; it has passed its own check.
    pub circuit: Arc<Circuit>,
    /// The neurons of each site.
    pub neurons: Arc<[Neurons]>,
    /// The weights that the circuit names, in its layouts.
    pub weights: Vec<FloatTensor<B>>,
    /// What drives the first site.
    pub input: NetworkInput<FloatTensor<B>>,
    /// The masks that the circuit names, each `[batch, channels, height, width]`.
    pub masks: Arc<[Option<Vec<f32>>]>,
    /// Images.
    pub batch: usize,
    /// Time steps.
    pub steps: usize,
    /// For which sites spikes are counted.
    pub counted: Arc<[bool]>,
    /// The weights once more, as [`prepare`] makes them.
    pub prepared: Option<Arc<Prepared>>,
    /// What the dense products of the pass back multiply.
    pub precision: Precision,
}

/// The neurons of a site, from what a layer of neurons knows.
pub fn neurons(threshold: f32, leak: f32, dynamics: Dynamics) -> Neurons {
    Neurons {
        threshold,
        leak,
        reset: match dynamics.reset {
            Reset::Subtract => kernels::Reset::Subtract,
            Reset::Zero => kernels::Reset::Zero,
        },
        step_order: match dynamics.step_order {
            StepOrder::IntegrateThenFire => kernels::StepOrder::IntegrateThenFire,
            StepOrder::FireThenIntegrate => kernels::StepOrder::FireThenIntegrate,
        },
        surrogate: match dynamics.surrogate {
            Surrogate::Linear { damping } => kernels::Surrogate::Linear { damping },
            Surrogate::Atan { alpha } => kernels::Surrogate::Atan { alpha },
            Surrogate::FastSigmoid { slope } => kernels::Surrogate::FastSigmoid { slope },
            Surrogate::Rectangular { width } => kernels::Surrogate::Rectangular { width },
        },
    }
}

impl<T> NetworkInput<T> {
    /// The tensor.
    pub fn tensor(&self) -> &T {
        match self {
            Self::Currents(tensor) | Self::Spikes(tensor) => tensor,
        }
    }

    fn map<U>(self, change: impl FnOnce(T) -> U) -> NetworkInput<U> {
        match self {
            Self::Currents(tensor) => NetworkInput::Currents(change(tensor)),
            Self::Spikes(tensor) => NetworkInput::Spikes(change(tensor)),
        }
    }
}

impl<B: Backend> NetworkPass<B> {
    /// The lengths of the parts of the result: the readout `[batch, classes]`, then for each counted
    /// site how often its neurons fired, `[batch, channels, height, width]`.
    pub fn outputs(&self) -> Vec<usize> {
        let sites = self.circuit.sites.iter().zip(&self.counted[..]);
        let counted = sites.filter(|(_, counted)| **counted);
        let counts = counted.map(|(site, _)| self.batch * site.shape.neurons());
        std::iter::once(self.batch * self.circuit.classes).chain(counts).collect()
    }

    /// The same pass with other tensors.
    pub(crate) fn map<C: Backend>(
        self,
        change: impl Fn(FloatTensor<B>) -> FloatTensor<C>,
    ) -> NetworkPass<C> {
        NetworkPass {
            circuit: self.circuit,
            neurons: self.neurons,
            weights: self.weights.into_iter().map(&change).collect(),
            input: self.input.map(&change),
            masks: self.masks,
            batch: self.batch,
            steps: self.steps,
            counted: self.counted,
            prepared: self.prepared,
            precision: self.precision,
        }
    }
}

/// Runs `run` on the numbers of a pass, where they are in host memory.
fn with_call<B: SpikingBackend, R>(
    pass: &NetworkPass<B>,
    run: impl FnOnce(&Call<'_>, Drive<'_>) -> R,
) -> Option<R> {
    let input = pass.input.tensor().clone();
    let tensors: Vec<_> = std::iter::once(input).chain(pass.weights.iter().cloned()).collect();
    let masks: Vec<Option<&[f32]>> = pass.masks.iter().map(Option::as_deref).collect();
    B::on_host(&tensors, |numbers| {
        let call = Call {
            circuit: &pass.circuit,
            neurons: &pass.neurons,
            weights: &numbers[1..],
            masks: &masks,
            batch: pass.batch,
            prepared: pass.prepared.as_deref(),
            precision: pass.precision,
        };
        let drive = match pass.input {
            NetworkInput::Currents(_) => Drive::Currents(numbers[0]),
            NetworkInput::Spikes(_) => Drive::Spikes(numbers[0]),
        };
        run(&call, drive)
    })
}

/// The weights of a circuit in the order in which the kernels read them, for passes that share them;
/// `None` where they are not in host memory.
pub fn prepare<B: SpikingBackend>(
    circuit: &Circuit,
    weights: &[FloatTensor<B>],
    format: WeightFormat,
) -> Option<Prepared> {
    B::on_host(weights, |weights| Prepared::new(circuit, weights, format))
}

/// The result of a pass as a tensor.
fn pack<B: SpikingBackend>(outcome: Outcome, device: &B::Device) -> FloatTensor<B> {
    let mut numbers = outcome.readout;
    numbers.reserve_exact(outcome.counts.iter().map(Vec::len).sum());
    for counts in outcome.counts {
        numbers.extend_from_slice(&counts);
        memory::give(counts);
    }
    vector::<B>(numbers, device)
}

fn vector<B: SpikingBackend>(numbers: Vec<f32>, device: &B::Device) -> FloatTensor<B> {
    let length = numbers.len();
    B::from_host(numbers, Shape::new([length]), device)
}

/// [`SpikingBackend::network`] without gradients.
pub(crate) fn forward<B: SpikingBackend>(pass: &NetworkPass<B>) -> Option<FloatTensor<B>> {
    let device = B::float_device(pass.input.tensor());
    let outcome = with_call::<B, _>(pass, |call, drive| {
        call.advance(drive, pass.steps, &mut call.rest(), &pass.counted)
    })?;
    Some(pack::<B>(outcome, &device))
}

/// The same, and where neurons fired, for [`backward`].
pub(crate) fn record<B: SpikingBackend>(pass: &NetworkPass<B>) -> Option<(FloatTensor<B>, Tape)> {
    let device = B::float_device(pass.input.tensor());
    let (outcome, tape) =
        with_call::<B, _>(pass, |call, drive| call.record(drive, pass.steps, &pass.counted))?;
    Some((pack::<B>(outcome, &device), tape))
}

/// The gradients with respect to the input, if it is currents, and to the weights.
pub(crate) type NetworkGradients<B> = (Option<FloatTensor<B>>, Vec<FloatTensor<B>>);

/// The gradients of a recorded pass, given that of its result.
pub(crate) fn backward<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    tape: &Tape,
    output_grad: FloatTensor<B>,
) -> Option<NetworkGradients<B>> {
    let device = B::float_device(&output_grad);
    let lengths = pass.outputs();
    let gradients = with_call::<B, _>(pass, |call, _| {
        B::on_host(&[output_grad], |numbers| {
            let (readout, mut rest) = numbers[0].split_at(lengths[0]);
            let counts: Vec<Option<&[f32]>> = call
                .circuit
                .sites
                .iter()
                .zip(&pass.counted[..])
                .map(|(site, &counted)| {
                    counted.then(|| {
                        let (counts, later) = rest.split_at(pass.batch * site.shape.neurons());
                        rest = later;
                        counts
                    })
                })
                .collect();
            call.backward(tape, OutcomeGrad { readout, counts: &counts })
        })
    })??;
    let like =
        |numbers: Vec<f32>, tensor: &FloatTensor<B>| B::from_host(numbers, tensor.shape(), &device);
    let input = gradients.currents.map(|numbers| like(numbers, pass.input.tensor()));
    let weights = gradients.weights.into_iter().zip(&pass.weights);
    Some((input, weights.map(|(numbers, weight)| like(numbers, weight)).collect()))
}

/// Runs the steps of a pass on from `membranes`, or from rest, without gradients and without
/// history. `None` where [`SpikingBackend::network`] would be.
pub fn advance<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    membranes: &mut Option<Membranes>,
) -> Option<Outcome> {
    with_call::<B, _>(pass, |call, drive| {
        let membranes = membranes.get_or_insert_with(|| call.rest());
        call.advance(drive, pass.steps, membranes, &pass.counted)
    })
}
