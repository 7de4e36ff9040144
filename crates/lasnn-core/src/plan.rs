//! An architecture for a given image shape and number of classes: every shape checked, every
//! parameter and multiplication counted.

use crate::architecture::{Architecture, Layer};
use crate::shape::Shape;
use crate::tap::Tap;

/// How many channels a unit of a dense block has between its two convolutions, times its growth
/// (Huang et al., "Densely connected convolutional networks", 2017).
pub const DENSE_BOTTLENECK: usize = 4;

/// No number in a description is larger.
const LARGEST: usize = 1 << 32;

/// No dense block has more units.
const MOST_UNITS: usize = 1 << 16;

/// No address space holds more numbers of 32 bits.
const MOST_NUMBERS: usize = isize::MAX as usize / size_of::<f32>();

/// An architecture that fits its images and classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The name of the architecture.
    pub name: String,
    /// The shape of the images.
    pub input: Shape,
    /// The number of classes.
    pub classes: usize,
    /// The layers with what follows from the input.
    pub layers: Vec<PlannedLayer>,
}

/// A layer whose shapes are known.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLayer {
    /// The layer as described.
    pub layer: Layer,
    /// The shape that comes in.
    pub input: Shape,
    /// The shape that goes out.
    pub output: Shape,
    /// Trainable parameters of the ordinary network.
    pub parameters: usize,
    /// Multiply-accumulate operations for one image in the ordinary network: convolutions and
    /// matrix products only, padding counted as in the usual formula `C_in · k² · C_out · H · W`.
    pub macs: usize,
}

/// Why an architecture cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArchitectureError {
    /// There is no layer.
    #[error("network `{network}` has no layers")]
    Empty {
        /// The network's name.
        network: String,
    },
    /// A number in the description is out of range.
    #[error("network `{network}`, layer {index} ({kind}): {key} is {found}, expected {expected}")]
    Value {
        /// The network's name.
        network: String,
        /// The layer's place in the list, from 0.
        index: usize,
        /// The layer's kind.
        kind: &'static str,
        /// The key in the description.
        key: &'static str,
        /// The value found.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The feature map is too small for the layer.
    #[error(
        "network `{network}`, layer {index} ({kind}) needs a feature map of at least {needed}x{needed}, \
         but {found} comes in; the image is too small or an earlier layer shrinks it too much"
    )]
    TooSmall {
        /// The network's name.
        network: String,
        /// The layer's place in the list, from 0.
        index: usize,
        /// The layer's kind.
        kind: &'static str,
        /// The shape that comes in.
        found: Shape,
        /// The least height and width.
        needed: usize,
    },
    /// A layer that needs a feature map comes after a layer that flattened it.
    #[error(
        "network `{network}`, layer {index} ({kind}) needs a feature map, but comes after a linear layer"
    )]
    AfterLinear {
        /// The network's name.
        network: String,
        /// The layer's place in the list, from 0.
        index: usize,
        /// The layer's kind.
        kind: &'static str,
    },
    /// The network must end with its only classifier.
    #[error(
        "network `{network}`: a classifier must be the last layer and the only one; found {found}"
    )]
    Classifier {
        /// The network's name.
        network: String,
        /// What was found instead.
        found: String,
    },
    /// A layer, or the network so far, has more numbers than any memory holds.
    #[error(
        "network `{network}`, layer {index} ({kind}): no memory holds the weights and the outputs \
         of the network up to this layer"
    )]
    TooLarge {
        /// The network's name.
        network: String,
        /// The layer's place in the list, from 0.
        index: usize,
        /// The layer's kind.
        kind: &'static str,
    },
    /// Two layers carry the same tap.
    #[error("network `{network}`: tap `{tap}` is on layers {first} and {second}, expected on one")]
    DoubleTap {
        /// The network's name.
        network: String,
        /// The tap.
        tap: Tap,
        /// The first layer that has it.
        first: usize,
        /// The second layer that has it.
        second: usize,
    },
    /// A spiking network cannot hold the layer.
    #[error("network `{network}`, layer {index} ({kind}) cannot be made spiking: {reason}")]
    NotSpiking {
        /// The network's name.
        network: String,
        /// The layer's place in the list, from 0.
        index: usize,
        /// The layer's kind.
        kind: &'static str,
        /// Why not.
        reason: &'static str,
    },
}

impl Architecture {
    /// Fits the architecture to images of shape `input` and to `classes` classes.
    ///
    /// # Errors
    ///
    /// Names the first layer that cannot be built, the value found and what was expected.
    pub fn plan(&self, input: Shape, classes: usize) -> Result<Plan, ArchitectureError> {
        let mut planner = Planner { network: &self.name, classes, shape: input, flat: false };
        let mut layers = Vec::with_capacity(self.layers.len());
        let mut total = [0, 0];
        for (index, layer) in self.layers.iter().enumerate() {
            let input = planner.shape;
            let (parameters, macs) = planner.advance(index, layer)?;
            let output = planner.shape;
            total = planner.total(total, [parameters, macs]).ok_or_else(|| {
                let (network, kind) = (self.name.clone(), layer.kind());
                ArchitectureError::TooLarge { network, index, kind }
            })?;
            layers.push(PlannedLayer { layer: layer.clone(), input, output, parameters, macs });
        }
        self.check_ends(&layers)?;
        self.check_taps()?;
        Ok(Plan { name: self.name.clone(), input, classes, layers })
    }

