//! The fused pass against the pass layer by layer: logits, maps at the taps and gradients, on both
//! CPU backends.

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Tensor, TensorData};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_core::{
    Architecture, Layer, Pass, Plan, Precision, Probe, Probes, Seed, Shape, Tap, Trace,
};
use lasnn_neurons::{
    Direct, Encoding, LifConfig, Poisson, PoissonRange, Reset, SpikingBackend, StepOrder,
};
use lasnn_nn::Observable;
use lasnn_snn::{
    NetworkCase, Simulator, SpikingConfig, SpikingNetwork, WeightFormat, compare_network,
};

use crate::weights::DrawWeights;

/// A backend with gradients whose inner backend runs spiking networks too.
trait Training: SpikingBackend + AutodiffBackend<InnerBackend: SpikingBackend> {}

impl<A: SpikingBackend + AutodiffBackend<InnerBackend: SpikingBackend>> Training for A {}

/// Makes two tests of each function that is generic over the backend.
macro_rules! on_both_backends {
    ($($test:ident),* $(,)?) => {
        mod flex {
            $(#[test] fn $test() { super::$test::<super::Autodiff<super::Flex>>() })*
        }
        mod ndarray {
            $(#[test] fn $test() { super::$test::<super::Autodiff<super::NdArray>>() })*
        }
    };
}

on_both_backends!(
    plain_networks_agree,
    residual_networks_agree,
    all_options_agree,
    networks_that_the_kernels_do_not_cover_run_layer_by_layer,
    both_ways_round_weights_of_fewer_bits_alike,
    bf16_products_change_gradients_a_little_and_logits_not_at_all,
    the_comparisons_for_other_machines_pass,
);

fn plan(layers: Vec<Layer>) -> Plan {
    let input = Shape { channels: 3, height: 8, width: 8 };
    Architecture { name: "test".into(), layers }.plan(input, 5).unwrap()
}

fn plain() -> Plan {
    plan(vec![
        Layer::conv(8).tapped(Tap::Low),
        Layer::Dropout { probability: 0.5 },
        Layer::conv(20).tapped(Tap::Middle),
        Layer::AveragePool { size: 2 },
        Layer::conv(16).tapped(Tap::High),
        Layer::AveragePool { size: 2 },
        Layer::Dropout { probability: 0.5 },
        Layer::Linear { features: 70, bias: false },
        Layer::Dropout { probability: 0.5 },
        Layer::Classifier { bias: false },
    ])
}

fn residual() -> Plan {
    let block = |channels, stride| Layer::Residual {
        channels,
        stride,
        bias: false,
        batch_norm: false,
        dropout: 0.5,
        tap: None,
    };
    plan(vec![
        Layer::conv(8).tapped(Tap::Low),
        block(8, 1).tapped(Tap::Middle),
        block(16, 2).tapped(Tap::High),
        Layer::GlobalAveragePool {},
        Layer::Classifier { bias: false },
    ])
}

/// Compares the two passes: logits, maps and gradients, with firing rates at the taps and with
/// their attention maps.
#[track_caller]
fn check<A: Training>(plan: &Plan, config: &SpikingConfig, training: bool) {
    assert!(A::on_host(&[], |_| ()).is_some(), "without kernels this would compare nothing");
    let device = Default::default();
    let network = SpikingNetwork::<A>::new(plan, config, 6, &device).unwrap();
    let network = network.map(&mut DrawWeights(3));
    let images: Tensor<A, 4> =
        Tensor::random([3, 3, 8, 8], Distribution::Uniform(-1.0, 1.0), &device);
    let images = (images * 8.0).round() / 8.0;
    let samples = [4, 9, 2];
    let pass = match training {
        true => Pass::train(Seed(5), 1, &samples),
        false => Pass::evaluate(Seed(5), &samples),
    };
    let run = |network: &SpikingNetwork<A>, probes: &Probes| {
        let observed = network.observe(images.clone(), &pass, probes);
        let by_step = observed.logits_by_step.map(Tensor::unsqueeze::<4>);
        let maps = observed.features.into_values().chain(observed.attention.into_values());
        let maps = maps.chain(observed.activation_maps.into_values());
        let maps = maps.chain(observed.membranes.into_values().map(|all| all.flatten(0, 1)));
        let maps: Vec<Tensor<A, 4>> = maps.chain(observed.spike_counts).chain(by_step).collect();
        let mut loss = observed.logits.clone().powi_scalar(2).mean();
        for map in &maps {
            loss = loss + map.clone().powi_scalar(2).mean();
        }
        let gradients = loss.backward();
        let mut found = Gradients { gradients, found: vec![] };
        network.visit(&mut found);
        let maps: Vec<TensorData> = maps.into_iter().map(|map| map.into_data()).collect();
        (observed.logits.into_data(), maps, found.found)
    };
    let at_taps = |probe: fn(Tap) -> Probe| Tap::ALL.map(probe);
    let features = Probes::from(at_taps(Probe::Features));
    let attention = Probes::from(at_taps(Probe::Attention));
    let maps = Probes::from(at_taps(Probe::ActivationMap));
    let membranes = Probes::from(at_taps(Probe::Membranes));
    let others = Probes::from([Probe::LogitsByStep, Probe::SpikeCounts]).union(membranes.clone());
    let without_current = Trace { gamma: 0.25, include_current: false };
    let all = features.clone().union(attention.clone()).union(maps.clone()).union(others);
    for probes in [features, attention, maps.with_trace(without_current), membranes, all] {
        let (logits, maps, gradients) = run(&network, &probes);
        let (by_layer_logits, by_layer_maps, by_layer_gradients) =
            run(&network.clone().layer_by_layer(), &probes);
        assert!(maps.len() >= 3 && maps.len() == by_layer_maps.len());
        assert!(maps.iter().any(|map| map.iter::<f32>().any(|x| x > 0.0)), "no neuron fires");
        for (fused, by_layer) in maps.iter().zip(&by_layer_maps) {
            fused.assert_approx_eq::<f32>(by_layer, burn::tensor::Tolerance::rel_abs(1e-5, 1e-5));
        }
        close(&logits, &by_layer_logits);
        assert_eq!(gradients.len(), by_layer_gradients.len());
        assert!(gradients.len() > 3, "weights have gradients");
        for (fused, by_layer) in gradients.iter().zip(&by_layer_gradients) {
            close(fused, by_layer);
        }
    }
}

#[track_caller]
fn close(found: &TensorData, expected: &TensorData) {
    let scale = expected.iter::<f32>().fold(1e-3f32, |max, x| max.max(x.abs()));
    for (found, expected) in found.iter::<f32>().zip(expected.iter::<f32>()) {
        assert!((found - expected).abs() < 3e-5 * scale, "{found} instead of {expected}");
    }
}

/// Collects the gradients of all weights.
struct Gradients<A: AutodiffBackend> {
    gradients: A::Gradients,
    found: Vec<TensorData>,
}

impl<A: AutodiffBackend> ModuleVisitor<A> for Gradients<A> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
        if let Some(gradient) = param.val().grad(&self.gradients) {
            self.found.push(gradient.into_data());
        }
    }
}

