//! The stages of a recipe: which there are, in which order they run, and what is refused.

use super::*;

const TRAIN: &str = "epochs = 1\nbatch = 10\noptimizer = { kind = \"sgd\", learning_rate = 0.1 }\n";
const CROSS_ENTROPY: &str = "losses = [{ kind = \"cross-entropy\" }]\n";

/// A student in `[stages]`.
fn added(name: &str, keys: &str) -> String {
    format!("[stages.{name}]\nkind = \"student\"\n{keys}\n[stages.{name}.train]\n{TRAIN}")
}

/// An ANN in `[stages]`, with the layers of the teacher.
fn added_ann(name: &str) -> String {
    let text = text("");
    let (_, rest) = text.split_once("[teacher.network]\n").unwrap();
    let (network, _) = rest.split_once("[teacher.train]").unwrap();
    format!(
        "[stages.{name}]\nkind = \"ann\"\n[stages.{name}.network]\n{network}\
         [stages.{name}.train]\n{TRAIN}"
    )
}

/// The recipe without the part from `from` to before `to`.
#[track_caller]
fn without(text: &str, from: &str, to: &str) -> String {
    let start = text.find(from).unwrap();
    let end = start + text[start..].find(to).unwrap();
    format!("{}{}", &text[..start], &text[end..])
}

fn without_teacher(spare: &str) -> String {
    without(&text(spare), "[teacher.network]", "[intermediate.network]")
}

/// The names of all stages of a recipe in their order.
fn names(text: &str) -> Vec<String> {
    let recipe = parse(text, file(), None).unwrap_or_else(|error| panic!("{error}"));
    validate(&recipe, file(), DIGITS, 10, IMAGES).unwrap_or_else(|error| panic!("{error}"));
    let graph = Graph::new(&recipe).unwrap();
    graph.nodes().iter().map(|node| node.name().to_string()).collect()
}

/// The names of the stages that the targets need.
fn needed(text: &str, targets: &[&str]) -> Vec<String> {
    let recipe = parse(text, file(), None).unwrap_or_else(|error| panic!("{error}"));
    let graph = Graph::new(&recipe).unwrap();
    let targets: Vec<StageName> = match targets {
        [] => graph.students(),
        targets => targets.iter().map(|name| name.parse().unwrap()).collect(),
    };
    graph.needed(&targets).iter().map(|node| node.name().to_string()).collect()
}

/// The error of a recipe, with the place where the wrong value is written.
#[track_caller]
fn message(text: String) -> String {
    let result = read_text(text, file(), Changes::default()).and_then(|(recipe, origins)| {
        origins.locate(validate(&recipe, file(), DIGITS, 10, IMAGES)).map(|_| ())
    });
    result.expect_err("the recipe is invalid").to_string()
}

