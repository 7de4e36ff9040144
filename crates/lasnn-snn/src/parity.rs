//! Comparison of the fused pass with the pass layer by layer, on the device at hand.
//!
//! It is for machines that run no tests: a GPU without a toolchain runs [`compare_network`] from
//! the program. [`lasnn_neurons::parity`] does the same for the neurons alone. On a backend without
//! kernels for whole networks both passes run layer by layer.

use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend, ExecutionError};
use burn::tensor::{Tensor, TensorData};
use lasnn_core::random::unit;
use lasnn_core::{Architecture, Layer, Pass, Plan, Probe, Probes, Seed, Shape, Stream, Tap};
use lasnn_neurons::{Direct, Encoding, Poisson, PoissonRange, SpikingBackend};
use lasnn_nn::Observable;

use crate::config::SpikingConfig;
use crate::error::SnnError;
use crate::network::SpikingNetwork;

/// The largest allowed error of a gradient or a logit (class score), as a share of the largest
/// value. The two passes add up thousands of products in different orders.
pub const TOLERANCE: f64 = 3e-5;

const INPUT: Shape = Shape { channels: 3, height: 8, width: 8 };
const CLASSES: usize = 5;
const STEPS: usize = 6;
const SAMPLES: [u32; 3] = [4, 9, 2];

/// One comparison to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkCase {
    /// Whether the network has residual blocks; otherwise it has average pooling and a fully
    /// connected layer.
    pub residual: bool,
    /// Whether the input is Poisson spikes of both signs; otherwise it is the image itself.
    pub poisson: bool,
}

impl NetworkCase {
    /// Every combination.
    pub const ALL: [Self; 4] = [
        Self { residual: false, poisson: false },
        Self { residual: false, poisson: true },
        Self { residual: true, poisson: false },
        Self { residual: true, poisson: true },
    ];

    fn plan(self) -> Result<Plan, SnnError> {
        let dropout = Layer::Dropout { probability: 0.5 };
        let block = |channels, stride| Layer::Residual {
            channels,
            stride,
            bias: false,
            batch_norm: false,
            dropout: 0.5,
            tap: None,
        };
        let layers = match self.residual {
            false => vec![
                Layer::conv(8).tapped(Tap::Low),
                dropout.clone(),
                Layer::conv(20).tapped(Tap::Middle),
                Layer::AveragePool { size: 2 },
                Layer::conv(16).tapped(Tap::High),
                Layer::AveragePool { size: 2 },
                Layer::Linear { features: 70, bias: false },
                dropout,
                Layer::Classifier { bias: false },
            ],
            true => vec![
                Layer::conv(8).tapped(Tap::Low),
                block(8, 1).tapped(Tap::Middle),
                block(16, 2).tapped(Tap::High),
                Layer::GlobalAveragePool {},
                Layer::Classifier { bias: false },
            ],
        };
        Ok(Architecture { name: "parity".into(), layers }.plan(INPUT, CLASSES)?)
    }
}

impl fmt::Display for NetworkCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = if self.residual { "residual blocks" } else { "convolutions and matrices" };
        let input = if self.poisson { "Poisson spikes" } else { "the image" };
        write!(f, "fused network of {layers} on {input}, {STEPS} steps")
    }
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkComparison {
    /// The number of spikes at the taps in the pass layer by layer.
    pub spikes: usize,
    /// The number of neurons at the taps that fire more or less often in the fused pass.
    pub differing: usize,
    /// The largest error of a weight's gradient, as a share of the gradient's largest value.
    pub gradient_error: f64,
    /// The largest error of a logit, as a share of the largest logit.
    pub logit_error: f64,
}

impl NetworkComparison {
    /// Whether the two passes agree, up to the order of sums.
    pub fn is_right(&self) -> bool {
        // Written so that an error of NaN fails.
        self.spikes > 0
            && self.differing == 0
            && self.gradient_error <= TOLERANCE
            && self.logit_error <= TOLERANCE
    }
}

