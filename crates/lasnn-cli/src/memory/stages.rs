//! What each stage of a recipe takes, one after the other.
//!
//! The order of what is held and freed is that of `pipeline`, of `lasnn_training::fit` and of
//! `lasnn_conversion::convert`.

use lasnn_core::{Plan, Precision};
use lasnn_neurons::{Reset, Surrogate};
use lasnn_snn::{WeightFormat, images_at_once};
use lasnn_training::{OptimizerConfig, TrainConfig};

use super::Stage;
use super::ledger::{Ledger, Part};
use super::ordinary::{self, Ordinary, numbers};
use super::size::Size;
use super::spiking::{self, Format, Spiking};
use crate::recipe::{Plans, Recipe};
use crate::stage::StageName;

/// What the program takes beside what is counted here: its code, the libraries' tables, and what
/// the allocator rounds up to huge pages of 2 MiB. Training a network of a few hundred weights
/// takes 24, 28 and 35 MiB on 1, 2 and 8 threads (measured, `results/2026-11-30-memory`).
const PROGRAM: Size = Size::new(28 << 20);

/// What a thread takes beside what kernels ask for: its stack and the allocator's pages for it. The
/// same measurement gives between 1 and 4 MiB.
const THREAD: Size = Size::new(2 << 20);

/// Threads that make batches, the finished batches of each that wait, and the one that it is at
/// (`lasnn_datasets::Prefetch`).
const LOADERS: usize = 2;
const WAITING: usize = 3;

/// The bins of a percentile of currents (`lasnn_conversion::quantile`).
const BINS: Size = Size::new(4 << 20);

/// How many images there are.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Trained on.
    pub train: usize,
    /// The student is trained on.
    pub student: usize,
    /// Held out.
    pub validation: usize,
    /// Tested on.
    pub test: usize,
    /// Bytes of pixels in memory.
    pub pixels: Size,
}

/// What is to be estimated.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub recipe: &'a Recipe,
    pub plans: &'a Plans,
    pub facts: Facts,
    pub threads: usize,
    /// Whether a GPU computes, layer by layer.
    pub on_gpu: bool,
}

/// A walk through the stages.
#[derive(Debug)]
pub struct Walk<'a> {
    asked: Asked<'a>,
    ledger: Ledger,
    teacher: Network,
    student: Network,
    spiking: Spiking,
    stages: Vec<Stage>,
}

/// An ordinary network and the bytes of its tensors.
#[derive(Debug)]
struct Network {
    operations: Ordinary,
    bytes: Size,
}

impl Network {
    fn new(plan: &Plan) -> Self {
        let bytes = Size::from(plan.parameters()) * size_of::<f32>();
        Self { operations: Ordinary::new(plan), bytes }
    }
}

/// A training: whose, on how many images.
#[derive(Clone, Copy)]
struct Training<'a> {
    config: &'a TrainConfig,
    images: usize,
    is_spiking: bool,
}

impl<'a> Walk<'a> {
    /// Before the first stage: the program and its data.
    pub fn new(asked: Asked<'a>) -> Self {
        let Asked { recipe, plans, facts, threads, .. } = asked;
        let mut ledger = Ledger::default();
        ledger.hold(Part::Process, PROGRAM + THREAD * threads + facts.pixels);
        Self {
            asked,
            ledger,
            teacher: Network::new(&plans.teacher),
            student: Network::new(&plans.student),
            spiking: Spiking::new(&plans.student, recipe.spiking.encoding),
            stages: Vec::new(),
        }
    }

    /// The stages so far.
    pub fn into_stages(self) -> Vec<Stage> {
        self.stages
    }

    fn end(&mut self, name: &'static str) {
        self.stages.push(Stage { name, parts: self.ledger.peak() });
    }

    fn threads(&self) -> Size {
        self.asked.threads.into()
    }

    fn network(&self, stage: StageName) -> &Network {
        match stage {
            StageName::Teacher => &self.teacher,
            _ => &self.student,
        }
    }

