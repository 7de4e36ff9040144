//! The conversion: an ANN becomes a spiking network.

use std::cell::RefCell;
use std::time::Instant;

use lasnn_conversion::{Ann, Balancing, ConversionError, batch_norms, convert, fold_batch_norm};
use lasnn_core::{Batch, BatchSource, Pass};
use lasnn_nn::{BatchTensors, StateDict, state};
use lasnn_snn::{Progress as At, Simulator, SpikingNetwork, Task, images_at_once};
use serde_json::{Value, json};

use super::ann;
use super::measure::{simulation, test_simulation};
use super::outputs::Outputs;
use super::session::Session;
use super::stage::{Stage, TestResult};
use crate::device::TrainingBackend;
use crate::progress::{Bar, Progress};
use crate::recipe::Node;
use crate::signals::{self, Interrupted};
use crate::stage::StageName;
use crate::stage_artifact::{self, ArtifactMetadata, StageArtifact};
use crate::summary::{AtTimeSteps, SpikingSummary, StageSummary};
use crate::tables::percent;

/// The stage that converts an ANN.
pub struct Conversion<'a> {
    /// The stage.
    pub node: &'a Node<'a>,
    /// The stage that trains the ANN.
    pub from: &'a StageName,
}

impl<A: TrainingBackend> Stage<A> for Conversion<'_> {
    fn node(&self) -> &Node<'_> {
        self.node
    }

    fn is_cached(&self) -> bool {
        true
    }

    fn key_parts(&self, session: &Session<'_>, inputs: &Outputs) -> anyhow::Result<Value> {
        let recipe = session.recipe;
        Ok(json!({
            "intermediate": inputs.get(self.from)?.key,
            "spiking": recipe.spiking,
            "conversion": recipe.conversion,
            "time_steps": self.node.network.steps(),
            // The stage's summary contains these measurements.
            "evaluation": [
                json!(recipe.evaluation.time_steps),
                json!(recipe.evaluation.offset_steps),
                json!(recipe.evaluation.weights),
            ],
        }))
    }

    fn run(
        &self,
        session: &mut Session<'_>,
        inputs: &Outputs,
        _: &str,
        device: &A::Device,
    ) -> anyhow::Result<StageArtifact> {
        run::<A>(session, self, &inputs.get(self.from)?.state, device)
    }

    fn test(
        &self,
        session: &Session<'_>,
        tensors: StateDict,
        device: &A::Device,
    ) -> anyhow::Result<TestResult> {
        let (recipe, plan) = (session.recipe, session.plan(self.node));
        let steps = self.node.network.steps();
        let network = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
        let network = state::load(network, tensors)?;
        let simulator = Simulator::with_format(network, recipe.evaluation.weights);
        test_simulation(session, self.node, &simulator, device)
    }
}

