//! Reports the progress of a training: bars and lines for a user, the log, and `metrics.jsonl`.

use lasnn_training::{EpochRecord, Observer, Started, StepInfo};

use crate::metrics::Metrics;
use crate::progress::{Bar, Progress};
use crate::run_dir::RunDir;
use crate::stage::StageName;
use crate::tables::percent;

/// The observer of one stage's training.
pub struct TrainingObserver<'a> {
    stage: &'a StageName,
    progress: &'a Progress,
    metrics: &'a mut Metrics,
    run: &'a RunDir,
    bar: Bar,
    /// The first epoch of this process. It is not 0 if an earlier process was interrupted.
    first_epoch: u32,
    epochs: u32,
    /// The learning rate of the last step.
    learning_rate: f64,
    /// The first error of writing the metrics. The observer cannot stop the training, so the error
    /// is returned at the end.
    write_error: Option<anyhow::Error>,
}

impl<'a> TrainingObserver<'a> {
    /// An observer before the training has begun.
    pub fn new(
        stage: &'a StageName,
        progress: &'a Progress,
        metrics: &'a mut Metrics,
        run: &'a RunDir,
    ) -> Self {
        let bar = progress.bar(stage.as_str(), 0);
        Self {
            stage,
            progress,
            metrics,
            run,
            bar,
            first_epoch: 0,
            epochs: 0,
            learning_rate: 0.0,
            write_error: None,
        }
    }

    /// Ends the observation after the training.
    ///
    /// # Errors
    ///
    /// Fails if `metrics.jsonl` could not be written.
    pub fn end(self) -> anyhow::Result<()> {
        self.write_error.map_or(Ok(()), Err)
    }

    /// Restarts the bar of the current epoch. Its label contains the learning rate, which may
    /// change within the epoch.
    fn restart_bar(&self, epoch: u32, learning_rate: f64, steps: usize) {
        let (name, epochs) = (self.stage, self.epochs);
        let label = format!("{name} epoch {}/{epochs}, rate {}", epoch + 1, rate(learning_rate));
        self.bar.restart(label, steps as u64);
    }
}

impl Observer for TrainingObserver<'_> {
    fn started(&mut self, started: Started<'_>) {
        let Started { epochs, epoch, step, steps, learning_rate, .. } = started;
        self.epochs = epochs;
        self.first_epoch = epoch;
        if epoch > 0 || step > 0 {
            let text = match epoch < epochs {
                true => format!("continues in epoch {} after step {step} of {steps}", epoch + 1),
                false => "is trained; the measurement continues".into(),
            };
            self.progress.say(format!("{}: {text}", self.stage));
        }
        self.learning_rate = learning_rate;
        self.restart_bar(epoch, learning_rate, steps);
    }

    fn step(&mut self, step: StepInfo) {
        let StepInfo { epoch, step, steps, learning_rate, loss } = step;
        if step == 0 || self.learning_rate != learning_rate {
            self.learning_rate = learning_rate;
            self.restart_bar(epoch, learning_rate, steps);
        }
        self.bar.at(step as u64 + 1);
        tracing::trace!(stage = self.stage.as_str(), epoch, step, learning_rate, loss, "step");
    }

    fn validation(&mut self, done: u64, images: u64) {
        if done == 0 {
            self.bar.restart(format!("{} validation", self.stage), images);
        }
        self.bar.at(done);
    }

    fn epoch(&mut self, history: &[EpochRecord]) {
        if let Some(record) = history.last() {
            let text = line(record, self.epochs);
            let index = record.epoch - self.first_epoch;
            let count = self.epochs - self.first_epoch;
            let said = format!("{}: {text}", self.stage);
            self.progress.say_some(index as usize, count as usize, said);
            tracing::info!(stage = self.stage.as_str(), "{text}");
        }
        self.metrics.set(self.stage, history);
        if let Err(error) = self.metrics.write(self.run) {
            self.write_error.get_or_insert(error);
        }
    }
}

/// One epoch in one line.
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

/// A learning rate with three digits, such as `0.002` or `3.17e-5`.
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