/// Compares the fused pass of a small network with the pass layer by layer.
///
/// # Errors
///
/// If the device failed.
pub fn compare_network<A: SpikingBackend + AutodiffBackend>(
    case: NetworkCase,
    device: &A::Device,
) -> Result<NetworkComparison, NetworkError> {
    let encoding = match case.poisson {
        true => Encoding::Poisson(Poisson { range: PoissonRange::Signed }),
        false => Encoding::Direct(Direct {}),
    };
    let config = SpikingConfig { encoding, ..SpikingConfig::default() };
    let network = SpikingNetwork::<A>::new(&case.plan()?, &config, STEPS, device)?;
    let network = network.map(&mut Draw(0));
    // Multiples of 1/8, so that no sum is rounded and no spike depends on the order of a sum.
    let draws = Seed(1).draws(Stream::Test, [0; 3]);
    let pixels = draws.iter().map(|bits| (16.0 * unit(bits) - 8.0).round() / 8.0);
    let pixels: Vec<f32> = pixels.take(SAMPLES.len() * INPUT.len()).collect();
    let shape = [SAMPLES.len(), INPUT.channels, INPUT.height, INPUT.width];
    let images = Tensor::from_data(TensorData::new(pixels, shape), device);
    let fused = run(&network, &images)?;
    let by_layer = run(&network.layer_by_layer(), &images)?;
    let (found, expected) = (fused.counts.iter().flatten(), by_layer.counts.iter().flatten());
    let gradients = fused.gradients.iter().zip(&by_layer.gradients);
    let errors = gradients.map(|(found, expected)| error(found, expected));
    Ok(NetworkComparison {
        spikes: by_layer.counts.iter().flatten().sum::<f64>() as usize,
        differing: found.zip(expected).filter(|(found, expected)| found != expected).count(),
        gradient_error: errors.fold(0.0, larger),
        logit_error: error(&fused.logits, &by_layer.logits),
    })
}

/// Why a comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The network could not be built.
    #[error(transparent)]
    Network(#[from] SnnError),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(#[from] ExecutionError),
}

/// The numbers of one pass.
struct Results {
    /// `[batch, classes]`.
    logits: Vec<f64>,
    /// For each tap, how often each neuron fired.
    counts: Vec<Vec<f64>>,
    /// For each weight, its gradient.
    gradients: Vec<Vec<f64>>,
}

fn run<A: SpikingBackend + AutodiffBackend>(
    network: &SpikingNetwork<A>,
    images: &Tensor<A, 4>,
) -> Result<Results, ExecutionError> {
    let pass = Pass::train(Seed(5), 1, &SAMPLES);
    let probes = Probes::from(Tap::ALL.map(Probe::Features));
    let observed = network.observe(images.clone(), &pass, &probes);
    let mut loss = observed.logits.clone().powi_scalar(2).mean();
    for rates in observed.features.values() {
        loss = loss + rates.clone().powi_scalar(2).sum();
    }
    let mut collect = Collect { gradients: loss.backward(), found: Vec::new() };
    network.visit(&mut collect);
    let numbers = |data: TensorData| data.iter::<f64>().collect::<Vec<_>>();
    let counts = observed.features.into_values().map(|rates| {
        let rates = numbers(rates.try_into_data()?);
        Ok(rates.into_iter().map(|rate| (rate * STEPS as f64).round()).collect())
    });
    Ok(Results {
        logits: numbers(observed.logits.try_into_data()?),
        counts: counts.collect::<Result<_, ExecutionError>>()?,
        gradients: collect.found.into_iter().collect::<Result<_, _>>()?,
    })
}

/// Draws weights that are multiples of 1/64, for the reason that images are multiples of 1/8.
pub(crate) struct Draw(pub u32);

impl<B: Backend> ModuleMapper<B> for Draw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if D == 1 {
            // Thresholds and leaks stay.
            return param;
        }
        self.0 += 1;
        let shape = param.shape();
        // A convolution is `[outputs, inputs, kernel, kernel]`, a matrix `[inputs, outputs]`.
        let outputs = if D == 4 { shape[0] } else { shape[1] };
        let fan_in = shape.num_elements() / outputs;
        let range = 5.0 / (fan_in as f32).sqrt();
        let draws = Seed(1).draws(Stream::Test, [self.0, 0, 0]).iter();
        let weights = draws.map(|bits| ((2.0 * unit(bits) - 1.0) * range * 64.0).round() / 64.0);
        let weights: Vec<f32> = weights.take(shape.num_elements()).collect();
        let device = param.device();
        param.map(|_| Tensor::from_data(TensorData::new(weights, shape), &device).require_grad())
    }
}

/// Collects the gradients of all weights.
struct Collect<A: AutodiffBackend> {
    gradients: A::Gradients,
    found: Vec<Result<Vec<f64>, ExecutionError>>,
}

impl<A: AutodiffBackend> ModuleVisitor<A> for Collect<A> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
        if let Some(gradient) = param.val().grad(&self.gradients) {
            let data = gradient.try_into_data();
            self.found.push(data.map(|data| data.iter::<f64>().collect()));
        }
    }
}

/// The larger magnitude; NaN if one of the two is NaN.
fn larger(largest: f64, value: f64) -> f64 {
    if value.is_nan() || largest.is_nan() { f64::NAN } else { largest.max(value.abs()) }
}

/// The largest difference as a share of the largest expected value. NaN if
/// there are no values or the lengths differ.
fn error(found: &[f64], expected: &[f64]) -> f64 {
    let scale = expected.iter().copied().fold(0.0, larger);
    let difference = found.iter().zip(expected).map(|(a, b)| a - b).fold(0.0, larger);
    if found.len() == expected.len() { difference / scale } else { f64::NAN }
}
