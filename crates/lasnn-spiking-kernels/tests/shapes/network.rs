//! A layer between neurons that fire at a given rate and a classifier.

use lasnn_core::{Mask, Precision};
use lasnn_spiking_kernels::{
    Call, Circuit, Connection, Drive, Neurons, Origin, OutcomeGrad, Prepared, Reset, Shape, Show,
    Site, Source, StepOrder, Surrogate, View, WeightFormat,
};

use crate::reference;

const NEURONS: Neurons = Neurons {
    threshold: 0.93,
    leak: 0.875,
    reset: Reset::Subtract,
    step_order: StepOrder::IntegrateThenFire,
    surrogate: Surrogate::Linear { damping: 0.3 },
};

const CLASSES: usize = 10;

/// How a layer is run.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub steps: usize,
    /// The share of the layer's inputs that fire.
    pub rate: f32,
    pub batch: usize,
    pub threads: usize,
}

/// A circuit with its numbers.
pub struct Network {
    setting: Setting,
    circuit: Circuit,
    weights: Vec<Vec<f32>>,
    masks: Vec<Mask>,
    input: Vec<f32>,
    draw: Draw,
}

/// Numbers without meaning, the same each time.
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

    /// Multiples of 1/64 that make neurons fire.
    fn weights(&mut self, outputs: usize, fan_in: usize) -> Vec<f32> {
        let range = 64.0 * 5.0 / (fan_in as f32).sqrt();
        (0..outputs * fan_in).map(|_| ((self.next() * 2.0 - 1.0) * range).round() / 64.0).collect()
    }

    /// The current of a neuron of those that fire at a rate on the average.
    fn current(&mut self, Setting { steps, rate, .. }: Setting) -> f32 {
        let (share, of_threshold) = match (rate, steps) {
            (1.0, _) | (_, 1) => (rate, 1.25 + 0.25 * self.next()),
            // Half of the steps, more or less, and at a time of its own.
            _ => (2.0 * rate, 0.5 + 0.5 * self.next()),
        };
        let is_firing = self.next() < share;
        NEURONS.threshold * if is_firing { of_threshold } else { 0.6 * self.next() - 0.5 }
    }
}

impl Network {
    /// `[channels, side, outputs]`, behind spikes that come as an input.
    pub fn of_input_spikes([channels, side, outputs]: [usize; 3], setting: Setting) -> Self {
        let input = Shape { channels, height: side, width: side };
        let mut network = Self::empty(input, setting);
        let count = setting.steps * setting.batch * input.neurons();
        let fires = |number: f32| if number < setting.rate { 1.0 } else { 0.0 };
        network.input = (0..count).map(|_| fires(network.draw.next())).collect();
        let source = network.source(Origin::Input, View::PLAIN, (outputs, 3, 1));
        network.site(vec![source]);
        network.classified()
    }

    /// `[inputs, side, pool, outputs]`
    pub fn convolution([inputs, side, pool, outputs]: [usize; 4], setting: Setting) -> Self {
        let mut network = Self::fed(inputs, side, setting);
        let view = network.view(0, pool, 0.2);
        let source = network.source(Origin::Site(0), view, (outputs, 3, 1));
        network.site(vec![source]);
        network.classified()
    }

    /// `[inputs, side, pool, outputs, stride]`
    pub fn block([inputs, side, pool, outputs, stride]: [usize; 5], setting: Setting) -> Self {
        let mut network = Self::fed(inputs, side, setting);
        let view = View { pool: [pool; 2], mask: None };
        let first = network.source(Origin::Site(0), view, (outputs, 3, stride));
        network.site(vec![first]);
        let masked = network.view(1, 1, 0.2);
        let second = network.source(Origin::Site(1), masked, (outputs, 3, 1));
        let shortcut = match inputs == outputs {
            true => Source { connection: Connection::Identity, ..first },
            false => network.source(Origin::Site(0), view, (outputs, 1, stride)),
        };
        network.site(vec![second, shortcut]);
        network.classified()
    }

