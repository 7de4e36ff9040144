//! The loop trains a network, measures it, and stops if a number is not finite.

use std::sync::atomic::AtomicBool;

use burn::module::AutodiffModule;
use burn::tensor::TensorData;
use lasnn_core::{Batch, BatchSource};
use lasnn_nn::{StateDict, state};
use lasnn_training::{
    Adam, BEST, Checkpoint, CrossEntropy, EpochRecord, FitContext, LAST, Observer, OptimizerConfig,
    Started, StepInfo, TrainConfig, TrainError, evaluate, fit,
};

use crate::tiny::{SEED, Stripes, TRAIN, Tiny, Train, VALIDATION, bits, config, sgd, train_all};

#[test]
fn a_tiny_network_learns() {
    for optimizer in [sgd(0.1), OptimizerConfig::Adam(Adam::new(0.02))] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig { epochs: 20, ..config(optimizer) };
        let fitted = train_all(Tiny::new(false, 0.0), &config, dir.path());
        let [first, .., last] = &fitted.history[..] else { panic!("20 epochs") };
        assert!(last.train_loss < 0.3 * first.train_loss, "{first:?} {last:?}");
        assert!(fitted.best().validation_accuracy > 0.7, "{:?}", fitted.best());
        assert_eq!(last.learning_rate, config.learning_rate(19, 0, 4));
        assert_eq!(last.loss_parts["cross_entropy"], last.train_loss);
    }
}

#[test]
fn the_network_of_the_best_epoch_is_returned_and_the_last_one_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig { epochs: 8, ..config(sgd(0.3)) };
    let fitted = train_all(Tiny::new(true, 0.2), &config, dir.path());
    let accuracies: Vec<f64> = fitted.history.iter().map(|r| r.validation_accuracy).collect();
    let best = accuracies.iter().copied().fold(0.0, f64::max);
    assert_eq!(accuracies.iter().position(|&a| a == best), Some(fitted.best_epoch as usize));
    assert!(
        fitted.best_epoch < 7,
        "the test needs a best epoch that is not the last: {accuracies:?}"
    );

    // The returned network does have the best epoch's accuracy.
    let found = evaluate(&fitted.model.valid(), &VALIDATION, SEED, &Default::default());
    assert_eq!((found.images, found.accuracy), (12, best));
    assert_eq!(found.loss, fitted.best().validation_loss);
    let on_disk = Checkpoint::load(&dir.path().join(BEST)).unwrap();
    assert_eq!(bits(&on_disk.state), bits(&state::save(&fitted.model.valid())));
    assert_eq!(on_disk.metadata["run"]["recipe"]["name"], "tiny");
    let mut last = Checkpoint::load(&dir.path().join(LAST)).unwrap();
    assert_ne!(bits(&last.take_section("model")), bits(&on_disk.state));
    assert_eq!(last.metadata["epoch"], 8);
}

#[test]
fn the_same_run_writes_the_same_best_file() {
    let bytes = || {
        let dir = tempfile::tempdir().unwrap();
        train_all(Tiny::new(true, 0.2), &config(sgd(0.1)), dir.path());
        std::fs::read(dir.path().join(BEST)).unwrap()
    };
    assert_eq!(bytes(), bytes());
}

/// Without batch norm, the gradient of a batch is the weighted mean over its micro-batches. With
/// dropout this holds, too, because each image has a mask of its own.
#[test]
fn micro_batches_change_only_rounding() {
    let weights = |micro_batch| {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig { micro_batch, clip_norm: Some(1.0), ..config(sgd(0.1)) };
        let fitted = train_all(Tiny::new(false, 0.2), &config, dir.path());
        (state::save(&fitted.model.valid()), fitted.history)
    };
    let (whole, whole_history) = weights(None);
    for images in [1, 4, 5] {
        let (split, history) = weights(Some(images));
        for (name, data) in &whole {
            let pairs = data.iter::<f32>().zip(split[name].iter::<f32>());
            let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error < 1e-5, "{name} differs by {error} for micro-batches of {images}");
        }
        for (a, b) in whole_history.iter().zip(&history) {
            assert!((a.train_loss - b.train_loss).abs() < 1e-5);
            assert_eq!(a.train_accuracy, b.train_accuracy);
        }
    }
}

/// A training set with a NaN in each batch from one batch on.
struct Poisoned {
    from: usize,
}

impl BatchSource for Poisoned {
    fn len(&self) -> usize {
        TRAIN.len()
    }

    fn batches(&self) -> usize {
        TRAIN.batches()
    }

    fn epoch(&self, epoch: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new(TRAIN.epoch(epoch, first).zip(first..).map(|(mut batch, step)| {
            if step >= self.from {
                batch.pixels[0] = f32::NAN;
            }
            batch
        }))
    }
}

