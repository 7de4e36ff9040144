//! The errors of this crate.

use lasnn_nn::StateError;
use lasnn_snn::SnnError;

/// Why a network cannot be converted.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConversionError {
    /// The spiking network cannot be built.
    #[error(transparent)]
    Network(#[from] SnnError),
    /// The spiking network has a batch norm, whose β would have to be divided like a bias.
    #[error(
        "layer {layer} ({kind}) of the spiking network has a batch norm, expected a network built \
         from the folded description (`Architecture::folded`, `fold_batch_norm`)"
    )]
    BatchNorm {
        /// The number of the layer.
        layer: usize,
        /// The kind of the layer.
        kind: &'static str,
    },
    /// The ordinary network's tensors do not fit the spiking network.
    #[error("the weights do not fit the spiking network: {0}")]
    Weights(#[from] StateError),
    /// A number in the recipe is out of range.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// The key in the recipe.
        key: &'static str,
        /// The value found.
        found: String,
        /// The expected range.
        expected: &'static str,
    },
    /// There is no image to balance the thresholds on.
    #[error("threshold balancing got no images; it needs at least one batch")]
    NoImages,
    /// A layer's weighted input sums are not finite.
    #[error(
        "layer `{layer}`: its weighted input sum reached {found} during threshold balancing, \
         expected a finite number; the weights of this layer or of an earlier one are broken"
    )]
    NotFinite {
        /// The layer.
        layer: String,
        /// The threshold that followed from the sums.
        found: f32,
    },
    /// The percentile that would be a layer's threshold is not positive.
    #[error(
        "layer `{layer}`: only {} % of its weighted input sums are positive, and the percentile of \
         `conversion.method.policy` is not among them; expected a percentile above {}, or \
         `policy = {{ kind = \"maximum\" }}`. If few neurons of the ordinary network are active \
         there, train the intermediate network longer",
        100.0 * positive,
        100.0 * (1.0 - positive)
    )]
    NotPositive {
        /// The layer.
        layer: String,
        /// The share of its weighted input sums that are positive, 0 to 1.
        positive: f64,
    },
    /// An activation of the ordinary network has no bound above 0.
    #[error(
        "layer `{layer}`: its activation in the ordinary network has the bound {}, expected a \
         finite bound above 0; the method `activation-bounds` needs an activation such as `clip` \
         or `qcfs`",
        found.map_or("none".to_owned(), |bound| bound.to_string())
    )]
    Bound {
        /// The layer.
        layer: String,
        /// The bound, `None` if the ordinary network has no tensor for it.
        found: Option<f32>,
    },
    /// The method finds a threshold of each channel, and the neurons of a layer share one.
    #[error(
        "`spiking.neuron.threshold.per` is \"layer\", expected \"channel\", since \
         `conversion.method` finds a threshold of each channel"
    )]
    PerLayer,
    /// The neurons of a layer have no initial membrane potentials of their own.
    #[error(
        "layer `{layer}` has no initial membrane potential of each neuron, expected \
         `spiking.neuron.initial_membrane = {{ per = \"neuron\" }}`, since the calibration \
         `potential` sets them"
    )]
    NoPotentials {
        /// The layer.
        layer: String,
    },
    /// A layer has no bias that could take an additional current.
    #[error(
        "layer `{layer}` has no bias, expected one that takes the current of `{key}`: a layer with \
         `bias = true`, or with a batch norm"
    )]
    NoBias {
        /// The layer.
        layer: String,
        /// The key of the recipe that adds a current.
        key: &'static str,
    },
    /// The progress function stopped the conversion.
    #[error("interrupted")]
    Interrupted,
    /// The ordinary network's activations are not named like the spiking network's layers of
    /// neurons.
    #[error("the ordinary network's activations are {found:?}, expected {expected:?}")]
    Activations {
        /// The names of the ordinary network's activations.
        found: Vec<String>,
        /// The names of the spiking network's layers of neurons.
        expected: Vec<String>,
    },
}

/// The error of a number that is out of its range.
pub(crate) fn wrong(key: &'static str, found: f64, expected: &'static str) -> ConversionError {
    ConversionError::Value { key, found: found.to_string(), expected }
}
