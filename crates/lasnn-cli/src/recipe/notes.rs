//! Notes on keys of a recipe that have no effect, or an effect that is easily overlooked.
//!
//! A recipe with notes is run. Its result is correct, but may not be the result that the user
//! wants.

use lasnn_conversion::{ActivationBounds, ClassScores, ConversionConfig, MethodConfig};
use lasnn_core::{Layer, Plan, Precision};
use lasnn_datasets::{Dataset, Split};
use lasnn_distillation::{LossConfig, On};
use lasnn_models::ActivationConfig;
use lasnn_neurons::TrainedParams;
use lasnn_training::{ParamKind, Schedule, TrainConfig};

use super::graph::{Graph, Node, StudentWork, Work};
use super::resolved::{AddedStage, Recipe, Start};
use super::rules::has_batch_norm;
use super::validate::Plans;
use crate::backend::BackendName;
use crate::stage::StageName;

/// The notes on a recipe, one sentence each. There are `split.train` images to train on.
pub fn notes(
    recipe: &Recipe,
    graph: &Graph<'_>,
    plans: &Plans,
    dataset: &Dataset,
    split: &Split,
    backend: BackendName,
) -> Vec<String> {
    let mut notes = Vec::new();
    let images = split.train.len();
    let needed = graph.needed(&graph.students());
    // The control has the keys of the student.
    let keyed = || needed.iter().filter(|node| *node.name() != StageName::CONTROL);
    for node in keyed() {
        match &node.work {
            Work::Ann(work) => {
                training(&mut notes, &node.network.table, work.train, images, backend);
            }
            Work::Conversion { .. } => {}
            Work::Student(work) => {
                let images = work.train_limit.unwrap_or(images);
                training(&mut notes, &work.table, work.train, images, backend);
            }
        }
    }
    for node in keyed() {
        let (plan, neuron) = (plans.trained(node), recipe.spiking.neuron.trained());
        match &node.work {
            Work::Ann(work) => {
                let trained = (TrainedParams::default(), work.activation.is_trained());
                groups(&mut notes, &node.network.table, work.train, plan, trained);
            }
            Work::Conversion { .. } => {}
            Work::Student(work) => {
                groups(&mut notes, &work.table, work.train, plan, (neuron, false));
            }
        }
    }
    for node in keyed().filter(|node| !node.network.is_spiking()) {
        pooling(&mut notes, &node.network.table, plans.of(node.name()));
    }
    if !keyed().any(|node| *node.name() == StageName::INTERMEDIATE) {
        pooling(&mut notes, "intermediate", &plans.spiking);
    }
    for work in keyed().filter_map(|node| node.student()) {
        losses(&mut notes, work);
        class_scores(&mut notes, recipe, work);
    }
    if needed.iter().any(|node| *node.name() == StageName::CONVERTED) {
        quantised(&mut notes, recipe);
    }
    if backend.is_cpu() {
        layer_by_layer(&mut notes, recipe, &plans.spiking, keyed().filter_map(|n| n.student()));
    }
    without_effect(&mut notes, recipe, graph, &needed);
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
            "`{table}.train.batch` is {}, but there are {images} images: each epoch has one step",
            train.batch
        ));
    }
    if let Some(every) = train.checkpoint_steps.filter(|&every| every as usize >= steps) {
        notes.push(format!(
            "`{table}.train.checkpoint_steps` is {every}, but an epoch has {steps} steps: a \
             checkpoint is written only at its end"
        ));
    }
    if let Schedule::Steps { milestones, factor } = &train.schedule
        && (milestones.is_empty() || *factor == 1.0)
    {
        notes.push(format!(
            "`{table}.train.schedule` has {} and `factor = {factor}`: the learning rate never \
             changes",
            if milestones.is_empty() { "no milestone" } else { "milestones" }
        ));
    }
    if train.precision == Precision::Bf16 && !backend.is_cpu() {
        notes.push(format!(
            "`{table}.train.precision` is \"bf16\", which the backend `{}` does not support: it \
             computes in its own precision",
            backend.name()
        ));
    }
}