    /// Bytes of the images of a batch.
    fn images(&self, batch: Size) -> Size {
        numbers(self.asked.plans.teacher.input) * batch * size_of::<f32>()
    }

    /// Batches that wait for their use, and the one that is used.
    fn queue(&self, batch: Size, images: usize) -> Size {
        let loaders = LOADERS.min(self.asked.threads);
        let batches = Size::from(images).div_ceil(batch).min(Size::from(loaders * WAITING));
        self.images(batch) * (batches + 1usize)
    }

    /// An ordinary network is trained, or a checkpoint takes its place.
    pub fn ordinary(&mut self, stage: StageName, given: bool) {
        self.ledger.begin();
        let bytes = self.network(stage).bytes;
        if given {
            self.read(bytes);
            self.measure_ordinary(stage);
            self.ledger.hold(Part::Weights, bytes);
        } else {
            let (recipe, facts) = (self.asked.recipe, self.asked.facts);
            let config = match stage {
                StageName::Teacher => &recipe.teacher.train,
                _ => &recipe.intermediate.train,
            };
            let training = Training { config, images: facts.train, is_spiking: false };
            self.train(stage, training);
        }
        self.end(match stage {
            StageName::Teacher => "teacher",
            _ => "intermediate",
        });
    }

    /// The intermediate network is made spiking.
    pub fn conversion(&mut self) {
        self.ledger.begin();
        let Asked { recipe, facts, .. } = self.asked;
        let config = &recipe.conversion;
        let (bytes, threads) = (self.student.bytes, self.threads());
        let batch = Size::from(config.batch).min(facts.train.into());
        let batches = Size::from(facts.train).div_ceil(batch).min(config.batches.into());
        let images = self.images(batch) * batches;
        self.ledger.hold(Part::Process, images);
        // The ordinary network and the spiking one, which is loaded from a copy of the former's
        // tensors and of its own.
        self.ledger.hold(Part::Weights, bytes * 2usize);
        self.ledger.hold(Part::Checkpoint, bytes * 2usize);
        self.ledger.free(Part::Checkpoint, bytes * 2usize);
        let steps = Size::from(config.time_steps);
        let pass = spiking::Pass { batch, steps, format: Format::Exact, threads };
        self.ledger.hold(Part::Process, BINS);
        self.spiking.balance(&mut self.ledger, pass);
        self.ledger.free(Part::Process, BINS);
        // The report runs both networks on the same images, some of them at a time.
        let at_once = images_at_once(&self.asked.plans.student, config.time_steps, config.batch);
        let batch = batch.min(at_once.into());
        let pass = spiking::Pass { batch, ..pass };
        let packed = self.spiking.packed(Format::Exact);
        self.ledger.hold(Part::Weights, packed);
        self.spiking.simulate(&mut self.ledger, Part::Evaluation, pass, true);
        let counts = self.spiking.all_neurons() * batch * size_of::<f32>();
        self.ledger.hold(Part::Evaluation, counts);
        let pass = ordinary::Pass { batch, rounded: false, threads };
        self.student.operations.show_all(&mut self.ledger, Part::Evaluation, pass);
        self.ledger.free(Part::Evaluation, counts);
        self.ledger.free(Part::Weights, packed);

        self.validate_spiking();
        self.measure_spiking(recipe.student.time_steps, |walk| {
            for &steps in &recipe.evaluation.time_steps {
                walk.simulate_test(steps);
            }
            // The tensors of the result.
            walk.ledger.hold(Part::Weights, bytes);
        });
        self.ledger.free(Part::Weights, bytes * 2usize);
        self.ledger.free(Part::Process, images);
        self.write(bytes);
        self.end("conversion");
    }

    /// The spiking network is trained.
    pub fn student(&mut self) {
        self.ledger.begin();
        let Asked { recipe, facts, .. } = self.asked;
        // The teacher computes beside it.
        self.ledger.hold(Part::Weights, self.teacher.bytes);
        let training =
            Training { config: &recipe.student.train, images: facts.student, is_spiking: true };
        self.train(StageName::Student, training);
        self.end("student");
    }

