//! What a recipe says without effect, or with an effect that is easily overlooked.
//!
//! A note refuses nothing: the numbers are right, but perhaps not those that somebody wanted.

use lasnn_core::Precision;
use lasnn_core::{Layer, Plan};
use lasnn_datasets::{Dataset, Split};
use lasnn_distillation::{AttentionConfig, Distance, DistillationConfig};
use lasnn_training::{Schedule, TrainConfig};

use super::resolved::Recipe;
use super::rules::Counts;
use super::validate::Plans;
use crate::args::StageName;
use crate::device::BackendName;

/// What is to be said about a recipe before it runs: one sentence each.
pub fn notes(
    recipe: &Recipe,
    plans: &Plans,
    dataset: &Dataset,
    split: &Split,
    counts: Counts,
    backend: BackendName,
) -> Vec<String> {
    let mut notes = Vec::new();
    let trainings = [
        ("teacher", &recipe.teacher.train, counts.train),
        ("intermediate", &recipe.intermediate.train, counts.train),
        ("student", &recipe.student.train, counts.student),
    ];
    for (table, train, images) in trainings {
        training(&mut notes, table, train, images, backend);
    }
    for stage in [StageName::Teacher, StageName::Intermediate] {
        pooling(&mut notes, stage.table(), plans.of(stage));
    }
    let DistillationConfig::Attention(attention) = &recipe.student.distillation;
    distillation(&mut notes, attention);
    classes(&mut notes, dataset, split);
    notes
}

fn training(
    notes: &mut Vec<String>,
    table: &str,
    train: &TrainConfig,
    images: usize,
    backend: BackendName,
) {
    let steps = images.div_ceil(train.batch);
    if train.batch > images {
        notes.push(format!(
            "`{table}.train.batch` is {}, but there are {images} images: each epoch is one step",
            train.batch
        ));
    }
    if let Some(every) = train.checkpoint_steps.filter(|&every| every as usize >= steps) {
        notes.push(format!(
            "`{table}.train.checkpoint_steps` is {every}, but an epoch has {steps} steps: the \
             checkpoint at its end is the only one"
        ));
    }
    if let Schedule::Steps { milestones, factor } = &train.schedule
        && (milestones.is_empty() || *factor == 1.0)
    {
        notes.push(format!(
            "`{table}.train.schedule` has {} and `factor = {factor}`: the learning rate never changes",
            if milestones.is_empty() { "no milestone" } else { "milestones" }
        ));
    }
    if train.precision == Precision::Bf16 && !backend.is_cpu() {
        notes.push(format!(
            "`{table}.train.precision` is \"bf16\", which the backend `{}` does not take: it \
             computes with its own precision",
            backend.name()
        ));
    }
}

fn pooling(notes: &mut Vec<String>, table: &str, plan: &Plan) {
    for (index, planned) in plan.layers.iter().enumerate() {
        if let Layer::AveragePool { size } | Layer::MaxPool { size } = planned.layer
            && (planned.input.height % size > 0 || planned.input.width % size > 0)
        {
            notes.push(format!(
                "`layers.{index}` of `{table}.network` pools a map of {} by {size}: rows and columns \
                 that are left over at the edge are cut off",
                planned.input
            ));
        }
    }
}

fn distillation(notes: &mut Vec<String>, attention: &AttentionConfig) {
    let AttentionConfig { weight, distance, .. } = *attention;
    if weight == 0.0 {
        notes.push(
            "`student.distillation.weight` is 0: the student learns nothing from its teacher"
                .into(),
        );
        return;
    }
    let usual = match distance {
        Distance::MeanSquare if weight < 10.0 => "1000",
        Distance::Norm if weight > 100.0 => "1",
        _ => return,
    };
    notes.push(format!(
        "`student.distillation.weight` is {weight}; weights of this distance are usually of the \
         order of {usual}"
    ));
}

/// Classes that are never learned, or never tested.
fn classes(notes: &mut Vec<String>, dataset: &Dataset, split: &Split) {
    let mut learned = vec![false; dataset.classes];
    for &index in &split.train {
        learned[dataset.train.labels[index as usize] as usize] = true;
    }
    let mut tested = vec![false; dataset.classes];
    for &label in &dataset.test.labels {
        tested[label as usize] = true;
    }
    for (has, what) in [(learned, "to train on"), (tested, "to test on")] {
        let without = has.iter().filter(|&&has| !has).count();
        if without > 0 {
            notes.push(format!(
                "{without} of {} classes have no image {what}; the test accuracy is that of the \
                 images there are",
                dataset.classes
            ));
        }
    }
}
