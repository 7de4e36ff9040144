//! Tells a user, the log and `metrics.jsonl` how a training goes.

use lasnn_training::{EpochRecord, Observer, Started, StepInfo};

use crate::args::StageName;
use crate::metrics::Metrics;
use crate::progress::{Bar, Progress};
use crate::report::percent;
use crate::run_dir::RunDir;

/// Watches the training of one stage.
pub struct Watch<'a> {
    stage: StageName,
    progress: &'a Progress,
    metrics: &'a mut Metrics,
    run: &'a RunDir,
    bar: Bar,
    epochs: u32,
    /// The loop cannot stop for this, so it is kept until the training is over.
    unwritten: Option<anyhow::Error>,
}

impl<'a> Watch<'a> {
    /// Nothing has happened yet.
    pub fn new(
        stage: StageName,
        progress: &'a Progress,
        metrics: &'a mut Metrics,
        run: &'a RunDir,
    ) -> Self {
        let bar = progress.bar(stage.name(), 0);
        Self { stage, progress, metrics, run, bar, epochs: 0, unwritten: None }
    }

    /// The training is over.
    ///
    /// # Errors
    ///
    /// Fails if `metrics.jsonl` could not be written.
    pub fn end(self) -> anyhow::Result<()> {
        self.unwritten.map_or(Ok(()), Err)
    }

    fn begin_epoch(&self, epoch: u32, steps: usize) {
        let label = format!("{} epoch {}/{}", self.stage.name(), epoch + 1, self.epochs);
        self.bar.restart(label, steps as u64);
    }
}

impl Observer for Watch<'_> {
    fn started(&mut self, started: Started<'_>) {
        self.epochs = started.epochs;
        let Started { epoch, step, steps, .. } = started;
        if epoch > 0 || step > 0 {
            let text = match epoch < started.epochs {
                true => format!("goes on in epoch {} after step {step} of {steps}", epoch + 1),
                false => "is trained and goes on to be measured".into(),
            };
            self.progress.say(format!("{}: {text}", self.stage.name()));
        }
        self.begin_epoch(epoch, steps);
    }

    fn step(&mut self, step: StepInfo) {
        if step.step == 0 {
            self.begin_epoch(step.epoch, step.steps);
        }
        self.bar.at(step.step as u64 + 1);
        let StepInfo { epoch, step, loss, .. } = step;
        tracing::trace!(stage = self.stage.name(), epoch, step, loss, "step");
    }

    fn epoch(&mut self, history: &[EpochRecord]) {
        if let Some(record) = history.last() {
            let text = line(record, self.epochs);
            self.progress.say(format!("{}: {text}", self.stage.name()));
            tracing::info!(stage = self.stage.name(), "{text}");
        }
        self.metrics.set(self.stage, history);
        if let Err(error) = self.metrics.write(self.run) {
            self.unwritten.get_or_insert(error);
        }
    }
}

/// An epoch in one line.
fn line(record: &EpochRecord, epochs: u32) -> String {
    let mut text = format!(
        "epoch {}/{epochs}, loss {:.4}, train {}, validation {}, {:.1} s",
        record.epoch + 1,
        record.train_loss,
        percent(record.train_accuracy),
        percent(record.validation_accuracy),
        record.seconds,
    );
    if record.loss_parts.len() > 1 {
        for (name, value) in &record.loss_parts {
            text.push_str(&format!(", {name} {value:.4}"));
        }
    }
    text
}
