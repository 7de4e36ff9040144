//! The gradients of the parameters of a layer's neurons: bias, threshold, leak, and initial
//! membrane potential.
//!
//! With `δ^t = dL/du^t`, the gradient `g` with respect to the spike that `u^t` decides, and the
//! surrogate derivative `σ'` (see `neuron`):
//!
//! ```text
//! dL/dbias = Σ_t δ^t
//! dL/dv    = Σ_t - g σ'(z^t) u^t / v² - δ^t o^{t-1}        reset `subtract`
//! dL/dv    = Σ_t - g σ'(z^t) u^t / v²                      reset `zero`
//! dL/dλ    = Σ_t δ^t u^{t-1}                               reset `subtract`
//! dL/dλ    = Σ_t δ^t u^{t-1} (1 - o^{t-1})                 reset `zero`
//! dL/du^0  = λ δ^1,  with reset `zero`: λ δ^1 (1 - o^0)
//! ```
//!
//! The spike in the reset counts as a constant, the threshold that it subtracts does not.
//!
//! Kernels sum over the time steps and images of a unit of work. [`LayerGrads`] then sums over the
//! units in their order, so the result does not depend on the number of threads.

use lasnn_core::neuron::Reset;

use crate::args::ForwardArgs;
use crate::neuron::TileNeurons;
use crate::spikes::{Grid, LANES, lanes_of};

/// The parameters of a layer's neurons that need a gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub bias: bool,
    pub threshold: bool,
    pub leak: bool,
    pub initial_membrane: bool,
}

impl Wanted {
    /// The trained parameters of a layer.
    pub fn of(args: &ForwardArgs<'_>, layer: usize) -> Self {
        let params = args.graph.layers[layer].params;
        Self {
            bias: params.bias.is_some_and(|bias| args.is_trained(bias)),
            threshold: args.is_trained(params.threshold),
            leak: args.is_trained(params.leak),
            initial_membrane: params.initial_membrane.is_some_and(|u| args.is_trained(u)),
        }
    }

    /// The numbers in the sums of a unit with some lanes at some positions; 0 if nothing is wanted.
    pub fn room(self, lanes: usize, positions: usize) -> usize {
        let kinds = [self.bias, self.threshold, self.leak].into_iter().filter(|&wanted| wanted);
        lanes * (kinds.count() + if self.initial_membrane { positions } else { 0 })
    }
}

/// The sums of one unit of work. Sums that are not wanted are empty.
#[derive(Debug, Default)]
pub(crate) struct UnitSums<'a> {
    /// By lane.
    pub bias: &'a mut [f32],
    /// By lane.
    pub threshold: &'a mut [f32],
    /// By lane.
    pub leak: &'a mut [f32],
    /// `[position][lane]`.
    pub initial_membrane: &'a mut [f32],
}

/// One time step as the sums need it. All slices have one number for each lane at each position.
pub(crate) struct Potentials<'a> {
    /// The gradient of the membrane potentials, `δ^t`.
    pub membrane_grad: &'a [f32],
    /// The membrane potentials `u^t`.
    pub u: &'a [f32],
    /// The membrane potentials `u^{t-1}`.
    pub before: &'a [f32],
    /// The gradient with respect to the spikes that `u^t` decides.
    pub grad: &'a [f32],
}

/// One time step of 8-bit surrogate derivatives as the sums need it, for lanes at one position.
pub(crate) struct Derivatives<'a> {
    /// The gradient of the membrane potentials, `δ^t`.
    pub membrane_grad: &'a [f32],
    /// The derivatives at `u^t`.
    pub surrogate_q8: &'a [u8],
    /// `o^t`, a bit for each lane.
    pub fired: u16,
    /// `o^{t-1}`, a bit for each lane.
    pub fired_before: u16,
    /// The gradient with respect to the spikes that `u^t` decides.
    pub grad: &'a [f32],
}

impl<'a> UnitSums<'a> {
    /// The sums in `numbers`, which has [`Wanted::room`] numbers.
    pub fn new(wanted: Wanted, lanes: usize, numbers: &'a mut [f32]) -> Self {
        let mut rest = numbers;
        let mut take = |wanted: bool| {
            let (taken, left) =
                std::mem::take(&mut rest).split_at_mut(if wanted { lanes } else { 0 });
            rest = left;
            taken
        };
        let (bias, threshold, leak) =
            (take(wanted.bias), take(wanted.threshold), take(wanted.leak));
        Self { bias, threshold, leak, initial_membrane: rest }
    }

