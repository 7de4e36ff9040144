//! Networks with weights and input, drawn from a recipe, and the checks that each must pass.

use lasnn_core::{Mask, Precision};
use lasnn_spiking_kernels::{
    ForwardArgs, Graph, LayerProbes, NetworkInput, NeuronLayer, NeuronOptions, NeuronParams,
    Outcome, OutcomeGrad, PackedWeights, ParamIndex, PoolAndMask, Presynaptic, Projection, Shape,
    SpikeStats, Synapse, Tape, WeightFormat,
};

use crate::naive;
use crate::numbers::Numbers;

/// A graph with its neurons, parameters, masks, input and output gradients.
#[derive(Clone, Debug)]
pub struct Case {
    pub graph: Graph,
    pub neurons: Vec<NeuronOptions>,
    pub params: Vec<Vec<f32>>,
    /// By parameter: whether its gradient is computed.
    pub trained: Vec<bool>,
    pub masks: Vec<Option<Mask>>,
    pub batch: usize,
    pub steps: usize,
    pub input: Vec<f32>,
    pub readout_grad: Vec<f32>,
    pub count_grads: Vec<Option<Vec<f32>>>,
    /// By layer: the gradients of the membrane potentials.
    pub membrane_grads: Vec<Option<Vec<f32>>>,
}

/// The properties of a case that are not drawn from its seed.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub seed: u64,
    /// Whether a first layer receives constant currents; else the input is spikes.
    pub direct: bool,
    /// Channels, height and width of the input.
    pub shape: (usize, usize, usize),
    pub layers: Vec<LayerRecipe>,
    /// Neurons of the linear layers.
    pub hidden: Vec<usize>,
    pub batch: usize,
    pub steps: usize,
    /// The neurons of all layers.
    pub neurons: NeuronRecipe,
    /// The firing rate of input spikes.
    pub input_rate: f32,
    /// Whether the loss depends on membrane potentials.
    pub membranes: bool,
}

/// The neurons of all layers and their parameters.
#[derive(Clone, Copy, Debug)]
pub struct NeuronRecipe {
    pub options: NeuronOptions,
    pub threshold: f32,
    pub leak: f32,
    /// Whether each channel has a threshold of its own.
    pub by_channel: bool,
    /// Whether layers and readout have a bias.
    pub bias: bool,
    pub initial: Initial,
    /// Whether thresholds, leaks, biases and initial potentials are trained.
    pub trained: bool,
}

/// The membrane potentials before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    Rest,
    /// One number for the layer, which may be above the threshold.
    OfLayer,
    /// One number for each neuron.
    OfNeuron,
}

/// A convolutional layer.
#[derive(Clone, Debug)]
pub struct LayerRecipe {
    pub channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub pool: [usize; 2],
    pub mask: bool,
    /// Whether a second projection from the same layer bypasses the convolution.
    pub shortcut: bool,
}

