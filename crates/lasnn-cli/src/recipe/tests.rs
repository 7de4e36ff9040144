use std::path::Path;

use lasnn_core::{Precision, Shape};
use lasnn_snn::WeightFormat;

use super::*;
use crate::stage::StageName;

mod composition;
mod methods;
mod rules;
mod stages;

const DIGITS: Shape = Shape { channels: 1, height: 8, width: 8 };
const IMAGES: usize = 1337;

/// A complete recipe. `spare` is added to the table `[student]`.
fn text(spare: &str) -> String {
    let train = "epochs = 2\nbatch = 10\noptimizer = { kind = \"sgd\", learning_rate = 0.1 }\n";
    let network = |name: &str, norm: bool| {
        let conv = |tap: &str| {
            format!("{{ kind = \"conv\", channels = 4, batch_norm = {norm}, tap = \"{tap}\" }},\n")
        };
        format!(
            "name = \"{name}\"\nlayers = [\n{}{}{}{{ kind = \"classifier\" }},\n]\n",
            conv("low"),
            conv("middle"),
            conv("high")
        )
    };
    format!(
        "name = \"test\"\n[data]\nsource = \"digits\"\nvalidation = 100\n\
         [teacher.network]\n{}[teacher.train]\n{train}\
         [intermediate.network]\n{}[intermediate.train]\n{train}\
         [student]\ntime_steps = 4\n{spare}\n[student.train]\n{train}",
        network("big", true),
        network("small", false)
    )
}

fn file() -> &'static Path {
    Path::new("r.toml")
}

/// The error of the recipe after `from` is replaced by `to`.
#[track_caller]
fn error(from: &str, to: &str) -> String {
    let good = text("");
    let bad = good.replacen(from, to, 1);
    assert_ne!(good, bad, "`{from}` is not in the recipe");
    let result = read_text(bad, file(), Changes::default()).and_then(|(recipe, origins)| {
        origins.locate(validate(&recipe, file(), DIGITS, 10, IMAGES)).map(|_| ())
    });
    result.expect_err("the recipe is invalid").to_string()
}

