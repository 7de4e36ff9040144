//! A naive implementation of the spiking network, densely and one number at a time.
//!
//! Every spike multiplies every weight, every membrane potential of every step is saved, and
//! gradients are `f64`.

use lasnn_spiking_kernels::{
    ForwardArgs, NetworkInput, NeuronOptions, NeuronParams, OutcomeGrad, ParamIndex, Presynaptic,
    Projection, Reset, Shape, StepOrder, Surrogate, Synapse,
};

/// The record of a forward pass.
pub struct Run {
    /// By step and layer, `[batch, channels, height, width]`.
    pub spikes: Vec<Vec<Vec<f32>>>,
    /// By layer: before the first step.
    start: Vec<Vec<f32>>,
    /// By step and layer.
    membranes: Vec<Vec<Vec<f32>>>,
    /// By step.
    input: Vec<Vec<f32>>,
    /// `[batch, classes]`.
    pub readout: Vec<f64>,
    /// By step, `[batch, classes]`.
    pub by_step: Vec<Vec<f64>>,
}

/// A parameter of the shape `[1]`, `[channels]` or `[channels, height, width]`.
struct Shared<'a> {
    index: ParamIndex,
    numbers: &'a [f32],
    /// The number of neurons of an image.
    neurons: usize,
}

impl<'a> Shared<'a> {
    fn new(args: &ForwardArgs<'a>, index: ParamIndex, shape: Shape) -> Self {
        Self { index, numbers: args.params[index], neurons: shape.len() }
    }

    /// The place of the number of a neuron of the batch.
    fn place(&self, neuron: usize) -> usize {
        neuron % self.neurons * self.numbers.len() / self.neurons
    }

    fn of(&self, neuron: usize) -> f32 {
        self.numbers[self.place(neuron)]
    }
}

/// The parameters of a layer.
struct LayerParams<'a> {
    threshold: Shared<'a>,
    leak: Shared<'a>,
    bias: Option<Shared<'a>>,
    initial: Option<Shared<'a>>,
}

impl<'a> LayerParams<'a> {
    fn of(args: &ForwardArgs<'a>, layer: usize) -> Self {
        let layer = &args.graph.layers[layer];
        let NeuronParams { threshold, leak, bias, initial_membrane } = layer.params;
        let shared = |index| Shared::new(args, index, layer.shape);
        Self {
            threshold: shared(threshold),
            leak: shared(leak),
            bias: bias.map(shared),
            initial: initial_membrane.map(shared),
        }
    }
}

