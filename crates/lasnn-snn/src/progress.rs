//! How far a long computation is, and how a caller stops it.
//!
//! A caller passes a function [`OnProgress`] that is called several times a second. Work is
//! therefore cut into pieces of about half a second ([`images_at_once`], [`steps_at_once`]).

use std::ops::ControlFlow;

use lasnn_core::Plan;

/// What is being computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Thresholds are balanced, layer by layer.
    Balancing,
    /// A converted network is calibrated, layer by layer.
    Calibrating,
    /// A converted network is compared with the ordinary one.
    Comparing,
    /// The errors of a converted network are found.
    FindingErrors,
    /// A network is measured.
    Simulating,
}

/// How far a computation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being computed.
    pub task: Task,
    /// The work that is done, in images times time steps; for [`Task::Balancing`] and
    /// [`Task::Calibrating`] in images times time steps times layers of neurons.
    pub done: u64,
    /// All work of the task, in the same unit.
    pub total: u64,
}

/// A function that gets the progress of a computation and returns whether to go on. On a processor
/// with two cores it is called several times a second, and now and then twice with the same
/// progress.
pub type OnProgress<'a> = &'a dyn Fn(Progress) -> ControlFlow<()>;

/// A progress function that never stops a computation.
pub fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Multiply-accumulates of the ordinary network that take about half a second. Two cores make some
/// 50 billion of them a second in dense products, and a spiking network skips most of them.
const WORK: usize = 1 << 35;

/// With fewer images than this at a time, some threads would have no work.
const FEWEST_IMAGES: usize = 8;

/// With fewer time steps than this at a time, the weights would be read from memory too often.
const FEW_STEPS: usize = 8;

/// How many images, at most `most`, to simulate at once over `time_steps` so that they take about
/// half a second. An ordinary network has one time step.
pub fn images_at_once(plan: &Plan, time_steps: usize, most: usize) -> usize {
    let work = plan.macs().max(1).saturating_mul(time_steps.clamp(1, FEW_STEPS));
    (WORK / work).clamp(FEWEST_IMAGES, most.max(FEWEST_IMAGES)).min(most)
}

/// How many time steps of `images` images take about half a second, at least 1.
pub fn steps_at_once(plan: &Plan, images: usize) -> usize {
    let work = plan.macs().max(1).saturating_mul(images.max(1));
    (WORK / work).max(1)
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Shape};

    use super::*;

    fn plan(channels: usize, side: usize) -> Plan {
        let layers =
            vec![Layer::conv(channels), Layer::conv(channels), Layer::Classifier { bias: false }];
        let image = Shape { channels: 3, height: side, width: side };
        Architecture { name: "test".into(), layers }.plan(image, 10).unwrap()
    }

    #[test]
    fn small_networks_take_all_images_and_large_ones_few() {
        assert_eq!(images_at_once(&plan(8, 8), 100, 250), 250);
        let large = plan(512, 32);
        let images = images_at_once(&large, 100, 250);
        assert!((FEWEST_IMAGES..50).contains(&images), "{images}");
        assert_eq!(images_at_once(&large, 100, 3), 3);
        assert!(images * steps_at_once(&large, images) * large.macs() <= 2 * WORK);
    }
}
