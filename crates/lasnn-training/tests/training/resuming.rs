//! A run that was interrupted or killed ends with the same bits as an uninterrupted run.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::AutodiffModule;
use burn::tensor::{Int, Tensor};
use lasnn_core::Pass;
use lasnn_nn::{Loss, Objective, state};
use lasnn_training::{
    Adam, BEST, Checkpoint, CheckpointError, CrossEntropy, EpochRecord, FitContext, Fitted, LAST,
    Observer, OptimizerConfig, StepInfo, TrainConfig, TrainError, fit,
};

use crate::tiny::{SEED, TRAIN, Tiny, Train, VALIDATION, bits, config, sgd, train, train_all};

/// A network with batch norm, which has state, and dropout, whose draws depend on the position.
fn model() -> Tiny<Train> {
    Tiny::new(true, 0.3)
}

/// Four epochs of four steps, with momentum and with Adam.
fn configs() -> [TrainConfig; 2] {
    let adam = OptimizerConfig::Adam(Adam { amsgrad: true, ..Adam::new(0.02) });
    [sgd(0.2), adam].map(|optimizer| TrainConfig { epochs: 4, ..config(optimizer) })
}

/// The results of a run, without the times.
#[derive(Debug, PartialEq)]
struct End {
    best_epoch: u32,
    history: Vec<EpochRecord>,
    best: Vec<(String, Vec<u8>)>,
    /// The tensors of network and optimiser.
    last: Vec<(String, Vec<u8>)>,
}

fn end(fitted: Fitted<Tiny<Train>>, dir: &Path) -> End {
    let untimed = |r: EpochRecord| EpochRecord { seconds: 0.0, images_per_second: 0.0, ..r };
    let best = bits(&state::save(&fitted.model.valid()));
    assert_eq!(best, bits(&Checkpoint::load(&dir.join(BEST)).unwrap().state));
    End {
        best_epoch: fitted.best_epoch,
        history: fitted.history.into_iter().map(untimed).collect(),
        best,
        last: bits(&Checkpoint::load(&dir.join(LAST)).unwrap().state),
    }
}

fn uninterrupted(config: &TrainConfig) -> End {
    let dir = tempfile::tempdir().unwrap();
    end(train_all(model(), config, dir.path()), dir.path())
}

fn resumed(config: &TrainConfig, dir: &Path) -> End {
    let fitted = train(model(), config, dir, true, &AtomicBool::new(false), &mut ());
    end(fitted.unwrap(), dir)
}

/// An observer that sets the stop flag after `steps` steps.
struct StopAfter<'a> {
    steps: usize,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: StepInfo) {
        self.steps -= 1;
        self.stop.store(self.steps == 0, Ordering::Relaxed);
    }
}