    /// Whether nothing is wanted.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.bias.is_empty()
            && self.threshold.is_empty()
            && self.leak.is_empty()
            && self.initial_membrane.is_empty()
    }

    /// The sums of bias, threshold and leak of some lanes.
    #[inline(always)]
    pub fn lanes(&mut self, lanes: std::ops::Range<usize>) -> UnitSums<'_> {
        fn some(all: &mut [f32], lanes: std::ops::Range<usize>) -> &mut [f32] {
            if all.is_empty() { all } else { &mut all[lanes] }
        }
        UnitSums {
            bias: some(self.bias, lanes.clone()),
            threshold: some(self.threshold, lanes.clone()),
            leak: some(self.leak, lanes),
            initial_membrane: Default::default(),
        }
    }

    /// Adds one time step.
    #[inline(always)]
    pub fn add(&mut self, neurons: &TileNeurons<'_>, step: Potentials<'_>) {
        self.add_bias(step.membrane_grad);
        let width = neurons.thresholds.len();
        let subtracts = neurons.options.reset == Reset::Subtract;
        if !self.threshold.is_empty() {
            let mut through = [0.0; MOST_LANES];
            let places = step.membrane_grad.chunks_exact(width).zip(step.u.chunks_exact(width));
            let places = places.zip(step.before.chunks_exact(width));
            for (((membrane_grad, u), before), grad) in places.zip(step.grad.chunks_exact(width)) {
                let through = &mut through[..width];
                through.copy_from_slice(grad);
                neurons.through_spikes(u, through);
                let lanes = self.threshold.iter_mut().zip(membrane_grad).zip(u).zip(before);
                let lanes = lanes.zip(through).zip(neurons.thresholds);
                for (((((sum, &membrane_grad), &u), &before), &mut through), &threshold) in lanes {
                    let reset = if subtracts && before > threshold { membrane_grad } else { 0.0 };
                    *sum -= through * (u / threshold) + reset;
                }
            }
        }
        if !self.leak.is_empty() {
            let places = step.membrane_grad.chunks_exact(width);
            for (membrane_grad, before) in places.zip(step.before.chunks_exact(width)) {
                let lanes = self.leak.iter_mut().zip(membrane_grad).zip(before);
                for (((sum, &membrane_grad), &before), &threshold) in lanes.zip(neurons.thresholds)
                {
                    let is_kept = subtracts || before <= threshold;
                    *sum += if is_kept { membrane_grad * before } else { 0.0 };
                }
            }
        }
    }

    /// Adds one time step of [`LANES`] lanes at one position. The leak is not wanted.
    #[inline(always)]
    pub fn add_q8(&mut self, neurons: &TileNeurons<'_>, step: Derivatives<'_>) {
        self.add_bias(step.membrane_grad);
        let Some(sums) = self.threshold.first_chunk_mut::<LANES>() else { return };
        // All is read before anything is written, so the loop becomes vector operations.
        let membrane_grad: &[f32; LANES] = lanes_of(step.membrane_grad);
        let derivatives: &[u8; LANES] = lanes_of(step.surrogate_q8);
        let (grad, scales) = (lanes_of(step.grad), lanes_of(neurons.q8_scales));
        let (fired, fired_before) = (spread(step.fired), spread(step.fired_before));
        let mut next = [0.0; LANES];
        for lane in 0..LANES {
            let derivative = f32::from(derivatives[lane]);
            // `1 - |z|` of the linear surrogate. A neuron that fires has `z > 0`.
            let height = derivative * (1.0 / 255.0);
            let ratio = height + 2.0 * fired[lane] * (1.0 - height);
            let reset = membrane_grad[lane] * fired_before[lane];
            next[lane] = sums[lane] - (grad[lane] * (scales[lane] * derivative) * ratio + reset);
        }
        *sums = next;
    }

    /// Adds the gradient of the initial membrane potentials. `membrane_grad` is that of the first
    /// step, `initial` are the initial potentials, `None` for rest, and `first` is where the lanes
    /// begin in the sums.
    #[inline(always)]
    pub fn add_initial(
        &mut self,
        neurons: &TileNeurons<'_>,
        membrane_grad: &[f32],
        initial: Option<&[f32]>,
        first: usize,
    ) {
        if self.initial_membrane.is_empty() {
            return;
        }
        let width = neurons.thresholds.len();
        let sums = &mut self.initial_membrane[first..][..membrane_grad.len()];
        for (index, (sum, &membrane_grad)) in sums.iter_mut().zip(membrane_grad).enumerate() {
            let fired = initial.is_some_and(|u| u[index] > neurons.thresholds[index % width]);
            let is_kept = neurons.options.reset == Reset::Subtract || !fired;
            *sum += if is_kept { neurons.leak * membrane_grad } else { 0.0 };
        }
    }

    #[inline(always)]
    fn add_bias(&mut self, membrane_grad: &[f32]) {
        if self.bias.is_empty() {
            return;
        }
        for membrane_grad in membrane_grad.chunks_exact(self.bias.len()) {
            self.bias.iter_mut().zip(membrane_grad).for_each(|(sum, gradient)| *sum += gradient);
        }
    }
}

