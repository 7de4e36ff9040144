//! Two workers take turns, so that each has the machine to itself while it computes.

use std::thread;
use std::time::Duration;

use super::worker::Worker;
use crate::bench::statistics::{Ratios, median, ratios};

/// How long a step may take. The first steps of a peer may compile its network.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Idle threads of PyTorch spin for some milliseconds before they sleep. Without a pause they would
/// take a core from the other side.
const PAUSE: Duration = Duration::from_millis(40);

/// Steps before the first round. They touch all memory and allocate that of the optimiser.
const WARM_UP: usize = 3;

/// The times and the memory of both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Our median time of a step, in milliseconds.
    pub ours_ms: f64,
    /// The other side's median time of a step, in milliseconds.
    pub other_ms: f64,
    /// The other side's time divided by ours, in the same round.
    pub ratios: Ratios,
    /// Our peak of resident memory during the rounds, in MiB.
    pub ours_peak_mib: f64,
    /// The other side's peak of resident memory during the rounds, in MiB.
    pub other_peak_mib: f64,
}

/// Times one step of ours and one step of the other side in each round.
///
/// # Errors
///
/// If one of them fails.
pub fn take_turns(
    ours: &mut Worker,
    other: &mut Worker,
    rounds: usize,
) -> anyhow::Result<Measured> {
    for worker in [&mut *ours, &mut *other] {
        for _ in 0..WARM_UP {
            worker.step(TIME_LIMIT)?;
        }
        worker.request("reset", TIME_LIMIT)?;
    }
    let (mut our_times, mut other_times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (worker, times) in [(&mut *ours, &mut our_times), (&mut *other, &mut other_times)] {
            thread::sleep(PAUSE);
            times.push(worker.step(TIME_LIMIT)?);
        }
    }
    Ok(Measured {
        ours_ms: median(&our_times),
        other_ms: median(&other_times),
        ratios: ratios(&our_times, &other_times),
        ours_peak_mib: ours.peak(TIME_LIMIT)?,
        other_peak_mib: other.peak(TIME_LIMIT)?,
    })
}

/// The fastest of `steps` steps, in milliseconds, after two steps that do not count.
///
/// # Errors
///
/// If the worker fails or a step takes longer than `limit`.
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
