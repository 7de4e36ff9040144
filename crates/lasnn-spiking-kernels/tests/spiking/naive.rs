//! The spiking network written down once more, densely and one number at a time: every spike
//! multiplies every weight, every membrane of every step is kept, gradients are in `f64`.

use lasnn_spiking_kernels::{
    Call, Connection, Drive, Neurons, Origin, OutcomeGrad, Reset, Shape, Source, StepOrder,
    Surrogate,
};

/// What a pass did.
pub struct Run {
    /// By step and site, `[batch, channels, height, width]`.
    pub spikes: Vec<Vec<Vec<f32>>>,
    membranes: Vec<Vec<Vec<f32>>>,
    input: Vec<Vec<f32>>,
    /// `[batch, classes]`.
    pub readout: Vec<f64>,
    /// By step, `[batch, classes]`.
    pub by_step: Vec<Vec<f64>>,
}

/// Runs a call from rest.
pub fn forward(call: &Call<'_>, drive: Drive<'_>, steps: usize) -> Run {
    let circuit = call.circuit;
    let sizes: Vec<usize> =
        circuit.sites.iter().map(|site| site.shape.neurons() * call.batch).collect();
    let mut u: Vec<Vec<f32>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
    let mut run = Run {
        spikes: vec![],
        membranes: vec![],
        input: vec![],
        readout: vec![0.0; call.batch * circuit.classes],
        by_step: vec![],
    };
    for step in 0..steps {
        let size = circuit.input.neurons() * call.batch;
        run.input.push(match drive {
            Drive::Spikes(all) => all[step * size..(step + 1) * size].to_vec(),
            Drive::Currents(_) => vec![],
        });
        run.spikes.push(sizes.iter().map(|&size| vec![0.0; size]).collect());
        for (index, site) in circuit.sites.iter().enumerate() {
            let mut currents = vec![0f64; sizes[index]];
            if let (0, Drive::Currents(outside)) = (index, drive) {
                currents = outside.iter().map(|&current| f64::from(current)).collect();
            }
            for source in &site.sources {
                let seen = seen(call, source, run.origin(step, source.origin));
                each_synapse(call, source, site.shape, |from, to, weight| {
                    currents[to] += f64::from(seen[from]) * weight.map_or(1.0, |w| f64::from(w.1));
                });
            }
            let neurons = call.neurons[index];
            for ((u, current), spike) in
                u[index].iter_mut().zip(currents).zip(&mut run.spikes[step][index])
            {
                let fires = |u: f32| if u > neurons.threshold { 1.0f32 } else { 0.0 };
                if neurons.step_order == StepOrder::FireThenIntegrate {
                    *spike = fires(*u);
                }
                *u = match neurons.reset {
                    Reset::Subtract => {
                        neurons.leak * *u + current as f32 - neurons.threshold * fires(*u)
                    }
                    Reset::Zero => neurons.leak * *u * (1.0 - fires(*u)) + current as f32,
                };
                if neurons.step_order == StepOrder::IntegrateThenFire {
                    *spike = fires(*u);
                }
            }
        }
        run.membranes.push(u.clone());
        let seen = seen(call, &circuit.readout, run.origin(step, circuit.readout.origin));
        let mut currents = vec![0.0; run.readout.len()];
        let classes = Shape { channels: circuit.classes, height: 1, width: 1 };
        each_synapse(call, &circuit.readout, classes, |from, to, weight| {
            currents[to] += f64::from(seen[from]) * weight.map_or(1.0, |w| f64::from(w.1));
        });
        for (sum, current) in run.readout.iter_mut().zip(&currents) {
            *sum += current;
        }
        run.by_step.push(currents);
    }
    run
}

