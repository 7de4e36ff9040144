//! What can go wrong between an ordinary and a spiking network.

use lasnn_nn::StateError;
use lasnn_snn::SnnError;

/// An error of this crate.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConversionError {
    /// The spiking network cannot be built.
    #[error(transparent)]
    Network(#[from] SnnError),
    /// The ordinary network's tensors do not fit the spiking one.
    #[error("the weights do not fit the spiking network: {0}")]
    Weights(#[from] StateError),
    /// A number in the recipe is out of range.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// The key in the recipe.
        key: &'static str,
        /// The value found.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// There is nothing to balance the thresholds on.
    #[error("threshold balancing got no images; it needs at least one batch")]
    NoImages,
    /// A layer's input is not finite.
    #[error(
        "layer `{layer}`: its weighted input sum reached {found} during threshold balancing, expected \
         a finite number; the weights of this layer or of one before it are broken"
    )]
    NotFinite {
        /// The layer.
        layer: String,
        /// What the policy made of the sums.
        found: f32,
    },
    /// The percentile that is to be a layer's threshold is not positive.
    #[error(
        "layer `{layer}`: only {} % of its weighted input sums are positive, and the percentile of \
         `conversion.policy` is not among them; expected a percentile above {}, or \
         `policy = {{ kind = \"maximum\" }}`. If few neurons of the ordinary network are active \
         there, train the intermediate network longer",
        100.0 * positive,
        100.0 * (1.0 - positive)
    )]
    NotPositive {
        /// The layer.
        layer: String,
        /// The share of its input sums that are positive, 0 to 1.
        positive: f64,
    },
    /// The computation was ended by the one who is told how far it is.
    #[error("interrupted")]
    Interrupted,
    /// The ordinary network shows other activations than the spiking network has neurons.
    #[error("the ordinary network's activations are {found:?}, expected {expected:?}")]
    Activations {
        /// The names that the ordinary network gave.
        found: Vec<String>,
        /// The names of the spiking layers.
        expected: Vec<String>,
    },
}
