//! The distance of two attention maps.
//!
//! ```text
//! d(S, T) = ‖ Q_S/‖Q_S‖₂ − Q_T/‖Q_T‖₂ ‖                     (Eq. 7, one pair of layers)
//! d(S, T) = ‖ Q_S − Q_T ‖                                   without a normalisation
//! d(S, T) = τ² KL(softmax(Q_T / τ) ‖ softmax(Q_S / τ))      normalised by a softmax
//! ```
//!
//! Here Q is the flattened attention map F(A) of one image ([`lasnn_nn::attention_map`]; Zagoruyko
//! and Komodakis, "Paying more attention to attention", 2017).

use burn::tensor::{Tensor, backend::Backend, module::adaptive_avg_pool2d};
use lasnn_nn::batch_mean;
use serde::{Deserialize, Serialize};

use crate::divergence::scaled_divergence;

/// What is done with a flattened attention map before two of them are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// It is divided by its Euclidean norm (Eq. 7).
    #[default]
    L2,
    /// The softmax of the map at a temperature, so that it is a distribution over the positions,
    /// as in the published code of CKDSNN. Two distributions are compared by their divergence.
    Softmax,
    /// Nothing.
    None,
}

/// The outer norm of Eq. 7, which the paper leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// The Euclidean norm of the difference per image, averaged over the batch.
    #[default]
    Norm,
    /// The squared difference, averaged over batch and positions, as in the published code of
    /// attention transfer.
    MeanSquare,
}

/// The least squared norm of a map that is scaled to a maximum of 1. Only the map of a silent layer
/// is below it, since all others have a squared norm of at least 1. The value keeps the gradient of
/// the square root finite, and half precision can represent it.
const SILENT: f32 = 1e-2;

/// The least squared distance. At 0 the square root would have an infinite gradient.
const EQUAL: f32 = 1e-7;

/// Brings two attention maps to one size, the smaller of the two in height and in width.
///
/// Average pooling does this: it keeps the mean attention of an area.
///
/// # Shapes
///
/// - `a`, `b`: `[batch, 1, height, width]`; height and width may differ between the two
/// - result: two maps `[batch, 1, height, width]` of one height and width
pub fn match_sizes<B: Backend>(a: Tensor<B, 4>, b: Tensor<B, 4>) -> (Tensor<B, 4>, Tensor<B, 4>) {
    let [_, _, a_height, a_width] = a.dims();
    let [_, _, b_height, b_width] = b.dims();
    let size = [a_height.min(b_height), a_width.min(b_width)];
    let pool = |map: Tensor<B, 4>| match map.dims()[2..] == size {
        true => map,
        false => adaptive_avg_pool2d(map, size),
    };
    (pool(a), pool(b))
}

/// The distance of the attention of student and teacher (Eq. 7, one pair of layers).
///
/// # Shapes
///
/// - `student`, `teacher`: attention maps `[batch, 1, height, width]`; height and width may differ
///   between the two
/// - result: `[1]`
pub fn attention_distance<B: Backend>(
    student: Tensor<B, 4>,
    teacher: Tensor<B, 4>,
    distance: Distance,
) -> Tensor<B, 1> {
    let (student, teacher) = flattened(student, teacher);
    distance_of(normalize(student), normalize(teacher), distance)
}

/// The same for maps that are not normalised.
pub fn raw_attention_distance<B: Backend>(
    student: Tensor<B, 4>,
    teacher: Tensor<B, 4>,
    distance: Distance,
) -> Tensor<B, 1> {
    let (student, teacher) = flattened(student, teacher);
    distance_of(student, teacher, distance)
}

/// The divergence τ² KL(teacher ‖ student) of the softmax of both maps over the positions. The
/// shapes are those of [`attention_distance`].
pub fn attention_divergence<B: Backend>(
    student: Tensor<B, 4>,
    teacher: Tensor<B, 4>,
    temperature: f64,
) -> Tensor<B, 1> {
    let (student, teacher) = flattened(student, teacher);
    scaled_divergence(teacher, student, temperature)
}

/// Both maps in one size, as rows `[batch, positions]`.
fn flattened<B: Backend>(
    student: Tensor<B, 4>,
    teacher: Tensor<B, 4>,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let (student, teacher) = match_sizes(student, teacher);
    (student.flatten(1, 3), teacher.flatten(1, 3))
}

/// The distance of rows `[batch, positions]`.
fn distance_of<B: Backend>(
    student: Tensor<B, 2>,
    teacher: Tensor<B, 2>,
    distance: Distance,
) -> Tensor<B, 1> {
    let difference = student - teacher;
    let squares = difference.clone() * difference;
    match distance {
        Distance::Norm => batch_mean(squares.sum_dim(1).clamp_min(EQUAL).sqrt()),
        Distance::MeanSquare => batch_mean(squares.mean_dim(1)),
    }
}

/// Divides each row of `maps` `[batch, positions]` by its Euclidean norm. The row of a silent layer
/// stays zero.
///
/// Rows are first divided by their maximum, which counts as a constant in the gradient. The result
/// does not depend on the scale of a row, so neither value nor gradient change. But squares can no
/// longer vanish in half precision, and a silent row differs from a faint one.
fn normalize<B: Backend>(maps: Tensor<B, 2>) -> Tensor<B, 2> {
    let maximum = maps.clone().detach().max_dim(1);
    let silent = maximum.clone().equal_elem(0.0);
    let scaled = maps / maximum.mask_fill(silent, 1.0);
    let norm = (scaled.clone() * scaled.clone()).sum_dim(1).clamp_min(SILENT).sqrt();
    scaled / norm
}
