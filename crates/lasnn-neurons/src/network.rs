//! A whole spiking network as one operation.
//!
//! Between the operations of a tensor library stand dense tensors of floats. A network that is one
//! operation keeps its spikes to itself, a bit each, and computes only where there is one; what
//! comes out is what a loss needs: the readout and, where asked for, how often neurons fired.
//!
//! The kernels are those of [`lasnn_spiking_kernels`]; [`crate::SpikingBackend::network`] says on
//! which backends.

use std::sync::Arc;

use burn::tensor::{Shape, TensorMetadata, backend::Backend, ops::FloatTensor};
use lasnn_core::{Mask, Precision};
use lasnn_spiking_kernels::{
    self as kernels, Call, Circuit, Drive, Membranes, Neurons, Outcome, OutcomeGrad, Prepared,
    Show, Tape, WeightFormat,
};

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
    /// The masks that the circuit names, each with a row `[channels, height, width]` for each image.
    pub masks: Arc<[Option<Mask>]>,
    /// Images.
    pub batch: usize,
    /// Time steps.
    pub steps: usize,
    /// What is shown of each site.
    pub shown: Arc<[Show]>,
    /// The weights once more, as [`prepare`] makes them.
    pub prepared: Option<Arc<Prepared>>,
    /// What a recorded pass and its pass back multiply, as [`Call::precision`] says.
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
    /// The sites of which something is shown, and what.
    fn shown_sites(&self) -> impl Iterator<Item = (usize, Show)> + '_ {
        let sites = self.shown.iter().copied().enumerate();
        sites.filter(|&(_, show)| show != Show::Nothing)
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
            shown: self.shown,
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
    let masks: Vec<_> = pass.masks.iter().map(|mask| mask.as_ref().map(Mask::rows)).collect();
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

/// The results of a pass as tensors.
fn results<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    mut outcome: Outcome,
    device: &B::Device,
) -> Vec<FloatTensor<B>> {
    let readout = Shape::new([pass.batch, pass.circuit.classes]);
    let readout = B::from_host(outcome.readout, readout, device);
    let maps = pass.shown_sites().map(|(site, show)| {
        let kernels::Shape { channels, height, width } = pass.circuit.sites[site].shape;
        let (maps, channels) = match show {
            Show::Squares => (std::mem::take(&mut outcome.squares[site]), 1),
            _ => (std::mem::take(&mut outcome.counts[site]), channels),
        };
        B::from_host(maps, Shape::new([pass.batch, channels, height, width]), device)
    });
    std::iter::once(readout).chain(maps).collect()
}

/// [`SpikingBackend::network`] without gradients.
pub(crate) fn forward<B: SpikingBackend>(pass: &NetworkPass<B>) -> Option<Vec<FloatTensor<B>>> {
    let device = B::float_device(pass.input.tensor());
    let outcome = with_call::<B, _>(pass, |call, drive| {
        call.advance(drive, pass.steps, &mut call.rest(), &pass.shown)
    })?;
    Some(results(pass, outcome, &device))
}

/// The same, and where neurons fired, for [`backward`].
pub(crate) fn record<B: SpikingBackend>(
    pass: &NetworkPass<B>,
) -> Option<(Vec<FloatTensor<B>>, Tape)> {
    let device = B::float_device(pass.input.tensor());
    let (outcome, tape) =
        with_call::<B, _>(pass, |call, drive| call.record(drive, pass.steps, &pass.shown))?;
    Some((results(pass, outcome, &device), tape))
}

/// The gradients with respect to the input, if it is currents, and to the weights.
pub(crate) type NetworkGradients<B> = (Option<FloatTensor<B>>, Vec<FloatTensor<B>>);

/// The gradients of a recorded pass, given those of its results, as far as a loss depends on them.
pub(crate) fn backward<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    tape: &Tape,
    mut grads: Vec<Option<FloatTensor<B>>>,
) -> Option<NetworkGradients<B>> {
    let device = B::float_device(pass.input.tensor());
    let which: Vec<bool> = grads.iter().map(Option::is_some).collect();
    let grads: Vec<FloatTensor<B>> = grads.drain(..).flatten().collect();
    let gradients = with_call::<B, _>(pass, |call, _| {
        B::on_host(&grads, |numbers| {
            let mut numbers = numbers.iter().copied();
            let mut all = which.iter().map(|&is_there| is_there.then(|| numbers.next()).flatten());
            let none = vec![0.0; pass.batch * pass.circuit.classes];
            let readout = all.next().flatten().unwrap_or(&none);
            let (mut counts, mut squares) =
                (vec![None; pass.shown.len()], vec![None; pass.shown.len()]);
            for ((site, show), grad) in pass.shown_sites().zip(all) {
                match show {
                    Show::Squares => squares[site] = grad,
                    _ => counts[site] = grad,
                }
            }
            call.backward(tape, OutcomeGrad { readout, counts: &counts, squares: &squares })
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
        call.advance(drive, pass.steps, membranes, &pass.shown)
    })
}
