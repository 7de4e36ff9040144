//! The machine's limit for a benchmark: the time for its additions, with numbers from the
//! second-level cache, or the time for its bytes from memory, whichever is longer.
//!
//! A small benchmark has its data in the caches, so it may be faster than the limit of memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use pulp::Arch;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// The speed of all threads together, measured when the benchmark starts.
#[derive(Clone, Copy)]
pub struct Machine {
    additions_per_second: f64,
    bytes_per_second: f64,
}

/// The least work of one iteration of a benchmark.
#[derive(Clone, Copy)]
pub struct Work {
    /// Additions of `f32` numbers.
    pub additions: u64,
    /// Bytes that are read or written, each counted once.
    pub bytes: u64,
}

impl Machine {
    /// Measures the machine and prints the limits.
    pub fn measure() -> Self {
        let machine = Self {
            additions_per_second: additions_per_second(),
            bytes_per_second: bytes_per_second(),
        };
        let Self { additions_per_second, bytes_per_second } = machine;
        eprintln!("limits: {additions_per_second:.2e} additions/s, {bytes_per_second:.2e} bytes/s");
        machine
    }

    /// The shortest possible time of the work, in seconds, and the name of its limit.
    fn least(self, work: Work) -> (f64, &'static str) {
        let additions = work.additions as f64 / self.additions_per_second;
        let bytes = work.bytes as f64 / self.bytes_per_second;
        if additions > bytes { (additions, "additions") } else { (bytes, "memory") }
    }

    /// Runs a benchmark and prints the share of the limit that its best sample reaches.
    pub fn bench<R>(
        self,
        group: &mut BenchmarkGroup<WallTime>,
        id: BenchmarkId,
        work: Work,
        mut routine: impl FnMut() -> R,
    ) {
        let mut best = f64::MAX;
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut elapsed = Duration::ZERO;
                for _ in 0..iterations {
                    let start = Instant::now();
                    let result = black_box(routine());
                    elapsed += start.elapsed();
                    drop(result);
                }
                best = best.min(elapsed.as_secs_f64() / iterations as f64);
                elapsed
            });
        });
        // Criterion runs nothing if a filter excludes the benchmark.
        if best < f64::MAX {
            let (least, bound) = self.least(work);
            let share = 100.0 * least / best;
            eprintln!("    best {:.3} ms, {share:.0} % of the limit ({bound})", 1e3 * best);
        }
    }
}

fn additions_per_second() -> f64 {
    const NUMBERS: usize = 96 << 10;
    const ROUNDS: usize = 400;
    let seconds = best_of_five(|| {
        rayon::broadcast(|_| {
            let numbers = vec![1f32; NUMBERS];
            let mut sums = [0f32; 128];
            for _ in 0..ROUNDS {
                add(&mut sums, black_box(&numbers));
            }
            black_box(sums)
        });
    });
    (NUMBERS * ROUNDS * rayon::current_num_threads()) as f64 / seconds
}

/// Every thread reads its own stream of numbers, which no cache can hold.
fn bytes_per_second() -> f64 {
    const NUMBERS: usize = 16 << 20;
    let streams = vec![vec![1f32; NUMBERS]; rayon::current_num_threads()];
    let seconds = best_of_five(|| {
        streams.par_iter().for_each(|numbers| {
            let mut sums = [0f32; 128];
            add(&mut sums, black_box(numbers));
            black_box(sums);
        });
    });
    (size_of::<f32>() * NUMBERS * streams.len()) as f64 / seconds
}

/// Adds numbers with the widest vector instructions of this machine, as the kernels do.
fn add(sums: &mut [f32; 128], numbers: &[f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut local = *sums;
            for row in numbers.chunks_exact(128) {
                for (sum, number) in local.iter_mut().zip(row) {
                    *sum += number;
                }
            }
            *sums = local;
        },
    );
}

fn best_of_five(mut work: impl FnMut()) -> f64 {
    let seconds = (0..5).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::MAX, f64::min)
}
