//! The memory of an ANN: a training step, and a pass without gradients.
//!
//! The allocations have the order of the forward pass in `lasnn-models`, of the backward passes in
//! `lasnn-backend` and of the kernels in `lasnn-dense-kernels`.

use lasnn_core::plan::DENSE_BOTTLENECK;
use lasnn_core::{Layer, Plan, Precision, Probe, Probes, Shape, Tap};
use lasnn_models::ActivationConfig;

use super::ledger::Ledger;
use super::pass::Pass;
use super::purpose::Purpose;
use super::size::{Size, elements};

/// The lanes of a vector. Kernels pad channels to whole vectors.
const LANES: usize = 16;

/// The weight gradient of a convolution with fewer input channels is computed from patches.
const FEW_CHANNELS: usize = 8;

/// One operation of a network.
#[derive(Clone, Debug)]
struct Operation {
    kind: Kind,
    /// The number of input elements of one image.
    input: Size,
    /// The number of output elements of one image.
    output: Size,
    weights: Size,
}

#[derive(Clone, Debug)]
enum Kind {
    Conv {
        input: Shape,
        output: Shape,
        kernel: usize,
        batch_norm: bool,
        /// Whether a shortcut is added to the output. The gradient of the shortcut is that of the
        /// output.
        shortcut: bool,
    },
    Linear,
    BatchNorm,
    /// An activation that is not part of the operation before it.
    Activation,
    Dropout,
    /// Pooling, and the concatenation in a dense block.
    Other,
}

impl Kind {
    /// Whether the operation can be inside a residual block.
    fn is_in_block(&self) -> bool {
        matches!(self, Self::Conv { .. } | Self::Activation | Self::Dropout)
    }
}

/// An ANN as a list of operations.
#[derive(Clone, Debug)]
pub struct Ann {
    operations: Vec<Operation>,
    taps: Vec<Tapped>,
}

/// A feature map at a tap.
#[derive(Clone, Copy, Debug)]
struct Tapped {
    tap: Tap,
    /// The number of elements of one image.
    size: Size,
    /// The number of operations that lead to it.
    operations: usize,
}

impl Ann {
    /// The operations of a plan, with its activation.
    pub fn new(plan: &Plan, activation: &ActivationConfig) -> Self {
        let (mut operations, mut taps) = (Vec::new(), Vec::new());
        let unfused = |shape| {
            (!activation.is_fused()).then(|| Operation::new(Kind::Activation, shape, shape))
        };
        for planned in &plan.layers {
            let (input, output) = (planned.input, planned.output);
            let add = |kind| Some(Operation::new(kind, input, output));
            let operation = match planned.layer {
                Layer::Conv { kernel, batch_norm, .. } => {
                    Some(Operation::conv([input, output], kernel, batch_norm, false))
                }
                Layer::Residual { batch_norm, dropout, .. } => {
                    operations.push(Operation::conv([input, output], 3, batch_norm, false));
                    operations.extend(unfused(output));
                    if dropout > 0.0 {
                        operations.push(Operation::new(Kind::Dropout, output, output));
                    }
                    if input != output {
                        operations.push(Operation::conv([input, output], 1, batch_norm, false));
                    }
                    Some(Operation::conv([output, output], 3, batch_norm, true))
                }
                Layer::Dense { units, growth, .. } => {
                    dense_block(&mut operations, input, units, growth, unfused);
                    None
                }
                Layer::Norm { .. } => add(Kind::BatchNorm),
                Layer::AveragePool { .. } | Layer::MaxPool { .. } | Layer::GlobalAveragePool {} => {
                    add(Kind::Other)
                }
                Layer::Dropout { probability } if probability > 0.0 => add(Kind::Dropout),
                Layer::Dropout { .. } => None,
                Layer::Linear { .. } | Layer::Classifier { .. } => {
                    let weights = elements(input) * elements(output);
                    Some(Operation { weights, ..Operation::new(Kind::Linear, input, output) })
                }
            };
            operations.extend(operation);
            if ends_in_activation(&planned.layer) {
                operations.extend(unfused(output));
            }
            let (size, operations) = (elements(output), operations.len());
            taps.extend(planned.layer.tap().map(|tap| Tapped { tap, size, operations }));
        }
        Self { operations, taps }
    }

