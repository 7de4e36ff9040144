//! Every loss with the fused pass of the student and with its pass layer by layer: the same values
//! and the same gradients of the weights.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Pass, Plan, Probe, Seed, Shape, Tap};
use lasnn_distillation::{LossConfig, StudentObjective};
use lasnn_models::{DifferentiableNetwork, Init, Network};
use lasnn_neurons::SpikingBackend;
use lasnn_nn::{Objective, Observable};
use lasnn_snn::{SpikingConfig, SpikingNetwork, layer_by_layer_because};
use serde_json::{Value, json};

type B = Autodiff<Flex>;

const STEPS: usize = 4;
const BATCH: usize = 3;
const IMAGE: Shape = Shape { channels: 2, height: 8, width: 8 };

fn plan() -> Plan {
    let layers = vec![
        Layer::conv(8).tapped(Tap::Low),
        Layer::AveragePool { size: 2 },
        Layer::conv(12).tapped(Tap::Middle),
        Layer::conv(12).tapped(Tap::High),
        Layer::Dropout { probability: 0.25 },
        Layer::Classifier { bias: false },
    ];
    Architecture { name: "net".into(), layers }.plan(IMAGE, 5).unwrap()
}

/// A number between -1 and 1.
fn draw(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 40) as f32 / (1u64 << 24) as f32 * 2.0 - 1.0
}

/// Draws weights that are multiples of 1/64, so that no sum is rounded and no spike depends on the
/// order of a sum.
struct DrawWeights(u64);

impl<B: Backend> ModuleMapper<B> for DrawWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if D == 1 {
            return param;
        }
        let shape = param.shape();
        let fan_in = if D == 4 { shape.num_elements() / shape[0] } else { shape[0] };
        let scale = 5.0 / (fan_in as f32).sqrt() * 64.0;
        let count = shape.num_elements();
        let numbers = (0..count).map(|_| (draw(&mut self.0) * scale).round() / 64.0).collect();
        let data = TensorData::new::<f32, _>(numbers, shape);
        let device = param.device();
        param.map(|_| Tensor::from_data(data, &device).require_grad())
    }
}

/// Collects the gradients of all parameters, zeros for those that a loss does not depend on.
struct Gradients<A: AutodiffBackend> {
    gradients: A::Gradients,
    found: Vec<TensorData>,
}

impl<A: AutodiffBackend> ModuleVisitor<A> for Gradients<A> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
        let value = param.val();
        let gradient = value.grad(&self.gradients).map(Tensor::into_data);
        let shape = value.shape();
        self.found.push(gradient.unwrap_or_else(|| TensorData::zeros::<f32, _>(shape)));
    }
}

/// The values of all parts, and the gradients of all weights.
fn run(student: &SpikingNetwork<B>, loss: &LossConfig) -> (Vec<f32>, Vec<TensorData>) {
    let device = Default::default();
    if loss.as_kind().teacher_probes().iter().any(Probe::is_spiking) {
        let config = SpikingConfig::default();
        let teacher = SpikingNetwork::<Flex>::new(&plan(), &config, 2 * STEPS, &device).unwrap();
        return run_with(student, teacher.map(&mut DrawWeights(9)), loss);
    }
    let teacher = Network::<B>::new(&plan(), Init::Kaiming, Seed(1), &device);
    run_with(student, DifferentiableNetwork::new(teacher), loss)
}

fn run_with(
    student: &SpikingNetwork<B>,
    teacher: impl Observable<Flex>,
    loss: &LossConfig,
) -> (Vec<f32>, Vec<TensorData>) {
    let device = Default::default();
    let objective = StudentObjective::new(std::slice::from_ref(loss), Some(teacher), STEPS);
    let mut state = 5;
    let pixels = (0..BATCH * IMAGE.len()).map(|_| (draw(&mut state) * 8.0).round() / 8.0).collect();
    let shape = [BATCH, IMAGE.channels, IMAGE.height, IMAGE.width];
    let images = Tensor::from_data(TensorData::new::<f32, _>(pixels, shape), &device);
    let labels = Tensor::from_ints([3, 0, 2], &device);
    let pass = Pass::train(Seed(1), 0, &[0, 1, 2]);
    let loss = objective.unwrap().loss(student, images, labels, &pass);
    let values = loss.parts.iter().map(|part| part.value.clone().into_scalar()).collect();
    let mut found = Gradients { gradients: loss.total.backward(), found: vec![] };
    student.visit(&mut found);
    (values, found.found)
}

/// Each loss with its defaults, and the variants that read other values of a pass.
fn losses() -> Vec<LossConfig> {
    let of_kind = LossConfig::KINDS.iter().map(|kind| json!({"kind": kind.name}));
    let variants = [
        json!({"kind": "cross-entropy", "on": "step"}),
        json!({"kind": "logits", "on": "step"}),
        json!({"kind": "attention", "normalise": "softmax"}),
        json!({"kind": "spike-distillation", "window": 3, "normalise": "none"}),
        json!({"kind": "gradient-attention", "gamma": 0.1, "include_current": false}),
        json!({"kind": "attention", "normalise": "none", "distance": "mean-square"}),
        json!({"kind": "step-distillation", "direction": "weak-to-strong"}),
        json!({"kind": "firing-rate", "above_only": false, "target": 0.5}),
    ];
    let read = |table: Value| serde_json::from_value(table).unwrap();
    of_kind.chain(variants).map(read).collect()
}

#[test]
fn losses_of_both_passes_are_equal() {
    assert!(B::on_host(&[], |_| ()).is_some(), "without kernels this would compare nothing");
    let (plan, config) = (plan(), SpikingConfig::default());
    assert_eq!(layer_by_layer_because(&plan, &config), None);
    let fused = SpikingNetwork::<B>::new(&plan, &config, STEPS, &Default::default()).unwrap();
    let fused = fused.map(&mut DrawWeights(3));
    let by_layer = fused.clone().layer_by_layer();
    for loss in losses() {
        let name = format!("{loss:?}");
        let [(values, gradients), (expected, expected_gradients)] =
            [&fused, &by_layer].map(|student| run(student, &loss));
        assert!(
            !values.is_empty() && values.iter().all(|&value| value > 0.0),
            "{name}: {values:?}"
        );
        for (found, expected) in values.iter().zip(&expected) {
            let error = (found - expected).abs() / expected;
            assert!(error < 1e-5, "{name}: {found} instead of {expected}");
        }
        assert_eq!(gradients.len(), expected_gradients.len(), "{name}");
        for (found, expected) in gradients.iter().zip(&expected_gradients) {
            let largest = expected.iter::<f32>().fold(0.0f32, |max, x| max.max(x.abs()));
            assert!(largest.is_finite(), "{name}");
            assert_eq!(found.shape, expected.shape, "{name}");
            for (found, expected) in found.iter::<f32>().zip(expected.iter::<f32>()) {
                let error = (found - expected).abs();
                assert!(error <= 1e-4 * largest, "{name}: {found} instead of {expected}");
            }
        }
        let all = gradients.iter().flat_map(|gradient| gradient.iter::<f32>());
        assert!(all.into_iter().any(|x| x != 0.0), "{name}: only zeros are compared");
    }
}