impl Recipe {
    /// Draws the case.
    pub fn case(&self) -> Case {
        let mut numbers = Numbers(self.seed);
        let (channels, height, width) = self.shape;
        let input = Shape { channels, height, width };
        let mut case = Case {
            graph: Graph {
                input,
                layers: vec![],
                readout: Projection {
                    presynaptic: Presynaptic::Input,
                    pooling: PoolAndMask::PLAIN,
                    synapse: Synapse::Identity,
                },
                readout_bias: None,
                classes: 3,
            },
            neurons: vec![],
            params: vec![],
            trained: vec![],
            masks: vec![],
            batch: self.batch,
            steps: self.steps,
            input: vec![],
            readout_grad: numbers.signed(3 * self.batch),
            count_grads: vec![],
            membrane_grads: vec![],
        };
        let mut presynaptic = Presynaptic::Input;
        if self.direct {
            case.push(&mut numbers, self.neurons, input, vec![]);
            case.input = numbers.weights(input.len() * self.batch, 1.5);
            presynaptic = Presynaptic::NeuronLayer(0);
        } else {
            let rate = self.input_rate;
            let spike = |number: f32| if number < rate { 1.0 } else { 0.0 };
            let count = self.steps * self.batch * input.len();
            case.input = (0..count).map(|_| spike(numbers.next())).collect();
        }
        for layer in &self.layers {
            let shape = case.graph.shape(presynaptic);
            let pool = [layer.pool[0].min(shape.height), layer.pool[1].min(shape.width)];
            let pooling = case.pooling(&mut numbers, shape, pool, layer.mask);
            let pooled = pooling.shape(shape);
            let fan_in = pooled.channels * layer.kernel * layer.kernel;
            let weight = case.weight(&mut numbers, layer.channels * fan_in, fan_in);
            let out = Shape {
                channels: layer.channels,
                height: pooled.height.div_ceil(layer.stride),
                width: pooled.width.div_ceil(layer.stride),
            };
            let synapse = Synapse::Conv { kernel: layer.kernel, stride: layer.stride, weight };
            let mut projections = vec![Projection { presynaptic, pooling, synapse }];
            if layer.shortcut {
                let synapse = if pooled == out {
                    Synapse::Identity
                } else {
                    let count = pooled.channels * layer.channels;
                    let weight = case.weight(&mut numbers, count, pooled.channels);
                    Synapse::Conv { kernel: 1, stride: layer.stride, weight }
                };
                projections.push(Projection { presynaptic, pooling, synapse });
            }
            case.push(&mut numbers, self.neurons, out, projections);
            presynaptic = Presynaptic::NeuronLayer(case.graph.layers.len() - 1);
        }
        for &features in &self.hidden {
            let projection = case.linear(&mut numbers, presynaptic, features);
            let shape = Shape { channels: features, height: 1, width: 1 };
            case.push(&mut numbers, self.neurons, shape, vec![projection]);
            presynaptic = Presynaptic::NeuronLayer(case.graph.layers.len() - 1);
        }
        case.graph.readout = case.linear(&mut numbers, presynaptic, 3);
        if self.neurons.bias {
            let bias = numbers.weights(3, 1.0);
            case.graph.readout_bias = Some(case.param(bias, self.neurons.trained));
        }
        case.graph.check().unwrap();
        for (index, layer) in case.graph.layers.iter().enumerate() {
            let count = layer.shape.len() * self.batch;
            case.count_grads.push((index % 2 == 1).then(|| numbers.signed(count)));
            let has_grad = self.membranes && (index + self.hidden.len()).is_multiple_of(2);
            case.membrane_grads.push(has_grad.then(|| numbers.signed(count * self.steps)));
        }
        case
    }
}

impl Case {
    /// The case with a single image of the batch; the input must be currents.
    pub fn image(&self, image: usize) -> Self {
        let of = |all: &[f32]| {
            let size = all.len() / self.batch;
            all[image * size..(image + 1) * size].to_vec()
        };
        let of_steps = |all: &[f32]| -> Vec<f32> {
            all.chunks_exact(all.len() / self.steps).flat_map(of).collect()
        };
        let mask_of = |mask: &Mask| {
            let row = mask.rows().slice(image..image + 1).factors();
            Mask::of(row.len(), &row)
        };
        Self {
            batch: 1,
            input: of(&self.input),
            masks: self.masks.iter().map(|mask| mask.as_ref().map(mask_of)).collect(),
            readout_grad: of(&self.readout_grad),
            count_grads: self.count_grads.iter().map(|grad| grad.as_deref().map(of)).collect(),
            membrane_grads: (self.membrane_grads.iter())
                .map(|grad| grad.as_deref().map(of_steps))
                .collect(),
            ..self.clone()
        }
    }

    fn weight(&mut self, numbers: &mut Numbers, count: usize, fan_in: usize) -> usize {
        self.param(numbers.weights(count, 3.0 / (fan_in as f32).sqrt()), true)
    }

    fn param(&mut self, numbers: Vec<f32>, trained: bool) -> ParamIndex {
        self.params.push(numbers);
        self.trained.push(trained);
        self.params.len() - 1
    }