    /// The number of elements of every weight tensor that has a gradient.
    pub fn weights(&self) -> Vec<Size> {
        let all = self.operations.iter().map(|operation| operation.weights);
        all.filter(|&weights| weights > Size::ZERO).collect()
    }

    /// A forward and a backward pass. The gradients of the weights stay allocated.
    pub fn train(&self, ledger: &mut Ledger, pass: Pass) {
        let batch = pass.batch;
        for operation in &self.operations {
            operation.forward_scratch(ledger, Purpose::Scratch, pass);
            ledger.alloc(Purpose::Activations, operation.output * batch);
            ledger.alloc(Purpose::Activations, operation.saved_conv_output(pass));
            ledger.alloc(Purpose::Activations, operation.saved_mask(batch));
        }
        backward(ledger, &self.operations, pass, true);
    }

    /// A pass that returns gradient maps ([`lasnn_models::DifferentiableNetwork`]): a graph from
    /// the lowest tap on, whose parameters have no gradients.
    pub fn gradient_maps(&self, ledger: &mut Ledger, pass: Pass, probes: &Probes) {
        let batch = pass.batch;
        let is_requested = |tapped: &&Tapped| probes.contains(Probe::GradientMap(tapped.tap));
        let tapped: Vec<&Tapped> = self.taps.iter().filter(is_requested).collect();
        let Some(lowest) = tapped.first() else { return };
        let (before, after) = self.operations.split_at(lowest.operations);
        let purpose = Purpose::Activations;
        evaluate(ledger, purpose, before, pass);
        for operation in after {
            operation.evaluate(ledger, purpose, pass);
            ledger.alloc(purpose, operation.saved_mask(batch));
        }
        // The lowest map and its gradient; of each other map the gradient, the zeros that are added
        // to it, and the sum.
        let blocks = |index, tapped: &&Tapped| {
            (tapped.size * batch, Size::from(if index == 0 { 2usize } else { 3 }))
        };
        let kept: Vec<_> = tapped.iter().enumerate().map(|(i, tapped)| blocks(i, tapped)).collect();
        kept.iter().for_each(|&blocks| ledger.alloc(purpose, blocks));
        backward(ledger, after, pass, false);
        for tapped in tapped {
            // The squares.
            ledger.malloc_briefly(purpose, tapped.size * batch * size_of::<f32>());
        }
        kept.iter().for_each(|&blocks| ledger.release(blocks));
    }

    /// A pass without gradients. With `for_distillation` the feature maps at the taps are kept and
    /// compared afterwards. This is an upper bound: of attention maps only the maps are kept.
    pub fn evaluate(
        &self,
        ledger: &mut Ledger,
        purpose: Purpose,
        pass: Pass,
        for_distillation: bool,
    ) {
        let batch = pass.batch;
        let pass = Pass { precision: Precision::F32, ..pass };
        evaluate(ledger, purpose, &self.operations, pass);
        if for_distillation {
            let taps: Vec<Size> = self.taps.iter().map(|tapped| tapped.size * batch).collect();
            ledger.alloc_all(purpose, &taps);
            for &tap in &taps {
                // The squares, from which attention maps are computed.
                ledger.malloc_briefly(purpose, tap * size_of::<f32>());
            }
            ledger.release_all(&taps);
        }
    }

    /// A pass without gradients that keeps the outputs of all operations.
    pub fn evaluate_all_outputs(&self, ledger: &mut Ledger, purpose: Purpose, pass: Pass) {
        let outputs: Vec<Size> =
            self.operations.iter().map(|operation| operation.output * pass.batch).collect();
        ledger.alloc_all(purpose, &outputs);
        ledger.release_all(&outputs);
    }
}

/// A pass through operations that keeps no outputs.
fn evaluate(ledger: &mut Ledger, purpose: Purpose, operations: &[Operation], pass: Pass) {
    let mut previous = Size::ZERO;
    for operation in operations {
        operation.evaluate(ledger, purpose, pass);
        ledger.release(previous);
        previous = operation.output * pass.batch;
    }
    ledger.release(previous);
}

