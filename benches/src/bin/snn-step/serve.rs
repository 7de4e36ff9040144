//! `snn-step serve`: one timed step per line of standard input.
//!
//! So a comparison can take turns with a peer, step by step, and pay for no start but the first.
//!
//! | line | what happens | answer |
//! |---|---|---|
//! | `step` | one timed step | `{"ms": 12.3}` |
//! | `check` | one pass without gradients | `{"spikes": [[...], ...], "logits": [[...], ...]}` |
//! | `reset` | the peak of memory starts anew | `{}` |
//! | `peak` | | `{"mib": 456.7}`, the most memory since then |

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
    /// What a step is
    #[arg(long, value_enum)]
    mode: Mode,
    /// What a step computes with
    #[arg(long, value_enum, default_value_t = Format::F32)]
    format: Format,
    /// How many threads compute
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Class scores without gradients
    Infer,
    /// Forward, cross-entropy, backward, Adam
    Train,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    F32,
    /// Inference with weights of 12 bits
    Int12,
    /// Inference with weights in bfloat16, training with `precision = "bf16"`
    Bf16,
}

impl Format {
    /// Of inference, and of a recorded pass.
    fn weights(self) -> WeightFormat {
        match self {
            Self::F32 => WeightFormat::F32,
            Self::Int12 => WeightFormat::Int12,
            Self::Bf16 => WeightFormat::Bf16,
        }
    }

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

/// The case itself is dropped: what a step holds is all that its memory should show.
fn step(arguments: &ServeArguments) -> anyhow::Result<Box<dyn Step>> {
    let case = Case::load(&arguments.case)?;
    Ok(match arguments.mode {
        Mode::Infer => Box::new(Inference::new(&case, arguments.format.weights())?),
        Mode::Train => Box::new(Training::new(&case, arguments.format.precision())?),
    })
}

/// The spikes of every layer and image, counted streaming, and the scores of the step that is timed.
fn check(arguments: &ServeArguments) -> anyhow::Result<Value> {
    let case = Case::load(&arguments.case)?;
    let inference = Inference::new(&case, arguments.format.weights())?;
    let spikes = spikes_by_image(&inference.network, &case);
    let logits: Vec<f32> = inference.logits().into_data().iter().collect();
    let logits: Vec<&[f32]> = logits.chunks_exact(case.about.classes).collect();
    Ok(json!({ "spikes": spikes, "logits": logits }))
}

/// Lets the kernel's peak of resident memory start anew.
fn reset_peak() -> anyhow::Result<Value> {
    fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak of memory")?;
    Ok(json!({}))
}

/// The most memory that was resident, in MiB.
fn peak_mib() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read the memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.context("/proc/self/status has no VmHWM")? / 1024.0)
}
