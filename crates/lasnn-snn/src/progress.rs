//! How far a long computation is, and how much of it is done between two looks at a signal.

use std::ops::ControlFlow;

use lasnn_core::Plan;

/// What is being computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Thresholds are balanced, layer by layer.
    Balancing,
    /// The converted network is compared with the ordinary one.
    Comparing,
    /// A network is measured.
    Simulating,
}

/// How far a computation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being computed.
    pub task: Task,
    /// How much is done, out of `total`: images times time steps, and times layers for
    /// [`Task::Balancing`].
    pub done: u64,
    /// How much there is to do.
    pub total: u64,
}

/// Is told how far a computation is and answers whether to go on. It is asked several times a
/// second on a processor of two cores, and may be asked more often than anything has changed.
pub type OnProgress<'a> = &'a dyn Fn(Progress) -> ControlFlow<()>;

/// Never stops a computation.
pub fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Multiply-accumulates of the ordinary network that are about half a second of work: dense
/// products run at some 50 billion a second on two cores, and spikes leave out most of them.
const WORK: usize = 1 << 35;

/// Fewer images than this at a time would leave threads without work.
const FEWEST_IMAGES: usize = 8;

/// Fewer time steps than this at a time would read the weights again too often.
const FEW_STEPS: usize = 8;

/// How many images, at most `most`, are simulated at once over `time_steps`, so that a signal is
/// noticed and a bar moves about every half second. An ordinary network has one time step.
pub fn images_at_once(plan: &Plan, time_steps: usize, most: usize) -> usize {
    let work = plan.macs().max(1).saturating_mul(time_steps.clamp(1, FEW_STEPS));
    (WORK / work).clamp(FEWEST_IMAGES, most.max(FEWEST_IMAGES)).min(most)
}

/// How many time steps of `images` images are about half a second of work, at least 1.
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
