//! Accuracy and loss of a network on a split.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{BatchSource, ClassCount, Pass, Seed};
use lasnn_nn::{BatchTensors, Observable, cross_entropy};
use serde::{Deserialize, Serialize};

use crate::objective::is_correct;

/// Accuracy and loss on a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The number of images.
    pub images: u64,
    /// The number of images whose largest logit (class score) is at their class.
    pub correct: u64,
    /// Share of images that are classified correctly, 0 to 1; 0 if there is no image.
    pub accuracy: f64,
    /// Mean cross-entropy of the logits per image; 0 if there is no image.
    pub loss: f64,
    /// For each class, its images and how many of them are classified correctly; empty if there is
    /// no image.
    pub by_class: Vec<ClassCount>,
}

/// Measures `model` on every image of `source`.
///
/// Poisson encoding draws the same spikes at each evaluation with the same `seed`.
pub fn evaluate<B: Backend, M: Observable<B>>(
    model: &M,
    source: &dyn BatchSource,
    seed: Seed,
    device: &B::Device,
) -> Evaluation {
    let (ControlFlow::Continue(evaluation) | ControlFlow::Break(evaluation)) =
        evaluate_while(model, source, seed, device, |_| ControlFlow::Continue(()));
    evaluation
}

/// Like [`evaluate`], but calls `go_on` before each batch and ends early if it breaks.
///
/// `go_on` gets the number of images measured so far. If it breaks, the result is
/// `ControlFlow::Break` with the evaluation of these images.
pub fn evaluate_while<B: Backend, M: Observable<B>>(
    model: &M,
    source: &dyn BatchSource,
    seed: Seed,
    device: &B::Device,
    mut go_on: impl FnMut(u64) -> ControlFlow<()>,
) -> ControlFlow<Evaluation, Evaluation> {
    let (mut images, mut loss) = (0, 0.0);
    let mut by_class: Vec<ClassCount> = Vec::new();
    let mut stopped = false;
    for batch in source.epoch(0, 0) {
        stopped = go_on(images).is_break();
        if stopped {
            break;
        }
        let targets = batch.targets::<B>(device);
        let pass = Pass::evaluate(seed, &batch.samples);
        let logits = model.logits(batch.images(device), &pass);
        let [_, classes] = logits.dims();
        by_class.resize(classes, ClassCount::default());
        let right = is_correct(logits.clone(), targets.clone());
        let values = read(vec![right, cross_entropy(logits, targets)]);
        for (&label, &right) in batch.labels.iter().zip(&values) {
            by_class[label as usize].add(right > 0.5);
        }
        images += batch.len() as u64;
        loss += values[batch.len()] * batch.len() as f64;
    }
    let count = images.max(1) as f64;
    let correct = by_class.iter().map(|class| class.correct).sum();
    let accuracy = correct as f64 / count;
    let evaluation = Evaluation { images, correct, accuracy, loss: loss / count, by_class };
    match stopped {
        true => ControlFlow::Break(evaluation),
        false => ControlFlow::Continue(evaluation),
    }
}

/// Reads the values of several tensors, waiting for the device only once.
pub(crate) fn read<B: Backend>(tensors: Vec<Tensor<B, 1>>) -> Vec<f64> {
    Tensor::cat(tensors, 0).into_data().iter::<f64>().collect()
}
