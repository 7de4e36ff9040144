//! What the tables of methods name: neurons, activations, losses, and the kinds of parameters.

use super::*;

/// A parameter whose name is not in the table of kinds would count as a weight. The weight decay
/// would then pull it towards 0.
#[cfg(feature = "flex")]
#[test]
fn no_parameter_of_neurons_counts_as_a_weight() {
    use burn_flex::Flex;
    use lasnn_neurons::NeuronConfig;
    use lasnn_training::ParamKind;
    for kind in NeuronConfig::KINDS {
        let config: NeuronConfig =
            serde_json::from_value(serde_json::json!({"kind": kind.name})).unwrap();
        let neurons = config.init::<Flex>(1.0, [2, 3, 3], &Default::default());
        let tensors = lasnn_nn::state::save::<Flex, _>(&neurons);
        assert!(!tensors.is_empty(), "{}", kind.name);
        for name in tensors.keys() {
            assert_ne!(ParamKind::of(name), ParamKind::Weight, "{}: {name}", kind.name);
        }
    }
}

#[test]
fn activations_that_are_not_possible_are_refused() {
    let activation = |table: &str| format!("activation = {table}\n[teacher.network]\n");
    for (table, parts) in [
        ("{ kind = \"clip\", bound = 0 }", ["[teacher.activation]", "`bound` is 0"]),
        ("{ kind = \"unheard-of\" }", ["`teacher.activation.kind`", "`clip`"]),
        ("{ kind = \"relu\", bound = 1 }", ["teacher.activation", "bound"]),
    ] {
        let text = activation(table);
        refuses("[teacher.network]\n", &format!("[teacher]\n{text}"), &parts);
    }
}

#[test]
fn losses_are_read_in_order_and_have_the_defaults_of_the_paper() {
    use lasnn_distillation::{Attention, CrossEntropy, LossConfig, On};
    let losses = |spare: &str| parse(&text(spare), file(), None).unwrap().student.losses;
    assert_eq!(losses(""), LossConfig::paper());
    let found = losses(
        "[[student.losses]]\nkind = \"attention\"\n\
         [[student.losses]]\nkind = \"cross-entropy\"\non = \"mean\"\n",
    );
    let cross_entropy = CrossEntropy { on: On::Mean, weight: 1.0 };
    let attention = LossConfig::Attention(Attention::default());
    assert_eq!(found, [attention, LossConfig::CrossEntropy(cross_entropy)]);
}

#[test]
fn wrong_losses_are_refused() {
    let loss = |keys: &str| format!("[student]\nlosses = [{{ {keys} }}]\n");
    for (keys, parts) in [
        ("kind = \"logit\"", &["`student.losses[0]", "unknown value `logit`", "`logits`"][..]),
        ("kind = \"logits\", tau = 2", &["`student.losses[0]", "unknown key `tau`"]),
        ("kind = \"logits\", on = \"last\"", &["`student.losses[0]", "`last`", "`step`"]),
        ("kind = \"logits\", weight = -1.0", &["`losses[0]` (logits)", "`weight` is -1"]),
        ("kind = \"cross-entropy\", weight = 0", &["[student]: none of 1 in `losses`", "above 0"]),
    ] {
        refuses("[student]\n", &loss(keys), parts);
    }
    let steps = format!("{}time_steps = 1", loss("kind = \"step-distillation\""));
    let words = ["r.toml:", "`losses[0]` (step-distillation): `time_steps` is 1", "at least 2"];
    refuses("[student]\ntime_steps = 4", &steps, &words);
    refuses("[student]\n", "[student]\nlosses = []\n", &["none of 0 in `losses`"]);
    let control = format!("{}without_distillation = true\n", loss("kind = \"logits\""));
    refuses("[student]\n", &control, &["`student.without_distillation` is true", "cross-entropy"]);
}

#[test]
fn neurons_are_lif_if_a_recipe_names_no_kind() {
    use lasnn_neurons::{LeakConfig, LifConfig, NeuronConfig, PlifConfig};
    let neuron = |keys: &str| {
        let table = format!("[spiking.neuron]\n{keys}\n[student]\n");
        let text = text("").replacen("[student]\n", &table, 1);
        parse(&text, file(), None).unwrap().spiking.neuron
    };
    assert_eq!(neuron(""), NeuronConfig::default());
    let lif = |leak: LeakConfig| NeuronConfig::from(LifConfig { leak, ..Default::default() });
    assert_eq!(neuron("leak = 0.5"), lif(0.5.into()));
    assert_eq!(neuron("kind = \"lif\"\nleak = 0.5"), lif(0.5.into()));
    for leak in ["{ value = 0.5 }", "{ time_constant = 2 }", "{ value = 0.5, train = false }"] {
        assert_eq!(neuron(&format!("leak = {leak}")), lif(0.5.into()), "{leak}");
    }
    let plif = PlifConfig { leak: 0.75, ..Default::default() };
    assert_eq!(neuron("kind = \"plif\"\nleak = 0.75"), plif.into());
}