#[track_caller]
fn refuses_text(text: String, parts: &[&str]) {
    let message = message(text);
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

#[test]
fn a_recipe_without_added_stages_has_the_standard_ones() {
    assert_eq!(names(&text("")), ["teacher", "intermediate", "converted", "student"]);
    let control = text("without_distillation = true");
    let all = ["teacher", "intermediate", "converted", "student", "control"];
    assert_eq!(names(&control), all);
    assert_eq!(needed(&control, &[]), all);
    assert_eq!(needed(&control, &["student"]), all[..4]);
    assert_eq!(needed(&control, &["control"]), [&all[1..3], &all[4..]].concat());
    assert_eq!(needed(&control, &["converted"]), all[1..3]);
    assert_eq!(needed(&control, &["teacher"]), all[..1]);
}

#[test]
fn a_teacher_that_no_loss_needs_is_not_needed() {
    let text = text(CROSS_ENTROPY);
    assert_eq!(names(&text), ["teacher", "intermediate", "converted", "student"]);
    assert_eq!(needed(&text, &[]), ["intermediate", "converted", "student"]);
    let ann = format!("{text}{}", added_ann("big"));
    assert_eq!(needed(&ann, &[]), ["intermediate", "converted", "student"]);
    assert_eq!(needed(&ann, &["big"]), ["big"]);
}

#[test]
fn a_recipe_may_lack_a_teacher() {
    let text = without_teacher(CROSS_ENTROPY);
    assert_eq!(names(&text), ["intermediate", "converted", "student"]);
    refuses_text(
        without_teacher(""),
        &["[student]: `losses[1]` (attention)", "with a teacher, but there is none"],
    );
}

#[test]
fn a_student_that_starts_at_random_needs_no_conversion() {
    let random = text(&format!("start = \"random\"\n{CROSS_ENTROPY}"));
    assert_eq!(needed(&random, &[]), ["student"]);
    let network_only = without(&random, "[intermediate.train]", "[student]");
    assert_eq!(names(&network_only), ["teacher", "student"]);
    let recipe = parse(&network_only, file(), None).unwrap();
    assert_eq!(recipe.student.threshold, Some(1.0));
    let written = toml::to_string_pretty(&recipe).unwrap();
    assert_eq!(parse(&written, file(), None).unwrap(), recipe, "{written}");

    let converted = without(&text(""), "[intermediate.train]", "[student]");
    let words = ["`intermediate.train` is missing", "`student`", "`student.start = \"random\"`"];
    refuses_text(converted, &words);
    // The conversion has no time steps that could be too few, and no batches.
    let batches = "[conversion]\nbatches = 1000\n[student]\n";
    names(&network_only.replacen("[student]\n", batches, 1));
}

#[test]
fn a_start_and_its_threshold_are_checked() {
    refuses("[student]\n", "[student]\nstart = \"studnet\"\n", &["`student.start`", "`random`"]);
    for threshold in ["0.0", "-1.0", "1e-7", "1e300", "nan", "inf"] {
        let random = format!("[student]\nstart = \"random\"\nthreshold = {threshold}\n");
        refuses("[student]\n", &random, &["r.toml:", "`student.threshold` is", "above 0"]);
    }
}

#[test]
fn added_stages_run_after_those_that_they_need() {
    let chain = format!(
        "{}{}{}",
        text(""),
        added("a", "from = \"b\"\ntime_steps = 2"),
        added("b", "from = \"student\"")
    );
    let order = ["teacher", "intermediate", "converted", "student", "b", "a"];
    assert_eq!(names(&chain), order);
    assert_eq!(needed(&chain, &[]), order);
    assert_eq!(needed(&chain, &["b"]), order[..5]);
    let recipe = parse(&chain, file(), None).unwrap();
    let graph = Graph::new(&recipe).unwrap();
    let steps = |name: &str| graph.get(&name.parse().unwrap()).unwrap().network.steps();
    assert_eq!((steps("a"), steps("b"), steps("teacher")), (2, 4, 1));
    // Time steps and losses that are left out are those of the student.
    let b = graph.get(&"b".parse().unwrap()).unwrap().student().unwrap();
    assert_eq!((b.time_steps, &b.losses), (4, &recipe.student.losses));
    let written = toml::to_string_pretty(&recipe).unwrap();
    assert_eq!(parse(&written, file(), None).unwrap(), recipe, "{written}");
}

#[test]
fn a_student_can_learn_from_an_added_ann_and_start_at_random() {
    let text = format!(
        "{}{}{}",
        text(CROSS_ENTROPY),
        added_ann("big"),
        added("other", "from = \"random\"\nteacher = \"big\"\nlosses = [{ kind = \"logits\" }]")
    );
    assert_eq!(needed(&text, &["other"]), ["big", "other"]);
    assert_eq!(needed(&text, &[]), ["intermediate", "converted", "student", "big", "other"]);
    let recipe = parse(&text, file(), None).unwrap();
    let written = toml::to_string_pretty(&recipe).unwrap();
    assert_eq!(parse(&written, file(), None).unwrap(), recipe, "{written}");
    let changed = format!("{text}\n").replacen("teacher = \"big\"", "teacher = \"teacher\"", 1);
    assert_eq!(needed(&changed, &["other"]), ["teacher", "other"]);
}

#[test]
fn stages_that_lead_back_to_themselves_are_refused() {
    let cycle = format!("{}{}{}", text(""), added("a", "from = \"b\""), added("b", "from = \"a\""));
    let words = ["r.toml:", "`stages.a.from` is \"b\"", "`a` starts from `b`, `b` starts from `a`"];
    refuses_text(cycle, &words);
    let itself = format!("{}{}", text(""), added("a", "from = \"a\""));
    refuses_text(itself, &["`stages.a.from` is \"a\"", "`a` starts from `a`"]);
    // A teacher may spike, but it must not need its student.
    let keys = "from = \"student\"\nteacher = \"a\"\n";
    let own = format!("{}{}", text(""), added("a", keys));
    refuses_text(own, &["`stages.a.teacher` is \"a\"", "`a` learns from `a`"]);
    let both = format!("{}{}", text("teacher = \"a\""), added("a", "from = \"student\""));
    refuses_text(both, &["`student.teacher` is \"a\"", "`student` learns from `a`"]);
}

#[test]
fn unknown_names_are_refused_with_the_names_that_are_possible() {
    let with = |keys: &str| format!("{}{}", text(""), added("longer", keys));
    for from in ["studnet", "teacher", "control"] {
        refuses_text(
            with(&format!("from = \"{from}\"")),
            &[&format!("`stages.longer.from` is \"{from}\""), "`converted`, `student`, `random`"],
        );
    }
    for losses in ["", CROSS_ENTROPY] {
        refuses_text(
            with(&format!("from = \"student\"\nteacher = \"studnet\"\n{losses}")),
            &["`stages.longer.teacher` is \"studnet\"", "`teacher`, `intermediate`, `converted`"],
        );
    }
    refuses_text(with("from = \"a/b\""), &["`stages.longer", "\"a/b\" is no name of a stage"]);
    refuses_text(with("form = \"student\""), &["`stages.longer", "unknown key `form`"]);
    refuses_text(with(""), &["`stages.longer", "there is no key `from`"]);
    let kind = with("from = \"student\"").replace("kind = \"student\"", "kind = \"snn\"");
    refuses_text(kind, &["unknown value `snn`", "`student`"]);
}

#[test]
fn names_with_a_meaning_of_their_own_are_refused() {
    for name in ["teacher", "converted", "conversion", "random", "Student"] {
        let text = format!("{}{}", text(""), added(name, "from = \"student\""));
        let key = format!("`stages.{name}` is a name with a meaning");
        refuses_text(text, &["r.toml:", &key, "expected another name"]);
    }
    let both = format!(
        "{}{}{}",
        text(""),
        added("Long", "from = \"student\""),
        added("long", "from = \"student\"")
    );
    refuses_text(both, &["`stages.long` is beside `stages.Long`", "capital letters"]);
    let path = format!("{}{}", text(""), added("\"../a\"", "from = \"student\""));
    refuses_text(path, &["\"../a\" is no name of a stage"]);
}

#[test]
fn added_stages_are_checked_like_the_standard_ones() {
    let with = |keys: &str| format!("{}{}", text(""), added("longer", keys));
    for (keys, parts) in [
        ("from = \"student\"\ntime_steps = 0", &["`stages.longer.time_steps` is 0"][..]),
        ("from = \"student\"\ntrain_limit = 0", &["`stages.longer.train_limit` is 0"]),
        ("from = \"random\"\nthreshold = 0", &["`stages.longer.threshold` is 0", "above 0"]),
        ("from = \"student\"\nlosses = []", &["[stages.longer]: none of 0 in `losses`"]),
    ] {
        refuses_text(with(keys), parts);
    }
    let epochs = with("from = \"student\"").replace("epochs = 1", "epochs = 0");
    refuses_text(epochs, &["[stages.longer.train]", "`epochs` is 0"]);
    let ann = format!("{}{}", text(""), added_ann("big"));
    let shape = ann.replace("[stages.big.train]\nepochs = 1", "[stages.big.train]\nepochs = 0");
    refuses_text(shape, &["[stages.big.train]", "`epochs` is 0"]);
    let unknown = ann.replace("kind = \"ann\"", "kind = \"ann\"\ntime_steps = 4");
    refuses_text(unknown, &["unknown key `time_steps`"]);
}
