//! Recipes that extend others, and the options `--set`.

use std::fs;
use std::path::PathBuf;

use lasnn_training::{Adam, OptimizerConfig, Sgd};

use super::*;

/// A complete recipe whose keys the tests replace.
const BASE: &str = r#"
name = "base"
seed = 3
[data]
source = "digits"
validation = 100
augment = { flip = true, cutout = 2 }
[teacher]
network = "teacher-resnet20"
[teacher.train]
epochs = 2
batch = 10
optimizer = { kind = "sgd", learning_rate = 0.1, momentum = 0.8 }
[intermediate.network]
name = "small"
layers = [
    { kind = "conv", channels = 4, tap = "low" },
    { kind = "conv", channels = 4, tap = "middle" },
    { kind = "conv", channels = 4, tap = "high" },
    { kind = "classifier" },
]
[intermediate.train]
epochs = 2
batch = 10
optimizer = { kind = "adam", learning_rate = 0.1, amsgrad = true }
[student]
time_steps = 4
[student.train]
epochs = 2
batch = 10
optimizer = { kind = "adam", learning_rate = 0.1, amsgrad = true }
[evaluation]
time_steps = [8, 16]
"#;

/// Files in a folder of their own.
struct Folder(tempfile::TempDir);

impl Folder {
    /// The folder with `base.toml`, which is [`BASE`], and with other files.
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("base.toml", BASE)].iter().chain(files) {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str, set: &[&str]) -> Result<Recipe, RecipeError> {
        let set: Vec<Setting> = set.iter().map(|set| Setting::parse(set).unwrap()).collect();
        let file = self.path(name);
        let (recipe, origins) = read(&file, Changes { set: &set, seed: None })?;
        origins.locate(validate(&recipe, &file, DIGITS, 10, IMAGES))?;
        Ok(recipe)
    }

    /// The error of a recipe, without the path of the folder.
    #[track_caller]
    fn error(&self, name: &str, set: &[&str]) -> String {
        let error = self.read(name, set).expect_err("the recipe is invalid").to_string();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// The error of a recipe that extends [`BASE`].
#[track_caller]
fn child_error(child: &str) -> String {
    let child = format!("extends = \"base.toml\"\n{child}");
    Folder::with(&[("child.toml", &child)]).error("child.toml", &[])
}

/// The recipe [`BASE`] with options.
#[track_caller]
fn set(set: &[&str]) -> Recipe {
    Folder::with(&[]).read("base.toml", set).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn set_error(set: &[&str]) -> String {
    Folder::with(&[]).error("base.toml", set)
}

#[test]
fn tables_merge_and_other_values_replace() {
    let child = r#"
        extends = "base.toml"
        name = "child"
        [data]
        augment = { cutout = 4 }
        [student.train]
        epochs = 5
        optimizer = { learning_rate = 0.2 }
        [evaluation]
        time_steps = [32]
    "#;
    let folder = Folder::with(&[("child.toml", child)]);
    let found = folder.read("child.toml", &[]).unwrap();
    let mut expected = folder.read("base.toml", &[]).unwrap();
    expected.name = "child".into();
    expected.data.augment.cutout = 4;
    expected.student.train.epochs = 5;
    let OptimizerConfig::Adam(adam) = &mut expected.student.train.optimizer else {
        panic!("{expected:?}");
    };
    adam.learning_rate = 0.2;
    expected.evaluation.time_steps = vec![32];
    assert_eq!(found, expected);
    // The resolved recipe is complete: it names no other file.
    let written = toml::to_string_pretty(&found).unwrap();
    assert!(!written.contains("extends"), "{written}");
    assert_eq!(parse(&written, file(), None).unwrap(), found);
}

#[test]
fn a_table_of_another_kind_replaces_the_table() {
    let child = r#"
        extends = "base.toml"
        name = "child"
        [student.train]
        optimizer = { kind = "sgd", learning_rate = 0.2 }
        [intermediate]
        network = "vgg5"
        [teacher.network]
        name = "written out"
        layers = [
            { kind = "conv", channels = 4, tap = "low" },
            { kind = "conv", channels = 4, tap = "middle" },
            { kind = "conv", channels = 4, tap = "high" },
            { kind = "classifier" },
        ]
    "#;
    let found = Folder::with(&[("child.toml", child)]).read("child.toml", &[]).unwrap();
    let sgd = Sgd::new(0.2);
    assert_eq!(found.student.train.optimizer, OptimizerConfig::Sgd(sgd));
    // A name and a table are no tables of the same kind either.
    assert_eq!(found.intermediate.network.name, "vgg5");
    assert_eq!(found.teacher.unwrap().network.name, "written out");
}

/// Its other stages must be those of the recipe that it extends, so that they are reused.
#[test]
fn the_long_recipe_differs_in_its_student_only() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/cifar10");
    let read = |name: &str| read(&configs.join(name), Changes::default()).unwrap().0;
    let mut expected = read("vgg5-cpu.toml");
    expected.name = "cifar10-vgg5-cpu-long".into();
    expected.student.train.epochs = 20;
    let adam = Adam::new(5e-4);
    let adam = Adam { weight_decay: 0.15, decoupled: true, ..adam };
    expected.student.train.optimizer = OptimizerConfig::Adam(adam);
    assert_eq!(read("vgg5-cpu-long.toml"), expected);
}

#[test]
fn a_chain_of_files_ends_at_a_file_that_extends_none() {
    let folder = Folder::with(&[
        ("a/child.toml", "extends = \"../b/parent.toml\"\nseed = 9"),
        ("b/parent.toml", "extends = \"../base.toml\"\nname = \"parent\"\nseed = 8"),
    ]);
    let found = folder.read("a/child.toml", &[]).unwrap();
    assert_eq!((found.name.as_str(), found.seed), ("parent", Seed(9)));
}

#[test]
fn a_cycle_shows_its_files() {
    let folder = Folder::with(&[
        ("a.toml", "extends = \"b.toml\""),
        ("b.toml", "extends = \"./a.toml\""),
        ("self.toml", "extends = \"self.toml\""),
    ]);
    let expected = "a.toml extends b.toml, which extends ./a.toml, so it would extend itself";
    assert_eq!(folder.error("a.toml", &[]), expected);
    let expected = "self.toml extends self.toml, so it would extend itself";
    assert_eq!(folder.error("self.toml", &[]), expected);
}

#[test]
fn a_missing_file_is_named_with_the_file_that_extends_it() {
    let error = Folder::with(&[("a.toml", "# a\nextends = \"absent\"")]).error("a.toml", &[]);
    let expected = "a.toml:2: `extends` names absent, which cannot be read: No such file";
    assert!(error.starts_with(expected), "{error}");
    let error = Folder::with(&[("a.toml", "extends = [\"b.toml\"]")]).error("a.toml", &[]);
    assert!(error.starts_with("a.toml:1:11: `extends`: expected a text"), "{error}");
}

#[test]
fn errors_name_the_file_that_contains_the_wrong_value() {
    let check = |files: &[(&str, &str)], expected: &[&str]| {
        let error = Folder::with(files).error("child.toml", &[]);
        for part in expected {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
    };
    let child = ("child.toml", "extends = \"wrong.toml\"\n[student]\ntime_steps = 5");
    for (from, to, expected) in [
        ("seed = 3", "seed = ", "wrong.toml:3:8: "),
        ("seed = 3", "seed = \"x\"", "wrong.toml:3:8: `seed`: found the text \"x\""),
        ("seed = 3", "sed = 3", "wrong.toml:3:1: `sed`: unknown key `sed`"),
        ("validation = 100", "validation = 0", "wrong.toml:6: `data.validation` is 0"),
        ("teacher-resnet20", "resnet20", "wrong.toml:9: `teacher.network` is \"resnet20\""),
        ("momentum = 0.8", "beta = 1", "wrong.toml:13:50: `teacher.train.optimizer`: unknown key"),
        ("channels = 4, tap = \"low\"", "chanels = 4", "wrong.toml:17:22: `intermediate.network"),
        ("[8, 16]", "[8, 8]", "wrong.toml:33: `evaluation.time_steps` is [8, 8]"),
    ] {
        let wrong = BASE.replacen(from, to, 1);
        assert_ne!(wrong, BASE, "{from}");
        check(&[("wrong.toml", &wrong), child], &[expected]);
    }
    for (child, expected) in [
        ("[student.train]\nepochs = \"x\"", "child.toml:3:10: `student.train.epochs`: found the"),
        ("[student.train]\nepochs = 0", "child.toml:3: [student.train]: `epochs` is 0"),
        ("[student.train.optimizer]\nbeta3 = 0", "child.toml:3:1: `student.train.optimizer`"),
        ("[student.train.optimizer]\nkind = \"ada\"", "child.toml:3:8: `student.train.optimizer"),
        ("[data]\naugment = [1, true]", "child.toml:3: `data.augment` is [1, true], expected"),
    ] {
        let error = child_error(child);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_missing_key_is_missing_in_the_recipe_that_was_read() {
    let part = BASE.replacen("[student]\ntime_steps = 4\n", "", 1);
    let child = "extends = \"part.toml\"\n[student]\ntrain_limit = 5";
    let error = Folder::with(&[("part.toml", &part), ("child.toml", child)]);
    let error = error.error("child.toml", &[]);
    assert!(
        error.starts_with("child.toml:2:1: `student`: there is no key `time_steps`"),
        "{error}"
    );
}

#[test]
fn set_changes_values_and_adds_keys() {
    let found = set(&[
        "name=other",
        "student.train.epochs=8",
        "data.normalisation=unit",
        "spiking.neuron.surrogate={kind=\"atan\"}",
        "evaluation.time_steps.1=32",
        "intermediate.network.layers.0.channels=6",
    ]);
    assert_eq!(found.name, "other");
    assert_eq!(found.student.train.epochs, 8);
    assert_eq!(found.data.normalisation.name(), "unit");
    assert_eq!(found.spiking.neuron.options().surrogate.kind(), "atan");
    assert_eq!(found.evaluation.time_steps, [8, 32]);
    let written = toml::to_string_pretty(&found).unwrap();
    assert_eq!(parse(&written, file(), None).unwrap(), found);
    assert!(written.contains("channels = 6"), "{written}");
    // The last one of a key counts.
    assert_eq!(set(&["seed=5", "seed=6"]).seed, Seed(6));
}

#[test]
fn set_counts_after_extends_and_seed_after_set() {
    let folder = Folder::with(&[("child.toml", "extends = \"base.toml\"\nseed = 4")]);
    assert_eq!(folder.read("child.toml", &["seed=5"]).unwrap().seed, Seed(5));
    let set = [Setting::parse("seed=5").unwrap()];
    let changes = Changes { set: &set, seed: Some(6) };
    assert_eq!(read(&folder.path("child.toml"), changes).unwrap().0.seed, Seed(6));
}

#[test]
fn set_of_another_kind_removes_the_keys_of_the_old_one() {
    let expected = OptimizerConfig::Sgd(Sgd::new(0.2));
    let (kind, rate) =
        ("student.train.optimizer.kind=sgd", "student.train.optimizer.learning_rate=0.2");
    let table = "student.train.optimizer={ kind = \"sgd\", learning_rate = 0.2 }";
    for options in [&[kind, rate][..], &[rate, kind], &[table]] {
        assert_eq!(set(options).student.train.optimizer, expected, "{options:?}");
    }
}

#[test]
fn a_wrong_option_is_named() {
    for (option, expected) in [
        ("student.train.epoch=8", "--set student.train.epoch=8: unknown key `epoch`, expected one"),
        ("studnet.train.epochs=8", "--set studnet.train.epochs=8: unknown key `studnet`"),
        ("student.train.epochs=x", "--set student.train.epochs=x: found the text \"x\", expected"),
        ("student.time_steps=0", "--set student.time_steps=0: `student.time_steps` is 0, expected"),
        ("student.train.epochs=0", "--set student.train.epochs=0: [student.train]: `epochs` is 0"),
        ("teacher.network=vgg6", "--set teacher.network=vgg6: `teacher.network` is \"vgg6\""),
        ("student.train.optimizer.beta3=1", "--set student.train.optimizer.beta3=1: unknown key"),
        ("data.source=digit", "--set data.source=digit: unknown value `digit`, expected one of"),
        (
            "evaluation.time_steps.2=4",
            "--set evaluation.time_steps.2=4: `evaluation.time_steps` is a list of length 2, so it \
             has no element `2`, expected an index of 0 to 1",
        ),
        (
            "student.time_steps.x=4",
            "--set student.time_steps.x=4: `student.time_steps` is a number, so it has no key `x`",
        ),
        (
            "intermediate.network.layers.1.channels=0",
            "--set intermediate.network.layers.1.channels=0: [intermediate.network]: network",
        ),
    ] {
        let error = set_error(&[option]);
        assert!(error.starts_with(expected), "{option}: {error}");
    }
    // The other values are still those of the file.
    let error = Folder::with(&[("wrong.toml", &BASE.replacen("seed = 3", "seed = -3", 1))])
        .error("wrong.toml", &["name=other", "student.time_steps=5"]);
    assert!(error.starts_with("wrong.toml:3:8: `seed`"), "{error}");
}
