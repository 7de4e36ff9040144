//! Both gradients of a convolution, image by image, so that what one of them has brought into the
//! caches is there for the other one.

use lasnn_gemm::product::with_format;
use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::forward::images_per_job;
use super::input_grad::InputGrad;
use super::shape::ConvShape;
use super::weight_grad::WeightGrad;
use lasnn_core::Precision;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, Job};

/// Where the gradient with respect to a convolution's output comes from.
pub(crate) trait OutputGrads: Sync {
    /// Elements of `spare`.
    fn spare(&self) -> usize;

    /// That of an image, maybe written to `spare`.
    fn image<'a>(&'a self, image: usize, spare: &'a mut [f32]) -> &'a [f32];
}

/// Images one after the other.
struct Images<'a> {
    images: &'a [f32],
    image: usize,
}

impl OutputGrads for Images<'_> {
    fn spare(&self) -> usize {
        0
    }

    fn image<'a>(&'a self, image: usize, _: &'a mut [f32]) -> &'a [f32] {
        &self.images[image * self.image..][..self.image]
    }
}

/// Writes the gradient `[batch, inputs, height, width]` with respect to the input of
/// [`forward`](super::forward), given that with respect to its output.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub fn input_grad(
    shape: ConvShape,
    precision: Precision,
    output_grad: &[f32],
    weights: &[f32],
    input_grad: &mut [f32],
) {
    shape.check(input_grad.len(), weights.len(), output_grad.len());
    let grads = Images { images: output_grad, image: shape.output_image() };
    let to_input = ToInput { weights, grad: input_grad, adds: false };
    gradients(shape, precision, &grads, Some(to_input), None);
}

/// Writes the gradient `[outputs, inputs, kernel, kernel]` with respect to the weights of
/// [`forward`](super::forward), given that with respect to its output.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub fn weight_grad(
    shape: ConvShape,
    precision: Precision,
    input: &[f32],
    output_grad: &[f32],
    weight_grad: &mut [f32],
) {
    shape.check(input.len(), weight_grad.len(), output_grad.len());
    let grads = Images { images: output_grad, image: shape.output_image() };
    gradients(shape, precision, &grads, None, Some((input, weight_grad)));
}

/// The gradient with respect to the input.
pub(crate) struct ToInput<'a> {
    pub weights: &'a [f32],
    pub grad: &'a mut [f32],
    /// Whether it is added to what is there.
    pub adds: bool,
}

/// Writes those gradients that are asked for: with respect to the input, and with respect to the
/// weights, given the input.
pub(crate) fn gradients(
    shape: ConvShape,
    precision: Precision,
    grads: &impl OutputGrads,
    to_input: Option<ToInput<'_>>,
    to_weights: Option<(&[f32], &mut [f32])>,
) {
    with_format(precision, Gradients { shape, grads, to_input, to_weights });
}

struct Gradients<'a, G> {
    shape: ConvShape,
    grads: &'a G,
    to_input: Option<ToInput<'a>>,
    to_weights: Option<(&'a [f32], &'a mut [f32])>,
}

impl<G: OutputGrads> Job for Gradients<'_, G> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { shape, grads, to_input, to_weights } = self;
        let (input, images) = to_input
            .map(|ToInput { weights, grad, adds }| {
                (InputGrad::new(format, shape, weights, adds), grad)
            })
            .unzip();
        let (weights, weight_grad) = to_weights
            .map(|(input, weight_grad)| (WeightGrad::new(format, shape, input), weight_grad))
            .unzip();
        let length = weights.as_ref().map_or(0, WeightGrad::length);
        let mut stored = Scratch::new(shape.batch.div_ceil(F::HELD) * length);

        let per_job = images_per_job(shape.batch).next_multiple_of(F::HELD);
        let mut images = images.map(|images| images.chunks_mut(per_job * shape.image()));
        let mut parts = stored.chunks_mut((per_job / F::HELD * length).max(1));
        let jobs: Vec<_> = (0..shape.batch)
            .step_by(per_job)
            .map(|first| (first, images.as_mut().and_then(Iterator::next), parts.next()))
            .collect();
        jobs.into_par_iter().for_each(|(first, images, part)| {
            let mut spare: [_; 2] = std::array::from_fn(|_| Scratch::new(grads.spare()));
            let mut work = input.as_ref().map(InputGrad::work);
            let mut images = images.map(|images| images.chunks_exact_mut(shape.image()));
            let part: &mut [F::Number] = cast_slice_mut(part.map_or(&mut [], |part| &mut *part));
            let mut part = part.chunks_exact_mut(length.max(1));
            for pair in (first..shape.batch.min(first + per_job)).step_by(F::HELD) {
                let [one, other] = &mut spare;
                let second = F::HELD == 2 && pair + 1 < shape.batch;
                let pair: [&[f32]; 2] = [
                    grads.image(pair, one),
                    if second { grads.image(pair + 1, other) } else { &[] },
                ];
                if let (Some(weights), Some(part)) = (&weights, part.next()) {
                    weights.write(pair, part);
                }
                let Some((work, images)) = work.as_mut().zip(images.as_mut()) else { continue };
                let pair = pair.into_iter().filter(|grads| !grads.is_empty());
                pair.zip(images).for_each(|(grads, image)| work.write(grads, image));
            }
        });
        if let Some((weights, weight_grad)) = weights.zip(weight_grad) {
            weights.multiply(cast_slice_mut(&mut stored), weight_grad);
        }
    }
}