    /// A network is read from a checkpoint and measured.
    pub fn measuring(&mut self, stage: StageName, steps: usize) {
        self.ledger.begin();
        let bytes = self.network(stage).bytes;
        self.read(bytes);
        match stage {
            StageName::Teacher | StageName::Intermediate => self.measure_ordinary(stage),
            _ => {
                self.ledger.hold(Part::Weights, bytes);
                self.measure_spiking(steps, |_| {});
            }
        }
        self.end("measuring");
    }

    /// Reads a checkpoint: the file, and its tensors.
    fn read(&mut self, bytes: Size) {
        self.ledger.hold(Part::Checkpoint, bytes * 2usize);
        self.ledger.free(Part::Checkpoint, bytes * 2usize);
    }

    /// Writes the tensors of a finished stage, of which there is a copy then.
    fn write(&mut self, bytes: Size) {
        self.ledger.hold(Part::Checkpoint, bytes);
        self.ledger.free(Part::Checkpoint, bytes);
    }

    fn train(&mut self, stage: StageName, training: Training<'_>) {
        let Training { config, images, is_spiking } = training;
        let (recipe, facts) = (self.asked.recipe, self.asked.facts);
        let bytes = self.network(stage).bytes;
        let remembered = bytes
            * match &config.optimizer {
                OptimizerConfig::Sgd(sgd) => usize::from(sgd.momentum > 0.0),
                OptimizerConfig::Adam(adam) => 2 + usize::from(adam.amsgrad),
            };
        let batch = Size::from(config.batch).min(images.into());
        let micro = Size::from(config.micro_batch.unwrap_or(config.batch)).min(batch);
        let queue = self.queue(batch, images);
        self.ledger.hold(Part::Weights, bytes);
        self.ledger.hold(Part::Process, queue);
        self.ledger.hold(Part::Optimiser, remembered);
        // A part of the batch, and that as a tensor.
        let tensors = self.images(micro) * 2usize;
        self.ledger.hold(Part::Activations, tensors);
        self.pass(stage, config, micro, is_spiking);
        self.ledger.free(Part::Activations, tensors);
        self.ledger.free(Part::Process, queue);
        let steps = Size::from(images).div_ceil(batch);
        self.ledger.repeat(steps * batch.div_ceil(micro));

        match is_spiking {
            true => self.validate_spiking(),
            false => self.evaluate(stage, facts.validation),
        }
        self.ledger.hold(Part::Checkpoint, bytes + remembered);
        self.ledger.free(Part::Checkpoint, bytes + remembered);
        self.read(bytes);
        self.ledger.repeat(steps * batch.div_ceil(micro) * (config.epochs as usize));
        self.ledger.free(Part::Optimiser, remembered);
        // The best epoch's tensors, which are the result.
        self.ledger.hold(Part::Weights, bytes);
        match is_spiking {
            true => {
                self.ledger.hold(Part::Weights, bytes);
                self.measure_spiking(recipe.student.time_steps, |_| {});
                self.ledger.free(Part::Weights, bytes);
            }
            false => self.measure_ordinary(stage),
        }
        self.ledger.free(Part::Weights, bytes);
        self.write(bytes);
    }

    /// A forward and a backward pass, and as many gradients as there are then.
    fn pass(&mut self, stage: StageName, config: &TrainConfig, micro: Size, is_spiking: bool) {
        let threads = self.threads();
        let rounded = config.precision == Precision::Bf16;
        let twice = micro < Size::from(config.batch);
        let pass = ordinary::Pass { batch: micro, rounded, threads };
        let Self { ledger, teacher, student, spiking, asked, .. } = self;
        if !is_spiking {
            let network = match stage {
                StageName::Teacher => teacher,
                _ => student,
            };
            network.operations.train(ledger, pass);
            add_gradients(ledger, network.operations.weights(), twice);
            network.operations.give_gradients(ledger);
            return;
        }
        teacher.operations.evaluate(ledger, Part::Activations, pass, true);
        let steps = Size::from(asked.recipe.student.time_steps);
        let format = if rounded && rounds(asked.recipe) { Format::Halves } else { Format::Exact };
        let pass = spiking::Pass { batch: micro, steps, format, threads };
        if asked.on_gpu {
            spiking.train_layer_by_layer(ledger, pass);
            return;
        }
        spiking.train(ledger, pass);
        add_gradients(ledger, spiking.weights(), twice);
        spiking.give_gradients(ledger);
    }

