//! `metrics.jsonl`: one line per stage and epoch.

use lasnn_training::EpochRecord;
use serde::Serialize;

use crate::run_dir::RunDir;
use crate::stage::StageName;

/// The losses, accuracies and times of all epochs of a run.
///
/// The file is written from the whole history each time. If lines were appended, an epoch that is
/// trained again after the process was killed would be in the file twice.
#[derive(Debug, Default)]
pub struct Metrics(Vec<(StageName, Vec<EpochRecord>)>);

/// One line of the file.
#[derive(Serialize)]
struct Line<'a> {
    stage: &'a str,
    #[serde(flatten)]
    record: &'a EpochRecord,
}

impl Metrics {
    /// Replaces the history of a stage.
    pub fn set(&mut self, stage: &StageName, history: &[EpochRecord]) {
        match self.0.iter_mut().find(|(known, _)| known == stage) {
            Some((_, known)) => *known = history.to_vec(),
            None => self.0.push((stage.clone(), history.to_vec())),
        }
    }

    /// Writes the file into the folder of the run.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn write(&self, run: &RunDir) -> anyhow::Result<()> {
        run.write("metrics.jsonl", &self.text()?)
    }

    fn text(&self) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        for (stage, history) in &self.0 {
            for record in history {
                let line = Line { stage: stage.in_summary(), record };
                text.push_str(&serde_json::to_string(&line)?);
                text.push('\n');
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u32) -> EpochRecord {
        EpochRecord {
            epoch,
            learning_rate: 0.1,
            train_loss: 0.5,
            train_accuracy: 0.75,
            loss_parts: [("cross_entropy".to_owned(), 0.5)].into(),
            validation_loss: 0.25,
            validation_accuracy: 1.0,
            seconds: 2.0,
            images_per_second: 100.0,
        }
    }

    #[test]
    fn an_epoch_that_is_recorded_twice_is_written_once() {
        let mut metrics = Metrics::default();
        metrics.set(&StageName::TEACHER, &[record(0)]);
        metrics.set(&StageName::TEACHER, &[record(0), record(1)]);
        metrics.set(&StageName::CONTROL, &[record(0)]);
        let text = metrics.text().unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let keys: Vec<_> =
            lines.iter().map(|line| (line["stage"].as_str(), line["epoch"].as_u64())).collect();
        let control = Some("student_without_distillation");
        assert_eq!(
            keys,
            [(Some("teacher"), Some(0)), (Some("teacher"), Some(1)), (control, Some(0))]
        );
        assert_eq!(lines[0]["loss_parts"]["cross_entropy"], 0.5);
    }
}