/// 1 for each bit that is set, 0 for each other.
#[inline(always)]
fn spread(bits: u16) -> [f32; LANES] {
    let mut numbers = [0.0; LANES];
    for (lane, number) in numbers.iter_mut().enumerate() {
        *number = (u32::from(bits) >> lane & 1) as f32;
    }
    numbers
}

/// The most lanes that a tile has.
const MOST_LANES: usize = 128;

/// The gradients of a layer's parameters, a number for each lane.
#[derive(Debug)]
pub(crate) struct LayerGrads {
    wanted: Wanted,
    grid: Grid,
    bias: Vec<f64>,
    threshold: Vec<f64>,
    leak: Vec<f64>,
    /// `[tile][position][lane of the tile]`.
    initial_membrane: Vec<f64>,
}

impl LayerGrads {
    /// Zeros.
    pub fn new(wanted: Wanted, grid: Grid) -> Self {
        let lanes = |wanted: bool| vec![0.0; if wanted { grid.lanes() } else { 0 }];
        let initial = if wanted.initial_membrane { grid.shape.positions() } else { 0 };
        Self {
            wanted,
            grid,
            bias: lanes(wanted.bias),
            threshold: lanes(wanted.threshold),
            leak: lanes(wanted.leak),
            initial_membrane: vec![0.0; initial * grid.lanes()],
        }
    }

    /// The parameters that need a gradient.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Adds the sums of a unit whose lanes begin at `lane` and whose positions begin at `position`.
    /// `width` is the number of its lanes; lanes after the last tile are left out.
    pub fn add(&mut self, numbers: &mut [f32], width: usize, (lane, position): (usize, usize)) {
        let sums = UnitSums::new(self.wanted, width, numbers);
        let add = |to: &mut [f64], from: &[f32]| {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to += f64::from(from));
        };
        for (to, from) in [
            (&mut self.bias, &sums.bias),
            (&mut self.threshold, &sums.threshold),
            (&mut self.leak, &sums.leak),
        ] {
            if !to.is_empty() {
                add(&mut to[lane..], from);
            }
        }
        let Grid { tile, shape } = self.grid;
        if lane >= self.grid.lanes() {
            return;
        }
        for (index, from) in sums.initial_membrane.chunks_exact(LANES).enumerate() {
            let (place, lane) = (position + index * LANES / width, lane + index * LANES % width);
            if lane < self.grid.lanes() {
                let at = (lane / tile * shape.positions() + place) * tile + lane % tile;
                add(&mut self.initial_membrane[at..][..LANES], from);
            }
        }
    }

    /// Adds the gradients to those of the parameters of a pass, in the shapes of the parameters.
    pub fn add_to(&self, params: &mut [Vec<f32>], args: &ForwardArgs<'_>, layer: usize) {
        let named = args.graph.layers[layer].params;
        let channels = self.grid.shape.channels;
        let mut add = |param: usize, by_number: Vec<f64>| {
            let size = args.params[param].len();
            let sums = &mut params[param];
            sums.resize(size, 0.0);
            match size {
                1 => sums[0] += by_number.iter().sum::<f64>() as f32,
                _ => sums.iter_mut().zip(by_number).for_each(|(sum, x)| *sum += x as f32),
            }
        };
        let of_channels = |lanes: &[f64]| lanes[..channels].to_vec();
        if let (true, Some(bias)) = (self.wanted.bias, named.bias) {
            add(bias, of_channels(&self.bias));
        }
        if self.wanted.threshold {
            add(named.threshold, of_channels(&self.threshold));
        }
        if self.wanted.leak {
            add(named.leak, of_channels(&self.leak));
        }
        if let (true, Some(initial)) = (self.wanted.initial_membrane, named.initial_membrane) {
            add(initial, self.by_neuron());
        }
    }

    /// The gradients of the initial membrane potentials, `[channel][position]`.
    fn by_neuron(&self) -> Vec<f64> {
        let Grid { tile, shape } = self.grid;
        let neuron = |index: usize| {
            let (channel, position) = (index / shape.positions(), index % shape.positions());
            let at = (channel / tile * shape.positions() + position) * tile + channel % tile;
            self.initial_membrane[at]
        };
        (0..shape.len()).map(neuron).collect()
    }
}
