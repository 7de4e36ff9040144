//! What a shell completes.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use lasnn_tests::Workplace;
use lasnn_tests::binary::lasnn;
use lasnn_tests::workplace::Outcome;

/// What a shell would offer: the script asks the program as the words below do.
#[test]
fn every_shell_completes_commands() {
    let place = Workplace::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.succeed(&["completions", shell]).stdout;
        let asks = script.contains("LASNN_COMPLETE") && script.contains(" -- ");
        assert!(asks && script.contains("lasnn"), "{shell}: {script}");
        // All options come first, since the words of the command follow `--`.
        let mut ask = Command::new(lasnn());
        ask.args(["--", "lasnn", "dis"]).current_dir(place.path());
        ask.env("LASNN_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "1");
        let offered = Outcome::of(ask.output().unwrap());
        assert!(offered.stdout.starts_with("distill"), "{shell}: {offered:#?}");
        assert_eq!(offered.stdout.trim_end().lines().count(), 1, "{shell}: {offered:#?}");
    }
}

/// Bash is on every machine that runs these tests, so it is really asked.
#[cfg(unix)]
#[test]
fn bash_completes_recipes_data_sets_and_runs() {
    const ASK: &str = r#"
        source completions.bash || exit 1
        complete -p lasnn | grep -q _clap_complete_lasnn || exit 1
        COMP_WORDS=(lasnn "$@") COMP_CWORD=$# COMP_TYPE=9 COMPREPLY=()
        _clap_complete_lasnn lasnn "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let place = Workplace::new();
    let run = "runs/tiny/20260131-091500-0123abcd";
    for folder in ["configs/cifar10", "data", run] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    for file in ["tiny.toml", "tiny.txt", "configs/quick.toml", "configs/cifar10/vgg5-cpu.toml"] {
        place.write(file, "");
    }
    place.write("completions.bash", &place.succeed(&["completions", "bash"]).stdout);
    let ask = |words: &[&str]| {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", ASK, "bash"]).args(words).current_dir(place.path());
        let answer = Outcome::of(bash.output().unwrap());
        assert_eq!((answer.code, &*answer.stderr), (Some(0), ""), "{words:?}: {answer:#?}");
        answer.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ask(&["run", "conf"]), ["configs/"]);
    assert_eq!(ask(&["run", "configs/q"]), ["configs/quick.toml"]);
    assert_eq!(ask(&["run", "q"]), ["quick"]);
    assert_eq!(ask(&["run", "cif"]), ["cifar10/vgg5-cpu"]);
    assert_eq!(ask(&["train", "teacher", "t"]), ["tiny.toml"]);
    assert_eq!(ask(&["data", "verify", "ci"]), ["cifar10", "cifar100", "cifar10/vgg5-cpu"]);
    assert_eq!(ask(&["data", "fetch", "mn"]), ["mnist"]);
    assert_eq!(ask(&["inspect", "teacher-v"]), ["teacher-vgg16"]);
    assert_eq!(ask(&["runs", "ti"]), ["tiny"]);
    assert_eq!(ask(&["runs", "diff", "tiny/"]), ["tiny/20260131-091500-0123abcd"]);
    assert_eq!(ask(&["eval", "--stage", "con"]), ["converted", "control"]);
}
