//! Rules about combinations of keys.

use super::*;

#[test]
fn poisson_encoding_needs_pixels_of_at_most_1() {
    let poisson = "[spiking]\nencoding = { kind = \"poisson\" }\n[student]\n";
    let text = text("").replacen("[student]\n", poisson, 1);
    let check =
        |text: &str| validate(&parse(text, file(), None).unwrap(), file(), DIGITS, 10, IMAGES);
    assert!(check(&text).is_ok());
    let standard = text.replacen("[data]\n", "[data]\nnormalisation = \"standard\"\n", 1);
    let message = check(&standard).unwrap_err().to_string();
    assert!(message.contains("`data.normalisation` is \"standard\""), "{message}");
}

/// With the range `unit` a pixel below 0 never causes a spike. With the range `signed` it does.
#[test]
fn the_range_of_poisson_encoding_must_contain_all_pixels() {
    let poisson = "[spiking]\nencoding = { kind = \"poisson\", range = \"unit\" }\n[student]\n";
    let text = text("").replacen("[student]\n", poisson, 1);
    let check = |normalisation: &str, range: &str| {
        let data = format!("[data]\nnormalisation = \"{normalisation}\"\n");
        let text = text.replacen("[data]\n", &data, 1).replacen("\"unit\" }", range, 1);
        let recipe = parse(&text, file(), None).unwrap();
        validate(&recipe, file(), DIGITS, 10, IMAGES).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(check("unit", "\"unit\" }"), Ok(()));
    assert_eq!(check("signed", "\"signed\" }"), Ok(()));
    assert_eq!(check("unit", "\"signed\" }"), Ok(()));
    let message = check("signed", "\"unit\" }").unwrap_err();
    assert!(message.contains("`data.normalisation` is \"signed\", expected \"unit\""), "{message}");
    // The default normalisation is `signed`.
    let recipe = parse(&text, file(), None).unwrap();
    assert!(validate(&recipe, file(), DIGITS, 10, IMAGES).is_err());
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let delayed = "[spiking.neuron]\nstep_order = \"fire-then-integrate\"\n[student]\n";
    let three = text("").replacen("[student]\n", delayed, 1);
    let check = |from: &str, to: &str| {
        let text = three.replacen(from, to, 1);
        let recipe = parse(&text, file(), None).unwrap();
        validate(&recipe, file(), DIGITS, 10, IMAGES).map(|_| ()).map_err(|e| e.to_string())
    };
    // There are three layers of neurons, so the readout gets its first input in the fourth step.
    assert_eq!(check("time_steps = 4", "time_steps = 4"), Ok(()));
    let message = check("time_steps = 4", "time_steps = 3").unwrap_err();
    assert!(message.contains("`student.time_steps` is 3, expected at least 4"), "{message}");
    let table = "[evaluation]\ntime_steps = [8, 2]\n[student]\n";
    let message = check("[student]\n", table).unwrap_err();
    assert!(message.contains("`evaluation.time_steps` is 2, expected at least 4"), "{message}");
    refuses("name = \"test\"", "name = \"cache\"", &["`name` is \"cache\""]);
    refuses(
        "[student]\n",
        "[evaluation]\ntime_steps = [8, 16, 8]\n[student]\n",
        &["`evaluation.time_steps` is [8, 16, 8]", "8 is there twice"],
    );
    refuses(
        "[student]\n",
        "[conversion]\nbatch = 1000\nbatches = 3\n[student]\n",
        &["`conversion.batches` is 3, expected at most 2", "1337 images"],
    );
}

#[test]
fn maximum_pooling_is_refused_or_replaced() {
    let cifar = Shape { channels: 3, height: 32, width: 32 };
    let start = text("").find("[intermediate.network]").unwrap();
    let end = text("").find("[intermediate.train]").unwrap();
    let named = |keys: &str| {
        let mut named = text("");
        let table = format!("[intermediate]\nnetwork = \"teacher-vgg16\"\n{keys}");
        named.replace_range(start..end, &table);
        let recipe = parse(&named, file(), None).unwrap();
        let plans = validate(&recipe, file(), cifar, 10, IMAGES).map_err(|e| e.to_string());
        plans.map(|_| recipe)
    };
    for keys in ["", "max_pool = \"keep\"\n"] {
        let message = named(keys).unwrap_err();
        let parts =
            ["`max-pool` of network `teacher-vgg16`", "`intermediate.max_pool = \"average\"`"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let averaged = named("max_pool = \"average\"\n").unwrap().intermediate.network;
    assert_eq!(averaged, zoo::named("teacher-vgg16").unwrap().with_average_pooling());
    let ann = "[stages.other]\nkind = \"ann\"\nnetwork = \"teacher-vgg16\"\n\
               max_pool = \"average\"\n[stages.other.train]\nepochs = 1\nbatch = 10\n\
               optimizer = { kind = \"sgd\", learning_rate = 0.1 }\n";
    let recipe = parse(&format!("{}{ann}", text("")), file(), None).unwrap();
    let Some(AddedStage::Ann(found)) = recipe.stages.values().next() else { panic!("{recipe:?}") };
    assert_eq!(found.network, averaged);
    let unknown = format!("{}{}", text(""), ann.replace("\"average\"", "\"mean\""));
    let message = parse(&unknown, file(), None).unwrap_err().to_string();
    assert!(message.contains("`mean`") && message.contains("`average`"), "{message}");
}

/// PyTorch refuses this, too.
#[test]
fn a_batch_norm_over_one_value_per_channel_is_refused() {
    let pooled = "{ kind = \"global-average-pool\" }, { kind = \"norm\" },\n\
                  { kind = \"classifier\" }";
    let check = |batch: &str, images: usize| {
        let text = text("").replacen("{ kind = \"classifier\" }", pooled, 1);
        let text = text.replacen("batch = 10", batch, 1);
        let recipe = parse(&text, file(), None).unwrap();
        validate(&recipe, file(), DIGITS, 10, images).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(check("batch = 10", 1337), Ok(()));
    // A last batch of one image is left out.
    assert_eq!(check("batch = 10", 1331), Ok(()));
    assert_eq!(check("batch = 10\nmicro_batch = 5", 1330), Ok(()));
    for (batch, images, key) in [
        ("batch = 1", 1337, "`teacher.train.batch` is 1"),
        ("batch = 10", 1, "`the number of images to train on` is 1"),
        ("batch = 10\nmicro_batch = 1", 1337, "`teacher.train.micro_batch` is 1"),
        ("batch = 10\nmicro_batch = 3", 1337, "`teacher.train.micro_batch` is 3"),
        ("batch = 10\nmicro_batch = 5", 1336, "`teacher.train.micro_batch` is 5"),
    ] {
        let message = check(batch, images).unwrap_err();
        assert!(message.contains(key) && message.contains("`layers.4`"), "{batch}: {message}");
    }
    let without_norm = text("").replacen("batch = 10", "batch = 1", 1);
    let recipe = parse(&without_norm, file(), None).unwrap();
    assert!(validate(&recipe, file(), DIGITS, 10, IMAGES).is_ok(), "64 values per channel");
}

#[test]
fn conversions_that_the_neurons_do_not_fit_are_refused() {
    let with = |neuron: &str, conversion: &str, parts: &[&str]| {
        let tables = format!("[spiking.neuron]\n{neuron}\n[conversion]\n{conversion}\n[student]\n");
        refuses("[student]\n", &tables, parts);
    };
    let local = "method = { kind = \"local-threshold-balancing\" }";
    with("", local, &["`spiking.neuron.threshold.per`", "\"channel\"", "`conversion.method`"]);
    let half = "threshold = { per = \"channel\" }\ninitial_membrane = { value = 0.5 }";
    with(half, local, &["`spiking.neuron.initial_membrane.per`", "\"neuron\"", "fractions"]);
    let no_pass = "method = { kind = \"local-threshold-balancing\", passes = 0 }";
    let channels = "threshold = { per = \"channel\" }";
    with(channels, no_pass, &["conversion.method.passes is 0", "at least 1"]);

    let potential = "calibration = [{ kind = \"potential\" }]";
    with("", potential, &["`spiking.neuron.initial_membrane.per`", "`potential`"]);
    with("kind = \"plif\"", potential, &["`spiking.neuron.initial_membrane.per`", "\"lif\""]);
    let norms = "calibration = [{ kind = \"batch-norm\" }]";
    with("", norms, &["`conversion.calibration`", "`batch-norm`", "no layer", "batch norm"]);
    let biases = "calibration = [{ kind = \"bias\" }]";
    with("", biases, &["`conversion.calibration`", "`bias`", "layer 0 (conv)"]);
    let twice = "calibration = [{ kind = \"weights\" }, { kind = \"weights\" }]";
    with("", twice, &["conversion.calibration", "twice `weights`", "at most once"]);
    let steps = "calibration = [{ kind = \"weights\", steps = 0 }]";
    with("", steps, &["conversion.calibration.steps is 0", "at least 1"]);
    let fast = "calibration = [{ kind = \"weights\", learning_rate = 2.0 }]";
    with("", fast, &["conversion.calibration.learning_rate is 2", "at most 1"]);
    let unknown = "calibration = [{ kind = \"wieghts\" }]";
    with("", unknown, &["conversion.calibration[0]", "`wieghts`", "`weights`"]);
}

#[test]
fn offset_spikes_need_neurons_that_they_can_correct() {
    let with = |tables: &str, parts: &[&str]| {
        let tables = format!("{tables}[evaluation]\noffset_steps = 4\n[student]\n");
        refuses("[student]\n", &tables, parts);
    };
    let neuron = |keys: &str| format!("[spiking.neuron]\n{keys}\n");
    let key = "`evaluation.offset_steps` is 4";
    with(&neuron("leak = 0.9"), &[key, "leak"]);
    with(&neuron("kind = \"plif\""), &[key, "leak"]);
    with(&neuron("reset = \"zero\""), &[key, "reset to zero"]);
    with("[spiking]\nencoding = { kind = \"poisson\" }\n", &[key, "input"]);
    let many = "[evaluation]\noffset_steps = 1001\n[student]\n";
    refuses("[student]\n", many, &["`evaluation.offset_steps` is 1001", "at most 1000"]);
}
