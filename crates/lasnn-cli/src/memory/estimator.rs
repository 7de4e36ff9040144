//! The memory of the stages of a recipe, one after the other.
//!
//! The allocations have the order of `pipeline`, of `lasnn_training::fit` and of
//! `lasnn_conversion::convert`.

use std::collections::BTreeMap;

use lasnn_conversion::CalibrationConfig;
use lasnn_core::{Plan, PlannedLayer, Precision, Probe};
use lasnn_distillation::LossConfig;
use lasnn_models::ActivationConfig;
use lasnn_neurons::{NeuronOptions, Reset, Surrogate};
use lasnn_snn::counting::CHUNK;
use lasnn_snn::{WeightFormat, images_at_once};
use lasnn_training::{OptimizerConfig, TrainConfig};

use super::advice;
use super::ann::Ann;
use super::estimate::{Inputs, StageEstimate};
use super::ledger::Ledger;
use super::neurons;
use super::pass::Pass;
use super::probes::{fused_probe_bytes, probe_bytes};
use super::purpose::Purpose;
use super::size::{Size, elements};
use super::spiking::Graph;
use crate::recipe::{AnnWork, Node, Recipe, StageNetwork, Start, StudentWork, Work};
use crate::stage::StageName;

/// The memory of the program itself: its code, the tables of the libraries, and what the allocator
/// rounds up to huge pages of 2 MiB. Training a network of a few hundred weights takes 24, 28 and
/// 35 MiB on 1, 2 and 8 threads (measured, `results/2026-11-30-memory`).
const PROGRAM: Size = Size::new(28 << 20);

/// The memory of a thread besides that of kernels: its stack and the allocator's pages for it. The
/// same measurement gives between 1 and 4 MiB.
const THREAD: Size = Size::new(2 << 20);

/// The threads that load batches (`lasnn_datasets::Prefetch`).
const LOADERS: usize = 2;

/// The batches of each loader: those that are finished, and the one that it is loading.
const BATCHES_PER_LOADER: usize = 3;

/// The histogram from which a percentile of currents is computed (`lasnn_conversion::quantile`).
const HISTOGRAM: Size = Size::new(4 << 20);

/// Goes through the stages in the order in which they run.
#[derive(Debug)]
pub struct Estimator<'a> {
    inputs: Inputs<'a>,
    ledger: Ledger,
    /// The intermediate network, the teacher and the ANNs in `[stages]`.
    anns: BTreeMap<StageName, Network>,
    /// The network of the spiking networks, as an ANN.
    student: Network,
    spiking: Graph,
    stages: Vec<StageEstimate>,
}

/// An ANN and the bytes of its tensors.
#[derive(Debug)]
struct Network {
    ann: Ann,
    bytes: Size,
}

impl Network {
    fn new(plan: &Plan, activation: &ActivationConfig) -> Self {
        let bytes = Size::from(plan.parameters()) * size_of::<f32>();
        Self { ann: Ann::new(plan, activation), bytes }
    }
}

impl<'a> Estimator<'a> {
    /// The state before the first stage: the program and its data are in memory.
    pub fn new(inputs: Inputs<'a>) -> Self {
        let Inputs { recipe, plans, data, threads, .. } = inputs;
        let mut ledger = Ledger::default();
        ledger.malloc(Purpose::Process, PROGRAM + THREAD * threads + data.pixels);
        Self {
            inputs,
            ledger,
            anns: plans
                .anns
                .iter()
                .map(|(name, plan)| (name.clone(), Network::new(plan, &recipe.activation_of(name))))
                .collect(),
            student: Network::new(&plans.spiking, &ActivationConfig::default()),
            spiking: Graph::new(&plans.spiking, &recipe.spiking),
            stages: Vec::new(),
        }
    }

    /// The estimates of the stages so far.
    pub fn into_stages(self) -> Vec<StageEstimate> {
        self.stages
    }

    /// A stage runs. With `is_supplied` a checkpoint takes the place of its training.
    pub fn run(&mut self, node: &Node<'_>, is_supplied: bool) {
        match &node.work {
            Work::Ann(work) => self.ann(node, work, is_supplied),
            Work::Conversion { .. } => self.conversion(node),
            Work::Student(work) => self.student(node, work),
        }
    }

