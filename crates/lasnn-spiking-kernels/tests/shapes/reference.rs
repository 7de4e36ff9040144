//! A dense reference for wide layers, in `f64`, one time step after the other.
//!
//! Its loops are plain, but the innermost one runs over the outputs of an input, so that the layers
//! of whole networks take seconds. `tests/spiking/naive.rs` knows every option of a neuron and is
//! easier to check, but takes minutes here. The neurons are those of the paper: a potential above
//! the threshold fires and is reduced by the threshold, and the surrogate derivative is a triangle.

use std::borrow::Cow;

use lasnn_spiking_kernels::{
    ForwardArgs, NetworkInput, Presynaptic, Projection, Shape, Surrogate, Synapse,
};

/// The record of a forward pass. Maps are `[image][position][channel]` here, unlike in
/// [`ForwardArgs`].
pub struct Run {
    /// By step and layer.
    spikes: Vec<Vec<Vec<f64>>>,
    membranes: Vec<Vec<Vec<f32>>>,
    /// By step.
    input: Vec<Vec<f64>>,
    /// `[steps, batch, classes]`.
    pub by_step: Vec<f64>,
}

/// Gradients of the parameters in the layouts of [`ForwardArgs`], and of the currents from outside.
pub struct Gradients {
    pub params: Vec<Vec<f64>>,
    pub currents: Vec<f64>,
}

/// Maps `[image][channel][position]` as `[image][position][channel]`. With `channels` and
/// `positions` exchanged, it is the inverse.
fn transposed<T: Copy>(maps: &[T], channels: usize, positions: usize) -> Vec<T> {
    let images = maps.chunks_exact(channels * positions);
    let transpose = |image: &[T]| -> Vec<T> {
        let places = (0..positions).flat_map(|p| (0..channels).map(move |c| c * positions + p));
        places.map(|place| image[place]).collect()
    };
    images.flat_map(transpose).collect()
}

/// A projection whose weights are in the order `[tap][input][output]`.
struct Synapses<'a> {
    args: &'a ForwardArgs<'a>,
    projection: &'a Projection,
    /// The shape of the presynaptic layer.
    of: Shape,
    /// The shape after the pooling; for a linear projection, all inputs are channels.
    from: Shape,
    to: Shape,
    taps: usize,
    /// The index of the weights and the weights; `None` for an identity.
    weight: Option<(usize, Cow<'a, [f32]>)>,
    /// A tap, the input position and the output position that it connects.
    windows: Vec<[usize; 3]>,
}