/// The backward pass through operations whose outputs are allocated. If they are not trained, batch
/// norms are in evaluation, and the input of the first operation has a gradient.
fn backward(ledger: &mut Ledger, operations: &[Operation], pass: Pass, is_trained: bool) {
    let batch = pass.batch;
    // Gradients of the shortcuts, which are used when the backward pass reaches their block's
    // input.
    let mut shortcuts = Vec::new();
    if let Some(last) = operations.last() {
        ledger.alloc(Purpose::Activations, last.output * batch);
    }
    for (index, operation) in operations.iter().enumerate().rev() {
        let (input, output) = (operation.input * batch, operation.output * batch);
        let is_first = is_trained && index == 0;
        match operation.kind {
            // The gradient before the ReLU, and that before a batch norm in evaluation.
            Kind::Conv { batch_norm: false, .. } | Kind::Linear => {
                ledger.alloc_briefly(Purpose::Activations, output);
            }
            Kind::Conv { .. } | Kind::BatchNorm if !is_trained => {
                ledger.alloc_briefly(Purpose::Activations, (output, Size::new(2)));
            }
            _ => {}
        }
        if !is_first {
            ledger.alloc(Purpose::Activations, input);
        }
        if is_trained {
            ledger.alloc(Purpose::Optimiser, operation.weights);
        }
        operation.backward_scratch(ledger, pass, is_first, is_trained);
        if is_trained {
            ledger.release(operation.saved_conv_output(pass));
        }
        match operation.kind {
            Kind::Conv { shortcut: true, .. } => shortcuts.push(output),
            _ => ledger.release(output),
        }
        ledger.release(output);
        ledger.release(operation.saved_mask(batch));
        if !operation.kind.is_in_block() {
            shortcuts.drain(..).for_each(|gradient| ledger.release(gradient));
        }
    }
    ledger.release_all(&shortcuts);
    if !is_trained && let Some(first) = operations.first() {
        ledger.release(first.input * batch);
    }
}

/// Whether the last operation of a layer is an activation. A dense block has its own inside.
fn ends_in_activation(layer: &Layer) -> bool {
    match layer {
        Layer::Conv { activation, .. } => *activation,
        Layer::Residual { .. } | Layer::Norm { .. } | Layer::Linear { .. } => true,
        _ => false,
    }
}

/// Adds the operations of a dense block. `unfused` is its activation of a feature map, if that is
/// an operation of its own.
fn dense_block(
    operations: &mut Vec<Operation>,
    input: Shape,
    units: usize,
    growth: usize,
    unfused: impl Fn(Shape) -> Option<Operation>,
) {
    let with_channels = |channels| Shape { channels, ..input };
    let bottleneck = with_channels(DENSE_BOTTLENECK.saturating_mul(growth));
    let mut all = input;
    for _ in 0..units {
        let output = with_channels(growth);
        operations.push(Operation::new(Kind::BatchNorm, all, all));
        operations.extend(unfused(all));
        operations.push(Operation::conv([all, bottleneck], 1, false, false));
        operations.push(Operation::new(Kind::BatchNorm, bottleneck, bottleneck));
        operations.extend(unfused(bottleneck));
        operations.push(Operation::conv([bottleneck, output], 3, false, false));
        all = with_channels(all.channels.saturating_add(growth));
        operations.push(Operation::new(Kind::Other, output, all));
    }
}

impl Operation {
    /// An operation without weights.
    fn new(kind: Kind, input: Shape, output: Shape) -> Self {
        let (input, output) = (elements(input), elements(output));
        Self { kind, input, output, weights: Size::ZERO }
    }

    fn conv([input, output]: [Shape; 2], kernel: usize, batch_norm: bool, shortcut: bool) -> Self {
        let weights = Size::from(input.channels) * output.channels * kernel * kernel;
        let kind = Kind::Conv { input, output, kernel, batch_norm, shortcut };
        Self { weights, ..Self::new(kind, input, output) }
    }

    /// The length of the convolution's output that is saved for the backward pass of batch norm.
    fn saved_conv_output(&self, pass: Pass) -> Size {
        match self.kind {
            Kind::Conv { batch_norm: true, .. } => packed(self.output * pass.batch, pass),
            _ => Size::ZERO,
        }
    }

