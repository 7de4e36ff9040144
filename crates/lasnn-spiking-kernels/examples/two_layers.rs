//! Two layers of spiking neurons and a readout, driven by hand-made spikes: the spike counts of the
//! layers, and the norms of the gradients of all parameters.
//!
//! `cargo run -p lasnn-spiking-kernels --example two_layers`

#![allow(clippy::print_stdout)]

use lasnn_core::Precision;
use lasnn_spiking_kernels::{
    ForwardArgs, Graph, LayerProbes, NetworkInput, NeuronLayer, NeuronOptions, NeuronParams,
    OutcomeGrad, PoolAndMask, Presynaptic, Projection, Shape, SpikeStats, Synapse,
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
    // Both layers share the threshold and the leak. Only the first one has a bias.
    let layer = |[channels, height, width]: [usize; 3], bias, projections| NeuronLayer {
        shape: Shape { channels, height, width },
        projections,
        params: NeuronParams { threshold: 3, leak: 4, bias, initial_membrane: None },
    };
    let graph = Graph {
        input: Shape { channels: 1, height: 4, width: 4 },
        layers: vec![
            layer([2, 4, 4], Some(5), projection(Presynaptic::Input, plain, conv)),
            layer([5, 1, 1], None, projection(from(0), pooled, Synapse::Linear { weight: 1 })),
        ],
        readout: projection(from(1), plain, Synapse::Linear { weight: 2 })[0],
        readout_bias: None,
        classes: 3,
    };
    graph.check().map_err(|unsupported| unsupported.reason)?;

    // A bar of four spikes moves down the image, one row in each time step.
    let is_bar = |i: usize| i / 16 % 4 == i % 16 / 4;
    let input: Vec<f32> = (0..STEPS * 16).map(|i| f32::from(u8::from(is_bar(i)))).collect();
    let weights = |count: usize| (0..count).map(|i| (i as f32).sin().abs()).collect::<Vec<_>>();
    let params = [
        ("weights of the convolution", weights(2 * 9)),
        ("weights of the linear layer", weights(2 * 4 * 5)),
        ("weights of the readout", weights(5 * 3)),
        ("threshold", vec![1.0]),
        ("leak", vec![0.9]),
        ("bias by channel", vec![0.1, -0.1]),
    ];
    let args = ForwardArgs {
        graph: &graph,
        neurons: &[NeuronOptions::default(); 2],
        params: &params.each_ref().map(|(_, numbers)| numbers.as_slice()),
        trained: &[true; 6],
        masks: &[],
        batch: 1,
        packed_weights: None,
        precision: Precision::F32,
    };
    let probes = LayerProbes::stats(&[SpikeStats::Counts; 2]);
    let (outcome, tape) = args.record(NetworkInput::Spikes(&input), STEPS, probes);
    // The loss is the score of the first class.
    let grad = OutcomeGrad { readout: &[1.0, 0.0, 0.0], ..Default::default() };
    let gradients = args.backward(&tape, grad);

    for (layer, counts) in outcome.counts.iter().enumerate() {
        println!("layer {layer}: spikes of each neuron over {STEPS} steps: {counts:?}");
    }
    println!("scores of the classes: {:?}", outcome.readout);
    for ((name, _), gradient) in params.iter().zip(&gradients.params) {
        let norm = gradient.iter().map(|x| x * x).sum::<f32>().sqrt();
        println!("{name}: gradient norm {norm:.3}");
    }
    println!("the tape takes {} bytes", tape.bytes());
    Ok(())
}
