//! A network of one layer, or of one block, between neurons with a given firing rate and a
//! classifier.

use lasnn_core::{Mask, Precision};
use lasnn_spiking_kernels::{
    ForwardArgs, Graph, LayerProbes, NetworkInput, NeuronLayer, NeuronOptions, NeuronParams,
    OutcomeGrad, PackedWeights, PoolAndMask, Presynaptic, Projection, Reset, Shape, SpikeStats,
    StepOrder, Surrogate, Synapse, WeightFormat,
};

use crate::reference;

/// Threshold and leak of all layers, which are the first two parameters.
const THRESHOLD_AND_LEAK: [f32; 2] = [0.93, 0.875];

const PARAMS: NeuronParams =
    NeuronParams { threshold: 0, leak: 1, bias: None, initial_membrane: None };

const NEURONS: NeuronOptions = NeuronOptions {
    reset: Reset::Subtract,
    step_order: StepOrder::IntegrateThenFire,
    surrogate: Surrogate::Linear { damping: 0.3 },
};

const CLASSES: usize = 10;

/// The conditions under which a layer is checked.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub steps: usize,
    /// The firing rate of the layer's inputs: spikes per neuron and time step.
    pub rate: f32,
    pub batch: usize,
    pub threads: usize,
}

/// A graph with its weights, masks and input.
pub struct Network {
    setting: Setting,
    graph: Graph,
    params: Vec<Vec<f32>>,
    masks: Vec<Mask>,
    input: Vec<f32>,
    draw: Draw,
}

/// A random number generator with a fixed seed.
struct Draw(u64);

impl Draw {
    /// Between 0 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Between -1 and 1.
    fn grads(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() * 2.0 - 1.0).collect()
    }

    /// Multiples of 1/64, large enough that neurons fire.
    fn weights(&mut self, outputs: usize, fan_in: usize) -> Vec<f32> {
        let range = 64.0 * 5.0 / (fan_in as f32).sqrt();
        (0..outputs * fan_in).map(|_| ((self.next() * 2.0 - 1.0) * range).round() / 64.0).collect()
    }

    /// The constant current of a neuron, so that neurons fire at the given rate on average.
    fn current(&mut self, Setting { steps, rate, .. }: Setting) -> f32 {
        let (share, of_threshold) = match (rate, steps) {
            (1.0, _) | (_, 1) => (rate, 1.25 + 0.25 * self.next()),
            // Fires in about half of the steps, at a time of its own.
            _ => (2.0 * rate, 0.5 + 0.5 * self.next()),
        };
        let is_firing = self.next() < share;
        THRESHOLD_AND_LEAK[0] * if is_firing { of_threshold } else { 0.6 * self.next() - 0.5 }
    }
}

impl Network {
    /// A convolution `[channels, side, outputs]` that reads input spikes.
    pub fn of_input_spikes([channels, side, outputs]: [usize; 3], setting: Setting) -> Self {
        let input = Shape { channels, height: side, width: side };
        let mut network = Self::empty(input, setting);
        let count = setting.steps * setting.batch * input.len();
        let fires = |number: f32| if number < setting.rate { 1.0 } else { 0.0 };
        network.input = (0..count).map(|_| fires(network.draw.next())).collect();
        let projection =
            network.projection(Presynaptic::Input, PoolAndMask::PLAIN, (outputs, 3, 1));
        network.layer(vec![projection]);
        network.classified()
    }

    /// A convolution `[inputs, side, pool, outputs]`.
    pub fn convolution([inputs, side, pool, outputs]: [usize; 4], setting: Setting) -> Self {
        let mut network = Self::driven(inputs, side, setting);
        let pooling = network.pooling(0, pool, 0.2);
        let projection = network.projection(Presynaptic::NeuronLayer(0), pooling, (outputs, 3, 1));
        network.layer(vec![projection]);
        network.classified()
    }

    /// A residual block `[inputs, side, pool, outputs, stride]`.
    pub fn block([inputs, side, pool, outputs, stride]: [usize; 5], setting: Setting) -> Self {
        let mut network = Self::driven(inputs, side, setting);
        let pooling = PoolAndMask { pool: [pool; 2], mask: None };
        let first = network.projection(Presynaptic::NeuronLayer(0), pooling, (outputs, 3, stride));
        network.layer(vec![first]);
        let masked = network.pooling(1, 1, 0.2);
        let second = network.projection(Presynaptic::NeuronLayer(1), masked, (outputs, 3, 1));
        let shortcut = match inputs == outputs {
            true => Projection { synapse: Synapse::Identity, ..first },
            false => network.projection(Presynaptic::NeuronLayer(0), pooling, (outputs, 1, stride)),
        };
        network.layer(vec![second, shortcut]);
        network.classified()
    }

