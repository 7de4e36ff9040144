//! The description of a network, which a recipe contains and from which the ANN and the spiking
//! network are both built.

use serde::{Deserialize, Serialize};

use crate::tap::Tap;

/// A network as a list of layers, from image to class scores.
///
/// The description contains no image size and no number of classes. [`Architecture::plan`] takes
/// both, checks that the layers fit together, and counts parameters and operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The name of the network in reports.
    pub name: String,
    /// The layers, from the image to the class scores.
    pub layers: Vec<Layer>,
}

impl Architecture {
    /// The same network with its batch norms folded: each convolution that was followed by one has
    /// a bias instead. Batch norms that do not follow a convolution stay.
    pub fn folded(&self) -> Self {
        let mut folded = self.clone();
        for layer in &mut folded.layers {
            if let Layer::Conv { bias, batch_norm, .. } | Layer::Residual { bias, batch_norm, .. } =
                layer
                && *batch_norm
            {
                (*bias, *batch_norm) = (true, false);
            }
        }
        folded
    }

    /// The same network with a batch norm after each convolution, and without their biases, which
    /// a batch norm would cancel. A dense block has batch norms of its own and stays as it is.
    pub fn with_batch_norm(&self) -> Self {
        let mut normalised = self.clone();
        for layer in &mut normalised.layers {
            if let Layer::Conv { bias, batch_norm, .. } | Layer::Residual { bias, batch_norm, .. } =
                layer
            {
                (*bias, *batch_norm) = (false, true);
            }
        }
        normalised
    }

    /// The same network with average pooling over the same windows in place of maximum pooling.
    pub fn with_average_pooling(&self) -> Self {
        let mut averaged = self.clone();
        for layer in &mut averaged.layers {
            if let Layer::MaxPool { size } = *layer {
                *layer = Layer::AveragePool { size };
            }
        }
        averaged
    }
}

