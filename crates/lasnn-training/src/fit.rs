//! The training loop.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use lasnn_backend::DenseBackend;
use lasnn_core::{Batch, BatchSource, Pass, Seed};
use lasnn_nn::{BatchTensors, Constrained, Objective, Observable, state};
use serde_json::Value;

use crate::config::TrainConfig;
use crate::diagnosis::{first_not_finite, parameter, suggestion};
use crate::error::TrainError;
use crate::evaluate::{evaluate_while, read};
use crate::gradients::Gradients;
use crate::identity::Identity;
use crate::objective::correct;
use crate::record::{EpochRecord, Observer, Started, StepInfo, Sums};
pub use crate::resume::{BEST, LAST};
use crate::resume::{Store, load_network};

/// The circumstances of a run: its files, its seed, and who follows it.
pub struct FitContext<'a> {
    /// The directory of [`LAST`] and [`BEST`]; created if missing. Two runs must not use one
    /// directory at the same time.
    pub dir: &'a Path,
    /// The stage's name, for messages and checkpoints.
    pub stage: &'a str,
    /// The seed of all random draws.
    pub seed: Seed,
    /// Whether to resume from [`LAST`] if there is one. Otherwise the checkpoints in `dir` are
    /// removed.
    pub resume: bool,
    /// A hash of everything that the trained network depends on except the seed and the training
    /// configuration: data, architecture, teacher. A checkpoint with another fingerprint is not
    /// resumed.
    pub fingerprint: &'a str,
    /// JSON that is stored in the metadata of the checkpoints under `run.recipe`. The loop does not
    /// read it.
    pub recipe: Value,
    /// Whether the run has to stop. The loop reads it after every step, before every batch of
    /// validation images and, if the network has no batch norm, after every micro-batch. Once it is
    /// true, the run saves its state after the last complete step and returns
    /// [`TrainError::Interrupted`].
    pub stop: &'a AtomicBool,
    /// Gets the progress of the run.
    pub observer: &'a mut dyn Observer,
}

/// A trained network.
#[derive(Clone, Debug)]
pub struct Fitted<M> {
    /// The network after the best epoch.
    pub model: M,
    /// The epoch with the highest validation accuracy, counted from 0; of equally good epochs the
    /// first.
    pub best_epoch: u32,
    /// The record of every epoch.
    pub history: Vec<EpochRecord>,
}

impl<M> Fitted<M> {
    /// The record of the best epoch.
    pub fn best(&self) -> &EpochRecord {
        &self.history[self.best_epoch as usize]
    }
}