/// Notes on groups of parameters that the network lacks. `trained` says which parameters of its
/// neurons are trained, and `activation` whether parameters of its activations are trained.
fn groups(
    notes: &mut Vec<String>,
    table: &str,
    train: &TrainConfig,
    plan: &Plan,
    (trained, activation): (TrainedParams, bool),
) {
    for kind in train.groups.kinds() {
        let (is_there, what) = match kind {
            ParamKind::Weight => (true, "weights"),
            ParamKind::Bias => (has_bias(plan), "biases"),
            ParamKind::Norm => (has_batch_norm(plan), "batch norm"),
            ParamKind::Activation => (activation, "activations with trained parameters"),
            ParamKind::Threshold => (trained.threshold, "trained thresholds"),
            ParamKind::Leak => (trained.leak, "trained leaks"),
            ParamKind::InitialMembrane => {
                (trained.initial_membrane, "trained initial membrane potentials")
            }
        };
        if !is_there {
            let kind = kind.name();
            notes.push(format!(
                "`{table}.train.groups.{kind}` has no effect: the network has no {what}"
            ));
        }
    }
}

/// Whether a layer of the network has a bias.
fn has_bias(plan: &Plan) -> bool {
    plan.layers.iter().any(|planned| {
        matches!(
            planned.layer,
            Layer::Conv { bias: true, .. }
                | Layer::Residual { bias: true, .. }
                | Layer::Linear { bias: true, .. }
                | Layer::Classifier { bias: true }
        )
    })
}

fn pooling(notes: &mut Vec<String>, table: &str, plan: &Plan) {
    for (index, planned) in plan.layers.iter().enumerate() {
        if let Layer::AveragePool { size } | Layer::MaxPool { size } = planned.layer
            && (planned.input.height % size > 0 || planned.input.width % size > 0)
        {
            notes.push(format!(
                "`layers.{index}` of `{table}.network` pools a feature map of {} by {size}: the \
                 remaining rows and columns at the edge are cut off",
                planned.input
            ));
        }
    }
}

fn losses(notes: &mut Vec<String>, work: &StudentWork<'_>) {
    let table = &work.table;
    for (index, loss) in work.losses.iter().enumerate() {
        let (name, kind) = (loss.name(), loss.as_kind());
        let note = match kind.weight() == 0.0 {
            true => {
                Some("`weight` is 0: it is logged, but the student learns nothing from it".into())
            }
            false => kind.note(),
        };
        notes.extend(note.map(|note| format!("`{table}.losses[{index}]` ({name}): {note}")));
    }
    let learns =
        |loss: &LossConfig| loss.as_kind().needs_teacher() && loss.as_kind().weight() > 0.0;
    if work.teacher.is_some() && !work.losses.iter().any(learns) {
        notes.push(format!("no loss in `{table}.losses` makes the student learn from its teacher"));
    }
}

/// Notes on summed logits that are scaled for their mean.
fn class_scores(notes: &mut Vec<String>, recipe: &Recipe, work: &StudentWork<'_>) {
    let is_summed =
        |loss: &LossConfig| matches!(loss, LossConfig::CrossEntropy(loss) if loss.on == On::Sum);
    let is_converted = matches!(&work.start, Start::Stage(stage) if *stage == StageName::CONVERTED);
    if is_converted
        && recipe.conversion.class_scores == ClassScores::Ann
        && work.losses.iter().any(is_summed)
    {
        notes.push(format!(
            "`conversion.class_scores` gives the mean logits the scale of the ordinary network, so \
             a loss of `{}.losses` with `on = \"sum\"` begins with logits that are larger by the \
             number of time steps; expected `on = \"mean\"`, or `class_scores = \"raw\"`",
            work.table
        ));
    }
}

/// A note on the initial membrane potential with which a quantised network converts best.
fn quantised(notes: &mut Vec<String>, recipe: &Recipe) {
    if !matches!(recipe.intermediate.activation, ActivationConfig::Qcfs(_)) {
        return;
    }
    let method = MethodConfig::ActivationBounds(ActivationBounds {});
    let is_half = recipe.spiking.neuron.initial_membrane() == 0.5;
    if recipe.conversion.method != method || !is_half {
        notes.push(
            "a network with the activation `qcfs` loses least in a conversion with \
             `conversion.method = { kind = \"activation-bounds\" }` and \
             `spiking.neuron.initial_membrane = { value = 0.5 }`"
                .into(),
        );
    }
}