/// One layer. Its activation is a ReLU in the ANN and a layer of spiking neurons in the spiking
/// network.
///
/// Variants without keys are struct variants too, because serde accepts unknown keys with a unit
/// variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// A convolution with padding `kernel / 2`, then an optional batch norm, then the activation.
    Conv {
        /// Output channels.
        channels: usize,
        /// Height and width of the kernel; an odd number.
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
        /// Whether the layer ends with an activation.
        #[serde(default = "yes")]
        activation: bool,
        /// The tap at which distillation compares the activation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<Tap>,
    },
    /// A basic residual block: two 3×3 convolutions with an activation between them. The output of
    /// the second convolution is added to the shortcut, and the sum passes an activation. The
    /// shortcut is the identity, or a 1×1 convolution if the shapes differ.
    Residual {
        /// Output channels of both convolutions.
        channels: usize,
        /// Stride of the first convolution and of the shortcut.
        #[serde(default = "one")]
        stride: usize,
        /// Whether the output channels of each convolution have a bias.
        #[serde(default)]
        bias: bool,
        /// Whether each convolution is followed by a batch norm.
        #[serde(default)]
        batch_norm: bool,
        /// Dropout probability between the two convolutions, from 0 to below 1.
        #[serde(default)]
        dropout: f64,
        /// The tap at which distillation compares the last activation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<Tap>,
    },
    /// A DenseNet block. A unit is batch norm, activation, 1×1 convolution to `4 · growth`
    /// channels, batch norm, activation, 3×3 convolution to `growth` channels. The output of a unit
    /// is appended to its input.
    Dense {
        /// The number of units.
        units: usize,
        /// Channels that each unit appends.
        growth: usize,
        /// The tap at which distillation compares the output of the block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<Tap>,
    },
    /// Batch norm and activation without a convolution (for the transitions of a DenseNet).
    Norm {
        /// The tap at which distillation compares the activation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tap: Option<Tap>,
    },
    /// Average pooling over `size × size` windows that do not overlap. Rows and columns at the edge
    /// that fill no window are dropped.
    AveragePool {
        /// Height and width of the window.
        #[serde(default = "two")]
        size: usize,
    },
    /// Maximum pooling over `size × size` windows that do not overlap. Spiking networks do not
    /// support it.
    MaxPool {
        /// Height and width of the window.
        #[serde(default = "two")]
        size: usize,
    },
    /// The mean over all positions, which leaves one number for each channel.
    GlobalAveragePool {},
    /// Dropout. In training, each activation is set to zero with the given probability, and the
    /// other activations are multiplied by `1 / (1 - probability)`. A spiking network uses the same
    /// mask at all time steps.
    Dropout {
        /// Dropout probability, from 0 to below 1.
        probability: f64,
    },
    /// A linear layer and an activation. A feature map is flattened first.
    Linear {
        /// Output features.
        features: usize,
        /// Whether each output has a bias.
        #[serde(default)]
        bias: bool,
    },
    /// The last layer: a linear layer with one output for each class and without activation. In a
    /// spiking network its neurons integrate without leak and never fire (Eq. 3).
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
    /// A 3×3 convolution with an activation, without bias, batch norm and tap.
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

    /// The tap of this layer, if it has one.
    pub fn tap(&self) -> Option<Tap> {
        match self {
            Self::Conv { tap, .. }
            | Self::Residual { tap, .. }
            | Self::Dense { tap, .. }
            | Self::Norm { tap } => *tap,
            _ => None,
        }
    }

    /// The same layer with a tap. A layer whose kind cannot have a tap is unchanged.
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

    /// Whether a batch norm follows the layer's convolutions.
    pub fn has_batch_norm(&self) -> bool {
        matches!(
            self,
            Self::Conv { batch_norm: true, .. } | Self::Residual { batch_norm: true, .. }
        )
    }

    /// The name of the kind in recipes and tables.
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

    /// Why a spiking network cannot contain this layer, or `None` if it can.
    ///
    /// A batch norm of spikes cannot be folded, unlike one of the currents that a convolution
    /// makes. The maximum over a window of spikes does not preserve their rate. A convolution
    /// without neurons would send real numbers instead of spikes.
    pub fn not_spiking_because(&self) -> Option<&'static str> {
        match self {
            Self::Norm { .. } | Self::Dense { .. } => {
                Some("it has a batch norm that does not follow a convolution")
            }
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
    fn a_description_is_equal_after_serialisation() {
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
    fn folding_leaves_a_bias_in_place_of_a_batch_norm() {
        let block = Layer::Residual {
            channels: 8,
            stride: 1,
            bias: true,
            batch_norm: false,
            dropout: 0.0,
            tap: None,
        };
        let layers = vec![Layer::conv(8), block, Layer::Classifier { bias: false }];
        let plain = Architecture { name: "small".into(), layers };
        let has = |network: &Architecture| -> Vec<bool> {
            network.layers.iter().map(Layer::has_batch_norm).collect()
        };
        let normalised = plain.with_batch_norm();
        assert_eq!(has(&normalised), [true, true, false]);
        assert!(matches!(normalised.layers[1], Layer::Residual { bias: false, .. }));
        let folded = normalised.folded();
        assert_eq!(has(&folded), [false; 3]);
        assert!(matches!(folded.layers[0], Layer::Conv { bias: true, .. }));
        assert_eq!(plain.folded(), plain);
    }

    #[test]
    fn average_pooling_takes_the_windows_of_maximum_pooling() {
        let network = |pool: fn(usize) -> Layer| Architecture {
            name: "small".into(),
            layers: vec![Layer::conv(8), pool(3), Layer::conv(8), Layer::AveragePool { size: 2 }],
        };
        let average = network(|size| Layer::AveragePool { size });
        assert_eq!(network(|size| Layer::MaxPool { size }).with_average_pooling(), average);
        assert_eq!(average.with_average_pooling(), average);
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
