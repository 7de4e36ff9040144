//! Measures networks on validation and test images, with a progress bar.

use std::ops::ControlFlow;

use lasnn_core::{BatchSource, Seed};
use lasnn_neurons::SpikingBackend;
use lasnn_nn::Observable;
use lasnn_snn::{Progress as At, Simulation, Simulator, simulate_while};
use lasnn_training::{Evaluation, evaluate_while};

use crate::progress::Progress;
use crate::signals::{self, Interrupted};

/// Measures the accuracy of a network.
///
/// # Errors
///
/// Fails if a signal comes.
pub fn evaluation<B: SpikingBackend>(
    network: &impl Observable<B>,
    images: &dyn BatchSource,
    seed: Seed,
    label: &str,
    progress: &Progress,
    device: &B::Device,
) -> anyhow::Result<Evaluation> {
    let bar = progress.bar(label, images.len() as u64);
    let evaluation = evaluate_while::<B, _>(network, images, seed, device, |done| {
        bar.at(done);
        signals::go_on()
    });
    match evaluation {
        ControlFlow::Continue(evaluation) => Ok(evaluation),
        ControlFlow::Break(_) => Err(Interrupted.into()),
    }
}

/// Simulates a spiking network over `time_steps` and measures accuracy, spikes and energy.
///
/// # Errors
///
/// Fails if a signal comes.
pub fn simulation<B: SpikingBackend>(
    network: &Simulator<B>,
    images: &dyn BatchSource,
    time_steps: usize,
    seed: Seed,
    label: &str,
    progress: &Progress,
    device: &B::Device,
) -> anyhow::Result<Simulation> {
    let label = format!("{label}, {time_steps} steps");
    let bar = progress.bar(label, images.len() as u64 * time_steps as u64);
    let show = |at: At| {
        bar.at(at.done);
        signals::go_on()
    };
    match simulate_while(network, images, time_steps, seed, &show, device) {
        ControlFlow::Continue(simulation) => Ok(simulation),
        ControlFlow::Break(_) => Err(Interrupted.into()),
    }
}
