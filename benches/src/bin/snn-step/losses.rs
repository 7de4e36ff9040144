//! `snn-step losses`: what a loss of the student costs beside the cross-entropy, in time and in
//! memory.
//!
//! One process runs training steps without and with the loss in turns, so that a change of the
//! machine's speed meets both. The pass of the teacher is timed on its own in each turn. Peak
//! memory is that of a process, so `--peak` measures one side only.

use std::time::Instant;

use anyhow::Context;
use burn_flex::Flex;
use lasnn_core::{Pass, Precision, Probe};
use lasnn_distillation::{CrossEntropy, LossConfig, StudentObjective, Subject, check};
use lasnn_models::{Init, Network, zoo};
use lasnn_neurons::{Direct, Encoding};
use lasnn_nn::{BatchTensors, Objective, Observable};
use lasnn_snn::SpikingNetwork;
use lasnn_training::{Adam, Gradients, Optimizer, OptimizerConfig};
use serde_json::json;

use crate::case::Case;
use crate::make::{self, Random, SEED};
use crate::pair::PrecisionName;
use crate::serve::peak_mib;
use crate::step::{LEARNING_RATE, Train};

#[derive(clap::Args)]
pub struct LossesArguments {
    /// Print the losses that can be measured, one JSON table a line, and do nothing else
    #[arg(long)]
    list: bool,
    /// A network by its name, with random weights, on synthetic images
    #[arg(long, default_value = "vgg5")]
    net: String,
    /// The teacher by its name, with random weights
    #[arg(long, default_value = "teacher-resnet20")]
    teacher: String,
    /// The loss as JSON, for instance {"kind": "attention"}; without it, cross-entropy alone
    #[arg(long)]
    loss: Option<String>,
    /// Run two steps and print the peak memory, in place of times
    #[arg(long)]
    peak: bool,
    /// The number format of a training step
    #[arg(long, value_enum, default_value = "bf16")]
    precision: PrecisionName,
    /// The number of pairs
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// The number of images
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// The number of time steps
    #[arg(long, default_value_t = 8)]
    time_steps: usize,
    /// The firing rate of every layer, in spikes per neuron and time step
    #[arg(long, default_value_t = 0.1)]
    rate: f64,
}

/// Losses with other keys than their defaults.
const VARIANTS: [&str; 3] = [
    r#"{"kind":"cross-entropy","on":"step"}"#,
    r#"{"kind":"attention","normalise":"softmax"}"#,
    r#"{"kind":"logits","on":"step"}"#,
];

/// Measures one loss, and prints one line of JSON.
pub fn losses(arguments: &LossesArguments) -> anyhow::Result<()> {
    if arguments.list {
        for kind in LossConfig::KINDS {
            let line = json!({"kind": kind.name}).to_string();
            let loss: LossConfig = serde_json::from_str(&line)?;
            // The teacher here is an ordinary network.
            if !loss.as_kind().teacher_probes().iter().any(Probe::is_spiking) {
                println!("{line}");
            }
        }
        VARIANTS.iter().for_each(|line| println!("{line}"));
        return Ok(());
    }
    let LossesArguments { batch, time_steps, rate, .. } = *arguments;
    let random = Random { net: &arguments.net, batch, time_steps, rate };
    let case = make::random(&random, Encoding::Direct(Direct {}))?;
    let plain = vec![LossConfig::CrossEntropy(CrossEntropy::default())];
    let mut with = plain.clone();
    if let Some(loss) = &arguments.loss {
        with.push(serde_json::from_str(loss).with_context(|| format!("--loss {loss}"))?);
    }
    let mut extended = Step::new(&case, &with, arguments)?;
    if arguments.peak {
        (0..2).for_each(|_| extended.run());
        println!("{}", json!({"peak_mib": peak_mib()?}));
        return Ok(());
    }
    let mut plain = Step::new(&case, &plain, arguments)?;
    let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
    // The first pairs allocate memory, and are left out.
    for pair in 0..arguments.pairs + 2 {
        // The sides begin in turns.
        for side in [pair % 2, 1 - pair % 2, 2] {
            let begun = Instant::now();
            match side {
                0 => plain.run(),
                1 => extended.run(),
                _ => extended.run_teacher(),
            }
            if pair >= 2 {
                seconds[side].push(begun.elapsed().as_secs_f64());
            }
        }
    }
    let [plain_seconds, loss_seconds, teacher_seconds] = seconds;
    let line = json!({
        "plain_seconds": plain_seconds,
        "loss_seconds": loss_seconds,
        "teacher_seconds": teacher_seconds,
    });
    println!("{line}");
    Ok(())
}

/// A training step of a student with some losses.
struct Step {
    network: Option<SpikingNetwork<Train>>,
    objective: StudentObjective<Network<Flex>>,
    /// The teacher once more, if a loss needs one.
    teacher: Option<Network<Flex>>,
    losses: Vec<LossConfig>,
    optimizer: Optimizer<Flex>,
    case: Case,
    precision: Precision,
}

impl Step {
    fn new(
        case: &Case,
        losses: &[LossConfig],
        arguments: &LossesArguments,
    ) -> anyhow::Result<Self> {
        let name = &arguments.teacher;
        let architecture = zoo::named(name).with_context(|| {
            format!("there is no network `{name}`, only {}", zoo::NAMES.join(", "))
        })?;
        let plan = architecture.plan(case.about.image, case.about.classes)?;
        let student = case.about.plan()?;
        let time_steps = case.about.time_steps;
        check(losses, Subject::spiking(&student, time_steps), Some(Subject::ordinary(&plan)))?;
        let needs_teacher = losses.iter().any(|loss| loss.as_kind().needs_teacher());
        let device = Default::default();
        let teacher =
            needs_teacher.then(|| Network::<Flex>::new(&plan, Init::default(), SEED, &device));
        let batch = case.batch.clone();
        Ok(Self {
            network: Some(case.network(&device)?),
            objective: StudentObjective::new(losses, teacher.clone(), time_steps)?,
            teacher,
            losses: losses.to_vec(),
            optimizer: Optimizer::new(OptimizerConfig::Adam(Adam::new(LEARNING_RATE))),
            case: Case { about: case.about.clone(), state: Default::default(), batch },
            precision: arguments.precision.into(),
        })
    }

    fn pass(&self) -> Pass<'_> {
        let pass = Pass::evaluate(self.case.about.seed, &self.case.batch.samples);
        pass.with_precision(self.precision)
    }

    fn run(&mut self) {
        let Some(network) = self.network.take() else { return };
        let device = Default::default();
        let batch = &self.case.batch;
        let (images, targets) = (batch.images::<Train>(&device), batch.targets(&device));
        let loss = self.objective.loss(&network, images, targets, &self.pass());
        let gradients = Gradients::collect::<Train, _>(&network, loss.total.backward());
        std::hint::black_box(loss.total.into_scalar());
        self.network = Some(self.optimizer.step(network, gradients, 1.0));
    }

    fn run_teacher(&self) {
        if let Some(teacher) = &self.teacher {
            let images = self.case.batch.images::<Flex>(&Default::default());
            let probes = LossConfig::teacher_probes(&self.losses);
            let observed = teacher.observe(images, &self.pass(), &probes);
            std::hint::black_box(observed.logits.into_data());
        }
    }
}
