use clap::{CommandFactory, ValueEnum};

use super::*;

#[test]
fn every_command_shows_an_example() {
    Args::command().debug_assert();
    for command in Args::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let name = command.get_name();
        assert!(help.contains(&format!("Example: lasnn {name}")), "{name}: {help}");
    }
}

/// There are many global options, and a user who types `-h` rarely looks for one of them.
#[test]
fn short_help_is_about_the_command_itself() {
    for words in ["run", "train", "eval", "inspect", "data verify", "runs diff", "check-backend"] {
        let help = |flag: &str| {
            let typed = std::iter::once("lasnn").chain(words.split(' ')).chain([flag]);
            Args::try_parse_from(typed).unwrap_err().to_string()
        };
        let (short, long) = (help("-h"), help("--help"));
        let (options, example) = short.split_once("Example: ").unwrap_or_default();
        assert!(example.starts_with(&format!("lasnn {words}")), "{words}: {short}");
        for option in ["--seed", "--backend", "--runs-dir", "--quiet", "--json", "Global options"] {
            assert!(!options.contains(option), "{words}: {option} in:\n{short}");
            assert!(long.contains(option), "{words}: no {option} in:\n{long}");
        }
        assert!(short.contains("`--help` also shows the options that every command takes"));
        assert!(short.lines().count() <= 24, "{words} fills a terminal:\n{short}");
    }
    let short = Args::try_parse_from(["lasnn", "-h"]).unwrap_err().to_string();
    for command in Args::command().get_subcommands() {
        assert!(short.contains(&format!("\n  {} ", command.get_name())), "{short}");
    }
}

#[test]
fn runs_takes_a_recipe_or_an_action() {
    let parse = |args: &[&str]| {
        let args = Args::try_parse_from([&["lasnn", "runs"], args].concat()).ok()?;
        let Command::Runs(runs) = args.command else { panic!("{args:?}") };
        Some(runs)
    };
    let list = parse(&["tiny", "--json"]).unwrap();
    assert!(list.recipe.as_deref() == Some("tiny") && list.action.is_none(), "{list:?}");
    let three = parse(&["compare", "a", "b", "c"]).unwrap();
    let Some(RunsAction::Compare { runs }) = three.action else { panic!("{three:?}") };
    assert_eq!(runs, ["a", "b", "c"]);
    assert!(parse(&["--runs-dir", "d", "diff", "a", "b"]).unwrap().recipe.is_none());
    for invalid in [&["compare", "a"][..], &["diff", "a"], &["diff", "a", "b", "c"]] {
        assert!(parse(invalid).is_none(), "{invalid:?}");
    }
}

#[test]
fn resume_has_no_value_or_a_folder() {
    let resume = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
        Command::Run(run) => run.resume,
        other => panic!("{other:?}"),
    };
    assert_eq!(resume(&["lasnn", "run", "a.toml"]), None);
    assert_eq!(resume(&["lasnn", "run", "--resume", "a.toml"]), Some(None));
    let named = resume(&["lasnn", "run", "a.toml", "--resume=runs/a/1"]);
    assert_eq!(named, Some(Some("runs/a/1".into())));
}

#[test]
fn every_command_that_computes_can_ignore_the_memory() {
    let ignores = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
        Command::Run(run)
        | Command::Train(Train { run, .. })
        | Command::Convert(Convert { run, .. })
        | Command::Distill(Distill { run, .. }) => run.ignore_memory,
        Command::Eval(eval) => eval.ignore_memory,
        other => panic!("{other:?}"),
    };
    for command in [&["run"][..], &["train", "teacher"], &["convert"], &["distill"], &["eval"]] {
        let words = [&["lasnn"], command, &["a.toml"]].concat();
        assert!(!ignores(&words), "{command:?}");
        assert!(ignores(&[&words[..], &["--ignore-memory"]].concat()), "{command:?}");
    }
}