    /// Checks that a spiking network can be built from the description.
    ///
    /// # Errors
    ///
    /// Names the first layer that a spiking network cannot hold and the reason.
    pub fn check_spiking(&self) -> Result<(), ArchitectureError> {
        for (index, layer) in self.layers.iter().enumerate() {
            if let Some(reason) = layer.not_spiking_because() {
                let (network, kind) = (self.name.clone(), layer.kind());
                return Err(ArchitectureError::NotSpiking { network, index, kind, reason });
            }
        }
        Ok(())
    }

    fn check_ends(&self, layers: &[PlannedLayer]) -> Result<(), ArchitectureError> {
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
    /// Trainable parameters of the ordinary network.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| l.parameters).sum()
    }

    /// Multiply-accumulate operations of the ordinary network for one image.
    pub fn macs(&self) -> usize {
        self.layers.iter().map(|l| l.macs).sum()
    }

    /// The shape of the feature map at a tap, if the network has it.
    pub fn tap(&self, tap: Tap) -> Option<Shape> {
        self.layers.iter().find(|l| l.layer.tap() == Some(tap)).map(|l| l.output)
    }
}

struct Planner<'a> {
    network: &'a str,
    classes: usize,
    shape: Shape,
    flat: bool,
}

impl Planner<'_> {
    /// Moves the shape through `layer`; returns its parameters and multiply-accumulates.
    fn advance(
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
            // So that no sum of a few of them overflows; products are cut off.
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
                self.need_map(index, kind, 1)?;
                let (weights, macs) = self.conv2d(channels, kernel, stride);
                let per_channel = usize::from(bias) + 2 * usize::from(batch_norm);
                Ok((weights.saturating_add(per_channel * channels), macs))
            }
            Layer::Residual { channels, stride, batch_norm, dropout, .. } => {
                positive("channels", channels)?;
                positive("stride", stride)?;
                if !(0.0..1.0).contains(&dropout) {
                    return Err(value("dropout", dropout.to_string(), "0 to below 1"));
                }
                self.need_map(index, kind, 1)?;
                let norm = 2 * channels * usize::from(batch_norm);
                let before = self.shape;
                let (first, first_macs) = self.conv2d(channels, 3, stride);
                let (second, second_macs) = self.conv2d(channels, 3, 1);
                let (mut parameters, mut macs) =
                    (first.saturating_add(second), first_macs.saturating_add(second_macs));
                parameters = parameters.saturating_add(2 * norm);
                if before != self.shape {
                    let mut shortcut = Planner { shape: before, ..*self };
                    let (weights, more) = shortcut.conv2d(channels, 1, stride);
                    parameters = parameters.saturating_add(weights).saturating_add(norm);
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
                self.need_map(index, kind, 1)?;
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
                self.need_map(index, kind, 1)?;
                Ok((2 * self.shape.channels, 0))
            }
            Layer::AveragePool { size } | Layer::MaxPool { size } => {
                positive("size", size)?;
                self.need_map(index, kind, size)?;
                self.shape.height /= size;
                self.shape.width /= size;
                Ok((0, 0))
            }
            Layer::GlobalAveragePool {} => {
                self.need_map(index, kind, 1)?;
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
                Ok(self.connect(features, bias))
            }
            Layer::Classifier { bias } => {
                if self.classes < 2 {
                    return Err(value("classes", self.classes.to_string(), "at least 2"));
                }
                Ok(self.connect(self.classes, bias))
            }
        }
    }

    fn need_map(
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

    /// Weights and multiply-accumulates of a convolution with "same" padding.
    fn conv2d(&mut self, channels: usize, kernel: usize, stride: usize) -> (usize, usize) {
        let weights = product([self.shape.channels, channels, kernel, kernel]);
        self.shape = Shape {
            channels,
            height: self.shape.height.div_ceil(stride),
            width: self.shape.width.div_ceil(stride),
        };
        (weights, product([weights, self.shape.height, self.shape.width]))
    }

    fn connect(&mut self, features: usize, bias: bool) -> (usize, usize) {
        let Shape { channels, height, width } = self.shape;
        let weights = product([channels, height, width, features]);
        self.shape = Shape { channels: features, height: 1, width: 1 };
        self.flat = true;
        (weights.saturating_add(features * usize::from(bias)), weights)
    }

    /// The parameters and the multiply-accumulates so far with those of one more layer, if a memory
    /// could hold the parameters and what the layer gives, and if the operations can be counted.
    fn total(&self, before: [usize; 2], of_layer: [usize; 2]) -> Option<[usize; 2]> {
        let Shape { channels, height, width } = self.shape;
        let parameters = before[0].checked_add(of_layer[0])?;
        let macs = before[1].checked_add(of_layer[1]).filter(|&macs| macs < usize::MAX)?;
        let largest = parameters.max(product([channels, height, width]));
        (largest <= MOST_NUMBERS).then_some([parameters, macs])
    }
}

