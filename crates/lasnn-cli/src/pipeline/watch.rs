//! Tells a user, the log and `metrics.jsonl` how a training goes.

use lasnn_training::{EpochRecord, Observer, Started, StepInfo};

use crate::metrics::Metrics;
use crate::progress::{Bar, Progress};
use crate::report::percent;
use crate::run_dir::RunDir;
use crate::stage::StageName;

/// Watches the training of one stage.
pub struct Watch<'a> {
    stage: StageName,
    progress: &'a Progress,
    metrics: &'a mut Metrics,
    run: &'a RunDir,
    bar: Bar,
    epochs: u32,
    /// The learning rate of the last step.
    learning_rate: f64,
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
        Self { stage, progress, metrics, run, bar, epochs: 0, learning_rate: 0.0, unwritten: None }
    }

    /// The training is over.
    ///
    /// # Errors
    ///
    /// Fails if `metrics.jsonl` could not be written.
    pub fn end(self) -> anyhow::Result<()> {
        self.unwritten.map_or(Ok(()), Err)
    }

    /// Shows a bar for the rest of an epoch. A learning rate that changes within the epoch shows
    /// too.
    fn show(&self, epoch: u32, learning_rate: f64, steps: usize) {
        let (name, epochs) = (self.stage.name(), self.epochs);
        let label = format!("{name} epoch {}/{epochs}, rate {}", epoch + 1, rate(learning_rate));
        self.bar.restart(label, steps as u64);
    }
}

impl Observer for Watch<'_> {
    fn started(&mut self, started: Started<'_>) {
        self.epochs = started.epochs;
        let Started { epoch, step, steps, learning_rate, .. } = started;
        if epoch > 0 || step > 0 {
            let text = match epoch < started.epochs {
                true => format!("goes on in epoch {} after step {step} of {steps}", epoch + 1),
                false => "is trained and goes on to be measured".into(),
            };
            self.progress.say(format!("{}: {text}", self.stage.name()));
        }
        self.learning_rate = learning_rate;
        self.show(epoch, learning_rate, steps);
    }

    fn step(&mut self, step: StepInfo) {
        let StepInfo { epoch, step, steps, learning_rate, loss } = step;
        if step == 0 || self.learning_rate != learning_rate {
            self.learning_rate = learning_rate;
            self.show(epoch, learning_rate, steps);
        }
        self.bar.at(step as u64 + 1);
        tracing::trace!(stage = self.stage.name(), epoch, step, learning_rate, loss, "step");
    }

    fn validation(&mut self, done: u64, images: u64) {
        if done == 0 {
            self.bar.restart(format!("{} validation", self.stage.name()), images);
        }
        self.bar.at(done);
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
        "epoch {}/{epochs}, rate {}, loss {:.4}, train {}, validation {}, {:.1} s",
        record.epoch + 1,
        rate(record.learning_rate),
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

/// A learning rate to three digits: `0.002`, `3.17e-5`.
fn rate(rate: f64) -> String {
    let rounded: f64 = format!("{rate:.2e}").parse().unwrap_or(rate);
    match rounded >= 1e-4 {
        true => rounded.to_string(),
        false => format!("{rounded:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits() {
        assert_eq!(rate(0.1), "0.1");
        assert_eq!(rate(0.002_000_000_1), "0.002");
        assert_eq!(rate(0.123_456), "0.123");
        assert_eq!(rate(3.1689e-5), "3.17e-5");
    }
}
