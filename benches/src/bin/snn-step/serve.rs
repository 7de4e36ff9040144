//! `snn-step serve`: one timed step for each line of the standard input.
//!
//! A comparison can thus take turns with a peer, step by step, and starts each program only once.
//!
//! | line | action | answer |
//! |---|---|---|
//! | `step` | one timed step | `{"ms": 12.3}` |
//! | `check` | one pass without gradients | `{"spikes": [[...], ...], "logits": [[...], ...]}` |
//! | `reset` | the peak of memory is reset | `{}` |
//! | `peak` | | `{"mib": 456.7}`, the peak of memory since the last reset |

use std::fs;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;
use lasnn_core::Precision;
use lasnn_snn::WeightFormat;
use serde_json::{Value, json};

use crate::case::Case;
use crate::step::{Inference, Step, Training, spikes_by_image};

#[derive(clap::Args)]
pub struct ServeArguments {
    /// The file that `make` wrote
    #[arg(long)]
    case: PathBuf,
    /// The kind of a step
    #[arg(long, value_enum)]
    mode: Mode,
    /// The number format of a step
    #[arg(long, value_enum, default_value_t = Format::F32)]
    format: Format,
    /// The number of threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Class scores, without gradients
    Infer,
    /// Forward pass, cross-entropy, backward pass and Adam
    Train,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    F32,
    /// Inference with weights of 12 bits; training in `f32`
    Int12,
    /// Inference with weights in bfloat16, training with `precision = "bf16"`
    Bf16,
}

impl Format {
    /// The weight format of inference.
    fn weights(self) -> WeightFormat {
        match self {
            Self::F32 => WeightFormat::F32,
            Self::Int12 => WeightFormat::Int12,
            Self::Bf16 => WeightFormat::Bf16,
        }
    }

    /// The precision of training.
    fn precision(self) -> Precision {
        match self {
            Self::F32 | Self::Int12 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
        }
    }
}

/// Answers line by line until the input ends.
pub fn serve(arguments: &ServeArguments) -> anyhow::Result<()> {
    // As in `lasnn` itself.
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .use_current_thread()
        .build_global()?;
    let mut step = step(arguments)?;
    for line in stdin().lock().lines() {
        let answer = match line?.trim() {
            "step" => {
                let start = Instant::now();
                step.run();
                json!({ "ms": 1e3 * start.elapsed().as_secs_f64() })
            }
            "check" => check(arguments)?,
            "reset" => reset_peak()?,
            "peak" => json!({ "mib": peak_mib()? }),
            other => bail!("unknown command `{other}`"),
        };
        let mut stdout = stdout().lock();
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

/// Builds the step and drops the case, so that the measured memory is that of the step alone.
fn step(arguments: &ServeArguments) -> anyhow::Result<Box<dyn Step>> {
    let case = Case::load(&arguments.case)?;
    Ok(match arguments.mode {
        Mode::Infer => Box::new(Inference::new(&case, arguments.format.weights())?),
        Mode::Train => Box::new(Training::new(&case, arguments.format.precision())?),
    })
}

/// The spike counts of every layer and image, from a simulation step by step, and the class scores
/// of the timed step.
fn check(arguments: &ServeArguments) -> anyhow::Result<Value> {
    let case = Case::load(&arguments.case)?;
    let inference = Inference::new(&case, arguments.format.weights())?;
    let spikes = spikes_by_image(&inference.network, &case);
    let logits: Vec<f32> = inference.logits().into_data().iter().collect();
    let logits: Vec<&[f32]> = logits.chunks_exact(case.about.classes).collect();
    Ok(json!({ "spikes": spikes, "logits": logits }))
}

/// Resets the peak of resident memory that the operating system keeps.
fn reset_peak() -> anyhow::Result<Value> {
    fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak of memory")?;
    Ok(json!({}))
}

/// The peak of resident memory in MiB.
pub fn peak_mib() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read the memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.context("/proc/self/status has no VmHWM")? / 1024.0)
}
