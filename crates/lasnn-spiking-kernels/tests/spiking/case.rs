//! Circuits with their numbers, drawn from a recipe, and what has to hold for each of them.

use lasnn_core::{Mask, Precision};
use lasnn_spiking_kernels::{
    Call, Circuit, Connection, Drive, Neurons, Origin, Outcome, OutcomeGrad, Prepared, Shape, Show,
    Site, Source, Tape, View, WeightFormat,
};

use crate::naive;

/// A circuit with its numbers.
#[derive(Clone, Debug)]
pub struct Case {
    pub circuit: Circuit,
    pub neurons: Vec<Neurons>,
    pub weights: Vec<Vec<f32>>,
    pub masks: Vec<Option<Mask>>,
    pub batch: usize,
    pub steps: usize,
    pub input: Vec<f32>,
    pub readout_grad: Vec<f32>,
    pub count_grads: Vec<Option<Vec<f32>>>,
}

/// Numbers without meaning, the same for the same seed.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Multiples of 1/64 in [-range, range].
    pub fn weights(&mut self, count: usize, range: f32) -> Vec<f32> {
        (0..count).map(|_| ((self.next() * 2.0 - 1.0) * range * 64.0).round() / 64.0).collect()
    }

    pub fn any(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() * 2.0 - 1.0).collect()
    }
}

/// What a case is drawn from.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub seed: u64,
    pub direct: bool,
    pub shape: (usize, usize, usize),
    pub layers: Vec<LayerRecipe>,
    pub hidden: Vec<usize>,
    pub batch: usize,
    pub steps: usize,
    pub neurons: Neurons,
    pub input_rate: f32,
}

#[derive(Clone, Debug)]
pub struct LayerRecipe {
    pub channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub pool: [usize; 2],
    pub mask: bool,
    pub shortcut: bool,
}

impl Recipe {
    pub fn case(&self) -> Case {
        let mut numbers = Numbers(self.seed);
        let (channels, height, width) = self.shape;
        let input = Shape { channels, height, width };
        let mut case = Case {
            circuit: Circuit {
                input,
                sites: vec![],
                readout: Source {
                    origin: Origin::Input,
                    view: View::PLAIN,
                    connection: Connection::Identity,
                },
                classes: 3,
            },
            neurons: vec![],
            weights: vec![],
            masks: vec![],
            batch: self.batch,
            steps: self.steps,
            input: vec![],
            readout_grad: numbers.any(3 * self.batch),
            count_grads: vec![],
        };
        let mut origin = Origin::Input;
        if self.direct {
            case.circuit.sites.push(Site { shape: input, sources: vec![] });
            case.input = numbers.weights(input.neurons() * self.batch, 1.5);
            origin = Origin::Site(0);
        } else {
            let rate = self.input_rate;
            let spike = |number: f32| if number < rate { 1.0 } else { 0.0 };
            let count = self.steps * self.batch * input.neurons();
            case.input = (0..count).map(|_| spike(numbers.next())).collect();
        }
        for layer in &self.layers {
            let shape = case.circuit.shape(origin);
            let pool = [layer.pool[0].min(shape.height), layer.pool[1].min(shape.width)];
            let view = case.view(&mut numbers, shape, pool, layer.mask);
            let seen = view.shape(shape);
            let fan_in = seen.channels * layer.kernel * layer.kernel;
            let weight = case.weight(&mut numbers, layer.channels * fan_in, fan_in);
            let out = Shape {
                channels: layer.channels,
                height: seen.height.div_ceil(layer.stride),
                width: seen.width.div_ceil(layer.stride),
            };
            let connection =
                Connection::Conv { kernel: layer.kernel, stride: layer.stride, weight };
            let mut sources = vec![Source { origin, view, connection }];
            if layer.shortcut {
                let connection = if seen == out {
                    Connection::Identity
                } else {
                    let count = seen.channels * layer.channels;
                    let weight = case.weight(&mut numbers, count, seen.channels);
                    Connection::Conv { kernel: 1, stride: layer.stride, weight }
                };
                sources.push(Source { origin, view, connection });
            }
            case.circuit.sites.push(Site { shape: out, sources });
            origin = Origin::Site(case.circuit.sites.len() - 1);
        }
        for &features in &self.hidden {
            let source = case.linear(&mut numbers, origin, features);
            let shape = Shape { channels: features, height: 1, width: 1 };
            case.circuit.sites.push(Site { shape, sources: vec![source] });
            origin = Origin::Site(case.circuit.sites.len() - 1);
        }
        case.circuit.readout = case.linear(&mut numbers, origin, 3);
        case.circuit.check().unwrap();
        for (index, site) in case.circuit.sites.iter().enumerate() {
            case.neurons.push(self.neurons);
            let count = site.shape.neurons() * self.batch;
            case.count_grads.push((index % 2 == 1).then(|| numbers.any(count)));
        }
        case
    }
}