    /// Adds a layer and draws the parameters of its neurons.
    fn push(
        &mut self,
        numbers: &mut Numbers,
        neurons: NeuronRecipe,
        shape: Shape,
        projections: Vec<Projection>,
    ) {
        let trained = neurons.trained;
        let thresholds: Vec<f32> = match neurons.by_channel {
            true => numbers.weights(shape.channels, 0.5),
            false => vec![0.0],
        };
        let thresholds = thresholds.iter().map(|number| neurons.threshold + number).collect();
        // Multiples of 1/64, so that no membrane potential meets a threshold.
        let bias = match neurons.bias && !projections.is_empty() {
            true => Some(numbers.weights(shape.channels, 0.5)),
            false => None,
        };
        let initial = match neurons.initial {
            Initial::Rest => None,
            Initial::OfLayer => Some(numbers.weights(1, 1.5)),
            Initial::OfNeuron => Some(numbers.weights(shape.len(), 1.5)),
        };
        let params = NeuronParams {
            threshold: self.param(thresholds, trained),
            leak: self.param(vec![neurons.leak], trained),
            bias: bias.map(|bias| self.param(bias, trained)),
            initial_membrane: initial.map(|initial| self.param(initial, trained)),
        };
        self.neurons.push(neurons.options);
        self.graph.layers.push(NeuronLayer { shape, projections, params });
    }

    fn pooling(
        &mut self,
        numbers: &mut Numbers,
        shape: Shape,
        pool: [usize; 2],
        mask: bool,
    ) -> PoolAndMask {
        let mut pooling = PoolAndMask { pool, mask: None };
        if mask {
            let row = pooling.shape(shape).len();
            let number = |number: f32| if number < 0.5 { 0.0 } else { 2.0 };
            let factors = (0..row * self.batch).map(|_| number(numbers.next()));
            self.masks.push(Some(Mask::of(row, &factors.collect::<Vec<_>>())));
            pooling.mask = Some(self.masks.len() - 1);
        }
        pooling
    }

    fn linear(
        &mut self,
        numbers: &mut Numbers,
        presynaptic: Presynaptic,
        features: usize,
    ) -> Projection {
        let shape = self.graph.shape(presynaptic);
        let pool = if shape.height > 1 && shape.width > 1 { [2, 2] } else { [1, 1] };
        let pooling = self.pooling(numbers, shape, pool, shape.channels.is_multiple_of(2));
        let inputs = pooling.shape(shape).len();
        let weight = self.weight(numbers, inputs * features, inputs);
        Projection { presynaptic, pooling, synapse: Synapse::Linear { weight } }
    }

