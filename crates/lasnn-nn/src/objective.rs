//! The trait of a loss, and cross-entropy.

use burn::tensor::{Int, Tensor, activation::log_softmax, backend::Backend};

use lasnn_core::Pass;

/// The loss of one batch, averaged over its images.
#[derive(Clone, Debug)]
pub struct Loss<B: Backend> {
    /// The weighted sum of the parts, `[1]`, which is differentiated.
    pub total: Tensor<B, 1>,
    /// The parts before weighting; each is logged.
    pub parts: Vec<LossPart<B>>,
    /// Class scores `[batch, classes]`, for the training accuracy.
    pub logits: Tensor<B, 2>,
}

/// One named part of a loss.
#[derive(Clone, Debug)]
pub struct LossPart<B: Backend> {
    /// The name in `metrics.jsonl`, for instance `cross_entropy` or `attention_low`.
    pub name: String,
    /// Its value, `[1]`.
    pub value: Tensor<B, 1>,
}

/// The loss that a training loop minimises: cross-entropy in stages 1 and 2, the losses of the
/// recipe in stage 3.
pub trait Objective<B: Backend, M> {
    /// The loss of `model` on a batch of images `[batch, channels, height, width]` with the classes
    /// `targets` `[batch]`.
    fn loss(
        &self,
        model: &M,
        images: Tensor<B, 4>,
        targets: Tensor<B, 1, Int>,
        pass: &Pass<'_>,
    ) -> Loss<B>;
}

/// The mean of `-log softmax(logits)[target]`, `[1]` (Eq. 9).
///
/// The largest logit is subtracted before the exponential, so that large logits do not overflow.
///
/// # Shapes
///
/// - `logits`: `[batch, classes]`
/// - `targets`: `[batch]`, with values in `0..classes`
pub fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    batch_mean(log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1))).neg()
}

/// The mean of a column `[batch, 1]`, as `[1]`.
///
/// This is `mean_dim` and not `mean`: on a GPU, the mean of a whole tensor is added up in the order
/// in which multiprocessors finish, so its result differs between runs.
pub fn batch_mean<B: Backend>(column: Tensor<B, 2>) -> Tensor<B, 1> {
    column.mean_dim(0).reshape([1])
}