impl Case {
    /// One image of a case that is driven by currents.
    pub fn image(&self, image: usize) -> Self {
        let of = |all: &[f32]| {
            let size = all.len() / self.batch;
            all[image * size..(image + 1) * size].to_vec()
        };
        let mask_of = |mask: &Mask| {
            let row = mask.rows().some(image..image + 1).factors();
            Mask::of(row.len(), &row)
        };
        Self {
            batch: 1,
            input: of(&self.input),
            masks: self.masks.iter().map(|mask| mask.as_ref().map(mask_of)).collect(),
            readout_grad: of(&self.readout_grad),
            count_grads: self.count_grads.iter().map(|grad| grad.as_deref().map(of)).collect(),
            ..self.clone()
        }
    }

    fn weight(&mut self, numbers: &mut Numbers, count: usize, fan_in: usize) -> usize {
        self.weights.push(numbers.weights(count, 3.0 / (fan_in as f32).sqrt()));
        self.weights.len() - 1
    }

    fn view(&mut self, numbers: &mut Numbers, shape: Shape, pool: [usize; 2], mask: bool) -> View {
        let mut view = View { pool, mask: None };
        if mask {
            let row = view.shape(shape).neurons();
            let number = |number: f32| if number < 0.5 { 0.0 } else { 2.0 };
            let factors = (0..row * self.batch).map(|_| number(numbers.next()));
            self.masks.push(Some(Mask::of(row, &factors.collect::<Vec<_>>())));
            view.mask = Some(self.masks.len() - 1);
        }
        view
    }

    fn linear(&mut self, numbers: &mut Numbers, origin: Origin, features: usize) -> Source {
        let shape = self.circuit.shape(origin);
        let pool = if shape.height > 1 && shape.width > 1 { [2, 2] } else { [1, 1] };
        let view = self.view(numbers, shape, pool, shape.channels.is_multiple_of(2));
        let inputs = view.shape(shape).neurons();
        let weight = self.weight(numbers, inputs * features, inputs);
        Source { origin, view, connection: Connection::Linear { weight } }
    }

    pub fn with_call<T>(&self, run: impl FnOnce(&Call<'_>, Drive<'_>) -> T) -> T {
        let weights: Vec<&[f32]> = self.weights.iter().map(|w| &w[..]).collect();
        let masks: Vec<_> = self.masks.iter().map(|mask| mask.as_ref().map(Mask::rows)).collect();
        let call = Call {
            circuit: &self.circuit,
            neurons: &self.neurons,
            weights: &weights,
            masks: &masks,
            batch: self.batch,
            prepared: None,
            precision: Precision::F32,
        };
        let direct = self.circuit.sites.first().is_some_and(|site| site.sources.is_empty());
        let drive = if direct { Drive::Currents(&self.input) } else { Drive::Spikes(&self.input) };
        run(&call, drive)
    }

