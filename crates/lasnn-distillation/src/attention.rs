//! The distance of attention maps.
//!
//! ```text
//! d(S, T) = ‖ Q_S/‖Q_S‖₂ − Q_T/‖Q_T‖₂ ‖                     (Eq. 7, one pair of layers)
//! ```
//!
//! with Q the flattened attention map F(A) of one image ([`lasnn_nn::attention_map`]; Zagoruyko and
//! Komodakis, "Paying more attention to attention", 2017).

use burn::tensor::{Tensor, backend::Backend, module::adaptive_avg_pool2d};
use lasnn_nn::batch_mean;
use serde::{Deserialize, Serialize};

/// The norm of Eq. 7, which the paper leaves open (`attention.distance`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// The Euclidean norm of the difference per image, averaged over the batch.
    #[default]
    Norm,
    /// The squared difference averaged over batch and positions, as attention transfer's code.
    MeanSquare,
}

/// Below this, a squared norm of maps scaled to a maximum of 1 means a silent layer. Such maps have
/// a squared norm of at least 1, so the value only keeps the square root's gradient finite; it is
/// large enough for half precision.
const SILENT: f32 = 1e-2;

/// A squared distance below this counts as this, where the square root has no gradient.
const EQUAL: f32 = 1e-7;

/// Brings two maps `[batch, 1, height, width]` to the same size: each side to the smaller of the
/// two, by average pooling, which keeps the attention that a position had.
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

/// How far apart the attention of student and teacher is (Eq. 7, one pair), `[1]`.
///
/// # Shapes
///
/// - `student`, `teacher`: attention maps `[batch, 1, height, width]`; height and width may differ between
///   the two
pub fn attention_distance<B: Backend>(
    student: Tensor<B, 4>,
    teacher: Tensor<B, 4>,
    distance: Distance,
) -> Tensor<B, 1> {
    let (student, teacher) = match_sizes(student, teacher);
    let difference = normalise(student.flatten(1, 3)) - normalise(teacher.flatten(1, 3));
    let squares = difference.clone() * difference;
    match distance {
        Distance::Norm => batch_mean(squares.sum_dim(1).clamp_min(EQUAL).sqrt()),
        Distance::MeanSquare => batch_mean(squares.mean_dim(1)),
    }
}

/// Divides each row of `maps` `[batch, positions]` by its Euclidean norm; a silent row stays zero.
///
/// Rows are first divided by their maximum, a constant to the gradient: the result does not depend
/// on a row's scale, so neither value nor gradient change, but squares can no longer vanish in half
/// precision, and a silent row is told apart from a faint one.
fn normalise<B: Backend>(maps: Tensor<B, 2>) -> Tensor<B, 2> {
    let maximum = maps.clone().detach().max_dim(1);
    let silent = maximum.clone().equal_elem(0.0);
    let scaled = maps / maximum.mask_fill(silent, 1.0);
    let norm = (scaled.clone() * scaled.clone()).sum_dim(1).clamp_min(SILENT).sqrt();
    scaled / norm
}