    /// How many of `images` images are measured at once.
    fn measured_at_once(&self, plan: &Plan, steps: usize, images: usize) -> Size {
        let most = self.asked.recipe.evaluation.batch;
        Size::from(images_at_once(plan, steps, most)).min(images.into())
    }

    /// An ordinary network in a pass without gradients, over so many images.
    fn evaluate(&mut self, stage: StageName, images: usize) {
        let batch = self.measured_at_once(self.asked.plans.of(stage), 1, images);
        let queue = self.queue(batch, images) + self.images(batch);
        let pass = ordinary::Pass { batch, rounded: false, threads: self.threads() };
        self.ledger.hold(Part::Evaluation, queue);
        let Self { ledger, teacher, student, .. } = self;
        let network = match stage {
            StageName::Teacher => teacher,
            _ => student,
        };
        network.operations.evaluate(ledger, Part::Evaluation, pass, false);
        self.ledger.free(Part::Evaluation, queue);
    }

    /// A network that is made for it, on the test images.
    fn measure_ordinary(&mut self, stage: StageName) {
        let bytes = self.network(stage).bytes;
        self.ledger.hold(Part::Weights, bytes);
        self.evaluate(stage, self.asked.facts.test);
        self.ledger.free(Part::Weights, bytes);
    }

    /// The spiking network on the validation images, its weights not packed.
    fn validate_spiking(&mut self) {
        let Asked { recipe, facts, .. } = self.asked;
        self.simulate(facts.validation, recipe.student.time_steps, false);
    }

    /// The spiking network on the test images, its weights packed, and what is done `beside` it.
    fn measure_spiking(&mut self, steps: usize, beside: impl FnOnce(&mut Self)) {
        let format = match self.asked.recipe.evaluation.weights {
            WeightFormat::F32 => Format::Exact,
            _ => Format::Halves,
        };
        let packed = self.spiking.packed(format);
        self.ledger.hold(Part::Evaluation, packed);
        self.simulate_test(steps);
        beside(self);
        self.ledger.free(Part::Evaluation, packed);
    }

    fn simulate_test(&mut self, steps: usize) {
        self.simulate(self.asked.facts.test, steps, true);
    }

    fn simulate(&mut self, images: usize, steps: usize, counted: bool) {
        let recipe = self.asked.recipe;
        let format = match recipe.evaluation.weights {
            WeightFormat::Bf16 if counted => Format::Halves,
            _ => Format::Exact,
        };
        let batch = self.measured_at_once(&self.asked.plans.student, steps, images);
        let queue = self.queue(batch, images) + self.images(batch);
        let (steps, threads) = (Size::from(steps), self.threads());
        let pass = spiking::Pass { batch, steps, format, threads };
        self.ledger.hold(Part::Evaluation, queue);
        self.spiking.simulate(&mut self.ledger, Part::Evaluation, pass, counted);
        self.ledger.free(Part::Evaluation, queue);
    }
}

/// The gradients of the micro-batches before are added to those of the last one.
fn add_gradients(ledger: &mut Ledger, weights: impl Iterator<Item = Size>, twice: bool) {
    if twice {
        weights.for_each(|length| ledger.pass_some(Part::Optimiser, length, Size::new(1)));
    }
}

/// Whether slopes of 8 bits are all that the backward pass of these neurons needs
/// (`Neurons::steepest`).
fn rounds(recipe: &Recipe) -> bool {
    let bounded = matches!(
        recipe.spiking.surrogate,
        Surrogate::Linear { .. } | Surrogate::Rectangular { .. }
    );
    bounded && recipe.spiking.reset == Reset::Subtract
}