/// Interrupts a run after `steps` steps; returns the epoch and the step at which it resumes.
fn interrupt(config: &TrainConfig, dir: &Path, resume: bool, steps: usize) -> (u32, usize) {
    let stop = AtomicBool::new(false);
    let mut observer = StopAfter { steps, stop: &stop };
    match train(model(), config, dir, resume, &stop, &mut observer) {
        Err(TrainError::Interrupted { path, epoch, step }) => {
            assert_eq!(path, dir.join(LAST));
            (epoch, step)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_interrupted_run_resumes_where_it_stopped() {
    for config in configs() {
        let expected = uninterrupted(&config);
        for steps in [1, 3, 4, 5, 10, 16] {
            let dir = tempfile::tempdir().unwrap();
            let at = interrupt(&config, dir.path(), false, steps);
            assert_eq!(at, ((steps as u32 - 1) / 4, (steps - 1) % 4 + 1));
            assert_eq!(resumed(&config, dir.path()), expected, "stopped after {steps} steps");
        }
    }
}

/// Cross-entropy that sets the stop flag at one of its calls, in the middle of a step.
struct StopAtCall<'a> {
    call: usize,
    calls: Cell<usize>,
    stop: &'a AtomicBool,
}

impl Objective<Train, Tiny<Train>> for StopAtCall<'_> {
    fn loss(
        &self,
        model: &Tiny<Train>,
        images: Tensor<Train, 4>,
        targets: Tensor<Train, 1, Int>,
        pass: &Pass<'_>,
    ) -> Loss<Train> {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == self.call {
            self.stop.store(true, Ordering::Relaxed);
        }
        CrossEntropy.loss(model, images, targets, pass)
    }
}

/// Without batch norm the run abandons the step. With batch norm it completes the step, because the
/// running statistics have changed already.
#[test]
fn a_run_that_is_stopped_between_micro_batches_resumes_where_it_stopped() {
    for batch_norm in [false, true] {
        let [config, _] = configs();
        let config = TrainConfig { micro_batch: Some(2), ..config };
        let model = || Tiny::new(batch_norm, 0.3);
        let dir = tempfile::tempdir().unwrap();
        let expected = end(train_all(model(), &config, dir.path()), dir.path());
        for call in 1..=8 {
            let dir = tempfile::tempdir().unwrap();
            let stop = AtomicBool::new(false);
            let objective = StopAtCall { call, calls: Cell::new(0), stop: &stop };
            let context = FitContext {
                dir: dir.path(),
                stage: "tiny",
                seed: SEED,
                resume: false,
                fingerprint: "stripes",
                recipe: serde_json::json!({"name": "tiny"}),
                stop: &stop,
                observer: &mut (),
            };
            let device = Default::default();
            let error = fit(model(), &objective, &TRAIN, &VALIDATION, &config, context, &device);
            match error {
                // A step has three micro-batches.
                Err(TrainError::Interrupted { step, .. }) => {
                    let ends_step = batch_norm || call % 3 == 0;
                    assert_eq!(step, if ends_step { call.div_ceil(3) } else { call / 3 });
                }
                other => panic!("{other:?}"),
            }
            let not_stopped = AtomicBool::new(false);
            let fitted = train(model(), &config, dir.path(), true, &not_stopped, &mut ()).unwrap();
            assert_eq!(end(fitted, dir.path()), expected, "call {call}, norm {batch_norm}");
        }
    }
}

#[test]
fn a_run_may_be_interrupted_several_times() {
    for config in configs() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(interrupt(&config, dir.path(), true, 2), (0, 2));
        assert_eq!(interrupt(&config, dir.path(), true, 1), (0, 3));
        assert_eq!(interrupt(&config, dir.path(), true, 7), (2, 2));
        assert_eq!(resumed(&config, dir.path()), uninterrupted(&config));
    }
}

/// An observer that copies the directory at each of its calls. A copy has the files that a run
/// killed at that moment leaves.
struct Snapshots<'a> {
    dir: &'a Path,
    to: &'a Path,
    /// The copies, each with whether it was made at the end of an epoch.
    copies: Vec<(PathBuf, bool)>,
}

impl Snapshots<'_> {
    fn take(&mut self, end_of_epoch: bool) {
        let copy = self.to.join(self.copies.len().to_string());
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(self.dir).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        self.copies.push((copy, end_of_epoch));
    }
}

impl Observer for Snapshots<'_> {
    fn step(&mut self, _: StepInfo) {
        self.take(false);
    }

    fn epoch(&mut self, _: &[EpochRecord]) {
        self.take(true);
    }
}

fn snapshots(config: &TrainConfig, dir: &Path, to: &Path) -> Vec<(PathBuf, bool)> {
    let mut observer = Snapshots { dir, to, copies: Vec::new() };
    train(model(), config, dir, false, &AtomicBool::new(false), &mut observer).unwrap();
    observer.copies
}

#[test]
fn a_killed_run_ends_like_an_uninterrupted_one() {
    for config in configs() {
        let config = TrainConfig { checkpoint_steps: Some(3), ..config };
        let expected = uninterrupted(&config);
        let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (copy, _) in snapshots(&config, dir.path(), to.path()) {
            // A run that is killed in the middle of a write leaves such a file, too.
            fs::write(copy.join(".checkpoint-abc"), "half a file").unwrap();
            assert_eq!(resumed(&config, &copy), expected, "killed at {}", copy.display());
            assert!(!copy.join(".checkpoint-abc").exists());
        }
    }
}