/// The product, or the largest number that there is.
fn product<const N: usize>(factors: [usize; N]) -> usize {
    // A zero must not be lost behind a product that is cut off.
    if factors.contains(&0) { 0 } else { factors.into_iter().fold(1, usize::saturating_mul) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Shape = Shape { channels: 3, height: 32, width: 32 };

    fn network(layers: Vec<Layer>) -> Architecture {
        Architecture { name: "test".into(), layers }
    }

    #[track_caller]
    fn refuses(layers: Vec<Layer>, message: &str) {
        let error = network(layers).plan(IMAGE, 10).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn shapes_parameters_and_operations_follow_from_the_input() {
        let plan = network(vec![
            Layer::conv(8),
            Layer::AveragePool { size: 2 },
            Layer::Residual { channels: 16, stride: 2, batch_norm: true, dropout: 0.0, tap: None },
            Layer::Classifier { bias: true },
        ])
        .plan(IMAGE, 10)
        .unwrap();
        assert_eq!(plan.layers[2].output, Shape { channels: 16, height: 8, width: 8 });
        let residual = 8 * 16 * 9 + 16 * 16 * 9 + 8 * 16 + 3 * 32;
        assert_eq!(plan.parameters(), 3 * 8 * 9 + residual + 16 * 64 * 10 + 10);
        let macs = 3 * 8 * 9 * 1024 + (8 * 16 * 9 + 16 * 16 * 9 + 8 * 16) * 64 + 16 * 64 * 10;
        assert_eq!(plan.macs(), macs);
    }

    #[test]
    fn odd_sizes_round_up_in_convolutions_and_down_in_pools() {
        let input = Shape { channels: 1, height: 9, width: 7 };
        let mut strided = Layer::conv(2);
        if let Layer::Conv { stride, .. } = &mut strided {
            *stride = 2;
        }
        let layers =
            vec![strided, Layer::AveragePool { size: 2 }, Layer::Classifier { bias: false }];
        let plan = network(layers).plan(input, 3).unwrap();
        assert_eq!(plan.layers[0].output, Shape { channels: 2, height: 5, width: 4 });
        assert_eq!(plan.layers[1].output, Shape { channels: 2, height: 2, width: 2 });
    }

    #[test]
    fn numbers_that_no_memory_holds_are_refused_and_do_not_overflow() {
        let linear = |features| Layer::Linear { features, bias: true };
        let end = Layer::Classifier { bias: true };
        refuses(vec![linear(usize::MAX), end.clone()], "features is 18446744073709551615");
        refuses(vec![linear(1 << 32), linear(1 << 32), end.clone()], "layer 1 (linear): no memory");
        let mut wide = Layer::conv(1 << 32);
        if let Layer::Conv { kernel, .. } = &mut wide {
            *kernel = (1 << 31) - 1;
        }
        refuses(vec![wide, end.clone()], "layer 0 (conv): no memory");
        let residual = Layer::Residual {
            channels: 1 << 32,
            stride: 1,
            batch_norm: true,
            dropout: 0.0,
            tap: None,
        };
        refuses(vec![residual, end.clone()], "layer 0 (residual): no memory");
        let dense = |units, growth| Layer::Dense { units, growth, tap: None };
        refuses(vec![dense(1 << 20, 1), end.clone()], "units is 1048576, expected at most 65536");
        refuses(vec![dense(1 << 16, 1 << 32), end.clone()], "layer 0 (dense): no memory");
        // A billion features do fit into an address space.
        let plan = network(vec![linear(1_000_000_000), end]).plan(IMAGE, 10).unwrap();
        assert_eq!(plan.parameters(), 3073 * 1_000_000_000 + 10 * 1_000_000_000 + 10);
    }

    #[test]
    fn errors_name_the_layer_the_value_and_the_expectation() {
        refuses(vec![], "no layers");
        refuses(
            vec![Layer::conv(0), Layer::Classifier { bias: false }],
            "channels is 0, expected at least 1",
        );
        refuses(vec![Layer::conv(4)], "`conv` as last layer");
        refuses(
            vec![Layer::AveragePool { size: 64 }, Layer::Classifier { bias: false }],
            "layer 0 (average-pool) needs a feature map of at least 64x64, but 3x32x32",
        );
        refuses(
            vec![Layer::Linear { features: 5, bias: false }, Layer::conv(4)],
            "layer 1 (conv) needs a feature map",
        );
        let tapped = || Layer::conv(4).tapped(Tap::Low);
        refuses(
            vec![tapped(), tapped(), Layer::Classifier { bias: false }],
            "tap `low` is on layers 0 and 1",
        );
        let spiking = network(vec![Layer::conv(4), Layer::MaxPool { size: 2 }]).check_spiking();
        assert!(
            spiking.unwrap_err().to_string().contains("layer 1 (max-pool) cannot be made spiking")
        );
    }
}