fn encodings() -> [Encoding; 3] {
    [
        Encoding::Direct(Direct {}),
        Encoding::Poisson(Poisson { range: PoissonRange::Signed }),
        Encoding::Poisson(Poisson { range: PoissonRange::Unit }),
    ]
}

fn plain_networks_agree<A: Training>() {
    for encoding in encodings() {
        for training in [false, true] {
            check::<A>(&plain(), &SpikingConfig { encoding, ..Default::default() }, training);
        }
    }
}

fn residual_networks_agree<A: Training>() {
    for encoding in encodings() {
        let neuron = LifConfig { leak: 0.875.into(), ..Default::default() }.into();
        let config = SpikingConfig { encoding, neuron };
        check::<A>(&residual(), &config, true);
    }
}

fn all_options_agree<A: Training>() {
    for reset in [Reset::Subtract, Reset::Zero] {
        for step_order in [StepOrder::IntegrateThenFire, StepOrder::FireThenIntegrate] {
            let neuron = LifConfig { reset, step_order, ..Default::default() }.into();
            check::<A>(&plain(), &SpikingConfig { neuron, ..Default::default() }, true);
        }
    }
}

fn networks_that_the_kernels_do_not_cover_run_layer_by_layer<A: Training>() {
    // The kernels have no dropout before pooling.
    let plan = plan(vec![
        Layer::conv(8).tapped(Tap::Low),
        Layer::Dropout { probability: 0.5 },
        Layer::AveragePool { size: 2 },
        Layer::conv(8).tapped(Tap::Middle),
        Layer::conv(8).tapped(Tap::High),
        Layer::Linear { features: 9, bias: false },
        Layer::Classifier { bias: false },
    ]);
    check::<A>(&plan, &SpikingConfig::default(), true);
}

