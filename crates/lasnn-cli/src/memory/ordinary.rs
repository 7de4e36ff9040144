//! What an ordinary network takes: a step of its training, and a pass without gradients.
//!
//! The order of what is taken and given back is that of `lasnn-models`, of the backward passes in
//! `lasnn-backend` and of the kernels in `lasnn-kernels::dense`.

use lasnn_core::plan::DENSE_BOTTLENECK;
use lasnn_core::{Layer, Plan, Shape};

use super::ledger::{Ledger, Part};
use super::size::Size;

/// Lanes of a vector, of which channels fill whole ones where weights get their gradients.
const LANES: usize = 16;

/// Below so many input channels a convolution's weights get their gradients from patches.
const FEW_INPUTS: usize = 8;

/// How a pass is run.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Images at once.
    pub batch: Size,
    /// Whether products are of bfloat16.
    pub rounded: bool,
    /// Threads that compute.
    pub threads: Size,
}

/// One operation of a network.
#[derive(Clone, Debug)]
struct Step {
    kind: Kind,
    /// Numbers of an image that come in.
    input: Size,
    /// Numbers of an image that go out.
    output: Size,
    weights: Size,
}

#[derive(Clone, Debug)]
enum Kind {
    Convolution {
        input: Shape,
        output: Shape,
        kernel: usize,
        norm: bool,
        /// Whether a shortcut is added, whose gradient is the output's.
        added: bool,
    },
    Linear,
    Norm,
    Pool,
    Mask,
    /// The outputs of a dense block's unit are appended to its inputs.
    Append,
}

/// Numbers of a map.
pub fn numbers(shape: Shape) -> Size {
    Size::from(shape.channels) * shape.height * shape.width
}

/// A network as a list of operations.
#[derive(Clone, Debug)]
pub struct Ordinary {
    steps: Vec<Step>,
    /// Numbers of an image at each tap.
    taps: Vec<Size>,
}

impl Ordinary {
    /// The operations of a plan.
    pub fn new(plan: &Plan) -> Self {
        let mut steps = Vec::new();
        for planned in &plan.layers {
            let (input, output) = (planned.input, planned.output);
            let simple = |kind| Step {
                kind,
                input: numbers(input),
                output: numbers(output),
                weights: Size::ZERO,
            };
            match planned.layer {
                Layer::Conv { kernel, batch_norm, .. } => {
                    steps.push(convolution([input, output], kernel, batch_norm, false));
                }
                Layer::Residual { batch_norm, dropout, .. } => {
                    steps.push(convolution([input, output], 3, batch_norm, false));
                    if dropout > 0.0 {
                        steps.push(Step { input: numbers(output), ..simple(Kind::Mask) });
                    }
                    if input != output {
                        steps.push(convolution([input, output], 1, batch_norm, false));
                    }
                    steps.push(convolution([output, output], 3, batch_norm, true));
                }
                Layer::Dense { units, growth, .. } => dense(&mut steps, input, units, growth),
                Layer::Norm { .. } => steps.push(simple(Kind::Norm)),
                Layer::AveragePool { .. } | Layer::MaxPool { .. } | Layer::GlobalAveragePool {} => {
                    steps.push(simple(Kind::Pool));
                }
                Layer::Dropout { probability } if probability > 0.0 => {
                    steps.push(simple(Kind::Mask));
                }
                Layer::Dropout { .. } => {}
                Layer::Linear { .. } | Layer::Classifier { .. } => {
                    let weights = numbers(input) * numbers(output);
                    steps.push(Step { weights, ..simple(Kind::Linear) });
                }
            }
        }
        let tapped = plan.layers.iter().filter(|planned| planned.layer.tap().is_some());
        let taps = tapped.map(|planned| numbers(planned.output)).collect();
        Self { steps, taps }
    }

    /// The length of every weight that has a gradient.
    pub fn weights(&self) -> impl Iterator<Item = Size> + '_ {
        self.steps.iter().map(|step| step.weights).filter(|&weights| weights > Size::ZERO)
    }

    /// The forward and the backward pass. The gradients of the weights stay taken.
    pub fn train(&self, ledger: &mut Ledger, pass: Pass) {
        let batch = pass.batch;
        for step in &self.steps {
            step.scratch_forward(ledger, Part::Scratch, pass);
            ledger.take(Part::Activations, step.output * batch);
            if let Some(map) = step.map(pass) {
                ledger.take(Part::Activations, map);
            }
        }
        // The gradients that shortcuts wait for.
        let mut waiting = Vec::new();
        if let Some(last) = self.steps.last() {
            ledger.take(Part::Activations, last.output * batch);
        }
        for (index, step) in self.steps.iter().enumerate().rev() {
            let (input, output) = (step.input * batch, step.output * batch);
            let reaches_image = index == 0;
            match step.kind {
                Kind::Convolution { norm: true, .. } | Kind::Norm => {}
                Kind::Convolution { .. } | Kind::Linear => {
                    // The gradient before the rectifier.
                    ledger.take(Part::Activations, output);
                    ledger.give(output);
                }
                Kind::Pool | Kind::Mask | Kind::Append => {}
            }
            if !reaches_image {
                ledger.take(Part::Activations, input);
            }
            if step.weights > Size::ZERO {
                ledger.take(Part::Optimiser, step.weights);
            }
            step.scratch_backward(ledger, pass, reaches_image);
            match step.kind {
                Kind::Convolution { added: true, .. } => waiting.push(output),
                _ => ledger.give(output),
            }
            ledger.give(output);
            if let Some(map) = step.map(pass) {
                ledger.give(map);
            }
            if !matches!(step.kind, Kind::Convolution { .. } | Kind::Mask) {
                waiting.drain(..).for_each(|gradient| ledger.give(gradient));
            }
        }
        waiting.drain(..).for_each(|gradient| ledger.give(gradient));
    }

    /// Gives back the gradients of the weights.
    pub fn give_gradients(&self, ledger: &mut Ledger) {
        self.weights().for_each(|weights| ledger.give(weights));
    }

    /// A pass without gradients. What the taps show is compared afterwards if `compared`.
    pub fn evaluate(&self, ledger: &mut Ledger, part: Part, pass: Pass, compared: bool) {
        let batch = pass.batch;
        let exact = Pass { rounded: false, ..pass };
        let mut before = None;
        for step in &self.steps {
            step.scratch_forward(ledger, part, exact);
            let output = step.output * batch;
            ledger.take(part, output);
            if let Kind::Convolution { norm, added, .. } = step.kind {
                // A batch norm, and a sum, write another map.
                (0..usize::from(norm) + usize::from(added)).for_each(|_| ledger.pass(part, output));
            }
            if let Some(input) = before.replace(output) {
                ledger.give(input);
            }
        }
        if let Some(last) = before {
            ledger.give(last);
        }
        if compared {
            for &tap in &self.taps {
                ledger.take(part, tap * batch);
            }
            for &tap in &self.taps {
                // Squares, and what is made of them.
                let bytes = tap * batch * size_of::<f32>();
                ledger.hold(part, bytes);
                ledger.free(part, bytes);
            }
            for &tap in &self.taps {
                ledger.give(tap * batch);
            }
        }
    }

    /// The same, with the outputs of all operations at once.
    pub fn show_all(&self, ledger: &mut Ledger, part: Part, pass: Pass) {
        let outputs = || self.steps.iter().map(|step| step.output * pass.batch);
        outputs().for_each(|output| ledger.take(part, output));
        outputs().for_each(|output| ledger.give(output));
    }
}