/// Converts the ANN with the tensors `intermediate`.
fn run<A: TrainingBackend>(
    session: &Session<'_>,
    stage: &Conversion<'_>,
    intermediate: &StateDict,
    device: &A::Device,
) -> anyhow::Result<StageArtifact> {
    let begun = Instant::now();
    let Session { recipe, splits, progress, .. } = *session;
    let (node, name) = (stage.node, stage.node.name());
    let (seed, plan, steps) = (recipe.seed, session.plan(node), node.network.steps());
    let config = &recipe.conversion;
    let batches = splits.balancing(config.batches, config.batch);
    let images: usize = batches.iter().map(Batch::len).sum();
    progress.say(format!(
        "{name}: balances thresholds on {images} images over {} steps",
        config.time_steps,
    ));
    let ann = ann::network::<A>(session, stage.from, intermediate.clone(), device)?;
    let activations = |batch: &Batch| {
        let pass = Pass::evaluate(seed, &batch.samples);
        ann.activations(batch.images(device), &pass)
    };
    let untrained = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
    let shown = RefCell::new(None);
    let on_progress = |at: At| {
        show(progress, &mut shown.borrow_mut(), at);
        signals::go_on()
    };
    let balancing = Balancing { config, batches: &batches, seed, on_progress: &on_progress };
    let folded = fold_batch_norm(&recipe.intermediate.network, intermediate.clone())?;
    let norms = batch_norms(intermediate);
    let known = Ann { tensors: &folded, norms: &norms, activations: &activations };
    let converted = convert(untrained, known, balancing, device);
    drop(shown);
    let (network, mut report) = converted.map_err(|error| match error {
        ConversionError::Interrupted => Interrupted.into(),
        error => anyhow::Error::from(error),
    })?;

    let at_once = |steps| images_at_once(plan, steps, recipe.evaluation.batch);
    let validation = splits.validation(at_once(steps));
    let label = format!("{name} validation");
    // The simulator needs the same memory for any number of time steps. A forward pass would need
    // more memory for each step.
    progress.say(format!("{name}: measures"));
    let exact = Simulator::new(network.clone());
    let validation = simulation(&exact, &validation, steps, seed, &label, progress, device)?;
    drop(exact);
    let simulator = Simulator::with_format(network.clone(), recipe.evaluation.weights);
    let result = test_simulation(session, node, &simulator, device)?;
    let mut at_time_steps = Vec::new();
    let mut all_steps: Vec<usize> = recipe.evaluation.time_steps.clone();
    all_steps.sort_unstable();
    let plain = all_steps.iter().map(|&time_steps| (time_steps, 0));
    let offset_steps = recipe.evaluation.offset_steps;
    let mut corrected = [&all_steps[..], &[steps]].concat();
    corrected.sort_unstable();
    corrected.dedup();
    let corrected = corrected.into_iter().map(|time_steps| (time_steps, offset_steps));
    let runs: Vec<_> = plain.chain(corrected.filter(|_| offset_steps > 0)).collect();
    for (index, &(time_steps, offset_steps)) in runs.iter().enumerate() {
        let simulator = simulator.clone().with_offset_steps(offset_steps)?;
        let images = splits.test(at_once(time_steps));
        let label = format!("{name} test");
        let found = simulation(&simulator, &images, time_steps, seed, &label, progress, device)?;
        let entry = AtTimeSteps::new(&found, time_steps, offset_steps);
        let text = format!("{} {}", percent(found.accuracy), entry.title());
        progress.say_some(index, runs.len(), format!("{name}: {text}"));
        tracing::info!(stage = name.as_str(), "{text}");
        at_time_steps.push(entry);
    }
    let plain = at_time_steps.iter().filter(|found| found.offset_steps == 0);
    let mut by_steps: Vec<_> = plain.map(|found| (found.time_steps, found.test_accuracy)).collect();
    by_steps.push((steps, result.accuracy));
    report.warnings.extend(falls(by_steps, splits.test(1).len()));
    let summary = StageSummary {
        network: plan.name.clone(),
        parameters: plan.parameters(),
        test_accuracy: result.accuracy,
        accuracy_by_class: result.by_class,
        validation_accuracy: validation.accuracy,
        epochs: 0,
        best_epoch: None,
        last_test_accuracy: None,
        seconds: begun.elapsed().as_secs_f64(),
        reused: false,
        spiking: result.spiking.map(|spiking| SpikingSummary { at_time_steps, ..spiking }),
    };
    let state = state::save(&network);
    let metadata = ArtifactMetadata {
        conversion: Some(stage_artifact::Conversion::from(report)),
        ..session.metadata(node, &state, summary)
    };
    Ok(StageArtifact { state, metadata })
}

/// A warning if the accuracy with the most time steps is lower than the best one. The difference
/// must be larger than two standard errors, which follow from the number of test images.
fn falls(mut by_steps: Vec<(usize, f64)>, images: usize) -> Option<String> {
    by_steps.sort_by_key(|&(steps, _)| steps);
    let best =
        by_steps.iter().copied().reduce(|best, next| if next.1 > best.1 { next } else { best });
    let (best, last) = (best?, *by_steps.last()?);
    let variance = best.1 * (1.0 - best.1) + last.1 * (1.0 - last.1);
    let noise = 2.0 * (variance / images.max(1) as f64).sqrt();
    (best.1 - last.1 > noise).then(|| {
        format!(
            "the converted network has an accuracy of {} over {} time steps and of only {} over \
             {}: with more steps, firing rates should be closer to the activations. A shift or a \
             calibration fits one number of steps (`conversion.shift_steps`, \
             `conversion.calibration`); thresholds that are too low clip the activations \
             (`conversion.scale`, `conversion.method`)",
            percent(best.1),
            best.0,
            percent(last.1),
            last.0
        )
    })
}

/// Shows the progress of a conversion: one bar for each task.
fn show(progress: &Progress, shown: &mut Option<(Task, Bar)>, at: At) {
    let bar = match shown {
        Some((task, bar)) if *task == at.task => bar,
        _ => {
            let label = match at.task {
                Task::Balancing => "balances thresholds",
                Task::Calibrating => "calibrates",
                Task::Comparing | Task::FindingErrors => "compares with the ANN",
                Task::Simulating => "measures",
            };
            // The old bar must disappear before the new one is drawn.
            *shown = None;
            &mut shown.insert((at.task, progress.bar(label, at.total))).1
        }
    };
    bar.at(at.done);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accuracy_that_falls_with_more_steps_is_reported() {
        let found = falls(vec![(32, 0.8), (4, 0.6), (8, 0.95)], 360).unwrap();
        assert!(found.contains("95.00 % over 8") && found.contains("80.00 % over 32"), "{found}");
        assert_eq!(falls(vec![(32, 0.94), (8, 0.95)], 360), None);
        assert_eq!(falls(vec![(8, 0.95)], 360), None);
    }
}