/// Gradients of the weights, and of currents from outside.
pub fn backward(call: &Call<'_>, run: &Run, grad: OutcomeGrad<'_>) -> (Vec<Vec<f64>>, Vec<f64>) {
    let circuit = call.circuit;
    let steps = run.spikes.len();
    let mut weights: Vec<Vec<f64>> = call.weights.iter().map(|w| vec![0.0; w.len()]).collect();
    let sizes: Vec<usize> =
        circuit.sites.iter().map(|site| site.shape.neurons() * call.batch).collect();
    let mut outside = vec![0.0; sizes[0]];
    let mut delta: Vec<Vec<f64>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
    let mut later: Vec<Vec<f64>> = delta.clone();
    let classes = Shape { channels: circuit.classes, height: 1, width: 1 };
    let readout_delta: Vec<f64> = grad.readout.iter().map(|&g| f64::from(g)).collect();
    for step in (0..steps).rev() {
        let mut of_spikes: Vec<Vec<f64>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
        for (of_spikes, counts) in of_spikes.iter_mut().zip(grad.counts) {
            for (of_spike, &count) in of_spikes.iter_mut().zip(counts.unwrap_or_default()) {
                *of_spike += f64::from(count);
            }
        }
        let mut back =
            |source: &Source, shape: Shape, delta: &[f64], of_spikes: &mut Vec<Vec<f64>>| {
                let values = seen(call, source, run.origin(step, source.origin));
                let mut of_seen = vec![0.0; values.len()];
                each_synapse(call, source, shape, |from, to, weight| {
                    if let Some((layer, value, at)) = weight {
                        weights[layer][at] += delta[to] * f64::from(values[from]);
                        of_seen[from] += delta[to] * f64::from(value);
                    } else {
                        of_seen[from] += delta[to];
                    }
                });
                if let Origin::Site(origin) = source.origin {
                    each_place(call, source, |from, to, factor| {
                        of_spikes[origin][from] += f64::from(factor) * of_seen[to];
                    });
                }
            };
        back(&circuit.readout, classes, &readout_delta, &mut of_spikes);
        for (index, site) in circuit.sites.iter().enumerate().rev() {
            let neurons = call.neurons[index];
            for neuron in 0..sizes[index] {
                let u = f64::from(run.membranes[step][index][neuron]);
                let threshold = f64::from(neurons.threshold);
                let grad = match neurons.step_order {
                    StepOrder::IntegrateThenFire => of_spikes[index][neuron],
                    StepOrder::FireThenIntegrate => later[index][neuron],
                };
                let kept = match neurons.reset {
                    Reset::Zero if run.membranes[step][index][neuron] > neurons.threshold => 0.0,
                    _ => 1.0,
                };
                let slope = derivative(neurons, u / threshold - 1.0) / threshold;
                let before = delta[index][neuron];
                delta[index][neuron] = grad * slope + f64::from(neurons.leak) * kept * before;
            }
            for source in &site.sources {
                back(source, site.shape, &delta[index], &mut of_spikes);
            }
            if site.sources.is_empty() {
                for (sum, delta) in outside.iter_mut().zip(&delta[index]) {
                    *sum += delta;
                }
            }
        }
        later = of_spikes;
    }
    (weights, outside)
}

impl Run {
    fn origin(&self, step: usize, origin: Origin) -> &[f32] {
        match origin {
            Origin::Input => &self.input[step],
            Origin::Site(site) => &self.spikes[step][site],
        }
    }
}

fn derivative(neurons: Neurons, z: f64) -> f64 {
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
    }
}

/// Calls back with every neuron of an origin, its place behind the view, and its factor there.
fn each_place(call: &Call<'_>, source: &Source, mut each: impl FnMut(usize, usize, f32)) {
    let shape = call.circuit.shape(source.origin);
    let view = source.view.shape(shape);
    let [rows, columns] = source.view.pool;
    let mask = source.view.mask.and_then(|mask| Some(call.masks[mask]?.factors()));
    for map in 0..call.batch * shape.channels {
        for y in 0..view.height * rows {
            for x in 0..view.width * columns {
                let from = (map * shape.height + y) * shape.width + x;
                let to = (map * view.height + y / rows) * view.width + x / columns;
                let factor = mask.as_ref().map_or(1.0, |mask| mask[to]) / (rows * columns) as f32;
                each(from, to, factor);
            }
        }
    }
}

/// What a source shows to its weights.
fn seen(call: &Call<'_>, source: &Source, spikes: &[f32]) -> Vec<f32> {
    let view = source.view.shape(call.circuit.shape(source.origin));
    let mut seen = vec![0.0; view.neurons() * call.batch];
    each_place(call, source, |from, to, factor| seen[to] += factor * spikes[from]);
    seen
}

/// Calls back with every synapse of a source: from, to, and its weight (which weights, value,
/// index), none for an identity.
fn each_synapse(
    call: &Call<'_>,
    source: &Source,
    to: Shape,
    mut each: impl FnMut(usize, usize, Option<(usize, f32, usize)>),
) {
    let from = source.view.shape(call.circuit.shape(source.origin));
    for image in 0..call.batch {
        let (first_from, first_to) = (image * from.neurons(), image * to.neurons());
        match source.connection {
            Connection::Identity => {
                for neuron in 0..to.neurons() {
                    each(first_from + neuron, first_to + neuron, None);
                }
            }
            Connection::Linear { weight } => {
                for input in 0..from.neurons() {
                    for output in 0..to.channels {
                        let at = input * to.channels + output;
                        let value = call.weights[weight][at];
                        each(first_from + input, first_to + output, Some((weight, value, at)));
                    }
                }
            }
            Connection::Conv { kernel, stride, weight } => {
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
                                        let value = call.weights[weight][at];
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
