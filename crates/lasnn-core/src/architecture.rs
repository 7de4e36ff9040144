//! The description of a network: data that a recipe can hold and both kinds of network are built from.

use serde::{Deserialize, Serialize};

use crate::tap::Tap;

/// A network as a list of layers, from image to class scores.
///
/// The description names no image size and no number of classes; [`Architecture::plan`] brings
/// both in, checks that the layers fit together and counts parameters and operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The name by which reports call it.
    pub name: String,
    /// The layers in the order in which the signal passes them.
    pub layers: Vec<Layer>,
}

/// One layer. "Activation" is a rectifier in the ordinary network and a layer of spiking neurons
/// in the spiking network.
///
/// Variants without keys are written with braces, for serde would let unknown keys beside a bare
/// one pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// Convolution with padding `kernel / 2`, then batch norm (if any), then the activation.
    Conv {
        /// Output channels.
        channels: usize,
        /// Height and width of the kernel, odd.
        #[serde(default = "three")]
        kernel: usize,
        /// Stride in both directions.
        #[serde(default = "one")]
        stride: usize,
        /// Whether each output channel has a bias.
        #[serde(default)]
        bias: bool,
        /// Whether a batch norm follows the convolution.
        #[serde(default)]
        batch_norm: bool,
        /// Whether an activation closes the layer.
        #[serde(default = "yes")]
        activation: bool,
        /// Where distillation looks at the activation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<Tap>,
    },
    /// Basic residual block: two 3×3 convolutions, the second one's result added to the shortcut
    /// before the closing activation. The shortcut is the identity, or a 1×1 convolution where
    /// the shapes differ.
    Residual {
        /// Output channels of both convolutions.
        channels: usize,
        /// Stride of the first convolution and of the shortcut.
        #[serde(default = "one")]
        stride: usize,
        /// Whether each convolution is followed by a batch norm.
        #[serde(default)]
        batch_norm: bool,
        /// Share of activations between the two convolutions that dropout sets to zero.
        #[serde(default)]
        dropout: f64,
        /// Where distillation looks at the closing activation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<Tap>,
    },
    /// DenseNet block: each unit (norm, activation, 1×1 convolution to `4 · growth`, norm,
    /// activation, 3×3 convolution to `growth`) is appended to its input.
    Dense {
        /// How many units.
        units: usize,
        /// Channels that each unit adds.
        growth: usize,
        /// Where distillation looks at the block's output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<Tap>,
    },
    /// Batch norm and activation without a convolution before them (DenseNet's transitions).
    Norm {
        /// Where distillation looks at the activation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<Tap>,
    },
    /// Average pooling over `size × size` windows that do not overlap; a rest at the edge is cut.
    AveragePool {
        /// Height and width of the window.
        #[serde(default = "two")]
        size: usize,
    },
    /// Maximum pooling over `size × size` windows that do not overlap. Teachers only.
    MaxPool {
        /// Height and width of the window.
        #[serde(default = "two")]
        size: usize,
    },
    /// Mean over all positions, leaving one number per channel.
    GlobalAveragePool {},
    /// Dropout: in training each activation is set to zero with this probability and the rest
    /// scaled by `1 / (1 - probability)`. A spiking network holds one mask over all time steps.
    Dropout {
        /// Share of activations set to zero, 0 to below 1.
        probability: f64,
    },
    /// Fully connected layer and activation; a feature map is flattened first.
    Linear {
        /// Output features.
        features: usize,
        /// Whether each output has a bias.
        #[serde(default)]
        bias: bool,
    },
    /// The last layer: fully connected to the classes, no activation. In a spiking network its
    /// neurons integrate without leak and without firing (Eq. 3).
    Classifier {
        /// Whether each class has a bias.
        #[serde(default)]
        bias: bool,
    },
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

fn three() -> usize {
    3
}

fn yes() -> bool {
    true
}

impl Layer {
    /// A bias-free convolution with an activation, as students and intermediates use it.
    pub fn conv(channels: usize) -> Self {
        Self::Conv {
            channels,
            kernel: 3,
            stride: 1,
            bias: false,
            batch_norm: false,
            activation: true,
            tap: None,
        }
    }

    /// The tap that this layer carries, if any.
    pub fn tap(&self) -> Option<Tap> {
        match self {
            Self::Conv { tap, .. }
            | Self::Residual { tap, .. }
            | Self::Dense { tap, .. }
            | Self::Norm { tap } => *tap,
            _ => None,
        }
    }

    /// The same layer with a tap, where its kind can carry one; unchanged otherwise.
    pub fn tapped(mut self, at: Tap) -> Self {
        if let Self::Conv { tap, .. }
        | Self::Residual { tap, .. }
        | Self::Dense { tap, .. }
        | Self::Norm { tap } = &mut self
        {
            *tap = Some(at);
        }
        self
    }

    /// The same layer without a tap.
    pub fn untapped(mut self) -> Self {
        if let Self::Conv { tap, .. }
        | Self::Residual { tap, .. }
        | Self::Dense { tap, .. }
        | Self::Norm { tap } = &mut self
        {
            *tap = None;
        }
        self
    }

    /// The name of the kind as recipes and tables write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "conv",
            Self::Residual { .. } => "residual",
            Self::Dense { .. } => "dense",
            Self::Norm { .. } => "norm",
            Self::AveragePool { .. } => "average-pool",
            Self::MaxPool { .. } => "max-pool",
            Self::GlobalAveragePool {} => "global-average-pool",
            Self::Dropout { .. } => "dropout",
            Self::Linear { .. } => "linear",
            Self::Classifier { .. } => "classifier",
        }
    }

    /// Why a spiking network cannot hold this layer, if it cannot.
    ///
    /// Threshold balancing has no place for a bias or a batch norm, the maximum over a window of
    /// spikes loses the rate, and a convolution without neurons would send real numbers.
    pub fn not_spiking_because(&self) -> Option<&'static str> {
        match self {
            Self::Conv { bias: true, .. }
            | Self::Linear { bias: true, .. }
            | Self::Classifier { bias: true } => Some("it has a bias"),
            Self::Conv { batch_norm: true, .. }
            | Self::Residual { batch_norm: true, .. }
            | Self::Norm { .. }
            | Self::Dense { .. } => Some("it has a batch norm"),
            Self::Conv { activation: false, .. } => Some("it has no activation"),
            Self::MaxPool { .. } => Some("the maximum of spikes does not keep their rate"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_survives_writing_and_reading() {
        let architecture = Architecture {
            name: "small".into(),
            layers: vec![
                Layer::conv(8).tapped(Tap::Low),
                Layer::GlobalAveragePool {},
                Layer::Classifier { bias: false },
            ],
        };
        let text = serde_json::to_string(&architecture).unwrap();
        assert_eq!(serde_json::from_str::<Architecture>(&text).unwrap(), architecture);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        for (text, key) in [
            (r#"{"kind": "conv", "chanels": 8}"#, "chanels"),
            (r#"{"kind": "global-average-pool", "size": 3}"#, "size"),
        ] {
            let error = serde_json::from_str::<Layer>(text).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