/// The place of a wrong key is found also if the table has no kind.
#[test]
fn wrong_keys_of_neurons_are_reported_with_their_line() {
    let line = text("").lines().position(|line| line == "[student]").unwrap() + 3;
    for (keys, says) in [
        ("reset = \"zero\"\nleek = 1.0", "`spiking.neuron`: unknown key `leek`, expected one of"),
        ("kind = \"plif\"\ninitial_membrane = 1", "unknown key `initial_membrane`"),
        ("reset = \"zero\"\nkind = \"plof\"", "unknown value `plof`, expected"),
        ("reset = \"zero\"\nleak = \"low\"", "expected a number, or a table with `value`"),
    ] {
        let table = format!("[spiking.neuron]\n{keys}\n[student]\n");
        refuses("[student]\n", &table, &[&format!("r.toml:{line}:"), says]);
    }
}

/// Every entry of the tables has a row in the documentation.
#[test]
fn every_name_in_a_table_is_documented() {
    let docs = include_str!("../../../../../docs/recipes.md");
    let tables = [
        lasnn_neurons::NeuronConfig::KINDS,
        lasnn_neurons::Encoding::KINDS,
        lasnn_neurons::Surrogate::KINDS,
        lasnn_models::ActivationConfig::KINDS,
        lasnn_conversion::MethodConfig::KINDS,
        lasnn_snn::BatchNormConfig::KINDS,
        lasnn_distillation::LossConfig::KINDS,
    ];
    let rows = tables.concat().into_iter().map(|kind| format!("| `{}` |", kind.name));
    let sources = lasnn_datasets::Source::ALL.map(|source| source.kind().name);
    for row in rows.chain(sources.map(|name| format!("| `\"{name}\"` |"))) {
        assert!(docs.contains(&row), "docs/recipes.md has no row {row}");
    }
}

/// Each form of the parameters of neurons is read, also where it is the default, and it is written
/// so that it is read again.
#[test]
fn parameters_of_neurons_are_written_as_they_are_read() {
    let with = |keys: &str| {
        let text =
            text("").replacen("[student]\n", &format!("[spiking.neuron]\n{keys}\n[student]\n"), 1);
        let recipe = parse(&text, file(), None).unwrap();
        let written = toml::to_string_pretty(&recipe).unwrap();
        assert_eq!(parse(&written, file(), None).unwrap(), recipe, "{written}");
        match recipe.spiking.neuron {
            lasnn_neurons::NeuronConfig::Lif(config) => config,
            other => panic!("{other:?}"),
        }
    };
    for leak in ["0.5", "{ value = 0.5 }", "{ time_constant = 2.0 }", "{ time_constant = 2 }"] {
        assert_eq!(with(&format!("leak = {leak}")).leak, 0.5.into(), "{leak}");
    }
    assert!(with("leak = { train = true }").leak.train);
    assert_eq!(with("threshold = { per = \"layer\" }"), with(""));
    assert_eq!(with("initial_membrane = { value = 0 }\n[spiking.neuron.threshold]"), with(""));
    assert_eq!(with("initial_membrane = { value = 0.5 }").initial_membrane.value, 0.5);
    for (keys, message) in [
        ("leak = { value = 0.5, time_constant = 2.0 }", "found both"),
        ("leak = { tau = 2.0 }", "`time_constant`"),
        ("threshold = [\"layer\", true]", "expected a table"),
        ("threshold = { for = \"layer\" }", "unknown key `for`"),
    ] {
        let keys = format!("[spiking.neuron]\n{keys}\n[student]\n");
        refuses("[student]\n", &keys, &["spiking", message]);
    }
}

#[test]
fn groups_of_parameters_are_read_and_written() {
    let groups = "[student.train.groups.initial-membrane]\nlearning_rate = 0.5\n\
                  [student.train.groups.weight]\nweight_decay = 0\n\
                  [teacher.train.groups]\n[student]\n";
    let text = text("").replacen("[student]\n", groups, 1);
    let recipe = parse(&text, file(), None).unwrap();
    assert_eq!(recipe.student.train.groups.kinds().count(), 2);
    let written = toml::to_string_pretty(&recipe).unwrap();
    assert_eq!(parse(&written, file(), None).unwrap(), recipe, "{written}");
    assert!(!written.contains("[teacher.train.groups"), "{written}");

    let with = |group: &str| format!("[student.train.groups.{group}\n[student]\n");
    refuses(
        "[student]\n",
        &with("weights]\nlearning_rate = 0.5"),
        &["r.toml:", "`weights` is no kind of parameters", "`weight`, `bias`, `norm`"],
    );
    refuses(
        "[student]\n",
        &with("leak]\nlearning_rate = -1"),
        &["r.toml:", "`groups.leak.learning_rate` is -1, expected at least 0"],
    );
    refuses(
        "[student]\n",
        &with("leak]\nrate = 1.0"),
        &["student.train.groups.leak", "unknown key `rate`"],
    );
}