    /// Calls `run` with the arguments of a pass in `f32`, and with the input.
    pub fn with_args<T>(&self, run: impl FnOnce(&ForwardArgs<'_>, NetworkInput<&[f32]>) -> T) -> T {
        let params: Vec<&[f32]> = self.params.iter().map(|w| &w[..]).collect();
        let masks: Vec<_> = self.masks.iter().map(|mask| mask.as_ref().map(Mask::rows)).collect();
        let args = ForwardArgs {
            graph: &self.graph,
            neurons: &self.neurons,
            params: &params,
            trained: &self.trained,
            masks: &masks,
            batch: self.batch,
            packed_weights: None,
            precision: Precision::F32,
        };
        let direct = self.graph.layers.first().is_some_and(|layer| layer.projections.is_empty());
        let input = if direct {
            NetworkInput::Currents(&self.input[..])
        } else {
            NetworkInput::Spikes(&self.input[..])
        };
        run(&args, input)
    }

    /// Calls `run` with the gradients of the results.
    pub fn with_grad<T>(&self, run: impl FnOnce(OutcomeGrad<'_>) -> T) -> T {
        let [counts, membranes] = [&self.count_grads, &self.membrane_grads]
            .map(|grads| grads.iter().map(Option::as_deref).collect::<Vec<_>>());
        let (readout, counts, membranes) = (&self.readout_grad[..], &counts[..], &membranes[..]);
        run(OutcomeGrad { readout, counts, membranes, ..Default::default() })
    }

    /// Compares spikes, readout and gradients of all kinds of passes with the dense network.
    #[track_caller]
    pub fn check(&self) {
        self.with_args(|args, input| {
            let expected = naive::forward(args, input, self.steps);
            let layers: Vec<usize> = (0..self.graph.layers.len()).collect();
            let counted = vec![SpikeStats::Counts; layers.len()];
            let probes = LayerProbes { stats: &counted, membranes: &layers };
            let (outcome, tape) = args.record(input, self.steps, probes);
            for (layer, counts) in outcome.counts.iter().enumerate() {
                let mut sums = vec![0.0; counts.len()];
                for step in &expected.spikes {
                    for (sum, spike) in sums.iter_mut().zip(&step[layer]) {
                        *sum += spike;
                    }
                }
                assert_eq!(counts, &sums, "spikes of layer {layer}");
            }
            for (layer, membranes) in outcome.membranes.iter().enumerate() {
                let expected: Vec<f32> = expected.membranes_of(layer);
                assert_eq!(membranes, &expected, "membrane potentials of layer {layer}");
            }
            let readout: Vec<f64> = outcome.readout.iter().map(|&x| f64::from(x)).collect();
            assert_close("readout", &readout, &expected.readout);
            let by_step: Vec<f64> = outcome.by_step.iter().map(|&x| f64::from(x)).collect();
            assert_close("readout by step", &by_step, &expected.by_step.concat());

            let mut membranes = args.start();
            let streamed = args.advance(input, self.steps, &mut membranes, probes);
            assert_eq!(streamed.counts, outcome.counts);
            assert_eq!(streamed.by_step, outcome.by_step);
            assert_eq!(streamed.membranes, outcome.membranes);

            let packed_weights = PackedWeights::new(args.graph, args.params, WeightFormat::F32);
            let ready = &ForwardArgs { packed_weights: Some(&packed_weights), ..*args };
            let again = ready.advance(input, self.steps, &mut ready.start(), probes);
            assert_eq!(again.counts, outcome.counts);
            assert_eq!(again.by_step, outcome.by_step);

            // These weights survive rounding unchanged, and sums of integers are exact.
            for format in [WeightFormat::Int12, WeightFormat::Bf16] {
                let packed_weights = PackedWeights::new(args.graph, args.params, format);
                let packed = &ForwardArgs { packed_weights: Some(&packed_weights), ..*args };
                let again = packed.advance(input, self.steps, &mut packed.start(), probes);
                assert_eq!(again.counts, outcome.counts, "{format:?}");
                assert_eq!(again.by_step, outcome.by_step, "{format:?}");
            }

            self.check_squares(args, input, &outcome, &tape);
            let found = self.with_grad(|grad| args.backward(&tape, grad));
            let expected = self.with_grad(|grad| naive::backward(args, &expected, grad));
            let expected_sizes = &expected.sizes;
            for (index, (found, expected)) in found.params.iter().zip(&expected.params).enumerate()
            {
                let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                let name = self.name(index);
                match self.trained[index] {
                    true => {
                        // Many neurons share a parameter, so its terms often cancel out.
                        let terms = expected_sizes[index].iter().fold(0f64, |max, &x| max.max(x));
                        let what = format!("gradient of {name}");
                        assert_close_at_scale(&what, &found, expected, 0.02 * terms);
                    }
                    false => assert!(found.is_empty(), "{name} is not trained"),
                }
            }
            // Rounding to bfloat16, and of surrogate derivatives to 8 bits, changes a gradient much
            // only where its large terms cancel out. Spikes stay the same.
            let rounded = ForwardArgs { precision: Precision::Bf16, ..*args };
            let (again, tape) = rounded.record(input, self.steps, probes);
            assert_eq!(again.counts, outcome.counts);
            assert_eq!(again.by_step, outcome.by_step);
            assert_eq!(again.membranes, outcome.membranes);
            let rounded = self.with_grad(|grad| rounded.backward(&tape, grad));
            let norm = |of: &[f32]| of.iter().map(|x| x * x).sum::<f32>().sqrt();
            let largest = found.params.iter().map(|param| norm(param)).fold(0.0, f32::max);
            for (index, (rounded, full)) in rounded.params.iter().zip(&found.params).enumerate() {
                let error: Vec<f32> = rounded.iter().zip(full).map(|(a, b)| a - b).collect();
                // The constant is for cases in which the terms of all gradients cancel out.
                // Elsewhere, norms are near 1.
                let mut allowed = 0.1 * norm(full) + 0.002 * largest + 1e-5;
                // Many neurons share a parameter, so its terms often cancel out.
                let sizes = &expected.sizes[index];
                allowed += 0.02 * sizes.iter().map(|size| size * size).sum::<f64>().sqrt() as f32;
                let (found, name) = (norm(&error), self.name(index));
                assert!(found <= allowed, "{name}: {found} of {allowed}");
            }
            if let Some(found) = found.currents {
                let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                assert_close("gradient of currents", &found, &expected.currents);
            }
        });
    }

    /// What a parameter is.
    fn name(&self, index: ParamIndex) -> String {
        for (number, layer) in self.graph.layers.iter().enumerate() {
            let NeuronParams { threshold, leak, bias, initial_membrane } = layer.params;
            let named = [
                ("threshold", Some(threshold)),
                ("leak", Some(leak)),
                ("bias", bias),
                ("initial membrane potential", initial_membrane),
            ];
            if let Some((name, _)) = named.iter().find(|(_, param)| *param == Some(index)) {
                return format!("the {name} of layer {number}");
            }
        }
        match self.graph.readout_bias == Some(index) {
            true => "the bias of the readout".into(),
            false => format!("weight {index}"),
        }
    }

    /// Compares squared counts and their gradients with their definition.
    #[track_caller]
    fn check_squares(
        &self,
        args: &ForwardArgs<'_>,
        input: NetworkInput<&[f32]>,
        outcome: &Outcome,
        tape: &Tape,
    ) {
        let layers = &self.graph.layers;
        let stats = vec![SpikeStats::Squares; layers.len()];
        let probes = LayerProbes::stats(&stats);
        let (recorded, _) = args.record(input, self.steps, probes);
        let streamed = args.advance(input, self.steps, &mut args.start(), probes);
        let mut numbers = Numbers(7);
        let (mut of_squares, mut of_counts) = (Vec::new(), Vec::new());
        for (layer, counts) in layers.iter().zip(&outcome.counts) {
            let positions = layer.shape.positions();
            let place = |index: usize| index / layer.shape.len() * positions + index % positions;
            let mut squares = vec![0.0; self.batch * positions];
            for (index, count) in counts.iter().enumerate() {
                squares[place(index)] += count * count;
            }
            let index = of_squares.len();
            assert_eq!(recorded.squares[index], squares);
            assert_eq!(streamed.squares[index], squares);
            let gradient: Vec<f32> = squares.iter().map(|_| numbers.next()).collect();
            let counts = counts.iter().enumerate();
            let gradients = counts.map(|(index, count)| 2.0 * count * gradient[place(index)]);
            of_counts.push(gradients.collect::<Vec<f32>>());
            of_squares.push(gradient);
        }
        let readout = &self.readout_grad[..];
        let (counts, squares) = (all(&of_counts), all(&of_squares));
        let expected =
            args.backward(tape, OutcomeGrad { readout, counts: &counts, ..Default::default() });
        let found = args.backward(
            tape,
            OutcomeGrad { readout, counts: &[], squares: &squares, ..Default::default() },
        );
        assert_eq!(found.params, expected.params);
        assert_eq!(found.currents, expected.currents);
    }
}

fn all(grads: &[Vec<f32>]) -> Vec<Option<&[f32]>> {
    grads.iter().map(Vec::as_slice).map(Some).collect()
}

#[track_caller]
pub fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_close_at_scale(what, found, expected, 0.0);
}

/// Errors are relative to the largest expected number, but at least to `scale`.
#[track_caller]
fn assert_close_at_scale(what: &str, found: &[f64], expected: &[f64], scale: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(scale.max(1e-3), |max, x| max.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / scale;
        // The sums in `f32` may have terms that cancel out; the expected sums are in `f64`.
        assert!(error < 1e-4, "{what}[{index}]: {found} instead of {expected}");
    }
}
