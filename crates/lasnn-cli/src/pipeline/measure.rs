//! Measuring networks on images that they did not learn from.

use lasnn_conversion::{Simulation, Simulator, simulate};
use lasnn_core::{Batch, BatchSource, Seed, Tapped};
use lasnn_neurons::SpikingBackend;
use lasnn_training::evaluate;

use crate::progress::{Bar, Progress};
use crate::signals::{self, Interrupted};

/// The accuracy of a network.
///
/// # Errors
///
/// Fails if a signal comes.
pub fn accuracy<B: SpikingBackend>(
    network: &impl Tapped<B>,
    images: &dyn BatchSource,
    seed: Seed,
    label: &str,
    progress: &Progress,
    device: &B::Device,
) -> anyhow::Result<f64> {
    let watched = Watched { images, bar: progress.bar(label, images.len() as u64) };
    let evaluation = evaluate::<B, _>(network, &watched, seed, device);
    Interrupted::check()?;
    Ok(evaluation.accuracy)
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
    let watched = Watched { images, bar: progress.bar(label, images.len() as u64) };
    let simulation = simulate(network, &watched, time_steps, seed, device);
    Interrupted::check()?;
    Ok(simulation)
}

/// Images that move a bar when they are taken, and that run out when a signal comes.
struct Watched<'a> {
    images: &'a dyn BatchSource,
    bar: Bar,
}

impl BatchSource for Watched<'_> {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn batches(&self) -> usize {
        self.images.batches()
    }

    fn epoch(&self, epoch: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_> {
        let mut taken = 0;
        let batches = self.images.epoch(epoch, first).take_while(|_| !signals::stopped());
        Box::new(batches.inspect(move |batch| {
            self.bar.at(taken);
            taken += batch.len() as u64;
        }))
    }
}
