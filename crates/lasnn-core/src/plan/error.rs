//! Why an architecture cannot be built.

use crate::shape::Shape;
use crate::tap::Tap;

/// Why an architecture cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArchitectureError {
    /// The description contains no layers.
    #[error("network `{network}` has no layers")]
    Empty {
        /// The name of the network.
        network: String,
    },
    /// A number in the description is out of range.
    #[error("network `{network}`, layer {index} ({kind}): {key} is {found}, expected {expected}")]
    Value {
        /// The name of the network.
        network: String,
        /// The index of the layer in the list, from 0.
        index: usize,
        /// The kind of the layer.
        kind: &'static str,
        /// The key of the number.
        key: &'static str,
        /// The value found.
        found: String,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// The input of the layer is too small.
    #[error(
        "network `{network}`, layer {index} ({kind}) needs a feature map of at least \
         {needed}x{needed}, but its input is {found}; the image is too small, or an earlier layer \
         reduces it too much"
    )]
    TooSmall {
        /// The name of the network.
        network: String,
        /// The index of the layer in the list, from 0.
        index: usize,
        /// The kind of the layer.
        kind: &'static str,
        /// The shape of the input.
        found: Shape,
        /// The smallest height and width that the layer accepts.
        needed: usize,
    },
    /// A layer that needs a feature map follows a linear layer.
    #[error(
        "network `{network}`, layer {index} ({kind}) needs a feature map, but follows a linear \
         layer"
    )]
    AfterLinear {
        /// The name of the network.
        network: String,
        /// The index of the layer in the list, from 0.
        index: usize,
        /// The kind of the layer.
        kind: &'static str,
    },
    /// The last layer is not the only classifier.
    #[error(
        "network `{network}`: a classifier must be the last layer and the only one; found {found}"
    )]
    Classifier {
        /// The name of the network.
        network: String,
        /// The number of classifiers and the last layer.
        found: String,
    },
    /// No memory can contain the parameters up to this layer, or its output.
    #[error(
        "network `{network}`, layer {index} ({kind}): no memory can contain the weights up to this \
         layer and its output"
    )]
    TooLarge {
        /// The name of the network.
        network: String,
        /// The index of the layer in the list, from 0.
        index: usize,
        /// The kind of the layer.
        kind: &'static str,
    },
    /// Two layers have the same tap.
    #[error("network `{network}`: tap `{tap}` is on layers {first} and {second}, expected on one")]
    DoubleTap {
        /// The name of the network.
        network: String,
        /// The tap.
        tap: Tap,
        /// The index of the first layer with the tap.
        first: usize,
        /// The index of the second layer with the tap.
        second: usize,
    },
    /// A spiking network cannot contain the layer.
    #[error("network `{network}`, layer {index} ({kind}) cannot be made spiking: {reason}")]
    NotSpiking {
        /// The name of the network.
        network: String,
        /// The index of the layer in the list, from 0.
        index: usize,
        /// The kind of the layer.
        kind: &'static str,
        /// The reason.
        reason: &'static str,
    },
}
