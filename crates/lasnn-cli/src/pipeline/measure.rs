//! Measuring networks on images that they did not learn from.

use std::ops::ControlFlow;

use lasnn_core::{BatchSource, Seed};
use lasnn_neurons::SpikingBackend;
use lasnn_nn::Tapped;
use lasnn_snn::{Progress as At, Simulation, Simulator, simulate_while};
use lasnn_training::{Evaluation, evaluate_while};

use crate::progress::Progress;
use crate::signals::{self, Interrupted};

/// How well a network does on some images.
///
/// # Errors
///
/// Fails if a signal comes.
pub fn evaluation<B: SpikingBackend>(
    network: &impl Tapped<B>,
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

/// What a spiking network does over `time_steps`.
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