/// Notes on tables and keys that `lasnn run` does not use.
fn without_effect(
    notes: &mut Vec<String>,
    recipe: &Recipe,
    graph: &Graph<'_>,
    needed: &[&Node<'_>],
) {
    let is_needed = |name: &StageName| needed.iter().any(|node| node.name() == name);
    let students: Vec<&StudentWork<'_>> = graph
        .nodes()
        .iter()
        .filter(|node| *node.name() != StageName::CONTROL)
        .filter_map(Node::student)
        .collect();
    let lists: Vec<_> = students.iter().map(|work| format!("`{}.losses`", work.table)).collect();
    for node in graph.nodes() {
        let name = node.name();
        if !node.network.is_spiking() && *name != StageName::INTERMEDIATE && !is_needed(name) {
            notes.push(format!(
                "no loss in {} compares with the network of [{}], so it is not trained; `lasnn \
                 train {name}` trains it",
                lists.join(" or "),
                node.network.table,
            ));
        }
    }
    let is_folded = recipe.intermediate.network.folded() != recipe.intermediate.network;
    let lacks_norm =
        |work: &StudentWork<'_>| work.start == Start::Random && work.batch_norm.is_none();
    for work in students.iter().filter(|work| is_folded && lacks_norm(work)) {
        notes.push(format!(
            "the student of [{0}] starts at random and is trained without the batch norms of \
             `intermediate.network`: its convolutions have biases instead; with `{0}.batch_norm` \
             it is trained with batch norms",
            work.table
        ));
    }
    if !is_needed(&StageName::CONVERTED) {
        let mut unused = Vec::new();
        if recipe.intermediate.train.is_some() {
            unused.push("[intermediate.train]");
        }
        if recipe.intermediate.activation != ActivationConfig::default() {
            unused.push("`intermediate.activation`");
        }
        if recipe.conversion != ConversionConfig::default() {
            unused.push("[conversion]");
        }
        if !recipe.evaluation.time_steps.is_empty() {
            unused.push("`evaluation.time_steps`");
        }
        if recipe.evaluation.offset_steps > 0 {
            unused.push("`evaluation.offset_steps`");
        }
        notes.extend(unused.into_iter().map(|unused| {
            format!("{unused} has no effect, since no student starts from the converted network")
        }));
    }
    let added = recipe.stages.iter().filter_map(|(name, stage)| match stage {
        AddedStage::Student(added) => Some((name, added)),
        AddedStage::Ann(_) => None,
    });
    for (name, added) in added.clone() {
        let needs_teacher = added.losses.iter().any(|loss| loss.as_kind().needs_teacher());
        if added.teacher.is_some() && !needs_teacher {
            notes.push(format!(
                "`stages.{name}.teacher` has no effect, since no loss in `stages.{name}.losses` \
                 needs a teacher"
            ));
        }
    }
    let thresholds = added.map(|(name, added)| (format!("stages.{name}"), added.threshold));
    let all: Vec<_> =
        thresholds.chain([("student".to_owned(), recipe.student.threshold)]).collect();
    for work in students.iter().filter(|work| work.start != Start::Random) {
        if all.iter().any(|(table, threshold)| *table == work.table && threshold.is_some()) {
            notes.push(format!(
                "`{}.threshold` has no effect, since the student starts from a network that has \
                 its thresholds",
                work.table
            ));
        }
    }
}

/// Notes on students that a CPU runs or trains layer by layer. A GPU always does.
fn layer_by_layer<'a>(
    notes: &mut Vec<String>,
    recipe: &Recipe,
    plan: &Plan,
    students: impl Iterator<Item = &'a StudentWork<'a>>,
) {
    let neuron = &recipe.spiking.neuron;
    if !neuron.is_fused() {
        notes.push(format!(
            "`spiking.neuron.kind` is \"{}\", for which there is no kernel: spiking networks run \
             layer by layer in `f32`, which takes more time and memory",
            neuron.name()
        ));
        return;
    }
    if let Some(reason) = lasnn_snn::layer_by_layer_because(plan, &recipe.spiking) {
        notes.push(format!(
            "spiking networks run layer by layer, which is slower and needs more memory, since the \
             kernels for whole networks do not cover `intermediate.network`: {reason}"
        ));
        return;
    }
    if let Some(reason) = lasnn_snn::trained_layer_by_layer_because(plan, &recipe.spiking) {
        notes.push(format!(
            "students are trained layer by layer in `f32`, which takes more time and memory: \
             {reason}; they are measured like others"
        ));
        return;
    }
    for work in students.filter(|work| work.batch_norm.is_some()) {
        notes.push(format!(
            "`{}.batch_norm`: the student is trained layer by layer, which is slower and needs \
             more memory, since the kernels for whole networks have no batch norm; it is measured \
             without one",
            work.table
        ));
    }
}