    /// `[inputs, side, pool, outputs]`
    pub fn matrix([inputs, side, pool, outputs]: [usize; 4], setting: Setting) -> Self {
        let mut network = Self::fed(inputs, side, setting);
        let view = network.view(0, pool, 0.5);
        let source = network.linear(view, outputs);
        network.site(vec![source]);
        network.classified()
    }

    fn empty(input: Shape, setting: Setting) -> Self {
        let readout = Source {
            origin: Origin::Input,
            view: View::PLAIN,
            connection: Connection::Linear { weight: 0 },
        };
        Self {
            setting,
            circuit: Circuit { input, sites: vec![], readout, classes: CLASSES },
            weights: vec![],
            masks: vec![],
            input: vec![],
            draw: Draw(9),
        }
    }

    /// Neurons that currents from outside drive.
    fn fed(channels: usize, side: usize, setting: Setting) -> Self {
        let shape = Shape { channels, height: side, width: side };
        let mut network = Self::empty(shape, setting);
        network.circuit.sites.push(Site { shape, sources: vec![] });
        let count = setting.batch * shape.neurons();
        network.input = (0..count).map(|_| network.draw.current(setting)).collect();
        network
    }

    /// What is behind a pooling, or where there is none, behind a dropout.
    fn view(&mut self, site: usize, pool: usize, dropout: f32) -> View {
        let mut view = View { pool: [pool; 2], mask: None };
        if pool == 1 {
            let row = self.circuit.sites[site].shape.neurons();
            let factor = 1.0 / (1.0 - dropout);
            let number = |number: f32| if number < dropout { 0.0 } else { factor };
            let factors = (0..self.setting.batch * row).map(|_| number(self.draw.next()));
            self.masks.push(Mask::of(row, &factors.collect::<Vec<_>>()));
            view.mask = Some(self.masks.len() - 1);
        }
        view
    }

    fn source(
        &mut self,
        origin: Origin,
        view: View,
        (outputs, kernel, stride): (usize, usize, usize),
    ) -> Source {
        let fan_in = self.circuit.shape(origin).channels * kernel * kernel;
        self.weights.push(self.draw.weights(outputs, fan_in));
        let connection = Connection::Conv { kernel, stride, weight: self.weights.len() - 1 };
        Source { origin, view, connection }
    }

    /// A matrix behind the last site.
    fn linear(&mut self, view: View, outputs: usize) -> Source {
        let site = self.circuit.sites.len() - 1;
        let inputs = view.shape(self.circuit.sites[site].shape).neurons();
        self.weights.push(self.draw.weights(outputs, inputs));
        let connection = Connection::Linear { weight: self.weights.len() - 1 };
        Source { origin: Origin::Site(site), view, connection }
    }

    fn site(&mut self, sources: Vec<Source>) {
        let Source { origin, view, connection } = sources[0];
        let from = view.shape(self.circuit.shape(origin));
        let shape = match connection {
            Connection::Conv { stride, weight, kernel } => Shape {
                channels: self.weights[weight].len() / (from.channels * kernel * kernel),
                height: from.height / stride,
                width: from.width / stride,
            },
            Connection::Linear { weight } => {
                let channels = self.weights[weight].len() / from.neurons();
                Shape { channels, height: 1, width: 1 }
            }
            Connection::Identity => from,
        };
        self.circuit.sites.push(Site { shape, sources });
    }

    fn classified(mut self) -> Self {
        self.circuit.readout = self.linear(View::PLAIN, CLASSES);
        self.circuit.check().unwrap();
        self
    }