fn convolution([input, output]: [Shape; 2], kernel: usize, norm: bool, added: bool) -> Step {
    Step {
        kind: Kind::Convolution { input, output, kernel, norm, added },
        input: numbers(input),
        output: numbers(output),
        weights: Size::from(input.channels) * output.channels * kernel * kernel,
    }
}

fn dense(steps: &mut Vec<Step>, input: Shape, units: usize, growth: usize) {
    let of = |channels| Shape { channels, ..input };
    let norm = |shape| Step {
        kind: Kind::Norm,
        input: numbers(shape),
        output: numbers(shape),
        weights: Size::ZERO,
    };
    let (wide, mut all) = (of(DENSE_BOTTLENECK.saturating_mul(growth)), input);
    for _ in 0..units {
        steps.push(norm(all));
        steps.push(convolution([all, wide], 1, false, false));
        steps.push(norm(wide));
        steps.push(convolution([wide, of(growth)], 3, false, false));
        all = of(all.channels.saturating_add(growth));
        steps.push(Step { input: numbers(of(growth)), kind: Kind::Append, ..norm(all) });
    }
}

impl Step {
    /// What is kept between a convolution and its batch norm.
    fn map(&self, pass: Pass) -> Option<Size> {
        let all = self.output * pass.batch;
        match self.kind {
            Kind::Convolution { norm: true, .. } if pass.rounded => Some(all.div_ceil(2usize)),
            Kind::Convolution { norm: true, .. } => Some(all),
            _ => None,
        }
    }

    /// Every thread has the padded maps of an image and the sums of its outputs.
    fn scratch_forward(&self, ledger: &mut Ledger, part: Part, pass: Pass) {
        let Kind::Convolution { input, output, .. } = self.kind else { return };
        let held = if pass.rounded { 2usize } else { 1 };
        ledger.pass_some(part, padded(input) / held, pass.threads);
        ledger.pass_some(part, wide(output), pass.threads);
        ledger.pass(part, self.weights / held);
    }

    fn scratch_backward(&self, ledger: &mut Ledger, pass: Pass, reaches_image: bool) {
        let batch = pass.batch;
        match self.kind {
            Kind::Convolution { input, output, kernel, norm, .. } => {
                let together = if pass.rounded { batch.div_ceil(2usize) } else { batch };
                // The outputs' gradients of all images, and the inputs, in the order in which they
                // are multiplied.
                let stored = wide(output) * together;
                let turned = match input.channels < FEW_INPUTS {
                    true => {
                        let weights = Size::from(input.channels) * kernel * kernel;
                        weights.up_to_multiple_of(LANES) * output.height * output.width
                    }
                    false => padded(input),
                } * together;
                ledger.take(Part::Scratch, stored);
                ledger.take(Part::Scratch, turned);
                if !reaches_image {
                    let held = if pass.rounded { 2usize } else { 1 };
                    ledger.pass_some(Part::Scratch, padded(output) / held, pass.threads);
                    ledger.pass_some(Part::Scratch, wide(input), pass.threads);
                }
                if norm {
                    ledger.pass_some(Part::Scratch, numbers(output), pass.threads * 2usize);
                }
                ledger.give(stored);
                ledger.give(turned);
            }
            Kind::Linear if !reaches_image => ledger.pass(Part::Scratch, self.input * batch),
            _ => {}
        }
    }
}

/// A map with a border, its channels filled up to whole vectors.
fn padded(shape: Shape) -> Size {
    let channels = Size::from(shape.channels).up_to_multiple_of(LANES);
    channels * (Size::from(shape.height) + 2usize) * (Size::from(shape.width) + 1usize)
}

/// A map whose rows have the pitch of a padded one, its channels filled up likewise.
fn wide(shape: Shape) -> Size {
    let channels = Size::from(shape.channels).up_to_multiple_of(LANES);
    channels * shape.height * (Size::from(shape.width) + 1usize)
}
