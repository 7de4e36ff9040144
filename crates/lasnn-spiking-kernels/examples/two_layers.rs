//! Two layers of spiking neurons and a readout, driven by hand-made spikes: the spike counts of the
//! layers, and the norms of the weight gradients.
//!
//! `cargo run -p lasnn-spiking-kernels --example two_layers`

#![allow(clippy::print_stdout)]

use lasnn_core::Precision;
use lasnn_spiking_kernels::{
    ForwardArgs, Graph, NetworkInput, NeuronLayer, Neurons, OutcomeGrad, PoolAndMask, Presynaptic,
    Projection, Reset, Shape, SpikeStats, StepOrder, Surrogate, Synapse,
};

const STEPS: usize = 8;

fn main() -> Result<(), String> {
    // A 3x3 convolution to two feature maps, 2x2 average pooling, a layer of five neurons, and a
    // readout of three classes.
    let (from, plain) = (Presynaptic::NeuronLayer, PoolAndMask::PLAIN);
    let projection =
        |presynaptic, pooling, synapse| vec![Projection { presynaptic, pooling, synapse }];
    let conv = Synapse::Conv { kernel: 3, stride: 1, weight: 0 };
    let pooled = PoolAndMask { pool: [2, 2], mask: None };
    let layer = |[channels, height, width]: [usize; 3], projections| NeuronLayer {
        shape: Shape { channels, height, width },
        projections,
    };
    let graph = Graph {
        input: Shape { channels: 1, height: 4, width: 4 },
        layers: vec![
            layer([2, 4, 4], projection(Presynaptic::Input, plain, conv)),
            layer([5, 1, 1], projection(from(0), pooled, Synapse::Linear { weight: 1 })),
        ],
        readout: projection(from(1), plain, Synapse::Linear { weight: 2 })[0],
        classes: 3,
    };
    graph.check().map_err(|unsupported| unsupported.reason)?;

    // A bar of four spikes moves down the image, one row in each time step.
    let is_bar = |i: usize| i / 16 % 4 == i % 16 / 4;
    let input: Vec<f32> = (0..STEPS * 16).map(|i| f32::from(u8::from(is_bar(i)))).collect();
    let weights = |count: usize| (0..count).map(|i| (i as f32).sin().abs()).collect::<Vec<_>>();
    let weights = [weights(2 * 9), weights(2 * 4 * 5), weights(5 * 3)];

    let neurons = Neurons {
        threshold: 1.0,
        leak: 0.9,
        reset: Reset::Subtract,
        step_order: StepOrder::IntegrateThenFire,
        surrogate: Surrogate::Linear { damping: 0.3 },
    };
    let args = ForwardArgs {
        graph: &graph,
        neurons: &[neurons; 2],
        weights: &weights.each_ref().map(Vec::as_slice),
        masks: &[],
        batch: 1,
        packed_weights: None,
        precision: Precision::F32,
    };
    let (outcome, tape) =
        args.record(NetworkInput::Spikes(&input), STEPS, &[SpikeStats::Counts; 2]);
    // The loss is the score of the first class.
    let grad = OutcomeGrad { readout: &[1.0, 0.0, 0.0], counts: &[], squares: &[] };
    let gradients = args.backward(&tape, grad);

    for (layer, counts) in outcome.counts.iter().enumerate() {
        println!("layer {layer}: spikes of each neuron over {STEPS} steps: {counts:?}");
    }
    println!("scores of the classes: {:?}", outcome.readout);
    for (weight, gradient) in gradients.weights.iter().enumerate() {
        let norm = gradient.iter().map(|x| x * x).sum::<f32>().sqrt();
        println!("weights {weight}: gradient norm {norm:.3}");
    }
    println!("the tape takes {} bytes", tape.bytes());
    Ok(())
}