    /// Compares spikes, class scores of every step and gradients with the reference.
    #[track_caller]
    pub fn check(mut self) {
        let Setting { steps, rate, batch, threads } = self.setting;
        let sites = self.circuit.sites.len();
        let last = self.circuit.sites[sites - 1].shape.neurons() * batch;
        let (readout, counts) = (self.draw.grads(CLASSES * batch), self.draw.grads(last));
        let weights: Vec<&[f32]> = self.weights.iter().map(Vec::as_slice).collect();
        let masks: Vec<_> = self.masks.iter().map(|mask| Some(mask.rows())).collect();
        let call = Call {
            circuit: &self.circuit,
            neurons: &vec![NEURONS; sites],
            weights: &weights,
            masks: &masks,
            batch,
            prepared: None,
            precision: Precision::F32,
        };
        let is_fed = self.circuit.sites[0].sources.is_empty();
        let drive = if is_fed { Drive::Currents(&self.input) } else { Drive::Spikes(&self.input) };
        let what = format!("{:?}, {:?}", self.setting, self.circuit);

        let expected = reference::forward(&call, drive, steps);
        let spikes = expected.counts(&call);
        let fired = |site: &[f32]| site.iter().sum::<f32>() / (steps * site.len()) as f32;
        if is_fed {
            let found = fired(&spikes[0]);
            let is_near = found >= 0.6 * rate && found <= 1.5 * rate;
            assert!(is_near, "the inputs fire at a rate of {found}: {what}");
        }
        let is_seen = rate == 0.0 || steps == 1 || spikes.iter().all(|site| fired(site) > 0.0);
        assert!(is_seen, "nobody fires behind the layer: {what}");
        let gradients = reference::backward(&call, &expected, &readout, &counts);

        let mut grads = vec![None; sites];
        grads[sites - 1] = Some(&counts[..]);
        let grad = OutcomeGrad { readout: &readout, counts: &grads, squares: &[] };
        let shown = vec![Show::Counts; sites];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (outcome, tape) = call.record(drive, steps, &shown);
            assert!(outcome.counts == spikes, "other neurons fire: {what}");
            let by_step: Vec<f64> = outcome.by_step.iter().map(|&x| f64::from(x)).collect();
            assert_eq!(by_step, expected.by_step, "{what}");
            let found = call.backward(&tape, grad);
            for (found, expected) in found.weights.iter().zip(&gradients.weights) {
                close(found, expected, "of a weight", &what);
            }
            if let Some(found) = found.currents {
                close(&found, &gradients.currents, "of the currents", &what);
            }
            // What is rounded loses nothing of these weights, so nothing of the spikes.
            for format in [WeightFormat::F32, WeightFormat::Int12, WeightFormat::Bf16] {
                let prepared = Prepared::new(call.circuit, call.weights, format);
                let call = Call { prepared: Some(&prepared), ..call };
                let again = call.advance(drive, steps, &mut call.rest(), &shown);
                assert!(again.counts == spikes, "other neurons fire with {format:?}: {what}");
                assert_eq!(again.by_step, outcome.by_step, "{format:?}, {what}");
            }
            let call = Call { precision: Precision::Bf16, ..call };
            let (again, tape) = call.record(drive, steps, &shown);
            assert!(again.counts == spikes, "other neurons fire in bfloat16: {what}");
            let found = call.backward(&tape, grad);
            let all = found.weights.iter().zip(&gradients.weights);
            let rounded = found.currents.iter().map(|found| (found, &gradients.currents));
            for (found, expected) in all.chain(rounded) {
                nearly(found, expected, &what);
            }
        });
    }
}

/// Sums in `f32` of parts that cancel out, against sums in `f64`.
#[track_caller]
fn close(found: &[f32], expected: &[f64], of: &str, what: &str) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    for (index, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        let is_close = error <= 2e-5 * largest;
        assert!(is_close, "gradient {index} {of}: {found} instead of {expected}: {what}");
    }
}

/// What was rounded to bfloat16 before it was added up.
#[track_caller]
fn nearly(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len());
    let norm = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut expected.iter().copied());
    let error = norm(&mut found.iter().zip(expected).map(|(&a, b)| f64::from(a) - b));
    assert!(error <= 0.01 * size, "{error} of {size}: {what}");
}