    /// An ANN is trained, or a supplied checkpoint is imported.
    fn ann(&mut self, node: &Node<'_>, work: &AnnWork<'_>, is_supplied: bool) {
        let images = self.inputs.data.train;
        self.stage(node.name().in_summary(), advice(node), |this| match is_supplied {
            true => {
                let bytes = this.network(node.name()).bytes;
                this.read_checkpoint(bytes);
                this.measure(&node.network);
                this.ledger.malloc(Purpose::Weights, bytes);
            }
            false => this.train(node, work.train, images),
        });
    }

    /// The intermediate network is converted into a spiking network.
    fn conversion(&mut self, node: &Node<'_>) {
        let Inputs { recipe, plans, data, threads, .. } = self.inputs;
        let config = &recipe.conversion;
        let bytes = self.student.bytes;
        let batch = Size::from(config.batch).min(data.train.into());
        let batches = Size::from(data.train).div_ceil(batch).min(config.batches.into());
        let images = self.image_bytes(batch) * batches;
        let steps = Size::from(config.time_steps);
        let pass = Pass { batch, steps, precision: Precision::F32, threads: threads.into() };
        // The conversion report runs the ANN and the spiking network on fewer images at a time.
        let at_once = images_at_once(&plans.spiking, config.time_steps, config.batch);
        let report_pass = Pass { batch: batch.min(at_once.into()), ..pass };
        self.stage(node.name().in_summary(), advice(node), |this| {
            // The ANN and the spiking network.
            this.ledger.malloc(Purpose::Process, images);
            this.ledger.malloc(Purpose::Weights, bytes * 2usize);
            // The spiking network is loaded from copies of both networks' tensors.
            this.ledger.malloc_briefly(Purpose::Checkpoint, bytes * 2usize);
            this.holding(Purpose::Process, HISTOGRAM, |this| {
                this.spiking.balance(&mut this.ledger, pass);
            });
            this.holding(Purpose::Weights, this.spiking.packed_weights(4), |this| {
                this.calibration(Size::from(config.batch).min(data.train.into()) * batches);
                this.conversion_report(report_pass);
            });
            this.simulate(data.validation, node.network.steps(), false);
            this.measure_spiking(node.network.steps(), |this| {
                for &steps in &recipe.evaluation.time_steps {
                    this.simulate(data.test, steps, true);
                    this.offset_spikes(steps);
                }
                this.offset_spikes(node.network.steps());
                // The tensors of the result.
                this.ledger.malloc(Purpose::Weights, bytes);
            });
            this.ledger.free(Purpose::Weights, bytes * 2usize);
            this.ledger.free(Purpose::Process, images);
            this.write_checkpoint(bytes);
        });
    }

    /// The spiking network is trained.
    fn student(&mut self, node: &Node<'_>, work: &StudentWork<'_>) {
        let images = work.train_limit.unwrap_or(self.inputs.data.train);
        self.stage(node.name().in_summary(), advice(node), |this| {
            // The teacher computes what the losses compare the student with.
            let teacher = work.teacher.as_ref().map(|name| this.network(name).bytes);
            this.holding(Purpose::Weights, teacher.unwrap_or(Size::ZERO), |this| {
                if work.start == Start::Random {
                    // The weights are drawn as tensors of an ANN and then loaded.
                    let bytes = this.network(node.name()).bytes * 2usize;
                    this.ledger.malloc_briefly(Purpose::Weights, bytes);
                }
                this.train(node, work.train, images);
            });
        });
    }

    /// A network is read from a checkpoint and measured over `steps` time steps.
    pub fn measuring(&mut self, network: &StageNetwork<'_>, steps: usize) {
        let advice = "use a smaller `evaluation.batch`, or a smaller network";
        self.stage("measuring", advice.into(), |this| {
            let bytes = this.tensors(network);
            this.read_checkpoint(bytes);
            match network.is_spiking() {
                false => this.measure(network),
                true => this.holding(Purpose::Weights, bytes, |this| {
                    this.measure_spiking(steps, |_| {});
                }),
            }
        });
    }

    /// Records the peak of a stage.
    fn stage(&mut self, name: &str, advice: String, run: impl FnOnce(&mut Self)) {
        self.ledger.begin_stage();
        run(self);
        let memory = self.ledger.peak();
        self.stages.push(StageEstimate { name: name.to_owned(), advice, memory });
    }

