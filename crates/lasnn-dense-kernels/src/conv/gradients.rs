//! Both gradients of a convolution.
//!
//! They are computed image by image. The output gradient of an image is then still in the cache for
//! the second gradient.

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::input_grad::InputGrad;
use super::pack::images_per_job;
use super::shape::ConvShape;
use super::weight_grad::WeightGrad;
use lasnn_core::Precision;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, FormatTask, with_format};

/// A source of the gradients with respect to the output of a convolution.
pub(crate) trait OutputGrads: Sync {
    /// The number of elements that [`image`](Self::image) needs as buffer.
    fn buffer_len(&self) -> usize;

    /// The gradient `[outputs, output_height, output_width]` of an image, which may be written to
    /// `buffer`.
    fn image<'a>(&'a self, image: usize, buffer: &'a mut [f32]) -> &'a [f32];
}

/// Output gradients in a slice, image by image.
struct Images<'a> {
    images: &'a [f32],
    /// The number of elements of an image.
    image: usize,
}

impl OutputGrads for Images<'_> {
    fn buffer_len(&self) -> usize {
        0
    }

    fn image<'a>(&'a self, image: usize, _: &'a mut [f32]) -> &'a [f32] {
        &self.images[image * self.image..][..self.image]
    }
}

/// Writes the gradient with respect to the input of [`forward`](super::forward), without ReLU.
///
/// - `output_grad`: the gradient with respect to the output,
///   `[batch, outputs, output_height, output_width]`
/// - `weights`: `[outputs, inputs, kernel, kernel]`
/// - `input_grad`: `[batch, inputs, height, width]`
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
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

/// Writes the gradient with respect to the weights of [`forward`](super::forward), without ReLU.
///
/// - `input`: `[batch, inputs, height, width]`
/// - `output_grad`: the gradient with respect to the output,
///   `[batch, outputs, output_height, output_width]`
/// - `weight_grad`: `[outputs, inputs, kernel, kernel]`
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
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

/// The destination of the gradient with respect to the input, and the weights.
pub(crate) struct ToInput<'a> {
    pub weights: &'a [f32],
    pub grad: &'a mut [f32],
    /// Whether the gradient is added to the contents of `grad`.
    pub adds: bool,
}

/// Computes the gradients with respect to the input and to the weights, as far as they are not
/// `None`.
///
/// `to_weights` are the input and the destination of the gradient with respect to the weights.
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

impl<G: OutputGrads> FormatTask for Gradients<'_, G> {
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
        let mut packed = Scratch::new(shape.batch.div_ceil(F::PACKED) * length);

        let per_job = images_per_job(shape.batch).next_multiple_of(F::PACKED);
        let mut images = images.map(|images| images.chunks_mut(per_job * shape.image()));
        let mut parts = packed.chunks_mut((per_job / F::PACKED * length).max(1));
        let jobs: Vec<_> = (0..shape.batch)
            .step_by(per_job)
            .map(|first| (first, images.as_mut().and_then(Iterator::next), parts.next()))
            .collect();
        jobs.into_par_iter().for_each(|(first, images, part)| {
            let mut buffers: [_; 2] = std::array::from_fn(|_| Scratch::new(grads.buffer_len()));
            let mut work = input.as_ref().map(InputGrad::work);
            let mut images = images.map(|images| images.chunks_exact_mut(shape.image()));
            let part: &mut [F::Element] = cast_slice_mut(part.map_or(&mut [], |part| &mut *part));
            let mut part = part.chunks_exact_mut(length.max(1));
            for image in (first..shape.batch.min(first + per_job)).step_by(F::PACKED) {
                let [one, other] = &mut buffers;
                let second = F::PACKED == 2 && image + 1 < shape.batch;
                let output_grads: [&[f32]; 2] = [
                    grads.image(image, one),
                    if second { grads.image(image + 1, other) } else { &[] },
                ];
                if let (Some(weights), Some(part)) = (&weights, part.next()) {
                    weights.write(output_grads, part);
                }
                let Some((work, images)) = work.as_mut().zip(images.as_mut()) else { continue };
                let output_grads = output_grads.into_iter().filter(|grads| !grads.is_empty());
                output_grads.zip(images).for_each(|(grads, image)| work.write(grads, image));
            }
        });
        if let Some((weights, weight_grad)) = weights.zip(weight_grad) {
            weights.multiply(cast_slice_mut(&mut packed), weight_grad);
        }
    }
}