    /// A linear layer `[inputs, side, pool, outputs]`.
    pub fn linear([inputs, side, pool, outputs]: [usize; 4], setting: Setting) -> Self {
        let mut network = Self::driven(inputs, side, setting);
        let pooling = network.pooling(0, pool, 0.5);
        let projection = network.linear_projection(pooling, outputs);
        network.layer(vec![projection]);
        network.classified()
    }

    fn empty(input: Shape, setting: Setting) -> Self {
        let readout = Projection {
            presynaptic: Presynaptic::Input,
            pooling: PoolAndMask::PLAIN,
            synapse: Synapse::Linear { weight: 2 },
        };
        Self {
            setting,
            graph: Graph { input, layers: vec![], readout, readout_bias: None, classes: CLASSES },
            params: THRESHOLD_AND_LEAK.map(|number| vec![number]).into(),
            masks: vec![],
            input: vec![],
            draw: Draw(9),
        }
    }

    /// A first layer that receives currents from outside.
    fn driven(channels: usize, side: usize, setting: Setting) -> Self {
        let shape = Shape { channels, height: side, width: side };
        let mut network = Self::empty(shape, setting);
        network.graph.layers.push(NeuronLayer { shape, projections: vec![], params: PARAMS });
        let count = setting.batch * shape.len();
        network.input = (0..count).map(|_| network.draw.current(setting)).collect();
        network
    }

    /// An average pooling, or a dropout mask if `pool` is 1.
    fn pooling(&mut self, layer: usize, pool: usize, dropout: f32) -> PoolAndMask {
        let mut pooling = PoolAndMask { pool: [pool; 2], mask: None };
        if pool == 1 {
            let row = self.graph.layers[layer].shape.len();
            let factor = 1.0 / (1.0 - dropout);
            let number = |number: f32| if number < dropout { 0.0 } else { factor };
            let factors = (0..self.setting.batch * row).map(|_| number(self.draw.next()));
            self.masks.push(Mask::of(row, &factors.collect::<Vec<_>>()));
            pooling.mask = Some(self.masks.len() - 1);
        }
        pooling
    }

    /// A convolution from a layer or the input.
    fn projection(
        &mut self,
        presynaptic: Presynaptic,
        pooling: PoolAndMask,
        (outputs, kernel, stride): (usize, usize, usize),
    ) -> Projection {
        let fan_in = self.graph.shape(presynaptic).channels * kernel * kernel;
        self.params.push(self.draw.weights(outputs, fan_in));
        let synapse = Synapse::Conv { kernel, stride, weight: self.params.len() - 1 };
        Projection { presynaptic, pooling, synapse }
    }

    /// A linear projection from the last layer.
    fn linear_projection(&mut self, pooling: PoolAndMask, outputs: usize) -> Projection {
        let layer = self.graph.layers.len() - 1;
        let inputs = pooling.shape(self.graph.layers[layer].shape).len();
        self.params.push(self.draw.weights(outputs, inputs));
        let synapse = Synapse::Linear { weight: self.params.len() - 1 };
        Projection { presynaptic: Presynaptic::NeuronLayer(layer), pooling, synapse }
    }

    /// Appends a layer with these projections.
    fn layer(&mut self, projections: Vec<Projection>) {
        let Projection { presynaptic, pooling, synapse } = projections[0];
        let from = pooling.shape(self.graph.shape(presynaptic));
        let shape = match synapse {
            Synapse::Conv { stride, weight, kernel } => Shape {
                channels: self.params[weight].len() / (from.channels * kernel * kernel),
                height: from.height / stride,
                width: from.width / stride,
            },
            Synapse::Linear { weight } => {
                let channels = self.params[weight].len() / from.len();
                Shape { channels, height: 1, width: 1 }
            }
            Synapse::Identity => from,
        };
        self.graph.layers.push(NeuronLayer { shape, projections, params: PARAMS });
    }

    /// Appends the classifier.
    fn classified(mut self) -> Self {
        self.graph.readout = self.linear_projection(PoolAndMask::PLAIN, CLASSES);
        self.graph.check().unwrap();
        self
    }

