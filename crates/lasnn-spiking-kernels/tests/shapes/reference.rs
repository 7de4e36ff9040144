//! Networks of wide layers, densely and in `f64`, one step after the other: plain loops, of which the
//! innermost one runs over the outputs of an input, so that the layers of whole networks take seconds.
//!
//! `tests/spiking/naive.rs` knows every switch of a neuron and is easier to check, but takes minutes
//! here. Neurons are those of the paper: what is above the threshold fires and loses it, and the
//! derivative is a triangle.

use std::borrow::Cow;

use lasnn_spiking_kernels::{Call, Connection, Drive, Origin, Shape, Source, Surrogate};

/// What a pass did. Maps are `[image][position][channel]` here, other than in a [`Call`].
pub struct Run {
    /// By step and site.
    spikes: Vec<Vec<Vec<f64>>>,
    membranes: Vec<Vec<Vec<f32>>>,
    /// By step.
    input: Vec<Vec<f64>>,
    /// `[steps, batch, classes]`.
    pub by_step: Vec<f64>,
}

/// Gradients of the weights in the layouts of a call, and of currents from outside.
pub struct Gradients {
    pub weights: Vec<Vec<f64>>,
    pub currents: Vec<f64>,
}

/// Maps `[image][channel][position]` as `[image][position][channel]`; with channels and positions
/// exchanged, the other way.
fn turned<T: Copy>(maps: &[T], channels: usize, positions: usize) -> Vec<T> {
    let images = maps.chunks_exact(channels * positions);
    let turn = |image: &[T]| -> Vec<T> {
        let places = (0..positions).flat_map(|p| (0..channels).map(move |c| c * positions + p));
        places.map(|place| image[place]).collect()
    };
    images.flat_map(turn).collect()
}

/// A source whose weights stand as `[tap][input][output]`.
struct Synapses<'a> {
    call: &'a Call<'a>,
    source: &'a Source,
    of: Shape,
    /// What the weights see; for a matrix, as many channels as it has inputs.
    from: Shape,
    to: Shape,
    taps: usize,
    weight: Option<(usize, Cow<'a, [f32]>)>,
    /// Which tap connects which positions.
    windows: Vec<[usize; 3]>,
}

impl<'a> Synapses<'a> {
    fn new(call: &'a Call<'a>, source: &'a Source, to: Shape) -> Self {
        let of = call.circuit.shape(source.origin);
        let mut from = source.view.shape(of);
        let (mut kernel, mut by, mut weight) = (1, 1, None);
        match source.connection {
            Connection::Identity => {}
            Connection::Linear { weight: index } => {
                from = Shape { channels: from.neurons(), height: 1, width: 1 };
                weight = Some((index, Cow::Borrowed(call.weights[index])));
            }
            Connection::Conv { kernel: size, stride, weight: index } => {
                (kernel, by) = (size, stride);
                // `[output][input][tap]`
                let side_by_side =
                    turned(call.weights[index], to.channels, from.channels * size * size);
                // `[input][tap][output]`
                let rows = side_by_side.chunks_exact(to.channels).enumerate();
                let mut weights = vec![0.0; side_by_side.len()];
                for (row, outputs) in rows {
                    let (input, tap) = (row / (size * size), row % (size * size));
                    let place = (tap * from.channels + input) * to.channels;
                    weights[place..][..to.channels].copy_from_slice(outputs);
                }
                weight = Some((index, Cow::Owned(weights)));
            }
        }
        let mut windows = Vec::new();
        for (y, x) in (0..to.height).flat_map(|y| (0..to.width).map(move |x| (y, x))) {
            for tap in 0..kernel * kernel {
                let row = (y * by + tap / kernel).wrapping_sub(kernel / 2);
                let column = (x * by + tap % kernel).wrapping_sub(kernel / 2);
                if row < from.height && column < from.width {
                    windows.push([tap, row * from.width + column, y * to.width + x]);
                }
            }
        }
        Self { call, source, of, from, to, taps: kernel * kernel, weight, windows }
    }

    /// What the source shows to its weights.
    fn seen(&self, run: &Run, step: usize) -> Vec<f64> {
        let spikes = match self.source.origin {
            Origin::Input => &run.input[step],
            Origin::Site(site) => &run.spikes[step][site],
        };
        let mut seen = vec![0.0; self.from.neurons() * self.call.batch];
        self.each_place(|from, to, factor| seen[to] += factor * spikes[from]);
        seen
    }

    /// Calls back with every neuron, its place behind the view, and its factor there.
    fn each_place(&self, mut each: impl FnMut(usize, usize, f64)) {
        let (of, view) = (self.of, self.source.view.shape(self.of));
        let [rows, columns] = self.source.view.pool;
        let mask = self.source.view.mask.and_then(|mask| Some(self.call.masks[mask]?.factors()));
        let is_matrix = matches!(self.source.connection, Connection::Linear { .. });
        for image in 0..self.call.batch {
            for (y, x) in (0..of.height).flat_map(|y| (0..of.width).map(move |x| (y, x))) {
                let position = y / rows * view.width + x / columns;
                for channel in 0..of.channels {
                    let from = (image * of.positions() + y * of.width + x) * of.channels + channel;
                    let by_channel = (image * of.channels + channel) * view.positions() + position;
                    let by_position = (image * view.positions() + position) * of.channels + channel;
                    // A matrix has its inputs in the order of the channels.
                    let to = if is_matrix { by_channel } else { by_position };
                    let factor = mask.as_ref().map_or(1.0, |mask| f64::from(mask[by_channel]));
                    each(from, to, factor / (rows * columns) as f64);
                }
            }
        }
    }