/// Runs a network from its initial membrane potentials.
pub fn forward(args: &ForwardArgs<'_>, input: NetworkInput<&[f32]>, steps: usize) -> Run {
    let graph = args.graph;
    let sizes: Vec<usize> =
        graph.layers.iter().map(|layer| layer.shape.len() * args.batch).collect();
    let params: Vec<_> = (0..sizes.len()).map(|layer| LayerParams::of(args, layer)).collect();
    let start = params.iter().zip(&sizes).map(|(params, &size)| {
        let initial = |neuron| params.initial.as_ref().map_or(0.0, |initial| initial.of(neuron));
        (0..size).map(initial).collect()
    });
    let mut u: Vec<Vec<f32>> = start.collect();
    let mut run = Run {
        spikes: vec![],
        start: u.clone(),
        membranes: vec![],
        input: vec![],
        readout: vec![0.0; args.batch * graph.classes],
        by_step: vec![],
    };
    for step in 0..steps {
        let size = graph.input.len() * args.batch;
        run.input.push(match input {
            NetworkInput::Spikes(all) => all[step * size..(step + 1) * size].to_vec(),
            NetworkInput::Currents(_) => vec![],
        });
        run.spikes.push(sizes.iter().map(|&size| vec![0.0; size]).collect());
        for (index, layer) in graph.layers.iter().enumerate() {
            let mut currents = vec![0f64; sizes[index]];
            if let (0, NetworkInput::Currents(outside)) = (index, input) {
                currents = outside.iter().map(|&current| f64::from(current)).collect();
            }
            for projection in &layer.projections {
                let pooled =
                    pooled(args, projection, run.presynaptic(step, projection.presynaptic));
                each_synapse(args, projection, layer.shape, |from, to, weight| {
                    currents[to] +=
                        f64::from(pooled[from]) * weight.map_or(1.0, |w| f64::from(w.1));
                });
            }
            let (neurons, params) = (args.neurons[index], &params[index]);
            if let Some(bias) = &params.bias {
                for (neuron, current) in currents.iter_mut().enumerate() {
                    *current += f64::from(bias.of(neuron));
                }
            }
            for (neuron, ((u, current), spike)) in
                u[index].iter_mut().zip(currents).zip(&mut run.spikes[step][index]).enumerate()
            {
                let (threshold, leak) = (params.threshold.of(neuron), params.leak.of(neuron));
                let fires = |u: f32| if u > threshold { 1.0f32 } else { 0.0 };
                if neurons.step_order == StepOrder::FireThenIntegrate {
                    *spike = fires(*u);
                }
                *u = match neurons.reset {
                    Reset::Subtract => leak * *u + current as f32 - threshold * fires(*u),
                    Reset::Zero => leak * *u * (1.0 - fires(*u)) + current as f32,
                };
                if neurons.step_order == StepOrder::IntegrateThenFire {
                    *spike = fires(*u);
                }
            }
        }
        run.membranes.push(u.clone());
        let pooled = pooled(args, &graph.readout, run.presynaptic(step, graph.readout.presynaptic));
        let mut currents = vec![0.0; run.readout.len()];
        let classes = Shape { channels: graph.classes, height: 1, width: 1 };
        each_synapse(args, &graph.readout, classes, |from, to, weight| {
            currents[to] += f64::from(pooled[from]) * weight.map_or(1.0, |w| f64::from(w.1));
        });
        if let Some(bias) = graph.readout_bias {
            for (index, current) in currents.iter_mut().enumerate() {
                *current += f64::from(args.params[bias][index % graph.classes]);
            }
        }
        for (sum, current) in run.readout.iter_mut().zip(&currents) {
            *sum += current;
        }
        run.by_step.push(currents);
    }
    run
}

/// The gradients of a pass.
pub struct Gradients {
    /// By parameter.
    pub params: Vec<Vec<f64>>,
    /// By parameter of neurons: the sums of the sizes of the terms of its gradients.
    pub sizes: Vec<Vec<f64>>,
    /// With respect to the currents from outside.
    pub currents: Vec<f64>,
}