#[track_caller]
fn refuses(from: &str, to: &str, parts: &[&str]) {
    let message = error(from, to);
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

#[test]
fn defaults_are_filled_in_and_the_seed_can_be_replaced() {
    let recipe = parse(&text(""), file(), None).unwrap();
    assert_eq!(recipe.seed, Seed(0));
    assert_eq!(recipe.evaluation.batch, 250);
    assert_eq!(recipe.evaluation.weights, WeightFormat::F32);
    let rounded = text("").replacen("[student]", "[evaluation]\nweights = \"int12\"\n[student]", 1);
    let rounded = parse(&rounded, file(), None).unwrap();
    assert_eq!(rounded.evaluation.weights, WeightFormat::Int12);
    assert!(!recipe.student.without_distillation);
    assert_eq!(recipe.student.train.precision, Precision::F32);
    let half = text("").replacen("[student.train]", "[student.train]\nprecision = \"bf16\"", 1);
    assert_eq!(parse(&half, file(), None).unwrap().student.train.precision, Precision::Bf16);
    assert_eq!(parse(&text(""), file(), Some(9)).unwrap().seed, Seed(9));
    let plans = validate(&recipe, file(), DIGITS, 10, IMAGES).unwrap();
    let teacher = plans.of(&StageName::TEACHER);
    assert_eq!((teacher.name.as_str(), plans.spiking.classes), ("big", 10));
}

#[test]
fn a_resolved_recipe_resolves_to_itself() {
    let recipe = parse(&text("without_distillation = true"), file(), Some(3)).unwrap();
    let written = toml::to_string_pretty(&recipe).unwrap();
    assert_eq!(parse(&written, file(), None).unwrap(), recipe);
}

#[test]
fn a_recipe_with_every_key_resolves_to_itself() {
    let text = r#"
        name = "all"
        seed = 7
        [data]
        source = "folder"
        normalisation = "standard"
        validation = 10
        train_limit = 100
        test_limit = 50
        augment = { crop_padding = 1, flip = true, cutout = 2 }
        folder = { path = "x", size = [8, 8], resize = true, channels = 1 }
        [teacher]
        network = "teacher-resnet20"
        init = "hybrid"
        activation = { kind = "clip", bound = 2, train = true }
        [teacher.train]
        epochs = 2
        batch = 16
        micro_batch = 8
        precision = "f32"
        clip_norm = 1
        checkpoint_steps = 3
        optimizer = { kind = "sgd", learning_rate = 1, momentum = 0.9, nesterov = true }
        schedule = { kind = "steps", milestones = [0.5], factor = 0.1 }
        [intermediate]
        network = "vgg5"
        [intermediate.train]
        epochs = 2
        batch = 16
        precision = "bf16"
        optimizer = { kind = "adam", learning_rate = 1e-3, weight_decay = 1e-2, decoupled = true }
        schedule = { kind = "cosine" }
        [spiking]
        encoding = { kind = "poisson", range = "signed" }
        [spiking.neuron]
        leak = { time_constant = 10, train = true }
        threshold = { per = "channel", train = true }
        initial_membrane = { value = 0.5, per = "neuron", train = true }
        reset = "zero"
        step_order = "fire-then-integrate"
        surrogate = { kind = "atan", alpha = 2 }
        [conversion]
        time_steps = 20
        batches = 2
        batch = 30
        method = { kind = "threshold-balancing", policy = { kind = "percentile", percentile = 99 } }
        scale = 1
        [student]
        time_steps = 9
        without_distillation = true
        train_limit = 20
        [student.train]
        epochs = 1
        batch = 4
        optimizer = { kind = "adam", learning_rate = 1e-3, amsgrad = true, beta1 = 0.8 }
        schedule = { kind = "constant" }
        [[student.losses]]
        kind = "cross-entropy"
        on = "step"
        weight = 0.5
        [[student.losses]]
        kind = "attention"
        weight = 1
        normalise = "none"
        distance = "norm"
        temperature = 2
        taps = ["low", "high"]
        [[student.losses]]
        kind = "step-distillation"
        direction = "weak-to-strong"
        temperature = 1
        stop_gradient = true
        weight = 1
        [[student.losses]]
        kind = "cumulative-logits"
        temperature = 3
        weight = 1
        [[student.losses]]
        kind = "logit-regularisation"
        target = 1
        weight = 0
        [[student.losses]]
        kind = "firing-rate"
        target = 0
        above_only = false
        weight = 1
        [[student.losses]]
        kind = "logits"
        on = "mean"
        temperature = 3
        weight = 0.2
        [evaluation]
        batch = 10
        time_steps = [10, 11]
        weights = "int12"
    "#;
    let recipe = parse(text, file(), None).unwrap();
    let written = toml::to_string_pretty(&recipe).unwrap();
    assert_eq!(parse(&written, file(), None).unwrap(), recipe);
    assert_eq!(parse(text, file(), Some(9)).unwrap().seed, Seed(9));
    for labels in ["labels = \"coarse\"", ""] {
        let cifar =
            text.replace("source = \"folder\"", &format!("source = \"cifar100\"\n{labels}"));
        let cifar = cifar
            .replace("folder = { path = \"x\", size = [8, 8], resize = true, channels = 1 }\n", "");
        parse(&cifar, file(), None).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_network_can_be_named() {
    let inline = parse(&text(""), file(), None).unwrap().intermediate.network;
    assert_eq!(inline.name, "small");
    let start = text("").find("[intermediate.network]").unwrap();
    let end = text("").find("[intermediate.train]").unwrap();
    let mut named = text("");
    named.replace_range(start..end, "[intermediate]\nnetwork = \"vgg5\"\n");
    let recipe = parse(&named, file(), None).unwrap();
    assert_eq!(recipe.intermediate.network, zoo::named("vgg5").unwrap());
    let unknown = parse(&named.replace("vgg5", "vgg6"), file(), None).unwrap_err().to_string();
    assert!(unknown.contains("`intermediate.network` is \"vgg6\", expected"), "{unknown}");
    for name in zoo::NAMES {
        assert!(unknown.contains(name), "the error lists all networks: {unknown}");
    }
}

#[test]
fn invalid_toml_is_reported_with_line_and_column() {
    refuses("validation = 100", "validation = ", &["r.toml:4:14", "  4 | validation = "]);
}

#[test]
fn unknown_keys_are_reported_with_the_known_keys() {
    refuses("time_steps", "time_stepps", &["r.toml:", "`student.time_stepps`", "`time_steps`"]);
    refuses("[student]", "[studnet]\n[student]", &["studnet", "expected one of"]);
    let names = lasnn_datasets::Source::ALL.map(|source| format!("`{}`", source.name()));
    let all = format!("unknown value `digit`, expected one of {}", names.join(", "));
    let parts = ["r.toml:3:10: `data.source`", &all];
    refuses("source = \"digits\"", "source = \"digit\"", &parts);
    refuses("channels = 4", "chanels = 4", &["`teacher.network.layers[0]`", "chanels", "channels"]);
}

#[test]
fn values_of_a_wrong_type_are_reported_with_their_key() {
    refuses(
        "epochs = 2",
        "epochs = \"two\"",
        &["`teacher.train.epochs`", "\"two\"", "a whole number of 0 to"],
    );
    refuses("epochs = 2", "epochs = -2", &["`teacher.train.epochs`", "-2"]);
    refuses("[teacher.network]", "[teacher]\nnetwork = 3\n[teacher.x]", &["the name of a network"]);
}

#[test]
fn values_out_of_range_are_refused() {
    refuses(
        "name = \"test\"",
        "name = \"../x\"",
        &["r.toml:1: `name` is \"../x\", expected letters"],
    );
    refuses("validation = 100", "validation = 0", &["`data.validation` is 0, expected at least 1"]);
    refuses("epochs = 2", "epochs = 0", &["[teacher.train]", "epochs", "at least 1"]);
    refuses(
        "time_steps = 4",
        "time_steps = 0",
        &["`student.time_steps` is 0, expected at least 1"],
    );
    let none = "time_steps = 4\ntrain_limit = 0";
    refuses("time_steps = 4", none, &["`student.train_limit` is 0, expected at least 1"]);
    refuses(
        "[student]\n",
        "[conversion]\nscale = -1.0\n[student]\n",
        &["[conversion]", "conversion.scale is -1"],
    );
    let neuron = |keys: &str| format!("[spiking.neuron]\n{keys}\n[student]\n");
    refuses("[student]\n", &neuron("leak = 2.0"), &["[spiking.neuron]: `leak` is 2"]);
    let plif = neuron("kind = \"plif\"\nleak = 1.0");
    refuses("[student]\n", &plif, &["[spiking.neuron]: `leak` is 1", "above 0 and below 1"]);
    refuses(
        "[student]\n",
        &neuron("surrogate = { kind = \"atan\", alpha = 0.0 }"),
        &["[spiking.neuron]: `surrogate.alpha` is 0"],
    );
    refuses(
        "[student]\n",
        &neuron("surrogate = { kind = \"spike-time\", beta = 0.0 }"),
        &["[spiking.neuron]: `surrogate.beta` is 0"],
    );
    refuses("[student]\n", "[evaluation]\nbatch = 0\n[student]\n", &["`evaluation.batch` is 0"]);
    refuses(
        "[student]\n",
        "[evaluation]\ntime_steps = [8, 0]\n[student]\n",
        &["`evaluation.time_steps` is 0"],
    );
}

#[test]
fn networks_that_do_not_fit_are_refused() {
    refuses("channels = 4", "channels = 0", &["[teacher.network]", "channels is 0"]);
    refuses(
        "batch_norm = false",
        "activation = false",
        &["[intermediate.network]", "layer 0", "cannot be made spiking", "no activation"],
    );
    refuses(
        "{ kind = \"classifier\" }",
        "{ kind = \"average-pool\", size = 9 }, { kind = \"classifier\" }",
        &["[teacher.network]", "at least 9x9"],
    );
}

#[test]
fn a_tap_that_a_loss_needs_must_be_on_both_networks() {
    refuses(
        ", tap = \"middle\"",
        "",
        &["[student]: `losses[1]` (attention)", "`middle`", "teacher `big`"],
    );
    let text = text("[[student.losses]]\nkind = \"attention\"\ntaps = [\"low\"]");
    let recipe = parse(&text.replace(", tap = \"middle\"", ""), file(), None).unwrap();
    assert!(validate(&recipe, file(), DIGITS, 10, IMAGES).is_ok(), "no loss uses the tap");
}

#[test]
fn retired_keys_name_their_replacement() {
    let readout = "[spiking]\nreadout = \"mean\"\n[student]\n";
    refuses("[student]\n", readout, &["`spiking.readout`", "[[student.losses]]", "`on`"]);
    let table = "[student.distillation]\nkind = \"attention\"\n[student.train]\n";
    refuses("[student.train]\n", table, &["`student.distillation`", "[[student.losses]]"]);
    let leak = "[spiking]\nleak = 0.5\n[student]\n";
    refuses("[student]\n", leak, &["`spiking.leak` is no longer", "`spiking.neuron.leak`"]);
}

#[test]
fn no_value_is_ignored() {
    let folder = "[data]\nsource = \"folder\"\nvalidation = 100\n[data.folder]\npath = \"x\"\n";
    let digits = "[data]\nsource = \"digits\"\nvalidation = 100\n";
    for (size, says) in [
        ("[3, 16, 16]", "`data.folder.size` is [3, 16, 16], expected a list of length 2"),
        ("[16, 16, 99, 1]", "`data.folder.size` is [16, 16, 99, 1], expected a list of length 2"),
        ("[16]", "found a list of length 1, expected a list of length 2"),
        ("[16.5, 16]", "found the number `16.5`"),
    ] {
        refuses(digits, &format!("{folder}size = {size}\n"), &[says]);
    }
    let spiking = |value: &str| format!("[spiking]\n{value}\n[student]\n");
    let conversion = |value: &str| format!("[conversion]\n{value}\n[student]\n");
    for (to, says) in [
        (spiking("encoding = { kind = \"direct\", range = \"unit\" }"), "unknown key `range`"),
        (
            spiking("encoding = [\"direct\"]"),
            "`spiking.encoding` is [\"direct\"], expected a table",
        ),
        (
            spiking("neuron = { reset = { zero = {} } }"),
            "`spiking.neuron.reset` is { zero = {} }, expected",
        ),
        (
            spiking("neuron = \"plif\""),
            "`spiking.neuron`: found the text \"plif\", expected a table",
        ),
        (
            conversion(
                "method = { kind = \"threshold-balancing\", \
                 policy = { kind = \"maximum\", percentile = 9 } }",
            ),
            "unknown key `percentile`",
        ),
        (conversion("batches = 1.0"), "found the number `1.0`, expected a whole number"),
        ("[[conversion]]\n[student]\n".to_owned(), "`conversion[0]`: found a table"),
        ("[student]\n[student]\n".to_owned(), "duplicate key"),
        ("[student]\ntime_steps = 4\n".to_owned(), "duplicate key"),
    ] {
        refuses("[student]\n", &to, &[says]);
    }
    refuses(
        "validation = 100",
        "validation = 100\naugment = [1, true]",
        &["`data.augment` is [1, true], expected a table with keys such as `crop_padding`"],
    );
    refuses(
        "{ kind = \"classifier\" }",
        "{ kind = \"global-average-pool\", size = 2 }, { kind = \"classifier\" }",
        &["`teacher.network.layers[3]`: unknown key `size`"],
    );
}

/// The recipes of the repository must stay valid.
#[test]
fn every_recipe_in_configs_is_valid() {
    use lasnn_datasets::Source;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")];
    let mut recipes = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let recipe = read(&path, Changes::default())
                .map(|read| read.0)
                .unwrap_or_else(|error| panic!("{error}"));
            let image = match recipe.data.source {
                Source::Cifar10 => Shape { channels: 3, height: 32, width: 32 },
                _ => DIGITS,
            };
            validate(&recipe, &path, image, 10, 1000).unwrap_or_else(|error| panic!("{error}"));
            // The resolved recipe is a recipe, too.
            let written = toml::to_string_pretty(&recipe).unwrap();
            assert_eq!(parse(&written, &path, None).unwrap(), recipe, "{}", path.display());
            recipes += 1;
        }
    }
    assert!(recipes >= 2, "there are at least quickstart and gpu-check");
}
