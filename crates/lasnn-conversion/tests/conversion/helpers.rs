//! Networks, images and conversions that several tests need.

use burn::tensor::backend::BackendTypes;
use burn_flex::Flex;
use lasnn_conversion::{
    Ann, Balancing, ConversionConfig, MethodConfig, Policy, ThresholdBalancing, convert,
};
use lasnn_core::random::unit;
use lasnn_core::{Architecture, Batch, BatchSource, Layer, Pass, Plan, Seed, Shape, Stream};
use lasnn_models::{Init, Network};
use lasnn_nn::{BatchTensors, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork, progress};

pub type B = Flex;

pub const SEED: Seed = Seed(7);

pub fn device() -> <B as BackendTypes>::Device {
    Default::default()
}

pub fn balancing_by(policy: Policy) -> MethodConfig {
    MethodConfig::ThresholdBalancing(ThresholdBalancing { policy })
}

pub fn maximum() -> MethodConfig {
    balancing_by(Policy::Maximum {})
}

/// Images that are served in one batch.
pub struct Fixed(pub Batch);

impl BatchSource for Fixed {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn batches(&self) -> usize {
        1
    }
    fn epoch(&self, _: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new((first..1).map(|_| self.0.clone()))
    }
}

pub fn images(count: u32) -> Batch {
    let shape = Shape { channels: 2, height: 8, width: 8 };
    let mut pixels = vec![0f32; count as usize * shape.len()];
    SEED.draws(Stream::Test, [0; 3]).fill(&mut pixels, |bits| 2.0 * unit(bits) - 1.0);
    Batch {
        shape,
        pixels,
        labels: (0..count).map(|i| i % 5).collect(),
        samples: (0..count).collect(),
    }
}

pub fn residual_plan() -> Plan {
    let block = |channels, stride| Layer::Residual {
        channels,
        stride,
        bias: false,
        batch_norm: false,
        dropout: 0.2,
        tap: None,
    };
    let layers = vec![
        Layer::conv(6),
        Layer::Dropout { probability: 0.2 },
        block(6, 1),
        block(8, 2),
        Layer::AveragePool { size: 2 },
        Layer::Linear { features: 12, bias: false },
        Layer::Classifier { bias: false },
    ];
    let input = Shape { channels: 2, height: 8, width: 8 };
    Architecture { name: "residual".into(), layers }.plan(input, 5).unwrap()
}

pub fn balancing<'a>(config: &'a ConversionConfig, batches: &'a [Batch]) -> Balancing<'a> {
    Balancing { config, batches, seed: SEED, on_progress: &progress::go_on }
}

pub struct Converted {
    pub ann: Network<B>,
    pub snn: SpikingNetwork<B>,
    pub report: lasnn_conversion::ConversionReport,
}

pub fn converted(plan: &Plan, spiking: &SpikingConfig, config: &ConversionConfig) -> Converted {
    let ann = Network::<B>::new(plan, Init::Kaiming, SEED, &device());
    let network = SpikingNetwork::new(plan, spiking, 8, &device()).unwrap();
    let reference = |batch: &Batch| {
        ann.activations(batch.images(&device()), &Pass::evaluate(SEED, &batch.samples))
    };
    let weights = state::save::<B, _>(&ann);
    let batches = [images(16)];
    let (snn, report) =
        convert(network, Ann::new(&weights, &reference), balancing(config, &batches), &device())
            .unwrap();
    Converted { ann, snn, report }
}
