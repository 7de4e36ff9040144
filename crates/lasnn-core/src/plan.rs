//! An architecture for a given image shape and number of classes.
//!
//! Planning checks all shapes, and counts parameters and multiplications. An architecture that
//! cannot be built is found here, before any weight exists.

mod error;
mod planner;
#[cfg(test)]
mod tests;

use crate::architecture::{Architecture, Layer};
use crate::shape::Shape;
use crate::tap::Tap;
pub use error::ArchitectureError;
use planner::Planner;

/// A unit of a dense block has this many times its growth as channels between its two convolutions
/// (Huang et al., "Densely connected convolutional networks", 2017).
pub const DENSE_BOTTLENECK: usize = 4;

/// An architecture for a given image shape and number of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The name of the architecture.
    pub name: String,
    /// The shape of the images.
    pub input: Shape,
    /// The number of classes.
    pub classes: usize,
    /// The layers with their shapes, parameters and operations.
    pub layers: Vec<PlannedLayer>,
}

/// A layer with its shapes, parameters and operations.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLayer {
    /// The layer of the description.
    pub layer: Layer,
    /// The shape of its input.
    pub input: Shape,
    /// The shape of its output.
    pub output: Shape,
    /// Trainable parameters of the layer in the ANN.
    pub parameters: usize,
    /// Multiply-accumulate operations of the layer in the ANN, for one image.
    ///
    /// Only convolutions and linear layers are counted. A convolution has
    /// `C_in · k² · C_out · H · W` of them, which includes the multiplications with padding.
    pub macs: usize,
}

impl Architecture {
    /// Plans the network for images of shape `input` and for `classes` classes.
    ///
    /// # Errors
    ///
    /// Returns an error if a layer cannot be built, if the classifier is not the last layer, or if
    /// two layers have the same tap. The error names the first such layer, the value found and the
    /// value expected.
    pub fn plan(&self, input: Shape, classes: usize) -> Result<Plan, ArchitectureError> {
        let mut planner = Planner { network: &self.name, classes, shape: input, flat: false };
        let mut layers = Vec::with_capacity(self.layers.len());
        let mut total = [0, 0];
        for (index, layer) in self.layers.iter().enumerate() {
            let input = planner.shape;
            let (parameters, macs) = planner.advance(index, layer)?;
            let output = planner.shape;
            total = planner.add_to_total(total, [parameters, macs]).ok_or_else(|| {
                let (network, kind) = (self.name.clone(), layer.kind());
                ArchitectureError::TooLarge { network, index, kind }
            })?;
            layers.push(PlannedLayer { layer: layer.clone(), input, output, parameters, macs });
        }
        self.check_classifier(&layers)?;
        self.check_taps()?;
        Ok(Plan { name: self.name.clone(), input, classes, layers })
    }

    /// Checks that a spiking network can be built from the description.
    ///
    /// # Errors
    ///
    /// Returns an error with the first layer that a spiking network cannot contain, and the reason.
    pub fn check_spiking(&self) -> Result<(), ArchitectureError> {
        for (index, layer) in self.layers.iter().enumerate() {
            if let Some(reason) = layer.not_spiking_because() {
                let (network, kind) = (self.name.clone(), layer.kind());
                return Err(ArchitectureError::NotSpiking { network, index, kind, reason });
            }
        }
        Ok(())
    }

    fn check_classifier(&self, layers: &[PlannedLayer]) -> Result<(), ArchitectureError> {
        let network = self.name.clone();
        let classifiers =
            layers.iter().filter(|l| matches!(l.layer, Layer::Classifier { .. })).count();
        match layers.last() {
            None => Err(ArchitectureError::Empty { network }),
            Some(last) if classifiers == 1 && matches!(last.layer, Layer::Classifier { .. }) => {
                Ok(())
            }
            Some(last) => Err(ArchitectureError::Classifier {
                network,
                found: format!(
                    "{classifiers} classifiers and `{}` as last layer",
                    last.layer.kind()
                ),
            }),
        }
    }

    fn check_taps(&self) -> Result<(), ArchitectureError> {
        for tap in Tap::ALL {
            let mut on = self.layers.iter().enumerate().filter(|(_, l)| l.tap() == Some(tap));
            if let (Some((first, _)), Some((second, _))) = (on.next(), on.next()) {
                let network = self.name.clone();
                return Err(ArchitectureError::DoubleTap { network, tap, first, second });
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Trainable parameters of the ANN.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| l.parameters).sum()
    }

    /// Multiply-accumulate operations of the ANN for one image.
    pub fn macs(&self) -> usize {
        self.layers.iter().map(|l| l.macs).sum()
    }

    /// The shape of the feature map at a tap, or `None` if no layer has the tap.
    pub fn tap(&self, tap: Tap) -> Option<Shape> {
        self.layers.iter().find(|l| l.layer.tap() == Some(tap)).map(|l| l.output)
    }
}