/// The gradients of the parameters and of the currents from outside.
pub fn backward(args: &ForwardArgs<'_>, run: &Run, grad: OutcomeGrad<'_>) -> Gradients {
    let graph = args.graph;
    let steps = run.spikes.len();
    let grads_of_membranes = |layer: usize| grad.membranes.get(layer).copied().flatten();
    let params: Vec<_> =
        (0..graph.layers.len()).map(|layer| LayerParams::of(args, layer)).collect();
    let mut grads: Vec<Vec<f64>> = args.params.iter().map(|w| vec![0.0; w.len()]).collect();
    let mut term_sizes = grads.clone();
    let sizes: Vec<usize> =
        graph.layers.iter().map(|layer| layer.shape.len() * args.batch).collect();
    let mut outside = vec![0.0; sizes[0]];
    let mut membrane_grad: Vec<Vec<f64>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
    let mut later: Vec<Vec<f64>> = membrane_grad.clone();
    let classes = Shape { channels: graph.classes, height: 1, width: 1 };
    let readout_grad: Vec<f64> = grad.readout.iter().map(|&g| f64::from(g)).collect();
    for step in (0..steps).rev() {
        let mut of_spikes: Vec<Vec<f64>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
        for (of_spikes, counts) in of_spikes.iter_mut().zip(grad.counts) {
            for (of_spike, &count) in of_spikes.iter_mut().zip(counts.unwrap_or_default()) {
                *of_spike += f64::from(count);
            }
        }
        let back = |projection: &Projection,
                    shape: Shape,
                    membrane_grad: &[f64],
                    of_spikes: &mut Vec<Vec<f64>>,
                    grads: &mut Vec<Vec<f64>>| {
            let values = pooled(args, projection, run.presynaptic(step, projection.presynaptic));
            let mut pooled_grad = vec![0.0; values.len()];
            each_synapse(args, projection, shape, |from, to, weight| {
                if let Some((index, value, at)) = weight {
                    grads[index][at] += membrane_grad[to] * f64::from(values[from]);
                    pooled_grad[from] += membrane_grad[to] * f64::from(value);
                } else {
                    pooled_grad[from] += membrane_grad[to];
                }
            });
            if let Presynaptic::NeuronLayer(presynaptic) = projection.presynaptic {
                each_place(args, projection, |from, to, factor| {
                    of_spikes[presynaptic][from] += f64::from(factor) * pooled_grad[to];
                });
            }
        };
        back(&graph.readout, classes, &readout_grad, &mut of_spikes, &mut grads);
        if let Some(bias) = graph.readout_bias {
            for (index, grad) in readout_grad.iter().enumerate() {
                grads[bias][index % graph.classes] += grad;
            }
        }
        for (index, layer) in graph.layers.iter().enumerate().rev() {
            let (neurons, params) = (args.neurons[index], &params[index]);
            for neuron in 0..sizes[index] {
                let u = f64::from(run.membranes[step][index][neuron]);
                let (threshold, leak) = (params.threshold.of(neuron), params.leak.of(neuron));
                let (threshold, leak) = (f64::from(threshold), f64::from(leak));
                let fires = |u: f64| u > threshold;
                let grad = match neurons.step_order {
                    StepOrder::IntegrateThenFire => of_spikes[index][neuron],
                    StepOrder::FireThenIntegrate => later[index][neuron],
                };
                let kept = match neurons.reset {
                    Reset::Zero if fires(u) => 0.0,
                    _ => 1.0,
                };
                let slope = derivative(neurons, u / threshold - 1.0) / threshold;
                let after = membrane_grad[index][neuron];
                let outside = grads_of_membranes(index)
                    .map_or(0.0, |all| f64::from(all[step * sizes[index] + neuron]));
                let delta = grad * slope + leak * kept * after + outside;
                membrane_grad[index][neuron] = delta;
                let before = match step {
                    0 => run.start[index][neuron],
                    _ => run.membranes[step - 1][index][neuron],
                };
                let before = f64::from(before);
                let resets = neurons.reset == Reset::Subtract && fires(before);
                let kept = neurons.reset == Reset::Subtract || !fires(before);
                let mut add = |param: &Shared<'_>, term: f64| {
                    grads[param.index][param.place(neuron)] += term;
                    term_sizes[param.index][param.place(neuron)] += term.abs();
                };
                add(&params.threshold, -grad * slope * u / threshold);
                add(&params.threshold, if resets { -delta } else { 0.0 });
                add(&params.leak, if kept { delta * before } else { 0.0 });
                if let Some(bias) = &params.bias {
                    add(bias, delta);
                }
                if let (0, true, Some(initial)) = (step, kept, &params.initial) {
                    add(initial, leak * delta);
                }
            }
            for projection in &layer.projections {
                let membrane_grad = &membrane_grad[index];
                back(projection, layer.shape, membrane_grad, &mut of_spikes, &mut grads);
            }
            if layer.projections.is_empty() {
                for (sum, membrane_grad) in outside.iter_mut().zip(&membrane_grad[index]) {
                    *sum += membrane_grad;
                }
            }
        }
        later = of_spikes;
    }
    Gradients { params: grads, sizes: term_sizes, currents: outside }
}

impl Run {
    /// The membrane potentials of a layer after each step, `[steps, batch, channels, height,
    /// width]`.
    pub fn membranes_of(&self, layer: usize) -> Vec<f32> {
        self.membranes.iter().flat_map(|step| step[layer].clone()).collect()
    }

    fn presynaptic(&self, step: usize, presynaptic: Presynaptic) -> &[f32] {
        match presynaptic {
            Presynaptic::Input => &self.input[step],
            Presynaptic::NeuronLayer(layer) => &self.spikes[step][layer],
        }
    }
}

