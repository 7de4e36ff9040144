//! Accuracy and loss of a network on a split.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{BatchSource, ClassCount, Pass, Seed};
use lasnn_nn::BatchTensors;
use lasnn_nn::{Tapped, cross_entropy};
use serde::{Deserialize, Serialize};

use crate::objective::is_correct;

/// How well a network does on a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// How many images were shown.
    pub images: u64,
    /// How many of them got their largest score at their class.
    pub correct: u64,
    /// Share of correct images, 0 to 1; 0 if there is no image.
    pub accuracy: f64,
    /// Mean cross-entropy per image; 0 if there is no image.
    pub loss: f64,
    /// The images by their class, one entry per class score; none if there is no image.
    pub by_class: Vec<ClassCount>,
}

/// Measures `model` on every image of `source`.
///
/// Encoders that draw spikes draw the same ones at each evaluation under the same `seed`.
pub fn evaluate<B: Backend, M: Tapped<B>>(
    model: &M,
    source: &dyn BatchSource,
    seed: Seed,
    device: &B::Device,
) -> Evaluation {
    let (ControlFlow::Continue(evaluation) | ControlFlow::Break(evaluation)) =
        evaluate_while(model, source, seed, device, |_| ControlFlow::Continue(()));
    evaluation
}

/// Like [`evaluate`], but asks `go_on` before each batch whether to measure it.
///
/// `go_on` is told how many images have been measured. Where it breaks, the result is
/// `ControlFlow::Break` with the evaluation of the images so far.
pub fn evaluate_while<B: Backend, M: Tapped<B>>(
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

/// The values of tensors one after the other, waiting for the device only once.
pub(crate) fn read<B: Backend>(tensors: Vec<Tensor<B, 1>>) -> Vec<f64> {
    Tensor::cat(tensors, 0).into_data().iter::<f64>().collect()
}
