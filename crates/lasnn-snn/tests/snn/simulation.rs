//! Streaming simulation: what it measures, and how it is ended.

use std::ops::ControlFlow;

use burn::module::Module;
use burn_flex::Flex;
use lasnn_core::random::unit;
use lasnn_core::{
    Architecture, Batch, BatchSource, Layer, Pass, Plan, Probe, Probes, Seed, Shape, Stream, Tap,
};
use lasnn_neurons::{Encoding, LifConfig, Poisson, PoissonRange, Reset, StepOrder};
use lasnn_nn::{BatchTensors, Observable};
use lasnn_snn::{Progress, Simulator, SpikingConfig, SpikingNetwork, simulate, simulate_while};

use crate::weights::DrawWeights;

const SEED: Seed = Seed(7);
const IMAGE: Shape = Shape { channels: 2, height: 8, width: 8 };

/// Images that are served in batches.
struct Batches(Vec<Batch>);

impl BatchSource for Batches {
    fn len(&self) -> usize {
        self.0.iter().map(Batch::len).sum()
    }
    fn batches(&self) -> usize {
        self.0.len()
    }
    fn epoch(&self, _: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new(self.0[first..].iter().cloned())
    }
}

fn images(count: u32) -> Batch {
    let mut pixels = vec![0f32; count as usize * IMAGE.len()];
    SEED.draws(Stream::Test, [0; 3]).fill(&mut pixels, |bits| 2.0 * unit(bits) - 1.0);
    Batch {
        shape: IMAGE,
        pixels,
        labels: (0..count).map(|i| i % 5).collect(),
        samples: (0..count).collect(),
    }
}

fn residual_plan() -> Plan {
    let block = |channels, stride| Layer::Residual {
        channels,
        stride,
        bias: false,
        batch_norm: false,
        dropout: 0.2,
        tap: None,
    };
    let layers = vec![
        Layer::conv(6).tapped(Tap::Low),
        Layer::Dropout { probability: 0.2 },
        block(6, 1).tapped(Tap::Middle),
        block(8, 2).tapped(Tap::High),
        Layer::AveragePool { size: 2 },
        Layer::Linear { features: 12, bias: false },
        Layer::Classifier { bias: false },
    ];
    Architecture { name: "residual".into(), layers }.plan(IMAGE, 5).unwrap()
}

/// A network with random weights.
fn network(plan: &Plan, config: &SpikingConfig) -> SpikingNetwork<Flex> {
    let network = SpikingNetwork::new(plan, config, 8, &Default::default()).unwrap();
    network.map(&mut DrawWeights(3))
}

#[test]
fn a_streaming_simulation_and_a_pass_from_rest_agree() {
    let neuron = LifConfig {
        leak: 0.9.into(),
        reset: Reset::Zero,
        step_order: StepOrder::FireThenIntegrate,
        ..Default::default()
    };
    let encoding = Encoding::Poisson(Poisson { range: PoissonRange::Signed });
    let config = SpikingConfig { neuron: neuron.into(), encoding };
    let device = Default::default();
    let network = network(&residual_plan(), &config);
    let mut batch = images(16);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let probes = Probes::from(Tap::ALL.map(Probe::Features));
    let network_of_12 = network.clone().with_time_steps(12);
    let observed = network_of_12.observe(batch.images(&device), &pass, &probes);
    batch.labels = observed.logits.argmax(1).into_data().iter::<u32>().collect();
    let source = Batches(vec![batch]);
    let simulation = simulate(&Simulator::new(network), &source, 12, SEED, &device);
    assert_eq!(simulation.accuracy, 1.0);
    assert_eq!(simulation.accuracy_by_step.len(), 12);

    // The rate at a tap is the firing rate that the simulation counts for the layer.
    let rate: f32 = observed.features[&Tap::Middle].clone().mean().into_scalar();
    let counted = &simulation.firing_rate_by_layer[2];
    assert_eq!(counted.layer, "layers.2.second");
    assert!(rate > 0.0, "a silent network tests nothing");
    assert!((f64::from(rate) - counted.rate).abs() < 1e-6, "{rate} {counted:?}");
    assert_eq!(observed.features[&Tap::High].dims(), [16, 8, 4, 4]);
}

#[test]
fn operations_and_energy_follow_from_the_spikes() {
    let layers = vec![Layer::conv(3), Layer::Classifier { bias: false }];
    let plan = Architecture { name: "two".into(), layers }.plan(IMAGE, 5).unwrap();
    let simulator = Simulator::new(network(&plan, &SpikingConfig::default()));
    let source = Batches(vec![images(16)]);
    let simulation = simulate(&simulator, &source, 10, SEED, &Default::default());
    assert!(simulation.spikes_per_image > 0.0);
    // Every hidden spike reaches five classes; the first convolution is computed once, and its 3×3
    // window is cut at the edges of the 8×8 feature map.
    assert!((simulation.synops_per_image - 5.0 * simulation.spikes_per_image).abs() < 1e-6);
    let first = (2 * 3 * 22 * 22) as f64;
    let energy = 4.6 * first + 0.9 * simulation.synops_per_image;
    assert!((simulation.energy_pj_per_image - energy).abs() < 1e-3);
    let neurons = 3.0 * 64.0 * 10.0;
    assert!((simulation.firing_rate - simulation.spikes_per_image / neurons).abs() < 1e-12);
}

#[test]
fn a_simulation_that_is_ended_keeps_whole_batches_only() {
    let device = Default::default();
    let simulator = Simulator::new(network(&residual_plan(), &SpikingConfig::default()));
    let both = Batches(vec![images(4), images(7)]);
    // Progress counts images times time steps: the first batch ends at 32.
    let stop = |progress: Progress| match progress.done > 32 {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let ended = simulate_while(&simulator, &both, 8, SEED, &stop, &device);
    let first = simulate(&simulator, &Batches(vec![images(4)]), 8, SEED, &device);
    assert!(first.spikes_per_image > 0.0, "a silent network tests nothing");
    assert_eq!(ended, ControlFlow::Break(first));
}