    /// Adds the currents of all images.
    fn add(&self, seen: &[f64], currents: &mut [f64]) {
        let Some((_, weights)) = &self.weight else {
            currents.iter_mut().zip(seen).for_each(|(current, seen)| *current += seen);
            return;
        };
        let (inputs, outputs) = (self.from.channels, self.to.channels);
        let images = seen.chunks_exact(self.from.neurons());
        for (seen, currents) in images.zip(currents.chunks_exact_mut(self.to.neurons())) {
            for &[tap, from, to] in &self.windows {
                let sums = &mut currents[to * outputs..][..outputs];
                for (input, &value) in seen[from * inputs..][..inputs].iter().enumerate() {
                    if value != 0.0 {
                        let row = &weights[(tap * inputs + input) * outputs..][..outputs];
                        let terms = sums.iter_mut().zip(row);
                        terms.for_each(|(sum, &weight)| *sum += value * f64::from(weight));
                    }
                }
            }
        }
    }

    /// Adds the gradients of weights, and gives those of what is seen.
    fn back(&self, seen: &[f64], delta: &[f64], gradient: &mut [f64]) -> Vec<f64> {
        let Some((_, weights)) = &self.weight else { return delta.to_vec() };
        let (inputs, outputs) = (self.from.channels, self.to.channels);
        let mut of_seen = vec![0.0; seen.len()];
        let images =
            seen.chunks_exact(self.from.neurons()).zip(delta.chunks_exact(self.to.neurons()));
        for ((seen, delta), of_seen) in images.zip(of_seen.chunks_exact_mut(self.from.neurons())) {
            for &[tap, from, to] in &self.windows {
                let delta = &delta[to * outputs..][..outputs];
                if delta.iter().all(|&delta| delta == 0.0) {
                    continue;
                }
                for input in 0..inputs {
                    let row =
                        (tap * inputs + input) * outputs..(tap * inputs + input + 1) * outputs;
                    let value = seen[from * inputs + input];
                    if value != 0.0 {
                        let terms = gradient[row.clone()].iter_mut().zip(delta);
                        terms.for_each(|(sum, delta)| *sum += value * delta);
                    }
                    of_seen[from * inputs + input] += dot(&weights[row], delta);
                }
            }
        }
        of_seen
    }

    /// A gradient in the layout of the call.
    fn in_its_layout(&self, gradient: Vec<f64>) -> Vec<f64> {
        let (inputs, outputs) = (self.from.channels, self.to.channels);
        match self.source.connection {
            // `[tap][input][output]` to `[tap][output][input]` to `[output][input][tap]`.
            Connection::Conv { .. } => {
                turned(&turned(&gradient, inputs, outputs), self.taps, inputs * outputs)
            }
            _ => gradient,
        }
    }
}

/// With eight sums, so that the compiler makes vectors of them.
fn dot(weights: &[f32], delta: &[f64]) -> f64 {
    let (weights, rest) = weights.as_chunks::<8>();
    let (delta, delta_rest) = delta.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (weights, delta) in weights.iter().zip(delta) {
        for lane in 0..8 {
            sums[lane] += f64::from(weights[lane]) * delta[lane];
        }
    }
    let rest = rest.iter().zip(delta_rest).map(|(&weight, delta)| f64::from(weight) * delta);
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// The synapses of each site, and of the readout.
fn synapses<'a>(call: &'a Call<'a>) -> (Vec<Vec<Synapses<'a>>>, Synapses<'a>) {
    let circuit = call.circuit;
    let of = |site: &'a lasnn_spiking_kernels::Site| {
        site.sources.iter().map(|source| Synapses::new(call, source, site.shape)).collect()
    };
    let classes = Shape { channels: circuit.classes, height: 1, width: 1 };
    (circuit.sites.iter().map(of).collect(), Synapses::new(call, &circuit.readout, classes))
}