    /// Compares everything with the dense network.
    #[track_caller]
    pub fn check(&self) {
        self.with_call(|call, drive| {
            let expected = naive::forward(call, drive, self.steps);
            let counted = vec![Show::Counts; self.circuit.sites.len()];
            let (outcome, tape) = call.record(drive, self.steps, &counted);
            for (site, counts) in outcome.counts.iter().enumerate() {
                let mut sums = vec![0.0; counts.len()];
                for step in &expected.spikes {
                    for (sum, spike) in sums.iter_mut().zip(&step[site]) {
                        *sum += spike;
                    }
                }
                assert_eq!(counts, &sums, "spikes of site {site}");
            }
            let readout: Vec<f64> = outcome.readout.iter().map(|&x| f64::from(x)).collect();
            close("readout", &readout, &expected.readout);
            let by_step: Vec<f64> = outcome.by_step.iter().map(|&x| f64::from(x)).collect();
            close("readout by step", &by_step, &expected.by_step.concat());

            let mut membranes = call.rest();
            let streamed = call.advance(drive, self.steps, &mut membranes, &counted);
            assert_eq!(streamed.counts, outcome.counts);
            assert_eq!(streamed.by_step, outcome.by_step);

            let prepared = Prepared::new(call.circuit, call.weights, WeightFormat::F32);
            let ready = &Call { prepared: Some(&prepared), ..*call };
            let again = ready.advance(drive, self.steps, &mut ready.rest(), &counted);
            assert_eq!(again.counts, outcome.counts);
            assert_eq!(again.by_step, outcome.by_step);

            // Weights of few bits lose none of them, and sums of whole numbers are exact.
            for format in [WeightFormat::Int12, WeightFormat::Bf16] {
                let prepared = Prepared::new(call.circuit, call.weights, format);
                let packed = &Call { prepared: Some(&prepared), ..*call };
                let again = packed.advance(drive, self.steps, &mut packed.rest(), &counted);
                assert_eq!(again.counts, outcome.counts, "{format:?}");
                assert_eq!(again.by_step, outcome.by_step, "{format:?}");
            }

            self.check_squares(call, drive, &outcome, &tape);
            let counts: Vec<Option<&[f32]>> =
                self.count_grads.iter().map(Option::as_deref).collect();
            let grad = OutcomeGrad { readout: &self.readout_grad, counts: &counts, squares: &[] };
            let found = call.backward(&tape, grad);
            let (weights, outside) = naive::backward(call, &expected, grad);
            for (index, (found, expected)) in found.weights.iter().zip(&weights).enumerate() {
                let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                close(&format!("gradient of weight {index}"), &found, expected);
            }
            // What rounding takes away, to bfloat16 and of slopes to 8 bits: much only where large parts
            // of a gradient cancel out. Spikes stay the same.
            let rough = Call { precision: Precision::Bf16, ..*call };
            let (again, tape) = rough.record(drive, self.steps, &counted);
            assert_eq!(again.counts, outcome.counts);
            assert_eq!(again.by_step, outcome.by_step);
            let half = rough.backward(&tape, grad);
            let norm = |of: &[f32]| of.iter().map(|x| x * x).sum::<f32>().sqrt();
            let largest = found.weights.iter().map(|weight| norm(weight)).fold(0.0, f32::max);
            for (index, (half, full)) in half.weights.iter().zip(&found.weights).enumerate() {
                let error: Vec<f32> = half.iter().zip(full).map(|(a, b)| a - b).collect();
                // Where the parts of all gradients cancel out, what is left is small; else they are near 1.
                let allowed = 0.1 * norm(full) + 0.002 * largest + 1e-5;
                assert!(norm(&error) <= allowed, "weight {index}: {} of {allowed}", norm(&error));
            }
            if let Some(found) = found.currents {
                let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                close("gradient of currents", &found, &outside);
            }
        });
    }

    /// Squares, and their gradients, are what their definition makes of counts.
    #[track_caller]
    fn check_squares(&self, call: &Call<'_>, drive: Drive<'_>, outcome: &Outcome, tape: &Tape) {
        let sites = &self.circuit.sites;
        let shown = vec![Show::Squares; sites.len()];
        let (recorded, _) = call.record(drive, self.steps, &shown);
        let streamed = call.advance(drive, self.steps, &mut call.rest(), &shown);
        let mut numbers = Numbers(7);
        let (mut of_squares, mut of_counts) = (Vec::new(), Vec::new());
        for (site, counts) in sites.iter().zip(&outcome.counts) {
            let positions = site.shape.positions();
            let place = |index: usize| index / site.shape.neurons() * positions + index % positions;
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
        let expected = call.backward(tape, OutcomeGrad { readout, counts: &counts, squares: &[] });
        let found = call.backward(tape, OutcomeGrad { readout, counts: &[], squares: &squares });
        assert_eq!(found.weights, expected.weights);
        assert_eq!(found.currents, expected.currents);
    }
}

fn all(grads: &[Vec<f32>]) -> Vec<Option<&[f32]>> {
    grads.iter().map(Vec::as_slice).map(Some).collect()
}

#[track_caller]
pub fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f64, |max, x| max.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / scale;
        // Sums in f32 of parts that cancel out, against sums in f64.
        assert!(error < 1e-4, "{what}[{index}]: {found} instead of {expected}");
    }
}