    /// Allocates bytes while `run` runs.
    fn holding(&mut self, purpose: Purpose, bytes: Size, run: impl FnOnce(&mut Self)) {
        self.ledger.malloc(purpose, bytes);
        run(self);
        self.ledger.free(purpose, bytes);
    }

    fn network(&self, stage: &StageName) -> &Network {
        self.anns.get(stage).unwrap_or(&self.student)
    }

    /// The bytes of the tensors of a network.
    fn tensors(&self, network: &StageNetwork<'_>) -> Size {
        let of_neurons = match network.is_spiking() {
            true => self.spiking.params.elements,
            false => Size::ZERO,
        };
        self.network(&network.stage).bytes + of_neurons * size_of::<f32>()
    }

    /// The bytes of the images of a batch.
    fn image_bytes(&self, batch: Size) -> Size {
        elements(self.inputs.plans.spiking.input) * batch * size_of::<f32>()
    }

    /// The bytes of the batches that are loaded in advance, and of the one in use.
    fn loader_bytes(&self, batch: Size, images: usize) -> Size {
        let loaders = LOADERS.min(self.inputs.threads);
        let most = Size::from(loaders * BATCHES_PER_LOADER);
        let batches = Size::from(images).div_ceil(batch).min(most);
        self.image_bytes(batch) * (batches + 1usize)
    }

    /// Reads a checkpoint: the file, and its tensors.
    fn read_checkpoint(&mut self, bytes: Size) {
        self.ledger.malloc_briefly(Purpose::Checkpoint, bytes * 2usize);
    }

    /// Writes the checkpoint of a finished stage, from a copy of its tensors.
    fn write_checkpoint(&mut self, bytes: Size) {
        self.ledger.malloc_briefly(Purpose::Checkpoint, bytes);
    }

    /// Trains a network on `images` images and measures it. Its tensors stay allocated.
    fn train(&mut self, node: &Node<'_>, config: &TrainConfig, images: usize) {
        let bytes = self.tensors(&node.network);
        let moments = match &config.optimizer {
            OptimizerConfig::Sgd(sgd) => usize::from(sgd.momentum > 0.0),
            OptimizerConfig::Adam(adam) => 2 + usize::from(adam.amsgrad),
        };
        let of_neurons =
            if node.network.is_spiking() { self.spiking.params.trained } else { Size::ZERO };
        let trained = self.network(node.name()).bytes + of_neurons * size_of::<f32>();
        let optimiser = trained * moments;
        let batch = Size::from(config.batch).min(images.into());
        let micro_batch = Size::from(config.micro_batch.unwrap_or(config.batch)).min(batch);
        let passes = Size::from(images).div_ceil(batch) * batch.div_ceil(micro_batch);
        self.ledger.malloc(Purpose::Weights, bytes);
        self.holding(Purpose::Process, self.loader_bytes(batch, images), |this| {
            this.ledger.malloc(Purpose::Optimiser, optimiser);
            // A micro-batch, and its images as a tensor.
            let images = this.image_bytes(micro_batch) * 2usize;
            this.holding(Purpose::Activations, images, |this| {
                this.training_pass(node, config, micro_batch);
            });
        });
        self.ledger.repeat(passes);

        let validation = self.inputs.data.validation;
        match node.network.is_spiking() {
            true => self.simulate(validation, node.network.steps(), false),
            false => self.evaluate(node.name(), validation),
        }
        self.ledger.malloc_briefly(Purpose::Checkpoint, bytes + optimiser);
        self.read_checkpoint(bytes);
        self.ledger.repeat(passes * (config.epochs as usize));
        self.ledger.free(Purpose::Optimiser, optimiser);
        // The tensors of the best epoch, which are the result.
        self.holding(Purpose::Weights, bytes, |this| this.measure(&node.network));
        self.write_checkpoint(bytes);
    }

