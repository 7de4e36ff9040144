//! Measures networks on validation and test images, with a progress bar.

use std::ops::ControlFlow;

use lasnn_core::{BatchSource, Seed};
use lasnn_neurons::SpikingBackend;
use lasnn_nn::Observable;
use lasnn_snn::{Progress as At, Simulation, Simulator, images_at_once, simulate_while};
use lasnn_training::{Evaluation, evaluate_while};

use super::session::Session;
use super::stage::TestResult;
use crate::progress::Progress;
use crate::recipe::Node;
use crate::signals::{self, Interrupted};
use crate::summary::SpikingSummary;

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

/// Simulates the spiking network of a stage on the test images over its own number of time steps.
///
/// # Errors
///
/// Fails if a signal comes.
pub(super) fn test_simulation<B: SpikingBackend>(
    session: &Session<'_>,
    node: &Node<'_>,
    simulator: &Simulator<B>,
    device: &B::Device,
) -> anyhow::Result<TestResult> {
    let Session { recipe, splits, progress, .. } = *session;
    let (label, steps) = (format!("{} test", node.name()), simulator.network().time_steps());
    let plan = session.plan(node);
    let images = splits.test(images_at_once(plan, steps, recipe.evaluation.batch));
    let found = simulation(simulator, &images, steps, recipe.seed, &label, progress, device)?;
    let by_class = session.by_class(&found.by_class);
    let spiking = SpikingSummary::new(&found, steps, plan);
    Ok(TestResult { accuracy: spiking.test_accuracy(), by_class, spiking: Some(spiking) })
}