/// Runs a call from rest.
pub fn forward(call: &Call<'_>, drive: Drive<'_>, steps: usize) -> Run {
    let circuit = call.circuit;
    let (sites, readout) = synapses(call);
    let sizes: Vec<usize> =
        circuit.sites.iter().map(|site| site.shape.neurons() * call.batch).collect();
    let mut u: Vec<Vec<f32>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
    let mut run = Run { spikes: vec![], membranes: vec![], input: vec![], by_step: vec![] };
    for step in 0..steps {
        let as_seen = |maps: &[f32], shape: Shape| -> Vec<f64> {
            let maps = turned(maps, shape.channels, shape.positions());
            maps.into_iter().map(f64::from).collect()
        };
        let size = circuit.input.neurons() * call.batch;
        let (mut outside, mut input) = (Vec::new(), Vec::new());
        match drive {
            Drive::Currents(all) => outside = as_seen(all, circuit.sites[0].shape),
            Drive::Spikes(all) => input = as_seen(&all[step * size..][..size], circuit.input),
        }
        run.input.push(input);
        run.spikes.push(vec![]);
        for (index, sources) in sites.iter().enumerate() {
            let mut currents = vec![0.0; sizes[index]];
            if sources.is_empty() {
                currents.copy_from_slice(&outside);
            }
            for source in sources {
                source.add(&source.seen(&run, step), &mut currents);
            }
            let neurons = call.neurons[index];
            let fires = |u: f32| if u > neurons.threshold { 1.0f32 } else { 0.0 };
            for (u, &current) in u[index].iter_mut().zip(&currents) {
                *u = neurons.leak * *u + current as f32 - neurons.threshold * fires(*u);
            }
            let spikes = u[index].iter().map(|&u| f64::from(fires(u))).collect();
            run.spikes[step].push(spikes);
        }
        run.membranes.push(u.clone());
        let mut currents = vec![0.0; circuit.classes * call.batch];
        readout.add(&readout.seen(&run, step), &mut currents);
        run.by_step.append(&mut currents);
    }
    run
}

/// Gradients, given those of the readout `[batch, classes]` and of the counts of the last site.
pub fn backward(
    call: &Call<'_>,
    run: &Run,
    readout_grad: &[f32],
    counts_grad: &[f32],
) -> Gradients {
    let circuit = call.circuit;
    let (sites, readout) = synapses(call);
    let zeros = || -> Vec<Vec<f64>> {
        circuit.sites.iter().map(|site| vec![0.0; site.shape.neurons() * call.batch]).collect()
    };
    let mut gradients: Vec<Vec<f64>> = call.weights.iter().map(|w| vec![0.0; w.len()]).collect();
    let (mut delta, mut currents) = (zeros(), zeros().swap_remove(0));
    let readout_delta: Vec<f64> = readout_grad.iter().map(|&grad| f64::from(grad)).collect();
    let last = circuit.sites[circuit.sites.len() - 1].shape;
    let counts_grad = turned(counts_grad, last.channels, last.positions());
    for step in (0..run.spikes.len()).rev() {
        let mut of_spikes = zeros();
        let counted = of_spikes.last_mut().into_iter().flatten().zip(&counts_grad);
        counted.for_each(|(of_spike, &grad)| *of_spike += f64::from(grad));
        let mut back = |synapses: &Synapses<'_>, delta: &[f64], of_spikes: &mut [Vec<f64>]| {
            let seen = synapses.seen(run, step);
            let gradient = synapses.weight.as_ref().map_or(&mut [][..], |w| &mut gradients[w.0]);
            let of_seen = synapses.back(&seen, delta, gradient);
            if let Origin::Site(origin) = synapses.source.origin {
                synapses.each_place(|from, to, factor| {
                    of_spikes[origin][from] += factor * of_seen[to];
                });
            }
        };
        back(&readout, &readout_delta, &mut of_spikes);
        for (index, sources) in sites.iter().enumerate().rev() {
            let neurons = call.neurons[index];
            let Surrogate::Linear { damping } = neurons.surrogate else { panic!("a triangle") };
            let (threshold, leak) = (f64::from(neurons.threshold), f64::from(neurons.leak));
            let u = run.membranes[step][index].iter().zip(&of_spikes[index]);
            for (delta, (&u, grad)) in delta[index].iter_mut().zip(u) {
                let z = f64::from(u) / threshold - 1.0;
                let slope = damping * (1.0 - z.abs()).max(0.0) / threshold;
                *delta = grad * slope + leak * *delta;
            }
            for source in sources {
                back(source, &delta[index], &mut of_spikes);
            }
            if sources.is_empty() {
                currents.iter_mut().zip(&delta[index]).for_each(|(sum, delta)| *sum += delta);
            }
        }
    }
    for synapses in sites.iter().flatten().chain([&readout]) {
        if let Some((index, _)) = synapses.weight {
            gradients[index] = synapses.in_its_layout(std::mem::take(&mut gradients[index]));
        }
    }
    let first = circuit.sites[0].shape;
    Gradients { weights: gradients, currents: turned(&currents, first.positions(), first.channels) }
}

impl Run {
    /// How often each neuron of each site fired, `[batch, channels, height, width]`.
    pub fn counts(&self, call: &Call<'_>) -> Vec<Vec<f32>> {
        let of = |(index, site): (usize, &lasnn_spiking_kernels::Site)| {
            let mut counts = vec![0.0; site.shape.neurons() * call.batch];
            for step in &self.spikes {
                counts
                    .iter_mut()
                    .zip(&step[index])
                    .for_each(|(count, &spike)| *count += spike as f32);
            }
            turned(&counts, site.shape.positions(), site.shape.channels)
        };
        call.circuit.sites.iter().enumerate().map(of).collect()
    }
}