/// The surrogate derivative at `z`, the membrane potential over the threshold minus 1.
fn derivative(neurons: NeuronOptions, z: f64) -> f64 {
    match neurons.surrogate {
        Surrogate::Linear { damping } => damping * (1.0 - z.abs()).max(0.0),
        Surrogate::Atan { alpha } => {
            alpha / 2.0 / (1.0 + (std::f64::consts::FRAC_PI_2 * alpha * z).powi(2))
        }
        Surrogate::FastSigmoid { slope } => (1.0 + slope * z.abs()).powi(-2),
        Surrogate::Rectangular { width } => {
            if z.abs() < width / 2.0 {
                1.0 / width
            } else {
                0.0
            }
        }
        Surrogate::SpikeTime { .. } => panic!("the kernels have no such backward pass"),
    }
}

/// Calls `each` with the index of every presynaptic neuron, its index after the pooling, and the
/// factor of pooling and mask. Neurons that the pooling cuts off are left out.
fn each_place(
    args: &ForwardArgs<'_>,
    projection: &Projection,
    mut each: impl FnMut(usize, usize, f32),
) {
    let shape = args.graph.shape(projection.presynaptic);
    let pooling = projection.pooling.shape(shape);
    let [rows, columns] = projection.pooling.pool;
    let mask = projection.pooling.mask.and_then(|mask| Some(args.masks[mask]?.factors()));
    for map in 0..args.batch * shape.channels {
        for y in 0..pooling.height * rows {
            for x in 0..pooling.width * columns {
                let from = (map * shape.height + y) * shape.width + x;
                let to = (map * pooling.height + y / rows) * pooling.width + x / columns;
                let factor = mask.as_ref().map_or(1.0, |mask| mask[to]) / (rows * columns) as f32;
                each(from, to, factor);
            }
        }
    }
}

/// The spikes after pooling and mask.
fn pooled(args: &ForwardArgs<'_>, projection: &Projection, spikes: &[f32]) -> Vec<f32> {
    let pooling = projection.pooling.shape(args.graph.shape(projection.presynaptic));
    let mut pooled = vec![0.0; pooling.len() * args.batch];
    each_place(args, projection, |from, to, factor| pooled[to] += factor * spikes[from]);
    pooled
}

/// Calls `each` for every synapse of a projection with the index of its input, the index of its
/// output, and its weight: the index of the weights, the value, and the index in the weights.
/// An identity has no weight.
fn each_synapse(
    args: &ForwardArgs<'_>,
    projection: &Projection,
    to: Shape,
    mut each: impl FnMut(usize, usize, Option<(usize, f32, usize)>),
) {
    let from = projection.pooling.shape(args.graph.shape(projection.presynaptic));
    for image in 0..args.batch {
        let (first_from, first_to) = (image * from.len(), image * to.len());
        match projection.synapse {
            Synapse::Identity => {
                for neuron in 0..to.len() {
                    each(first_from + neuron, first_to + neuron, None);
                }
            }
            Synapse::Linear { weight } => {
                for input in 0..from.len() {
                    for output in 0..to.channels {
                        let at = input * to.channels + output;
                        let value = args.params[weight][at];
                        each(first_from + input, first_to + output, Some((weight, value, at)));
                    }
                }
            }
            Synapse::Conv { kernel, stride, weight } => {
                for output in 0..to.channels {
                    for y in 0..to.height {
                        for x in 0..to.width {
                            let to = first_to + (output * to.height + y) * to.width + x;
                            for input in 0..from.channels {
                                for ky in 0..kernel {
                                    for kx in 0..kernel {
                                        let iy = (y * stride + ky).wrapping_sub(kernel / 2);
                                        let ix = (x * stride + kx).wrapping_sub(kernel / 2);
                                        if iy >= from.height || ix >= from.width {
                                            continue;
                                        }
                                        let place = (input * from.height + iy) * from.width + ix;
                                        let at = ((output * from.channels + input) * kernel + ky)
                                            * kernel
                                            + kx;
                                        let value = args.params[weight][at];
                                        each(first_from + place, to, Some((weight, value, at)));
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