#[test]
fn every_command_that_takes_a_recipe_takes_changes_of_it() {
    let changes = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
        Command::Run(run)
        | Command::Train(Train { run, .. })
        | Command::Convert(Convert { run, .. })
        | Command::Distill(Distill { run, .. }) => run.set_options.set,
        Command::Eval(eval) => eval.set_options.set,
        Command::Annotate(annotate) => annotate.set_options.set,
        Command::Inspect(inspect) => inspect.set_options.set,
        Command::Data { action: DataAction::Verify(target) }
        | Command::Data { action: DataAction::Info { target, .. } } => target.set_options.set,
        other => panic!("{other:?}"),
    };
    for command in [
        &["run", "a.toml"][..],
        &["train", "teacher", "a.toml"],
        &["convert", "a.toml"],
        &["distill", "a.toml"],
        &["eval", "a.toml"],
        &["annotate", "a.safetensors", "a.toml", "--stage", "teacher", "--out", "b.safetensors"],
        &["inspect", "a.toml"],
        &["data", "verify", "a.toml"],
        &["data", "info", "a.toml"],
    ] {
        let words = [&["lasnn"], command].concat();
        assert!(changes(&words).is_empty(), "{command:?}");
        let options = ["--set", "seed=1", "--set=data.source=cifar10"];
        let set = changes(&[&words[..], &options].concat());
        let typed: Vec<&str> = set.iter().map(|setting| setting.typed()).collect();
        assert_eq!(typed, ["seed=1", "data.source=cifar10"], "{command:?}");
    }
    let error = Args::try_parse_from(["lasnn", "run", "a.toml", "--set", "epochs"]).unwrap_err();
    assert!(error.to_string().contains("expected KEY=VALUE"), "{error}");
}

#[test]
fn data_commands_are_parsed() {
    let action = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
        Command::Data { action } => action,
        other => panic!("{other:?}"),
    };
    let verify = action(&["lasnn", "data", "verify", "a.toml", "--data-dir", "d"]);
    let DataAction::Verify(DataTarget { target, fetch_options, .. }) = verify else { panic!() };
    assert!(target == *"a.toml" && !fetch_options.fetch);
    let info = action(&["lasnn", "data", "info", "--fetch", "a.toml", "--sheet", "a.png"]);
    let DataAction::Info { target, sheet } = info else { panic!("{info:?}") };
    assert!(target.fetch_options.fetch && target.fetch_options.mirror.is_none());
    assert_eq!(sheet, Some("a.png".into()));
    let fetch = action(&["lasnn", "data", "fetch", "mnist", "--mirror", "http://a/"]);
    let DataAction::Fetch { name, mirror } = fetch else { panic!("{fetch:?}") };
    assert_eq!((name, mirror.as_deref()), (DatasetName::Mnist, Some("http://a/")));
}

#[test]
fn a_mirror_requires_fetch() {
    for command in [&["run", "a.toml"][..], &["eval", "a.toml"], &["data", "info", "cifar10"]] {
        let parse =
            |more: &[&str]| Args::try_parse_from([&["lasnn"], command, more].concat()).is_ok();
        assert!(parse(&["--fetch", "--mirror", "http://a/"]), "{command:?}");
        assert!(!parse(&["--mirror", "http://a/"]), "{command:?}");
    }
}

#[test]
fn every_data_set_that_can_be_fetched_has_its_name() {
    use lasnn_datasets::Source;

    let remote = Source::ALL.into_iter().filter(|source| source.remote().is_some());
    assert_eq!(DatasetName::value_variants().len(), remote.count());
    for name in DatasetName::value_variants() {
        let source = Source::named(name.name());
        assert!(source.is_some_and(|source| source.remote().is_some()), "{name:?}");
        let typed = name.to_possible_value().unwrap();
        assert_eq!(typed.get_name(), name.name());
    }
}

#[test]
fn invalid_numbers_are_explained() {
    for (arguments, expected) in [
        (&["--threads", "0"][..], "expected a whole number, at least 1"),
        (&["--threads", "-1"], "expected a whole number, at least 1"),
        (&["--threads", "1.5"], "expected a whole number, at least 1"),
        (&["--seed", "x"], "expected a whole number of 0 to 4294967295"),
        (&["--seed", "4294967296"], "expected a whole number of 0 to 4294967295"),
    ] {
        let all = [&["lasnn", "run", "a.toml"], arguments].concat();
        let error = Args::try_parse_from(all).unwrap_err().to_string();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let classes = ["lasnn", "inspect", "vgg5", "--classes", "1"];
    let error = Args::try_parse_from(classes).unwrap_err().to_string();
    assert!(error.contains("expected a whole number of 2 to"), "{error}");
}