fn the_comparisons_for_other_machines_pass<A: Training>() {
    for case in NetworkCase::ALL {
        let found = compare_network::<A>(case, &Default::default()).unwrap();
        assert!(found.is_right(), "{case}: {found:?}");
    }
}

/// Scales weights so that they no longer fit into few bits.
struct Scale;

impl<B: Backend> ModuleMapper<B> for Scale {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|tensor| if D == 1 { tensor } else { tensor * 0.917_351 })
    }
}

fn both_ways_round_weights_of_fewer_bits_alike<A: Training>() {
    let device = Default::default();
    for plan in [plain(), residual()] {
        for encoding in [
            Encoding::Direct(Direct {}),
            Encoding::Poisson(Poisson { range: PoissonRange::Signed }),
        ] {
            let config = SpikingConfig { encoding, ..SpikingConfig::default() };
            let network =
                SpikingNetwork::<A::InnerBackend>::new(&plan, &config, 6, &device).unwrap();
            let network = network.map(&mut DrawWeights(3)).map(&mut Scale);
            let images: Tensor<A::InnerBackend, 4> =
                Tensor::random([3, 3, 8, 8], Distribution::Uniform(-1.0, 1.0), &device);
            let images = (images * 8.0).round() / 8.0;
            let pass = Pass::evaluate(Seed(5), &[4, 9, 2]);
            let logits = |network: &SpikingNetwork<A::InnerBackend>, format| {
                let simulator = Simulator::with_format(network.clone(), format);
                simulator.logits(images.clone(), &pass).into_data()
            };
            for format in [WeightFormat::Int12, WeightFormat::Bf16] {
                let fused = logits(&network, format);
                let by_layer = logits(&network.clone().layer_by_layer(), format);
                close(&fused, &by_layer);
                assert_ne!(fused, logits(&network, WeightFormat::F32), "nothing was rounded");
            }
        }
    }
}

fn bf16_products_change_gradients_a_little_and_logits_not_at_all<A: Training>() {
    let device = Default::default();
    let network = SpikingNetwork::<A>::new(&plain(), &SpikingConfig::default(), 6, &device);
    let network = network.unwrap().map(&mut DrawWeights(3));
    let images: Tensor<A, 4> =
        Tensor::random([3, 3, 8, 8], Distribution::Uniform(-1.0, 1.0), &device);
    let run = |precision: Precision| {
        let samples = [4, 9, 2];
        let pass = Pass::train(Seed(5), 1, &samples).with_precision(precision);
        let logits = network.logits(images.clone(), &pass);
        let gradients = logits.clone().powi_scalar(2).mean().backward();
        let mut found = Gradients { gradients, found: vec![] };
        network.visit(&mut found);
        let found = found.found.iter().map(|data| data.iter::<f32>().collect::<Vec<_>>());
        (logits.into_data(), found.collect::<Vec<_>>())
    };
    let ((logits, full), (bf16_logits, bf16)) = (run(Precision::F32), run(Precision::Bf16));
    assert_eq!(logits, bf16_logits);
    assert_ne!(full, bf16, "nothing was rounded");
    for (full, bf16) in full.iter().zip(&bf16) {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine = dot(full, bf16) / (dot(full, full) * dot(bf16, bf16)).sqrt().max(1e-12);
        assert!(cosine > 0.999 || dot(full, full) == 0.0, "cosine of gradients {cosine}");
    }
}
