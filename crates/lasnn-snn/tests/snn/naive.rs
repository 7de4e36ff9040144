//! A spiking network as plain loops over neurons and time steps: two convolutions with pooling
//! between them, and a readout.

use std::collections::BTreeMap;

use lasnn_core::{Architecture, Layer, Plan, Shape, Tap};
use lasnn_nn::StateDict;

/// The shape of the images.
pub const IMAGE: Shape = Shape { channels: 2, height: 6, width: 6 };
/// The feature map at the low tap.
pub const LOW: Shape = Shape { channels: 3, height: 6, width: 6 };
/// The feature map at the middle tap.
pub const MIDDLE: Shape = Shape { channels: 4, height: 3, width: 3 };
/// The number of classes.
pub const CLASSES: usize = 5;

/// The description of the network.
pub fn plan() -> Plan {
    let layers = vec![
        Layer::conv(LOW.channels).tapped(Tap::Low),
        Layer::AveragePool { size: 2 },
        Layer::conv(MIDDLE.channels).tapped(Tap::Middle),
        Layer::Classifier { bias: false },
    ];
    Architecture { name: "naive".into(), layers }.plan(IMAGE, CLASSES).unwrap()
}

/// The values of one layer of neurons, `[steps]`, each in the order channels, rows, columns.
#[derive(Default)]
pub struct Trains {
    /// The membrane potentials after each step.
    pub membranes: Vec<Vec<f64>>,
    /// The spikes of each step.
    pub spikes: Vec<Vec<f64>>,
}

/// The run of one image.
#[derive(Default)]
pub struct Run {
    /// The currents into the readout, `[steps][classes]`.
    pub currents: Vec<Vec<f64>>,
    /// The layers of neurons.
    pub layers: BTreeMap<Tap, Trains>,
}

/// Runs the network with the tensors `state` on an image, with thresholds of 1, the given leak,
/// reset by subtraction and direct encoding.
pub fn run(state: &StateDict, image: &[f64], steps: usize, leak: f64) -> Run {
    let weights = |name: &str| -> Vec<f64> { state[name].iter::<f64>().collect() };
    let (first, second) = (weights("layers.0.conv.weight"), weights("layers.2.conv.weight"));
    let readout = weights("layers.3.linear.weight");
    let pooled_shape = Shape { height: 3, width: 3, ..LOW };
    let mut run = Run::default();
    let mut states = [vec![[0.0; 2]; LOW.len()], vec![[0.0; 2]; MIDDLE.len()]];
    for _ in 0..steps {
        let currents = convolve(image, IMAGE, &first, LOW.channels);
        let low = fire(&mut run, Tap::Low, &mut states[0], &currents, leak);
        let pooled = average(&low);
        let currents = convolve(&pooled, pooled_shape, &second, MIDDLE.channels);
        let middle = fire(&mut run, Tap::Middle, &mut states[1], &currents, leak);
        let class = |class: usize| -> f64 {
            middle.iter().enumerate().map(|(i, spike)| spike * readout[i * CLASSES + class]).sum()
        };
        run.currents.push((0..CLASSES).map(class).collect());
    }
    run
}

/// One step of a layer. `states` has the membrane potential and the last spike of each neuron.
fn fire(run: &mut Run, tap: Tap, states: &mut [[f64; 2]], currents: &[f64], leak: f64) -> Vec<f64> {
    for ([u, spike], current) in states.iter_mut().zip(currents) {
        *u = leak * *u + current - *spike;
        *spike = if *u > 1.0 { 1.0 } else { 0.0 };
    }
    let trains = run.layers.entry(tap).or_default();
    trains.membranes.push(states.iter().map(|[u, _]| *u).collect());
    trains.spikes.push(states.iter().map(|[_, spike]| *spike).collect());
    states.iter().map(|[_, spike]| *spike).collect()
}

/// A 3×3 convolution with padding 1; `weights` are `[outputs, inputs, 3, 3]`.
fn convolve(map: &[f64], shape: Shape, weights: &[f64], outputs: usize) -> Vec<f64> {
    let Shape { channels, height, width } = shape;
    let mut result = vec![0.0; outputs * height * width];
    for (index, sum) in result.iter_mut().enumerate() {
        let (output, position) = (index / (height * width), index % (height * width));
        for tap in 0..channels * 9 {
            let (input, tap) = (tap / 9, tap % 9);
            let row = (position / width + tap / 3).checked_sub(1).filter(|&row| row < height);
            let column = (position % width + tap % 3).checked_sub(1).filter(|&c| c < width);
            if let (Some(row), Some(column)) = (row, column) {
                *sum += weights[(output * channels + input) * 9 + tap]
                    * map[(input * height + row) * width + column];
            }
        }
    }
    result
}

/// The means of windows of 2×2 of a map of the shape [`LOW`].
fn average(map: &[f64]) -> Vec<f64> {
    let Shape { channels, height, width } = LOW;
    let mean = |index: usize| {
        let (channel, position) = (index / 9, index % 9);
        let corner = (channel * height + position / 3 * 2) * width + position % 3 * 2;
        let window = [0, 1, width, width + 1];
        window.iter().map(|offset| map[corner + offset]).sum::<f64>() / 4.0
    };
    (0..channels * 9).map(mean).collect()
}