/// Notes on classes without training images or without test images.
fn classes(notes: &mut Vec<String>, dataset: &Dataset, split: &Split) {
    let mut learned = vec![false; dataset.classes];
    for &index in &split.train {
        learned[dataset.train.labels[index as usize] as usize] = true;
    }
    let mut tested = vec![false; dataset.classes];
    for &label in &dataset.test.labels {
        tested[label as usize] = true;
    }
    let consequences = [
        (learned, "training image: the networks cannot learn them"),
        (tested, "test image: they do not count in the test accuracy"),
    ];
    for (has, consequence) in consequences {
        let without = has.iter().filter(|&&has| !has).count();
        if without > 0 {
            let classes = dataset.classes;
            notes.push(format!("{without} of {classes} classes have no {consequence}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use lasnn_datasets::{load, split};

    use super::*;
    use crate::recipe::{parse, validate};

    const RECIPE: &str = include_str!("../../../../configs/quickstart.toml");

    /// The notes on the quickstart recipe after `from` is replaced by `to`.
    fn notes_with(from: &str, to: &str, backend: BackendName) -> Vec<String> {
        assert!(from.is_empty() || RECIPE.contains(from), "{from}");
        notes_on(&RECIPE.replacen(from, to, 1), backend)
    }

    fn notes_on(text: &str, backend: BackendName) -> Vec<String> {
        let file = std::path::Path::new("r.toml");
        let recipe = parse(text, file, None).unwrap();
        let dataset = load(&recipe.data, None).unwrap();
        let split = split(&dataset, &recipe.data, recipe.seed).unwrap();
        let images = split.train.len();
        let plans = validate(&recipe, file, dataset.shape, dataset.classes, images).unwrap();
        let graph = Graph::new(&recipe).unwrap();
        notes(&recipe, &graph, &plans, &dataset, &split, backend)
    }

    #[track_caller]
    fn check_note(from: &str, to: &str, words: &[&str]) {
        let notes = notes_with(from, to, BackendName::Flex);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(words.iter().all(|word| notes[0].contains(word)), "{words:?}: {notes:?}");
    }

    #[test]
    fn the_quickstart_has_no_note() {
        assert!(notes_with("", "", BackendName::Flex).is_empty());
    }

    #[test]
    fn keys_without_effect_are_named() {
        let teacher = "epochs = 15\nbatch = 64";
        check_note(
            teacher,
            "epochs = 15\nbatch = 2000",
            &["`teacher.train.batch` is 2000", "1100"],
        );
        let every = "epochs = 15\nbatch = 64\ncheckpoint_steps = 18";
        check_note(teacher, every, &["`teacher.train.checkpoint_steps` is 18", "18 steps"]);
        let steps = "schedule = { kind = \"steps\", factor = 1.0 }";
        check_note("schedule = { kind = \"cosine\" }", steps, &["never changes"]);
        let pool = "{ kind = \"average-pool\", size = 3 }";
        check_note("{ kind = \"average-pool\" }", pool, &["`layers.3`", "cut off"]);
        let cross_entropy = "[[student.losses]]\nkind = \"cross-entropy\"\n";
        let attention = "[[student.losses]]\nkind = \"attention\"\n";
        let add = |more: &str| format!("{cross_entropy}{more}[evaluation]");
        let alone = add("");
        check_note("[evaluation]", &alone, &["`student.losses`", "[teacher]", "is not trained"]);
        let far = add(&format!("{attention}distance = \"mean-square\"\n"));
        check_note("[evaluation]", &far, &["`student.losses[1]` (attention)", "0.9", "1000"]);
        let none = add(&format!("{attention}{attention}weight = 0.0\n"));
        check_note("[evaluation]", &none, &["`student.losses[2]` (attention)", "`weight` is 0"]);
        let plif = "[spiking.neuron]\nkind = \"plif\"\n[evaluation]";
        check_note("[evaluation]", plif, &["`spiking.neuron.kind` is \"plif\"", "no kernel"]);
        let spike_time = "[spiking.neuron]\nsurrogate = { kind = \"spike-time\" }\n[evaluation]";
        check_note("[evaluation]", spike_time, &["trained layer by layer", "`spike-time`"]);
        check_note("validation = 337", "validation = 337\ntest_limit = 4", &["no test image"]);
        let rounded = "epochs = 15\nbatch = 64\nprecision = \"bf16\"";
        let notes = notes_with(teacher, rounded, BackendName::Cuda);
        assert!(notes.len() == 1 && notes[0].contains("`cuda`"), "{notes:?}");
    }

    #[test]
    fn groups_of_parameters_that_a_network_lacks_are_named() {
        let group = |stage: &str, kind: &str| {
            format!("[{stage}.train.groups.{kind}]\nlearning_rate = 0.01\n[evaluation]")
        };
        for (stage, kind, what) in [
            ("teacher", "threshold", "no trained thresholds"),
            ("teacher", "activation", "no activations with trained parameters"),
            ("intermediate", "norm", "no batch norm"),
            ("student", "bias", "no biases"),
            ("student", "leak", "no trained leaks"),
            ("student", "initial-membrane", "no trained initial membrane potentials"),
        ] {
            let key = format!("`{stage}.train.groups.{kind}` has no effect");
            check_note("[evaluation]", &group(stage, kind), &[&key, what]);
        }
        let trained = format!("[spiking.neuron.leak]\ntrain = true\n{}", group("student", "leak"));
        let clip = "[intermediate.activation]\nkind = \"clip\"\ntrain = true\n";
        let bounds = format!("{clip}{}", group("intermediate", "activation"));
        let (weights, norms) = (group("student", "weight"), group("teacher", "norm"));
        for used in [&weights, &norms, &trained, &bounds] {
            let notes = notes_with("[evaluation]", used, BackendName::Flex);
            assert!(notes.is_empty(), "{notes:?}");
        }
    }

    #[test]
    fn a_student_that_a_cpu_runs_layer_by_layer_is_named() {
        let pool = "{ kind = \"average-pool\" }";
        let after_dropout = format!("{{ kind = \"dropout\", probability = 0.1 }},\n    {pool}");
        let words = ["run layer by layer", "`intermediate.network`", "pooling follows dropout"];
        check_note(pool, &after_dropout, &words);
    }

    #[test]
    fn tables_that_a_random_start_does_not_need_are_named() {
        let text = RECIPE.replacen("[student]", "[student]\nstart = \"random\"", 1);
        let notes = notes_on(&text, BackendName::Flex);
        let found = |word: &str| notes.iter().any(|note| note.starts_with(word));
        assert!(found("[intermediate.train] has no effect"), "{notes:?}");
        assert!(found("[conversion] has no effect"), "{notes:?}");
        assert!(found("`evaluation.time_steps` has no effect"), "{notes:?}");
        assert_eq!(notes.len(), 3, "{notes:?}");
        let clipped = "[intermediate.activation]\nkind = \"clip\"\n[student]";
        let notes = notes_on(&text.replacen("[student]", clipped, 1), BackendName::Flex);
        let word = "`intermediate.activation` has no effect";
        assert!(notes.iter().any(|note| note.starts_with(word)), "{notes:?}");
    }

    #[test]
    fn keys_of_students_without_effect_are_named() {
        let threshold = "[student]\nthreshold = 2.0";
        check_note("[student]", threshold, &["`student.threshold` has no effect"]);
        let longer = |keys: &str| {
            let train = "epochs = 1\nbatch = 64\noptimizer = { kind = \"sgd\", learning_rate = 1 }";
            format!(
                "[stages.longer]\nkind = \"student\"\nfrom = \"student\"\n{keys}\n\
                     [stages.longer.train]\n{train}\n[evaluation]"
            )
        };
        let stage = longer("threshold = 2.0");
        check_note("[evaluation]", &stage, &["`stages.longer.threshold` has no effect"]);
        let stage = longer("teacher = \"teacher\"\nlosses = [{ kind = \"cross-entropy\" }]");
        check_note("[evaluation]", &stage, &["`stages.longer.teacher` has no effect"]);
    }
}
