//! The training loop.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use lasnn_backend::DenseBackend;
use lasnn_core::{Batch, BatchSource, Pass, Seed};
use lasnn_nn::BatchTensors;
use lasnn_nn::{Objective, Tapped, state};
use serde_json::Value;

use crate::config::TrainConfig;
use crate::diagnosis::{first_not_finite, parameter, suggestion};
use crate::error::TrainError;
use crate::evaluate::{evaluate_while, read};
use crate::gradients::Gradients;
use crate::objective::correct;
pub use crate::progress::{BEST, LAST};
use crate::progress::{Identity, Store, give};
use crate::record::{EpochRecord, Observer, Started, StepInfo, Sums};

/// What a run is told beside what it learns from.
pub struct FitContext<'a> {
    /// Where [`LAST`] and [`BEST`] are; made if missing. One run at a time.
    pub dir: &'a Path,
    /// The stage's name, for messages and checkpoints.
    pub stage: &'a str,
    /// The seed of all random draws.
    pub seed: Seed,
    /// Goes on from [`LAST`] if there is one. Otherwise the checkpoints in `dir` are removed.
    pub resume: bool,
    /// Stands for everything that the trained network depends on beside the seed and the
    /// training configuration: data, architecture, teacher. A checkpoint with another one is not
    /// resumed.
    pub fingerprint: &'a str,
    /// Kept in the checkpoints' metadata under `run.recipe`; the loop does not look at it.
    pub recipe: Value,
    /// Looked at after every step, before every batch of validation images and, in a network
    /// without batch norm, after every micro-batch. Once it is true, the run saves the state after
    /// its last whole step and ends as interrupted.
    pub stop: &'a AtomicBool,
    /// Who is told how it goes.
    pub observer: &'a mut dyn Observer,
}

/// A trained network.
#[derive(Clone, Debug)]
pub struct Fitted<M> {
    /// The network as it was after the best epoch.
    pub model: M,
    /// The epoch with the highest validation accuracy, the first one of equals; counted from 0.
    pub best_epoch: u32,
    /// What every epoch came to.
    pub history: Vec<EpochRecord>,
}

impl<M> Fitted<M> {
    /// What the best epoch came to.
    pub fn best(&self) -> &EpochRecord {
        &self.history[self.best_epoch as usize]
    }
}

/// Trains `model` towards `objective` and gives back its best epoch.
///
/// Everything that matters is a function of the arguments: the same ones give the same network,
/// bit for bit on a backend that adds in a fixed order, whether the run was interrupted, killed
/// and resumed, or not.
///
/// # Errors
///
/// If the configuration makes no sense, a split is empty, checkpoints cannot be written or do not
/// belong to this run, a number stops being finite, or `context.stop` interrupts the run.
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
    M: AutodiffModule<B>,
    M::InnerModule: Tapped<B::InnerBackend>,
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
    let run = Identity::new(stage, fingerprint, seed, config, steps, recipe);
    let store = Store::open(dir, resume)?;
    let (mut model, mut optimizer, mut progress) = store.resume(model, run, device)?;
    // A batch norm moves its running statistics in every forward pass, so a step of such a network
    // cannot be taken back half way.
    let can_be_abandoned =
        !state::save(&model.valid()).keys().any(|name| name.contains("running_"));
    let never = AtomicBool::new(false);
    let stop_within_step = if can_be_abandoned { stop } else { &never };
    observer.started(Started {
        stage,
        epochs: config.epochs,
        steps,
        epoch: progress.epoch,
        step: progress.step,
        learning_rate: config.learning_rate(progress.epoch, progress.step, steps),
        history: &progress.history,
    });

    while progress.epoch < config.epochs {
        let epoch = progress.epoch;
        let mut clock = Clock::start();

        for batch in train.epoch(epoch, progress.step) {
            let step = progress.step;
            let learning_rate = config.learning_rate(epoch, step, steps);
            let pass = Pass::train(seed, epoch, &batch.samples).with_precision(config.precision);
            let differentiated =
                differentiate(&model, objective, &batch, &pass, config, stop_within_step, device);
            // A step that was stopped half way has changed nothing: it is done again after
            // resuming.
            let Some((mut sums, gradients)) = differentiated else {
                return Err(store.interrupt(&model, &optimizer, &progress));
            };
            let loss = sums.mean(sums.loss);
            // The loss alone does not tell: a rectifier may turn what is not a number into 0, and
            // the weights go on rotting unseen.
            let norm = gradients.norm();
            let steering = [("training loss", loss), ("gradient norm", norm)];
            if let Some(&(quantity, value)) = steering.iter().find(|(_, v)| !v.is_finite()) {
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
            model = optimizer.step(model, gradients, learning_rate);

            sums.seconds = clock.lap();
            progress.end_step(&sums);
            observer.step(StepInfo { epoch, step, steps, learning_rate, loss });
            if stop.load(Ordering::Relaxed) {
                return Err(store.interrupt(&model, &optimizer, &progress));
            }
            if config.checkpoint_steps.is_some_and(|every| progress.step % every as usize == 0) {
                store.save_last(&model, &optimizer, &progress)?;
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
            return Err(store.interrupt(&model, &optimizer, &progress));
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
        let sums = &progress.sums;
        progress.end_epoch(EpochRecord {
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
        // In this order; `progress` says why.
        store.save_last(&model, &optimizer, &progress)?;
        if progress.best_has_just_ended() {
            store.save_best(&model, &progress)?;
        }
        observer.epoch(&progress.history);
    }

    // At least one epoch is done, and the first one is the best until a better one comes.
    let best_epoch = progress.best_epoch.unwrap_or_default();
    let best = store.load_best(best_epoch, &progress.run)?;
    let model =
        give(model, best).map_err(|source| TrainError::State { path: dir.join(BEST), source })?;
    Ok(Fitted { model, best_epoch, history: progress.history })
}

/// The sums of a batch and the gradients of its mean loss, micro-batch by micro-batch; `None` if
/// `stop` becomes true between two micro-batches.
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

/// Time since the last look.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}