    /// A forward and a backward pass for one micro-batch.
    fn training_pass(&mut self, node: &Node<'_>, config: &TrainConfig, micro_batch: Size) {
        let Inputs { recipe, plans, threads, on_gpu, .. } = self.inputs;
        let steps = Size::from(node.network.steps());
        let (precision, threads) = (config.precision, threads.into());
        let mut pass = Pass { batch: micro_batch, steps, precision, threads };
        let Self { ledger, anns, student, spiking, .. } = self;
        let ann = |stage: &StageName| &anns.get(stage).unwrap_or(student).ann;
        let weights = match node.student() {
            None => {
                ann(node.name()).train(ledger, pass);
                ann(node.name()).weights()
            }
            Some(work) => {
                if let Some(teacher) = &work.teacher {
                    let probes = LossConfig::teacher_probes(&work.losses);
                    match anns.get(teacher).map(|found| &found.ann) {
                        Some(ann) if probes.iter().any(Probe::is_ordinary) => {
                            ann.gradient_maps(ledger, pass, &probes);
                        }
                        Some(ann) => {
                            let has_maps = !probes.is_empty();
                            ann.evaluate(ledger, Purpose::Activations, pass, has_maps);
                        }
                        None => {
                            let steps = recipe.network_of(teacher).map_or(1, |found| found.steps());
                            let pass = Pass { steps: steps.into(), ..pass };
                            spiking.simulate(ledger, Purpose::Activations, pass, true);
                        }
                    }
                }
                if !supports_bf16(recipe) {
                    pass.precision = Precision::F32;
                }
                let probes = LossConfig::student_probes(&work.losses);
                let has_kernel = recipe.spiking.neuron.is_fused();
                let plan = plans.trained(node);
                let is_covered =
                    lasnn_snn::trained_layer_by_layer_because(plan, &recipe.spiking).is_none();
                if on_gpu || !is_covered {
                    let mut bytes = probe_bytes(&probes, plan, pass);
                    bytes += neurons::batch_norm_bytes(plan, pass);
                    if !has_kernel {
                        bytes += neurons::saved_bytes(spiking.neurons(), pass);
                    }
                    ledger.malloc(Purpose::Tape, bytes);
                    spiking.train_layer_by_layer(ledger, pass);
                    ledger.free(Purpose::Tape, bytes);
                    return;
                }
                let copied = spiking.copied_images(pass);
                let bytes = fused_probe_bytes(&probes, plan, pass, copied);
                ledger.malloc(Purpose::Tape, bytes);
                spiking.train(ledger, pass);
                ledger.free(Purpose::Tape, bytes);
                spiking.weights()
            }
        };
        if micro_batch < Size::from(config.batch) {
            // The gradients of a micro-batch are added to the sum over the earlier ones.
            weights.iter().for_each(|&weight| ledger.alloc_briefly(Purpose::Optimiser, weight));
        }
        ledger.release_all(&weights);
    }

    /// The conversion report runs the ANN and the spiking network on the same images.
    fn conversion_report(&mut self, pass: Pass) {
        self.simulate_pass(pass, true);
        // Once as counts and once as rates.
        let spike_counts = self.spiking.neurons() * pass.batch * size_of::<f32>() * 2usize;
        self.holding(Purpose::Evaluation, spike_counts, |this| {
            let Self { ledger, anns, .. } = this;
            let intermediate = &anns[&StageName::INTERMEDIATE].ann;
            intermediate.evaluate_all_outputs(ledger, Purpose::Evaluation, pass);
        });
    }

    /// The calibration of weights keeps what enters and what leaves a layer for all images for
    /// calibration, once in parts and once as a whole.
    fn calibration(&mut self, images: Size) {
        let Inputs { recipe, plans, .. } = self.inputs;
        let is_of_weights = |found: &_| matches!(found, CalibrationConfig::Weights(_));
        let calibrates_weights = recipe.conversion.calibration.iter().any(is_of_weights);
        let of_layer = |layer: &PlannedLayer| layer.input.len() + 2 * layer.output.len();
        let largest = plans.spiking.layers.iter().map(of_layer).max().unwrap_or(0);
        if calibrates_weights {
            let bytes = images * Size::from(largest) * size_of::<f32>() * 2usize;
            self.ledger.malloc_briefly(Purpose::Activations, bytes);
        }
    }

