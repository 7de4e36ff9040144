//! Shapes, parameters and operations, layer by layer.

use super::{ArchitectureError, DENSE_BOTTLENECK};
use crate::architecture::Layer;
use crate::shape::Shape;

/// The largest number that a description may contain.
const LARGEST: usize = 1 << 32;

/// The largest number of units of a dense block.
const MOST_UNITS: usize = 1 << 16;

/// The number of `f32` that an address space can contain.
const MOST_NUMBERS: usize = isize::MAX as usize / size_of::<f32>();

/// The state of planning after some layers.
pub(super) struct Planner<'a> {
    pub network: &'a str,
    pub classes: usize,
    /// The shape of the output of the last layer.
    pub shape: Shape,
    /// Whether a linear layer has flattened the feature map.
    pub flat: bool,
}

impl Planner<'_> {
    /// Replaces the shape by the output shape of `layer`. Returns the parameters and the
    /// multiply-accumulate operations of the layer.
    pub fn advance(
        &mut self,
        index: usize,
        layer: &Layer,
    ) -> Result<(usize, usize), ArchitectureError> {
        let kind = layer.kind();
        let network = self.network;
        let value = |key, found: String, expected| {
            let network = network.to_owned();
            ArchitectureError::Value { network, index, kind, key, found, expected }
        };
        let positive = |key, found: usize| match found {
            0 => Err(value(key, found.to_string(), "at least 1")),
            // With this limit, no sum of a few of these numbers overflows. Products saturate.
            _ if found > LARGEST => Err(value(key, found.to_string(), "at most 4294967296")),
            _ => Ok(()),
        };
        match *layer {
            Layer::Conv { channels, kernel, stride, bias, batch_norm, .. } => {
                positive("channels", channels)?;
                positive("stride", stride)?;
                if kernel % 2 == 0 {
                    return Err(value("kernel", kernel.to_string(), "an odd number"));
                }
                positive("kernel", kernel)?;
                self.require_feature_map(index, kind, 1)?;
                let (weights, macs) = self.conv2d(channels, kernel, stride);
                let per_channel = usize::from(bias) + 2 * usize::from(batch_norm);
                Ok((weights.saturating_add(per_channel * channels), macs))
            }
            Layer::Residual { channels, stride, bias, batch_norm, dropout, .. } => {
                positive("channels", channels)?;
                positive("stride", stride)?;
                if !(0.0..1.0).contains(&dropout) {
                    return Err(value("dropout", dropout.to_string(), "0 to below 1"));
                }
                self.require_feature_map(index, kind, 1)?;
                let of_each = channels * (usize::from(bias) + 2 * usize::from(batch_norm));
                let before = self.shape;
                let (first, first_macs) = self.conv2d(channels, 3, stride);
                let (second, second_macs) = self.conv2d(channels, 3, 1);
                let (mut parameters, mut macs) =
                    (first.saturating_add(second), first_macs.saturating_add(second_macs));
                parameters = parameters.saturating_add(2 * of_each);
                if before != self.shape {
                    let mut shortcut = Planner { shape: before, ..*self };
                    let (weights, more) = shortcut.conv2d(channels, 1, stride);
                    parameters = parameters.saturating_add(weights).saturating_add(of_each);
                    macs = macs.saturating_add(more);
                }
                Ok((parameters, macs))
            }
            Layer::Dense { units, growth, .. } => {
                positive("units", units)?;
                if units > MOST_UNITS {
                    return Err(value("units", units.to_string(), "at most 65536"));
                }
                positive("growth", growth)?;
                self.require_feature_map(index, kind, 1)?;
                let (mut parameters, mut macs) = (0, 0);
                for _ in 0..units {
                    let before = self.shape.channels;
                    let norms = 2 * before + 2 * DENSE_BOTTLENECK * growth;
                    parameters = norms.saturating_add(parameters);
                    let (narrow, narrow_macs) = self.conv2d(DENSE_BOTTLENECK * growth, 1, 1);
                    let (wide, wide_macs) = self.conv2d(growth, 3, 1);
                    parameters = narrow.saturating_add(wide).saturating_add(parameters);
                    macs = narrow_macs.saturating_add(wide_macs).saturating_add(macs);
                    self.shape.channels = before + growth;
                }
                Ok((parameters, macs))
            }
            Layer::Norm { .. } => {
                self.require_feature_map(index, kind, 1)?;
                Ok((2 * self.shape.channels, 0))
            }
            Layer::AveragePool { size } | Layer::MaxPool { size } => {
                positive("size", size)?;
                self.require_feature_map(index, kind, size)?;
                self.shape.height /= size;
                self.shape.width /= size;
                Ok((0, 0))
            }
            Layer::GlobalAveragePool {} => {
                self.require_feature_map(index, kind, 1)?;
                self.shape.height = 1;
                self.shape.width = 1;
                Ok((0, 0))
            }
            Layer::Dropout { probability } => match (0.0..1.0).contains(&probability) {
                true => Ok((0, 0)),
                false => Err(value("probability", probability.to_string(), "0 to below 1")),
            },
            Layer::Linear { features, bias } => {
                positive("features", features)?;
                Ok(self.linear(features, bias))
            }
            Layer::Classifier { bias } => {
                if self.classes < 2 {
                    return Err(value("classes", self.classes.to_string(), "at least 2"));
                }
                Ok(self.linear(self.classes, bias))
            }
        }
    }

    fn require_feature_map(
        &self,
        index: usize,
        kind: &'static str,
        needed: usize,
    ) -> Result<(), ArchitectureError> {
        let network = self.network.to_owned();
        let found = self.shape;
        if self.flat {
            return Err(ArchitectureError::AfterLinear { network, index, kind });
        }
        if found.channels == 0 || found.height < needed || found.width < needed {
            return Err(ArchitectureError::TooSmall { network, index, kind, found, needed });
        }
        Ok(())
    }

    /// Replaces the shape by the output shape of a convolution with padding `kernel / 2`. Returns
    /// its weights and multiply-accumulate operations.
    fn conv2d(&mut self, channels: usize, kernel: usize, stride: usize) -> (usize, usize) {
        let weights = product([self.shape.channels, channels, kernel, kernel]);
        self.shape = Shape {
            channels,
            height: self.shape.height.div_ceil(stride),
            width: self.shape.width.div_ceil(stride),
        };
        (weights, product([weights, self.shape.height, self.shape.width]))
    }

    /// Replaces the shape by the output shape of a linear layer. Returns its parameters and
    /// multiply-accumulate operations.
    fn linear(&mut self, features: usize, bias: bool) -> (usize, usize) {
        let Shape { channels, height, width } = self.shape;
        let weights = product([channels, height, width, features]);
        self.shape = Shape { channels: features, height: 1, width: 1 };
        self.flat = true;
        (weights.saturating_add(features * usize::from(bias)), weights)
    }

    /// Adds the parameters and the multiply-accumulate operations of one layer to those of the
    /// layers before it. Returns `None` if no memory could contain the parameters or the output of
    /// the layer, or if the number of operations exceeds `usize`.
    pub fn add_to_total(&self, before: [usize; 2], of_layer: [usize; 2]) -> Option<[usize; 2]> {
        let Shape { channels, height, width } = self.shape;
        let parameters = before[0].checked_add(of_layer[0])?;
        let macs = before[1].checked_add(of_layer[1]).filter(|&macs| macs < usize::MAX)?;
        let largest = parameters.max(product([channels, height, width]));
        (largest <= MOST_NUMBERS).then_some([parameters, macs])
    }
}

/// The product, or `usize::MAX` if it is larger.
fn product<const N: usize>(factors: [usize; N]) -> usize {
    // A zero after a product that saturated must still give zero.
    if factors.contains(&0) { 0 } else { factors.into_iter().fold(1, usize::saturating_mul) }
}