    /// Compares spikes, class scores of every step and gradients with the reference, in `f32` and
    /// in the rounded formats.
    #[track_caller]
    pub fn check(mut self) {
        let Setting { steps, rate, batch, threads } = self.setting;
        let layers = self.graph.layers.len();
        let last = self.graph.layers[layers - 1].shape.len() * batch;
        let (readout, counts) = (self.draw.grads(CLASSES * batch), self.draw.grads(last));
        let params: Vec<&[f32]> = self.params.iter().map(Vec::as_slice).collect();
        let trained: Vec<bool> = (0..params.len()).map(|param| param > 1).collect();
        let masks: Vec<_> = self.masks.iter().map(|mask| Some(mask.rows())).collect();
        let args = ForwardArgs {
            graph: &self.graph,
            neurons: &vec![NEURONS; layers],
            params: &params,
            trained: &trained,
            masks: &masks,
            batch,
            packed_weights: None,
            precision: Precision::F32,
        };
        let is_driven = self.graph.layers[0].projections.is_empty();
        let input = if is_driven {
            NetworkInput::Currents(&self.input[..])
        } else {
            NetworkInput::Spikes(&self.input[..])
        };
        let what = format!("{:?}, {:?}", self.setting, self.graph);

        let expected = reference::forward(&args, input, steps);
        let spikes = expected.counts(&args);
        let fired = |layer: &[f32]| layer.iter().sum::<f32>() / (steps * layer.len()) as f32;
        if is_driven {
            let found = fired(&spikes[0]);
            let is_near = found >= 0.6 * rate && found <= 1.5 * rate;
            assert!(is_near, "the inputs fire at a rate of {found}: {what}");
        }
        let all_fire = rate == 0.0 || steps == 1 || spikes.iter().all(|layer| fired(layer) > 0.0);
        assert!(all_fire, "no neuron of a layer fires: {what}");
        let gradients = reference::backward(&args, &expected, &readout, &counts);

        let mut grads = vec![None; layers];
        grads[layers - 1] = Some(&counts[..]);
        let grad = OutcomeGrad { readout: &readout, counts: &grads, ..Default::default() };
        let stats = vec![SpikeStats::Counts; layers];
        let probes = LayerProbes::stats(&stats);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (outcome, tape) = args.record(input, steps, probes);
            assert!(outcome.counts == spikes, "other neurons fire: {what}");
            let by_step: Vec<f64> = outcome.by_step.iter().map(|&x| f64::from(x)).collect();
            assert_eq!(by_step, expected.by_step, "{what}");
            let found = args.backward(&tape, grad);
            for (found, expected) in found.params.iter().zip(&gradients.params).skip(2) {
                assert_close(found, expected, "of a weight", &what);
            }
            if let Some(found) = found.currents {
                assert_close(&found, &gradients.currents, "of the currents", &what);
            }
            // These weights survive rounding unchanged, and so do the spikes.
            for format in [WeightFormat::F32, WeightFormat::Int12, WeightFormat::Bf16] {
                let packed_weights = PackedWeights::new(args.graph, args.params, format);
                let args = ForwardArgs { packed_weights: Some(&packed_weights), ..args };
                let again = args.advance(input, steps, &mut args.start(), probes);
                assert!(again.counts == spikes, "other neurons fire with {format:?}: {what}");
                assert_eq!(again.by_step, outcome.by_step, "{format:?}, {what}");
            }
            let args = ForwardArgs { precision: Precision::Bf16, ..args };
            let (again, tape) = args.record(input, steps, probes);
            assert!(again.counts == spikes, "other neurons fire in bfloat16: {what}");
            let found = args.backward(&tape, grad);
            let all = found.params.iter().zip(&gradients.params).skip(2);
            let rounded = found.currents.iter().map(|found| (found, &gradients.currents));
            for (found, expected) in all.chain(rounded) {
                assert_nearly_close(found, expected, &what);
            }
        });
    }
}

/// Compares sums in `f32`, whose terms may cancel out, with sums in `f64`.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], of: &str, what: &str) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    for (index, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        let is_close = error <= 2e-5 * largest;
        assert!(is_close, "gradient {index} {of}: {found} instead of {expected}: {what}");
    }
}

/// Compares sums of terms that were rounded to bfloat16 with exact sums, by their norms.
#[track_caller]
fn assert_nearly_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len());
    let norm = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut expected.iter().copied());
    let error = norm(&mut found.iter().zip(expected).map(|(&a, b)| f64::from(a) - b));
    assert!(error <= 0.01 * size, "{error} of {size}: {what}");
}
