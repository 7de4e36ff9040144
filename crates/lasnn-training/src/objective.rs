//! Cross-entropy of logits (class scores) and labels, the objective without a teacher.

use burn::tensor::{Int, Tensor, backend::Backend};
use lasnn_core::Pass;
use lasnn_nn::{Loss, LossPart, Objective, Observable, cross_entropy};

/// Cross-entropy of logits and labels, averaged over the batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy;

impl<B: Backend, M: Observable<B>> Objective<B, M> for CrossEntropy {
    fn loss(
        &self,
        model: &M,
        images: Tensor<B, 4>,
        targets: Tensor<B, 1, Int>,
        pass: &Pass<'_>,
    ) -> Loss<B> {
        let logits = model.logits(images, pass);
        let total = cross_entropy(logits.clone(), targets);
        let part = LossPart { name: "cross_entropy".into(), value: total.clone() };
        Loss { total, parts: vec![part], logits }
    }
}

/// The number of rows of `logits` `[batch, classes]` whose largest logit is at the target, `[1]`.
pub(crate) fn correct<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    is_correct(logits, targets).sum()
}

/// For each row of `logits` `[batch, classes]`, 1 if its largest logit is at the target and 0
/// otherwise, `[batch]`.
pub(crate) fn is_correct<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let [batch, _] = logits.dims();
    logits.argmax(1).reshape([batch]).equal(targets).float()
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;

    /// The expected loss of a row is `ln(1 + e^-d)` or `d + ln(1 + e^-d)` for two logits with the
    /// difference `d`, whatever their size.
    #[test]
    fn the_loss_of_large_logits_is_right() {
        let device = Default::default();
        let logits = Tensor::<Flex, 2>::from_floats([[0.0, 1.0], [2000.0, 1000.0]], &device);
        let check = |targets: [i32; 2], expected: f32| {
            let targets = Tensor::<Flex, 1, Int>::from_ints(targets, &device);
            let found = cross_entropy(logits.clone(), targets).into_scalar();
            assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
        };
        let near = (-1f32).exp().ln_1p();
        check([1, 0], near / 2.0);
        check([0, 1], (1.0 + near + 1000.0) / 2.0);
    }

    #[test]
    fn rows_with_the_largest_logit_at_the_target_are_counted() {
        let device = Default::default();
        let logits = Tensor::<Flex, 2>::from_floats([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]], &device);
        let targets = Tensor::<Flex, 1, Int>::from_ints([1, 1, 1], &device);
        assert_eq!(correct(logits, targets).into_scalar(), 2.0);
    }
}
