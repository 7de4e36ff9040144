//! Folds batch norm into the convolution before it.
//!
//! Neurons have no batch norm. In evaluation, a batch norm with the running mean `μ` and variance
//! `σ²` is a linear function of its input, so it can be part of the convolution `w * x + b`:
//!
//! ```text
//! s  = γ / √(σ² + ε)
//! w' = s w
//! b' = s (b - μ) + β
//! ```

use burn::tensor::TensorData;
use lasnn_core::{Architecture, Layer};
use lasnn_nn::{StateDict, StateError};

use crate::ann::{Norm, Norms};

/// `ε` of the batch norms of `lasnn-models` and `lasnn-snn`.
const EPSILON: f64 = 1e-5;

/// The tensors of a network without its batch norms, for [`Architecture::folded`]: the convolutions
/// before them have other weights and a bias.
///
/// # Errors
///
/// Names the tensor that is missing, or whose number of elements does not fit.
pub fn fold_batch_norm(
    architecture: &Architecture,
    mut tensors: StateDict,
) -> Result<StateDict, StateError> {
    for (index, layer) in architecture.layers.iter().enumerate() {
        match layer {
            Layer::Conv { batch_norm: true, .. } => fold(&mut tensors, &format!("layers.{index}"))?,
            Layer::Residual { batch_norm: true, .. } => {
                for part in ["first", "second", "shortcut"] {
                    let name = format!("layers.{index}.{part}");
                    // A shortcut between equal shapes has no tensors.
                    if part != "shortcut" || tensors.contains_key(&format!("{name}.conv.weight")) {
                        fold(&mut tensors, &name)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(tensors)
}

/// The trained scales and shifts of the batch norms that [`fold_batch_norm`] folds, by the names of
/// their convolutions.
pub fn batch_norms(tensors: &StateDict) -> Norms {
    let norm = |(name, gamma): (&String, &TensorData)| {
        let conv = name.strip_suffix(".norm.gamma")?;
        let beta = tensors.get(&format!("{conv}.norm.beta"))?;
        let [gamma, beta] = [gamma, beta].map(|numbers| numbers.iter::<f32>().collect());
        Some((conv.to_owned(), Norm { gamma, beta }))
    };
    tensors.iter().filter_map(norm).collect()
}

/// Folds the batch norm `name.norm` into the convolution `name.conv`.
fn fold(tensors: &mut StateDict, name: &str) -> Result<(), StateError> {
    let weight_name = format!("{name}.conv.weight");
    let weight = tensors
        .remove(&weight_name)
        .ok_or_else(|| StateError::Missing { name: weight_name.clone(), expected: vec![] })?;
    let channels = weight.shape[0];
    let mut take = |part: &str| take(tensors, format!("{name}.{part}"), channels);
    let [gamma, beta] = [take("norm.gamma")?, take("norm.beta")?];
    let [mean, variance] = [take("norm.running_mean")?, take("norm.running_var")?];
    let bias = take("conv.bias").unwrap_or_else(|_| vec![0.0; channels]);

    let scales = gamma.iter().zip(&variance).map(|(gamma, v)| gamma / (v + EPSILON).sqrt());
    let scales: Vec<f64> = scales.collect();
    let of_channel = weight.num_elements() / channels.max(1);
    let numbers = weight.iter::<f64>().enumerate();
    let weights: Vec<f32> =
        numbers.map(|(index, w)| (w * scales[index / of_channel]) as f32).collect();
    let biases = (0..channels).map(|c| (scales[c] * (bias[c] - mean[c]) + beta[c]) as f32);
    let biases = TensorData::new(biases.collect::<Vec<f32>>(), [channels]);
    tensors.insert(weight_name, TensorData::new(weights, weight.shape));
    tensors.insert(format!("{name}.conv.bias"), biases);
    Ok(())
}

/// Removes a tensor with one number for each channel.
fn take(tensors: &mut StateDict, name: String, channels: usize) -> Result<Vec<f64>, StateError> {
    let Some(found) = tensors.remove(&name) else {
        return Err(StateError::Missing { name, expected: vec![channels] });
    };
    match found.num_elements() == channels {
        true => Ok(found.iter().collect()),
        false => {
            let found = found.shape.to_vec();
            Err(StateError::WrongShape { name, found, expected: vec![channels] })
        }
    }
}