impl<'a> Synapses<'a> {
    fn new(args: &'a ForwardArgs<'a>, projection: &'a Projection, to: Shape) -> Self {
        let of = args.graph.shape(projection.presynaptic);
        let mut from = projection.pooling.shape(of);
        let (mut kernel, mut by, mut weight) = (1, 1, None);
        match projection.synapse {
            Synapse::Identity => {}
            Synapse::Linear { weight: index } => {
                from = Shape { channels: from.len(), height: 1, width: 1 };
                weight = Some((index, Cow::Borrowed(args.params[index])));
            }
            Synapse::Conv { kernel: size, stride, weight: index } => {
                (kernel, by) = (size, stride);
                // `[output][input][tap]`
                let input_first =
                    transposed(args.params[index], to.channels, from.channels * size * size);
                // `[input][tap][output]`
                let rows = input_first.chunks_exact(to.channels).enumerate();
                let mut weights = vec![0.0; input_first.len()];
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
        Self { args, projection, of, from, to, taps: kernel * kernel, weight, windows }
    }

    /// The spikes of a step after pooling and mask.
    fn pooled(&self, run: &Run, step: usize) -> Vec<f64> {
        let spikes = match self.projection.presynaptic {
            Presynaptic::Input => &run.input[step],
            Presynaptic::NeuronLayer(layer) => &run.spikes[step][layer],
        };
        let mut pooled = vec![0.0; self.from.len() * self.args.batch];
        self.each_place(|from, to, factor| pooled[to] += factor * spikes[from]);
        pooled
    }

    /// Calls `each` with the index of every neuron, its index after the pooling, and the factor of
    /// pooling and mask.
    fn each_place(&self, mut each: impl FnMut(usize, usize, f64)) {
        let (of, pooling) = (self.of, self.projection.pooling.shape(self.of));
        let [rows, columns] = self.projection.pooling.pool;
        let mask =
            self.projection.pooling.mask.and_then(|mask| Some(self.args.masks[mask]?.factors()));
        let is_linear = matches!(self.projection.synapse, Synapse::Linear { .. });
        for image in 0..self.args.batch {
            for (y, x) in (0..of.height).flat_map(|y| (0..of.width).map(move |x| (y, x))) {
                let position = y / rows * pooling.width + x / columns;
                for channel in 0..of.channels {
                    let from = (image * of.positions() + y * of.width + x) * of.channels + channel;
                    let by_channel =
                        (image * of.channels + channel) * pooling.positions() + position;
                    let by_position =
                        (image * pooling.positions() + position) * of.channels + channel;
                    // A linear projection has its inputs in the order channels, positions.
                    let to = if is_linear { by_channel } else { by_position };
                    let factor = mask.as_ref().map_or(1.0, |mask| f64::from(mask[by_channel]));
                    each(from, to, factor / (rows * columns) as f64);
                }
            }
        }
    }

    /// Adds the currents of all images.
    fn add(&self, pooled: &[f64], currents: &mut [f64]) {
        let Some((_, weights)) = &self.weight else {
            currents.iter_mut().zip(pooled).for_each(|(current, pooled)| *current += pooled);
            return;
        };
        let (inputs, outputs) = (self.from.channels, self.to.channels);
        let images = pooled.chunks_exact(self.from.len());
        for (pooled, currents) in images.zip(currents.chunks_exact_mut(self.to.len())) {
            for &[tap, from, to] in &self.windows {
                let sums = &mut currents[to * outputs..][..outputs];
                for (input, &value) in pooled[from * inputs..][..inputs].iter().enumerate() {
                    if value != 0.0 {
                        let row = &weights[(tap * inputs + input) * outputs..][..outputs];
                        let terms = sums.iter_mut().zip(row);
                        terms.for_each(|(sum, &weight)| *sum += value * f64::from(weight));
                    }
                }
            }
        }
    }

    /// Adds to the gradients of the weights, and returns the gradients of the pooled spikes.
    fn back(&self, pooled: &[f64], membrane_grad: &[f64], gradient: &mut [f64]) -> Vec<f64> {
        let Some((_, weights)) = &self.weight else { return membrane_grad.to_vec() };
        let (inputs, outputs) = (self.from.channels, self.to.channels);
        let mut pooled_grad = vec![0.0; pooled.len()];
        let images =
            pooled.chunks_exact(self.from.len()).zip(membrane_grad.chunks_exact(self.to.len()));
        for ((pooled, membrane_grad), pooled_grad) in
            images.zip(pooled_grad.chunks_exact_mut(self.from.len()))
        {
            for &[tap, from, to] in &self.windows {
                let membrane_grad = &membrane_grad[to * outputs..][..outputs];
                if membrane_grad.iter().all(|&membrane_grad| membrane_grad == 0.0) {
                    continue;
                }
                for input in 0..inputs {
                    let row =
                        (tap * inputs + input) * outputs..(tap * inputs + input + 1) * outputs;
                    let value = pooled[from * inputs + input];
                    if value != 0.0 {
                        let terms = gradient[row.clone()].iter_mut().zip(membrane_grad);
                        terms.for_each(|(sum, membrane_grad)| *sum += value * membrane_grad);
                    }
                    pooled_grad[from * inputs + input] += dot(&weights[row], membrane_grad);
                }
            }
        }
        pooled_grad
    }

    /// A gradient of the weights in the layout of [`ForwardArgs`].
    fn in_original_layout(&self, gradient: Vec<f64>) -> Vec<f64> {
        let (inputs, outputs) = (self.from.channels, self.to.channels);
        match self.projection.synapse {
            // `[tap][input][output]` to `[tap][output][input]` to `[output][input][tap]`.
            Synapse::Conv { .. } => {
                transposed(&transposed(&gradient, inputs, outputs), self.taps, inputs * outputs)
            }
            _ => gradient,
        }
    }
}

/// A dot product with eight sums, so that the compiler uses vectors.
fn dot(weights: &[f32], membrane_grad: &[f64]) -> f64 {
    let (weights, rest) = weights.as_chunks::<8>();
    let (membrane_grad, grad_rest) = membrane_grad.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (weights, membrane_grad) in weights.iter().zip(membrane_grad) {
        for lane in 0..8 {
            sums[lane] += f64::from(weights[lane]) * membrane_grad[lane];
        }
    }
    let rest = rest
        .iter()
        .zip(grad_rest)
        .map(|(&weight, membrane_grad)| f64::from(weight) * membrane_grad);
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// The projections of each layer, and that of the readout.
fn synapses<'a>(args: &'a ForwardArgs<'a>) -> (Vec<Vec<Synapses<'a>>>, Synapses<'a>) {
    let graph = args.graph;
    let of = |layer: &'a lasnn_spiking_kernels::NeuronLayer| {
        layer
            .projections
            .iter()
            .map(|projection| Synapses::new(args, projection, layer.shape))
            .collect()
    };
    let classes = Shape { channels: graph.classes, height: 1, width: 1 };
    (graph.layers.iter().map(of).collect(), Synapses::new(args, &graph.readout, classes))
}

/// Runs a network from rest.
pub fn forward(args: &ForwardArgs<'_>, input: NetworkInput<&[f32]>, steps: usize) -> Run {
    let graph = args.graph;
    let (layers, readout) = synapses(args);
    let sizes: Vec<usize> =
        graph.layers.iter().map(|layer| layer.shape.len() * args.batch).collect();
    let mut u: Vec<Vec<f32>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
    let mut run = Run { spikes: vec![], membranes: vec![], input: vec![], by_step: vec![] };
    for step in 0..steps {
        let by_position = |maps: &[f32], shape: Shape| -> Vec<f64> {
            let maps = transposed(maps, shape.channels, shape.positions());
            maps.into_iter().map(f64::from).collect()
        };
        let size = graph.input.len() * args.batch;
        let (mut outside, mut spikes) = (Vec::new(), Vec::new());
        match input {
            NetworkInput::Currents(all) => outside = by_position(all, graph.layers[0].shape),
            NetworkInput::Spikes(all) => {
                spikes = by_position(&all[step * size..][..size], graph.input)
            }
        }
        run.input.push(spikes);
        run.spikes.push(vec![]);
        for (index, projections) in layers.iter().enumerate() {
            let mut currents = vec![0.0; sizes[index]];
            if projections.is_empty() {
                currents.copy_from_slice(&outside);
            }
            for projection in projections {
                projection.add(&projection.pooled(&run, step), &mut currents);
            }
            let params = args.graph.layers[index].params;
            let [threshold, leak] =
                [params.threshold, params.leak].map(|param| args.params[param][0]);
            let fires = |u: f32| if u > threshold { 1.0f32 } else { 0.0 };
            for (u, &current) in u[index].iter_mut().zip(&currents) {
                *u = leak * *u + current as f32 - threshold * fires(*u);
            }
            let spikes = u[index].iter().map(|&u| f64::from(fires(u))).collect();
            run.spikes[step].push(spikes);
        }
        run.membranes.push(u.clone());
        let mut currents = vec![0.0; graph.classes * args.batch];
        readout.add(&readout.pooled(&run, step), &mut currents);
        run.by_step.append(&mut currents);
    }
    run
}

/// The gradients, given those of the readout, `[batch, classes]`, and of the spike counts of the
/// last layer.
pub fn backward(
    args: &ForwardArgs<'_>,
    run: &Run,
    readout_grad: &[f32],
    counts_grad: &[f32],
) -> Gradients {
    let graph = args.graph;
    let (layers, readout) = synapses(args);
    let zeros = || -> Vec<Vec<f64>> {
        graph.layers.iter().map(|layer| vec![0.0; layer.shape.len() * args.batch]).collect()
    };
    let mut gradients: Vec<Vec<f64>> = args.params.iter().map(|w| vec![0.0; w.len()]).collect();
    let (mut membrane_grad, mut currents) = (zeros(), zeros().swap_remove(0));
    let readout_grad_f64: Vec<f64> = readout_grad.iter().map(|&grad| f64::from(grad)).collect();
    let last = graph.layers[graph.layers.len() - 1].shape;
    let counts_grad = transposed(counts_grad, last.channels, last.positions());
    for step in (0..run.spikes.len()).rev() {
        let mut of_spikes = zeros();
        let counted = of_spikes.last_mut().into_iter().flatten().zip(&counts_grad);
        counted.for_each(|(of_spike, &grad)| *of_spike += f64::from(grad));
        let mut back = |synapses: &Synapses<'_>,
                        membrane_grad: &[f64],
                        of_spikes: &mut [Vec<f64>]| {
            let pooled = synapses.pooled(run, step);
            let gradient = synapses.weight.as_ref().map_or(&mut [][..], |w| &mut gradients[w.0]);
            let pooled_grad = synapses.back(&pooled, membrane_grad, gradient);
            if let Presynaptic::NeuronLayer(presynaptic) = synapses.projection.presynaptic {
                synapses.each_place(|from, to, factor| {
                    of_spikes[presynaptic][from] += factor * pooled_grad[to];
                });
            }
        };
        back(&readout, &readout_grad_f64, &mut of_spikes);
        for (index, projections) in layers.iter().enumerate().rev() {
            let neurons = args.neurons[index];
            let Surrogate::Linear { damping } = neurons.surrogate else { panic!("a triangle") };
            let params = args.graph.layers[index].params;
            let [threshold, leak] =
                [params.threshold, params.leak].map(|param| f64::from(args.params[param][0]));
            let u = run.membranes[step][index].iter().zip(&of_spikes[index]);
            for (membrane_grad, (&u, grad)) in membrane_grad[index].iter_mut().zip(u) {
                let z = f64::from(u) / threshold - 1.0;
                let slope = damping * (1.0 - z.abs()).max(0.0) / threshold;
                *membrane_grad = grad * slope + leak * *membrane_grad;
            }
            for projection in projections {
                back(projection, &membrane_grad[index], &mut of_spikes);
            }
            if projections.is_empty() {
                currents
                    .iter_mut()
                    .zip(&membrane_grad[index])
                    .for_each(|(sum, membrane_grad)| *sum += membrane_grad);
            }
        }
    }
    for synapses in layers.iter().flatten().chain([&readout]) {
        if let Some((index, _)) = synapses.weight {
            gradients[index] = synapses.in_original_layout(std::mem::take(&mut gradients[index]));
        }
    }
    let first = graph.layers[0].shape;
    Gradients {
        params: gradients,
        currents: transposed(&currents, first.positions(), first.channels),
    }
}

impl Run {
    /// How often each neuron of each layer fired, `[batch, channels, height, width]`.
    pub fn counts(&self, args: &ForwardArgs<'_>) -> Vec<Vec<f32>> {
        let of = |(index, layer): (usize, &lasnn_spiking_kernels::NeuronLayer)| {
            let mut counts = vec![0.0; layer.shape.len() * args.batch];
            for step in &self.spikes {
                counts
                    .iter_mut()
                    .zip(&step[index])
                    .for_each(|(count, &spike)| *count += spike as f32);
            }
            transposed(&counts, layer.shape.positions(), layer.shape.channels)
        };
        args.graph.layers.iter().enumerate().map(of).collect()
    }
}
