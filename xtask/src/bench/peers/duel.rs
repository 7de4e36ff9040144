//! Two workers in turns, on a machine that both have to themselves while they compute.

use std::thread;
use std::time::Duration;

use super::worker::Worker;
use crate::bench::statistics::{Ratios, median, ratios};

/// The first steps of a peer may compile its network.
const PATIENCE: Duration = Duration::from_secs(600);

/// Idle threads of PyTorch spin for some milliseconds before they sleep, and would take a core from
/// the other side.
const PAUSE: Duration = Duration::from_millis(40);

/// Steps before the first round: they touch all memory, and make the optimiser's.
const WARM_UP: usize = 3;

/// What the rounds came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Our median time of a step, milliseconds.
    pub ours_ms: f64,
    /// The other side's.
    pub other_ms: f64,
    /// The other side's time over ours.
    pub ratios: Ratios,
    /// Our peak of resident memory, MiB.
    pub ours_peak_mib: f64,
    /// The other side's.
    pub other_peak_mib: f64,
}

/// Lets both take turns: ours, other, ours, other.
///
/// # Errors
///
/// If one of them fails.
pub fn duel(ours: &mut Worker, other: &mut Worker, rounds: usize) -> anyhow::Result<Outcome> {
    for worker in [&mut *ours, &mut *other] {
        for _ in 0..WARM_UP {
            worker.step(PATIENCE)?;
        }
        worker.ask("reset", PATIENCE)?;
    }
    let (mut our_times, mut other_times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (worker, times) in [(&mut *ours, &mut our_times), (&mut *other, &mut other_times)] {
            thread::sleep(PAUSE);
            times.push(worker.step(PATIENCE)?);
        }
    }
    Ok(Outcome {
        ours_ms: median(&our_times),
        other_ms: median(&other_times),
        ratios: ratios(&our_times, &other_times),
        ours_peak_mib: ours.peak(PATIENCE)?,
        other_peak_mib: other.peak(PATIENCE)?,
    })
}

/// The fastest of `steps` steps after two others, or why there is none within `limit` for each.
///
/// # Errors
///
/// If the worker fails or is too slow.
pub fn fastest_step(worker: &mut Worker, steps: usize, limit: Duration) -> anyhow::Result<f64> {
    let mut fastest = f64::INFINITY;
    for step in 0..steps + 2 {
        let time = worker.step(limit)?;
        if step >= 2 {
            fastest = fastest.min(time);
        }
    }
    Ok(fastest)
}
