use clap::CommandFactory;

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

/// The options that every command takes are many, and rarely what somebody looks for.
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
        for option in ["--seed", "--backend", "--runs-dir", "--quiet", "--json", "Everywhere"] {
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
fn runs_are_listed_compared_and_told_apart() {
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
    for wrong in [&["compare", "a"][..], &["diff", "a"], &["diff", "a", "b", "c"]] {
        assert!(parse(wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn resume_stands_alone_or_names_a_run() {
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
fn a_folder_after_resume_is_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().to_str().unwrap();
    let check = |words: &[&str], expected: &[&str]| {
        let words = words.iter().map(|word| (*word).into());
        let found: Vec<String> =
            with_resume(words).into_iter().map(|word| word.into_string().unwrap()).collect();
        assert_eq!(found, expected);
    };
    let joined = format!("--resume={run}");
    check(&["run", "a.toml", "--resume", run], &["run", "a.toml", &joined]);
    check(&["run", "--resume", run, "a.toml"], &["run", &joined, "a.toml"]);
    check(&["run", "a.toml", "--resume", "runs/a/1"], &["run", "a.toml", "--resume=runs/a/1"]);
    for untouched in [
        &["run", "--resume", "a.toml"][..],
        &["run", "--resume", "configs/a.toml"],
        &["run", "--resume", "quickstart"],
        &["run", "a.toml", "--resume"],
        &["run", "a.toml", "--resume", "--json"],
        &["run", "a.toml", "--resume=runs/a/1"],
    ] {
        check(untouched, untouched);
    }
}

#[test]
fn memory_is_ignored_only_when_asked_for() {
    let ignores = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
        Command::Run(run) | Command::Train { run, .. } => run.ignore_memory,
        Command::Convert { run, .. } | Command::Distill { run, .. } => run.ignore_memory,
        Command::Eval { ignore_memory, .. } => ignore_memory,
        other => panic!("{other:?}"),
    };
    for command in [&["run"][..], &["train", "teacher"], &["convert"], &["distill"], &["eval"]] {
        let words = [&["lasnn"], command, &["a.toml"]].concat();
        assert!(!ignores(&words), "{command:?}");
        assert!(ignores(&[&words[..], &["--ignore-memory"]].concat()), "{command:?}");
    }
}

#[test]
fn data_commands_are_read() {
    let action = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
        Command::Data { action } => action,
        other => panic!("{other:?}"),
    };
    let verify = action(&["lasnn", "data", "verify", "a.toml", "--data-dir", "d"]);
    assert!(
        matches!(verify, DataAction::Verify(of) if of.target == *"a.toml" && !of.missing.fetch)
    );
    let info = action(&["lasnn", "data", "info", "--fetch", "a.toml", "--sheet", "a.png"]);
    let DataAction::Info { of, sheet } = info else { panic!("{info:?}") };
    assert!(of.missing.fetch && of.missing.mirror.is_none());
    assert_eq!(sheet, Some("a.png".into()));
    let fetch = action(&["lasnn", "data", "fetch", "mnist", "--mirror", "http://a/"]);
    let DataAction::Fetch { name, mirror } = fetch else { panic!("{fetch:?}") };
    assert_eq!((name, mirror.as_deref()), (DatasetName::Mnist, Some("http://a/")));
}

#[test]
fn a_mirror_is_of_no_use_where_nothing_is_fetched() {
    for command in [&["run", "a.toml"][..], &["eval", "a.toml"], &["data", "info", "cifar10"]] {
        let parse =
            |more: &[&str]| Args::try_parse_from([&["lasnn"], command, more].concat()).is_ok();
        assert!(parse(&["--fetch", "--mirror", "http://a/"]), "{command:?}");
        assert!(!parse(&["--mirror", "http://a/"]), "{command:?}");
    }
}

#[test]
fn every_data_set_of_the_catalogue_has_its_name_here() {
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
fn shapes_are_read() {
    assert_eq!(shape("1x8x9"), Ok(Shape { channels: 1, height: 8, width: 9 }));
    for wrong in ["8x8", "3x8x8x1", "3x-1x8", "0x8x8", "3x8x99999999999999999999"] {
        assert!(shape(wrong).unwrap_err().contains("3x32x32"), "{wrong}");
    }
}

#[test]
fn numbers_that_cannot_be_are_answered_in_plain_words() {
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