    /// The length of the mask that an activation saves beside its input: a byte for each element.
    fn saved_mask(&self, batch: Size) -> Size {
        match self.kind {
            Kind::Activation => (self.output * batch).div_ceil(4usize),
            _ => Size::ZERO,
        }
    }

    /// The temporary memory of a forward pass. Each thread has the padded input of an image and the
    /// sums of its outputs.
    fn forward_scratch(&self, ledger: &mut Ledger, purpose: Purpose, pass: Pass) {
        let Kind::Conv { input, output, .. } = self.kind else { return };
        let elements_per_number = if pass.is_bf16() { 2usize } else { 1 };
        ledger.alloc_briefly(purpose, (padded(input) / elements_per_number, pass.threads));
        ledger.alloc_briefly(purpose, (padded_rows(output), pass.threads));
        ledger.alloc_briefly(purpose, self.weights / elements_per_number);
    }

    /// A forward pass in evaluation. The output stays allocated.
    fn evaluate(&self, ledger: &mut Ledger, purpose: Purpose, pass: Pass) {
        self.forward_scratch(ledger, purpose, pass);
        let output = self.output * pass.batch;
        ledger.alloc(purpose, output);
        if let Kind::Conv { batch_norm, shortcut, .. } = self.kind {
            // Batch norm and the sum with a shortcut write new feature maps.
            for _ in 0..usize::from(batch_norm) + usize::from(shortcut) {
                ledger.alloc_briefly(purpose, output);
            }
        }
    }

    /// The temporary memory of a backward pass. The first operation computes no gradient of its
    /// input, and a network that is not trained no gradients of weights.
    fn backward_scratch(&self, ledger: &mut Ledger, pass: Pass, is_first: bool, is_trained: bool) {
        let batch = pass.batch;
        match self.kind {
            Kind::Conv { input, output, kernel, batch_norm, .. } => {
                let images = packed(batch, pass);
                // The output gradients and the inputs of all images, in the order in which the
                // product for the weight gradient reads them.
                let inputs = match input.channels < FEW_CHANNELS {
                    true => {
                        let patch = Size::from(input.channels) * kernel * kernel;
                        patch.up_to_multiple_of(LANES) * output.height * output.width
                    }
                    false => padded(input),
                };
                let operands = match is_trained {
                    true => vec![padded_rows(output) * images, inputs * images],
                    false => vec![],
                };
                ledger.alloc_all(Purpose::Scratch, &operands);
                if !is_first {
                    let elements_per_number = if pass.is_bf16() { 2usize } else { 1 };
                    let padded_gradient = padded(output) / elements_per_number;
                    ledger.alloc_briefly(Purpose::Scratch, (padded_gradient, pass.threads));
                    ledger.alloc_briefly(Purpose::Scratch, (padded_rows(input), pass.threads));
                }
                if batch_norm && is_trained {
                    let planes = (elements(output), pass.threads * 2usize);
                    ledger.alloc_briefly(Purpose::Scratch, planes);
                }
                ledger.release_all(&operands);
            }
            Kind::Activation => {
                // The gradients of the elements that the activation does not let through.
                ledger.alloc_briefly(Purpose::Activations, self.output * batch);
            }
            Kind::Linear if !is_first => {
                ledger.alloc_briefly(Purpose::Scratch, self.input * batch);
            }
            _ => {}
        }
    }
}

/// A length in numbers of 32 bits, two elements of which are packed into one number in bfloat16.
fn packed(length: Size, pass: Pass) -> Size {
    if pass.is_bf16() { length.div_ceil(2usize) } else { length }
}

/// The number of elements of a feature map with a border, its channels padded to whole vectors.
fn padded(shape: Shape) -> Size {
    let channels = Size::from(shape.channels).up_to_multiple_of(LANES);
    channels * (Size::from(shape.height) + 2usize) * (Size::from(shape.width) + 1usize)
}

/// The number of elements of a feature map whose rows are as long as in [`padded`].
fn padded_rows(shape: Shape) -> Size {
    let channels = Size::from(shape.channels).up_to_multiple_of(LANES);
    channels * shape.height * (Size::from(shape.width) + 1usize)
}
