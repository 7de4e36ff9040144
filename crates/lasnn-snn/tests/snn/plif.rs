//! A network of neurons that have no kernel: it trains and streams, layer by layer.

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_core::random::unit;
use lasnn_core::{Architecture, Layer, Pass, Plan, Seed, Shape, Stream, Tap};
use lasnn_neurons::{
    Direct, Encoding, PlifConfig, Poisson, PoissonRange, Reset, SpikingBackend, ThresholdConfig,
};
use lasnn_nn::{Observable, StateDict, state};
use lasnn_snn::runner::Streaming;
use lasnn_snn::{SpikingConfig, SpikingNetwork};

use crate::weights::DrawWeights;

const BATCH: usize = 8;
const STEPS: usize = 5;
const SEED: Seed = Seed(11);

/// A network for the shape of the digits.
fn plan() -> Plan {
    let layers = vec![
        Layer::conv(4).tapped(Tap::Low),
        Layer::AveragePool { size: 2 },
        Layer::conv(6).tapped(Tap::High),
        Layer::Linear { features: 12, bias: false },
        Layer::Classifier { bias: false },
    ];
    let input = Shape { channels: 1, height: 8, width: 8 };
    Architecture { name: "digits".into(), layers }.plan(input, 10).unwrap()
}

fn network<B: SpikingBackend>(plif: PlifConfig, encoding: Encoding) -> SpikingNetwork<B> {
    let config = SpikingConfig { neuron: plif.into(), encoding };
    let network = SpikingNetwork::new(&plan(), &config, STEPS, &Default::default()).unwrap();
    network.map(&mut DrawWeights(7))
}

/// Images `[BATCH, 1, 8, 8]` with pixels from 0 to 1.
fn images<B: SpikingBackend>() -> Tensor<B, 4> {
    let mut pixels = vec![0f32; BATCH * 64];
    SEED.draws(Stream::Test, [0; 3]).fill(&mut pixels, unit);
    Tensor::from_data(TensorData::new(pixels, [BATCH, 1, 8, 8]), &Default::default())
}

/// Moves every parameter with a gradient against it.
struct Descend<'a, A: AutodiffBackend> {
    gradients: &'a A::Gradients,
    rate: f64,
}

impl<A: AutodiffBackend> ModuleMapper<A> for Descend<'_, A> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<A, D>>) -> Param<Tensor<A, D>> {
        match param.val().grad(self.gradients) {
            Some(gradient) => param.map(|value| {
                Tensor::from_inner(value.inner() - gradient * self.rate).require_grad()
            }),
            None => param,
        }
    }
}

fn numbers(state: &StateDict, suffix: &str) -> Vec<f32> {
    let tensors = state.iter().filter(|(name, _)| name.ends_with(suffix));
    tensors.flat_map(|(_, data)| data.iter::<f32>()).collect()
}

fn training_lowers_the_loss_and_moves_leaks<A: SpikingBackend + AutodiffBackend>() {
    let threshold = ThresholdConfig { train: true, ..Default::default() };
    let plif = PlifConfig { leak: 0.75, threshold, ..Default::default() };
    let mut network = network::<A>(plif, Encoding::Direct(Direct {}));
    let why = network.layer_by_layer_because();
    assert_eq!(why, Some("no kernel for neurons of kind `plif`"));
    let before = state::save::<A, _>(&network);
    let labels: Vec<i32> = (0..BATCH as i32).collect();
    let labels = Tensor::<A, 1, Int>::from_ints(&labels[..], &Default::default());
    let samples: Vec<u32> = (0..BATCH as u32).collect();
    let mut losses = Vec::new();
    for epoch in 0..30 {
        let pass = Pass::train(SEED, epoch, &samples);
        let scores = log_softmax(network.logits(images(), &pass), 1);
        let loss = scores.gather(1, labels.clone().unsqueeze_dim(1)).mean().neg();
        losses.extend(loss.to_data().iter::<f64>());
        network = network.map(&mut Descend::<A> { gradients: &loss.backward(), rate: 0.05 });
    }
    assert!(losses[29] < 0.9 * losses[0], "{losses:?}");
    let after = state::save::<A, _>(&network);
    for suffix in ["neurons.leak_logit", "neurons.threshold"] {
        let (before, after) = (numbers(&before, suffix), numbers(&after, suffix));
        assert_eq!((before.len(), after.len()), (3, 3));
        assert!(before.iter().zip(&after).all(|(a, b)| a != b && b.is_finite()), "{after:?}");
    }
}

#[test]
fn training_lowers_the_loss_and_moves_leaks_on_flex() {
    training_lowers_the_loss_and_moves_leaks::<Autodiff<Flex>>();
}

#[test]
fn training_lowers_the_loss_and_moves_leaks_on_ndarray() {
    training_lowers_the_loss_and_moves_leaks::<Autodiff<NdArray>>();
}

/// The spikes before the readout, when the steps run in chunks of the given lengths.
fn streamed(network: &SpikingNetwork<Flex>, chunks: &[usize]) -> Vec<f32> {
    let samples: Vec<u32> = (0..BATCH as u32).collect();
    let pass = Pass::evaluate(SEED, &samples);
    let (mut runner, mut first, mut spikes) = (Streaming::new(), 0, Vec::new());
    for &steps in chunks {
        runner.next_chunk(steps);
        let input = network.encode(images(), first, steps, &pass);
        let reached = network.flow(input, &pass, &mut runner).unwrap();
        spikes.extend(reached.unfold(steps).into_data().iter::<f32>());
        first += steps;
    }
    spikes
}

#[test]
fn a_stream_in_chunks_has_the_bits_of_one_pass() {
    for encoding in
        [Encoding::Direct(Direct {}), Encoding::Poisson(Poisson { range: PoissonRange::Unit })]
    {
        for reset in Reset::ALL {
            let plif = PlifConfig { leak: 0.8, reset, ..Default::default() };
            let network = network::<Flex>(plif, encoding);
            let at_once = streamed(&network, &[9]);
            assert!(at_once.contains(&1.0) && at_once.contains(&0.0), "{encoding:?}");
            for chunks in [&[1; 9][..], &[4, 5], &[2, 6, 1]] {
                assert!(streamed(&network, chunks) == at_once, "{encoding:?}, {chunks:?}");
            }
        }
    }
}