/// At the end of an epoch two files are written. If the run is killed between the two writes,
/// `last` is of this epoch, and `best` is of an earlier one or missing.
#[test]
fn a_run_killed_between_its_two_writes_repairs_the_best_file() {
    for config in configs() {
        let expected = uninterrupted(&config);
        let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let copies = snapshots(&config, dir.path(), to.path());
        let ends =
            copies.into_iter().filter_map(|(copy, end_of_epoch)| end_of_epoch.then_some(copy));
        let best_before = to.path().join("best of the epoch before");
        for copy in ends {
            let best_after = fs::read(copy.join(BEST)).unwrap();
            match fs::read(&best_before) {
                Ok(bytes) => fs::write(copy.join(BEST), bytes).unwrap(),
                Err(_) => fs::remove_file(copy.join(BEST)).unwrap(),
            }
            assert_eq!(resumed(&config, &copy), expected, "killed at {}", copy.display());
            fs::write(&best_before, best_after).unwrap();
        }
    }
}

#[test]
fn a_best_file_that_cannot_be_repaired_is_an_error() {
    let [config, _] = configs();
    let dir = tempfile::tempdir().unwrap();
    interrupt(&config, dir.path(), false, 6);
    fs::remove_file(dir.path().join(BEST)).unwrap();
    let error =
        train(model(), &config, dir.path(), true, &AtomicBool::new(false), &mut ()).unwrap_err();
    let TrainError::Damaged { source: CheckpointError::Missing { path } } = &error else {
        panic!("{error}");
    };
    assert!(path.ends_with(BEST), "{error}");
    assert!(error.to_string().contains("remove the folder"), "{error}");
}

#[test]
fn resuming_a_finished_run_trains_nothing() {
    let [config, _] = configs();
    let dir = tempfile::tempdir().unwrap();
    let expected = end(train_all(model(), &config, dir.path()), dir.path());
    let before = fs::metadata(dir.path().join(LAST)).unwrap().modified().unwrap();
    assert_eq!(resumed(&config, dir.path()), expected);
    assert_eq!(fs::metadata(dir.path().join(LAST)).unwrap().modified().unwrap(), before);
}

#[test]
fn a_run_without_resuming_starts_again() {
    let [config, _] = configs();
    let dir = tempfile::tempdir().unwrap();
    interrupt(&config, dir.path(), false, 6);
    assert_eq!(interrupt(&config, dir.path(), false, 1), (0, 1));
    assert!(!dir.path().join(BEST).exists());

    // A run cannot resume from the best network alone.
    interrupt(&config, dir.path(), false, 6);
    fs::remove_file(dir.path().join(LAST)).unwrap();
    assert_eq!(interrupt(&config, dir.path(), true, 1), (0, 1));
    assert!(!dir.path().join(BEST).exists());
}

#[test]
fn the_checkpoint_of_another_run_is_refused() {
    let [config, other] = configs();
    let dir = tempfile::tempdir().unwrap();
    interrupt(&config, dir.path(), false, 2);
    let refuses = |model: Tiny<Train>, config: &TrainConfig, expected: &str| {
        let error = train(model, config, dir.path(), true, &AtomicBool::new(false), &mut ());
        let message = error.unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains(LAST), "{message}");
    };
    refuses(model(), &other, "the checkpoint's `optimizer` is {\"kind\":\"sgd\"");
    refuses(
        model(),
        &TrainConfig { epochs: 5, ..config.clone() },
        "`epochs` is 4, this run's is 5",
    );
    refuses(Tiny::new(false, 0.3), &config, "tensor `norm.beta` is not part of the network");
    // The number of steps between checkpoints does not affect the network.
    let config = TrainConfig { checkpoint_steps: Some(1), ..config };
    resumed(&config, dir.path());
}

/// A network that was run before resuming holds updates of its running statistics back.
#[test]
fn pending_running_statistics_do_not_override_the_checkpoint() {
    let [config, _] = configs();
    let expected = uninterrupted(&config);
    let dir = tempfile::tempdir().unwrap();
    interrupt(&config, dir.path(), false, 5);
    let used = model();
    let images = Tensor::ones([2, 1, 4, 4], &Default::default());
    used.norm.as_ref().unwrap().forward(used.conv.forward(images));
    let fitted = train(used, &config, dir.path(), true, &AtomicBool::new(false), &mut ()).unwrap();
    assert_eq!(end(fitted, dir.path()), expected);
}