/// Trains `model` to minimise `objective` and returns the network of the best epoch.
///
/// After each step of the optimiser, the parameters of the network are moved into their ranges
/// ([`Constrained`]).
///
/// The trained network is a function of the arguments. On a backend that sums in a fixed order it
/// has the same bits whether the run was interrupted or killed and then resumed, or not.
///
/// # Errors
///
/// If the configuration is out of range, a split is empty, a checkpoint cannot be written or
/// belongs to another run, a loss or gradient is not finite, or `context.stop` interrupts the run.
pub fn fit<B, M, O>(
    model: M,
    objective: &O,
    train: &dyn BatchSource,
    validation: &dyn BatchSource,
    config: &TrainConfig,
    context: FitContext<'_>,
    device: &B::Device,
) -> Result<Fitted<M>, TrainError>
where
    B: AutodiffBackend<InnerBackend: DenseBackend>,
    M: AutodiffModule<B> + Constrained,
    M::InnerModule: Observable<B::InnerBackend>,
    O: Objective<B, M> + ?Sized,
{
    let FitContext { dir, stage, seed, resume, fingerprint, recipe, stop, observer } = context;
    config.validate()?;
    for (split, source) in [("training", train), ("validation", validation)] {
        if source.is_empty() {
            return Err(TrainError::NoImages { split });
        }
    }
    let steps = train.batches();
    let identity = Identity::new(stage, fingerprint, seed, config, steps, recipe);
    let store = Store::open(dir, resume)?;
    let (mut model, mut optimizer, mut run) = store.resume(model, identity, device)?;
    // A batch norm updates its running statistics in every forward pass, so a step of such a
    // network cannot be undone after its first micro-batch.
    let can_be_abandoned =
        !state::save(&model.valid()).keys().any(|name| name.contains("running_"));
    let never = AtomicBool::new(false);
    let stop_within_step = if can_be_abandoned { stop } else { &never };
    observer.started(Started {
        stage,
        epochs: config.epochs,
        steps,
        epoch: run.epoch,
        step: run.step,
        learning_rate: config.learning_rate(run.epoch, run.step, steps),
        history: &run.history,
    });

    while run.epoch < config.epochs {
        let epoch = run.epoch;
        let mut clock = Clock::start();

        for batch in train.epoch(epoch, run.step) {
            let step = run.step;
            let learning_rate = config.learning_rate(epoch, step, steps);
            let pass = Pass::train(seed, epoch, &batch.samples).with_precision(config.precision);
            let differentiated =
                differentiate(&model, objective, &batch, &pass, config, stop_within_step, device);
            // A step that was stopped between micro-batches has changed nothing. It is repeated
            // after resuming.
            let Some((mut sums, gradients)) = differentiated else {
                return Err(store.interrupt(&model, &optimizer, &run));
            };
            let loss = sums.mean(sums.loss);
            // The loss alone is not enough: a ReLU may turn a NaN into 0, and the loss stays finite
            // while weights become NaN.
            let norm = gradients.norm();
            let quantities = [("training loss", loss), ("gradient norm", norm)];
            if let Some(&(quantity, value)) = quantities.iter().find(|(_, v)| !v.is_finite()) {
                let pass = Pass::evaluate(seed, &batch.samples);
                return Err(TrainError::NotFinite {
                    stage: stage.into(),
                    quantity,
                    value,
                    epoch,
                    epochs: config.epochs,
                    step,
                    steps,
                    layer: first_not_finite(&model, &gradients, &batch, &pass, device),
                    suggestion: suggestion(config, learning_rate),
                });
            }
            let gradients = match config.clip_norm {
                Some(max_norm) => gradients.clip(norm, max_norm),
                None => gradients,
            };
            let factor = config.schedule_factor(epoch, step, steps);
            model = optimizer.step(model, gradients, factor).constrained();

            sums.seconds = clock.lap();
            run.end_step(&sums);
            observer.step(StepInfo { epoch, step, steps, learning_rate, loss });
            if stop.load(Ordering::Relaxed) {
                return Err(store.interrupt(&model, &optimizer, &run));
            }
            if config.checkpoint_steps.is_some_and(|every| run.step % every as usize == 0) {
                store.save_last(&model, &optimizer, &run)?;
            }
        }

        let images = validation.len() as u64;
        let evaluation = evaluate_while(&model.valid(), validation, seed, device, |done| {
            observer.validation(done, images);
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let ControlFlow::Continue(evaluation) = evaluation else {
            return Err(store.interrupt(&model, &optimizer, &run));
        };
        if !evaluation.loss.is_finite() {
            let last = steps.saturating_sub(1);
            return Err(TrainError::NotFinite {
                stage: stage.into(),
                quantity: "validation loss",
                value: evaluation.loss,
                epoch,
                epochs: config.epochs,
                step: last,
                steps,
                layer: match parameter(&model, None) {
                    Some(name) => format!("parameter `{name}` is not finite"),
                    None => "all parameters are finite".into(),
                },
                suggestion: suggestion(config, config.learning_rate(epoch, last, steps)),
            });
        }
        let sums = &run.sums;
        run.end_epoch(EpochRecord {
            epoch,
            learning_rate: config.learning_rate(epoch, 0, steps),
            train_loss: sums.mean(sums.loss),
            train_accuracy: sums.mean(sums.correct as f64),
            loss_parts: sums.mean_parts(),
            validation_loss: evaluation.loss,
            validation_accuracy: evaluation.accuracy,
            seconds: sums.seconds + clock.lap(),
            images_per_second: sums.images as f64 / sums.seconds.max(f64::MIN_POSITIVE),
        });
        // The module `resume` says why in this order.
        store.save_last(&model, &optimizer, &run)?;
        if run.best_has_just_ended() {
            store.save_best(&model, &run)?;
        }
        observer.epoch(&run.history);
    }

    // There is a best epoch, because at least one epoch is done.
    let best_epoch = run.best_epoch.unwrap_or_default();
    let best = store.load_best(best_epoch, &run.identity)?;
    let model = load_network(model, best)
        .map_err(|source| TrainError::State { path: dir.join(BEST), source })?;
    Ok(Fitted { model, best_epoch, history: run.history })
}

/// Runs a batch forward and backward, micro-batch by micro-batch. Returns sums over its images and
/// the gradients of its mean loss, or `None` if `stop` became true between two micro-batches.
fn differentiate<B, M, O>(
    model: &M,
    objective: &O,
    batch: &Batch,
    pass: &Pass<'_>,
    config: &TrainConfig,
    stop: &AtomicBool,
    device: &B::Device,
) -> Option<(Sums, Gradients<B::InnerBackend>)>
where
    B: AutodiffBackend<InnerBackend: DenseBackend>,
    M: AutodiffModule<B>,
    O: Objective<B, M> + ?Sized,
{
    let mut sums = Sums::default();
    let mut gradients = Gradients::default();
    let size = config.micro_batch.unwrap_or(batch.len()).max(1);
    for start in (0..batch.len()).step_by(size) {
        if start > 0 && stop.load(Ordering::Relaxed) {
            return None;
        }
        let range = start..batch.len().min(start + size);
        let images = range.len() as f64;
        let part = batch.slice(range.clone());
        let targets = part.targets::<B>(device);
        let classes = targets.clone().inner();

        let loss = objective.loss(model, part.images(device), targets, &pass.slice(range));
        let found = Gradients::collect::<B, M>(model, loss.total.backward());
        gradients = match part.len() == batch.len() {
            true => found,
            false => gradients.plus(found.scale(images / batch.len() as f64)),
        };

        let mut names = Vec::with_capacity(loss.parts.len());
        let mut scalars = vec![loss.total.inner(), correct(loss.logits.inner(), classes)];
        for loss_part in loss.parts {
            names.push(loss_part.name);
            scalars.push(loss_part.value.inner());
        }
        let values = read(scalars);
        sums.add(&Sums {
            images: part.len() as u64,
            correct: values[1] as u64,
            loss: values[0] * images,
            parts: names.into_iter().zip(values[2..].iter().map(|mean| mean * images)).collect(),
            seconds: 0.0,
        });
    }
    Some((sums, gradients))
}

/// A stopwatch.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start or the last lap.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}