/// Trains on `source` and returns the error: epoch, step and message.
fn stops(
    model: Tiny<Train>,
    source: &dyn BatchSource,
    config: &TrainConfig,
) -> (u32, usize, String) {
    let dir = tempfile::tempdir().unwrap();
    let context = FitContext {
        dir: dir.path(),
        stage: "tiny",
        seed: SEED,
        resume: false,
        fingerprint: "",
        recipe: serde_json::Value::Null,
        stop: &AtomicBool::new(false),
        observer: &mut (),
    };
    let device = Default::default();
    match fit(model, &CrossEntropy, source, &VALIDATION, config, context, &device) {
        Err(error @ TrainError::NotFinite { epoch, step, .. }) => (epoch, step, error.to_string()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the run did not fail"),
    }
}

#[test]
fn the_error_of_a_loss_that_is_not_finite_names_epoch_step_and_cause() {
    let (epoch, step, message) =
        stops(Tiny::new(false, 0.0), &Poisoned { from: 2 }, &config(sgd(0.1)));
    assert_eq!((epoch, step), (0, 2));
    assert!(
        message.starts_with("tiny: the gradient norm is NaN in epoch 1/3, step 3/4"),
        "{message}"
    );
    assert!(message.contains("the batch's images are not finite"), "{message}");

    let model = Tiny::new(false, 0.0);
    let mut state: StateDict = state::save(&model);
    state.insert("classifier.bias".into(), TensorData::from([0.0, f32::NAN, 0.0]));
    let model = state::load(model, state).unwrap();
    let (_, step, message) = stops(model, &TRAIN, &config(sgd(0.1)));
    assert_eq!(step, 0);
    assert!(message.contains("training loss is NaN"), "{message}");
    assert!(message.contains("parameter `classifier.bias` is not finite"), "{message}");

    // Weights of 1e25 are finite, but their products are not.
    let (_, step, message) = stops(Tiny::new(false, 0.0), &TRAIN, &config(sgd(1e25)));
    assert_eq!(step, 1);
    assert!(message.contains("the logits are not finite"), "{message}");
    assert!(message.contains("lower `optimizer.learning_rate` (1000"), "{message}");
    assert!(message.contains("set `clip_norm`"), "{message}");
}

#[test]
fn a_validation_that_is_not_finite_stops_the_run() {
    let config = TrainConfig { batch: 22, ..config(sgd(1e25)) };
    let one_step = Stripes { batch: 22, ..TRAIN };
    let (epoch, step, message) = stops(Tiny::new(false, 0.0), &one_step, &config);
    assert_eq!((epoch, step), (0, 0));
    assert!(message.contains("validation loss is"), "{message}");
    assert!(message.contains("in epoch 1/3, step 1/1"), "{message}");
}

#[test]
fn an_empty_split_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let context = FitContext {
        dir: dir.path(),
        stage: "tiny",
        seed: SEED,
        resume: false,
        fingerprint: "",
        recipe: serde_json::Value::Null,
        stop: &AtomicBool::new(false),
        observer: &mut (),
    };
    let none = Stripes { images: 0, ..VALIDATION };
    let (model, device) = (Tiny::new(false, 0.0), Default::default());
    let error = fit(model, &CrossEntropy, &TRAIN, &none, &config(sgd(0.1)), context, &device);
    let message = error.unwrap_err().to_string();
    assert_eq!(message, "the validation split has no image, expected at least 1");
}

#[derive(Default)]
struct Log(Vec<String>);

impl Observer for Log {
    fn started(&mut self, at: Started<'_>) {
        self.0.push(format!("{} {}/{} {}/{}", at.stage, at.epoch, at.epochs, at.step, at.steps));
    }

    fn step(&mut self, at: StepInfo) {
        assert!(at.loss > 0.0);
        self.0.push(format!("{}: {}/{}", at.epoch, at.step, at.steps));
    }

    fn epoch(&mut self, history: &[EpochRecord]) {
        let record = history.last().unwrap();
        assert_eq!(record.epoch as usize + 1, history.len());
        assert!(record.seconds > 0.0 && record.images_per_second > 0.0);
        self.0.push(format!("{} done", record.epoch));
    }
}

#[test]
fn an_observer_sees_every_step_and_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig { epochs: 2, ..config(sgd(0.1)) };
    let mut log = Log::default();
    let stop = AtomicBool::new(false);
    crate::tiny::train(Tiny::new(false, 0.0), &config, dir.path(), false, &stop, &mut log).unwrap();
    assert_eq!(
        log.0,
        [
            "tiny 0/2 0/4",
            "0: 0/4",
            "0: 1/4",
            "0: 2/4",
            "0: 3/4",
            "0 done",
            "1: 0/4",
            "1: 1/4",
            "1: 2/4",
            "1: 3/4",
            "1 done"
        ]
    );
}