    /// A measurement with offset spikes keeps about eight maps of the widest layer over all time
    /// steps, for as many images as fit into a chunk.
    fn offset_spikes(&mut self, time_steps: usize) {
        let Inputs { recipe, plans, data, .. } = self.inputs;
        let offset_steps = recipe.evaluation.offset_steps;
        if offset_steps == 0 {
            return;
        }
        let widest = plans.spiking.layers.iter().map(|layer| layer.output.len()).max();
        let of_image = Size::from(widest.unwrap_or(0)) * Size::from(time_steps.max(offset_steps));
        let images = images_at_once(&plans.spiking, time_steps, recipe.evaluation.batch);
        let images = Size::from(images).min(data.test.into());
        let numbers = (of_image * images).min(of_image.max(CHUNK.into()));
        let bytes = numbers * size_of::<f32>() * 8usize;
        self.ledger.malloc_briefly(Purpose::Evaluation, bytes);
    }

    /// Measures a network, which is loaded for it, on the test images.
    fn measure(&mut self, network: &StageNetwork<'_>) {
        let bytes = self.tensors(network);
        self.holding(Purpose::Weights, bytes, |this| match network.is_spiking() {
            true => this.measure_spiking(network.steps(), |_| {}),
            false => this.evaluate(&network.stage, this.inputs.data.test),
        });
    }

    /// Simulates the spiking network on the test images with packed weights, and runs `more` while
    /// the packed weights are in memory.
    fn measure_spiking(&mut self, steps: usize, more: impl FnOnce(&mut Self)) {
        let bytes_per_weight = match self.inputs.recipe.evaluation.weights {
            WeightFormat::F32 => 4,
            _ => 2,
        };
        let packed = self.spiking.packed_weights(bytes_per_weight);
        self.holding(Purpose::Evaluation, packed, |this| {
            this.simulate(this.inputs.data.test, steps, true);
            more(this);
        });
    }

    /// A pass of an ANN without gradients over `images` images.
    fn evaluate(&mut self, stage: &StageName, images: usize) {
        let batch = self.images_at_once(self.inputs.plans.of(stage), 1, images);
        let (steps, threads) = (Size::new(1), self.inputs.threads.into());
        let pass = Pass { batch, steps, precision: Precision::F32, threads };
        let loaded = self.loader_bytes(batch, images) + self.image_bytes(batch);
        self.holding(Purpose::Evaluation, loaded, |this| {
            let Self { ledger, anns, student, .. } = this;
            let network = anns.get(stage).unwrap_or(student);
            network.ann.evaluate(ledger, Purpose::Evaluation, pass, false);
        });
    }

    /// A simulation over `images` images. Tests count spikes and use the format of the recipe.
    fn simulate(&mut self, images: usize, steps: usize, is_test: bool) {
        let precision = match self.inputs.recipe.evaluation.weights {
            WeightFormat::Bf16 if is_test => Precision::Bf16,
            _ => Precision::F32,
        };
        let batch = self.images_at_once(&self.inputs.plans.spiking, steps, images);
        let threads = self.inputs.threads.into();
        let pass = Pass { batch, steps: steps.into(), precision, threads };
        let loaded = self.loader_bytes(batch, images) + self.image_bytes(batch);
        self.holding(Purpose::Evaluation, loaded, |this| {
            this.simulate_pass(pass, is_test);
        });
    }

    /// A simulation pass over one batch.
    fn simulate_pass(&mut self, pass: Pass, counts_spikes: bool) {
        let Inputs { recipe, plans, .. } = self.inputs;
        self.spiking.simulate(&mut self.ledger, Purpose::Evaluation, pass, counts_spikes);
        if !recipe.spiking.neuron.is_fused() {
            let bytes = neurons::simulation_bytes(&plans.spiking, pass);
            self.ledger.malloc_briefly(Purpose::Evaluation, bytes);
        }
    }

    /// The number of images that are measured at once.
    fn images_at_once(&self, plan: &Plan, steps: usize, images: usize) -> Size {
        let most = self.inputs.recipe.evaluation.batch;
        Size::from(images_at_once(plan, steps, most)).min(images.into())
    }
}

/// Whether the backward pass of the recipe's neurons can use bfloat16: surrogate derivatives of 8
/// bits, which must be bounded, are enough, or with the linear surrogate rounded potentials.
fn supports_bf16(recipe: &Recipe) -> bool {
    let NeuronOptions { reset, surrogate, .. } = recipe.spiking.neuron.options();
    let trained = recipe.spiking.neuron.trained();
    let is_enough = match surrogate {
        Surrogate::Linear { .. } => true,
        Surrogate::Rectangular { .. } => !trained.threshold && !trained.leak,
        _ => false,
    };
    is_enough && reset == Reset::Subtract
}
