//! Completion in a shell.

use std::fs;
use std::process::Command;

use lasnn_tests::binary::lasnn;
use lasnn_tests::{Outcome, Sandbox};

/// The scripts start the program with the words typed so far, as this test does.
#[test]
fn every_shell_completes_commands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox.succeed(&["completions", shell]).stdout;
        for part in ["LASNN_COMPLETE", " -- ", "lasnn"] {
            assert!(script.contains(part), "no `{part}` in {shell}: {script}");
        }
        // The words of the command follow `--`, so options of the program stand before it.
        let mut complete = Command::new(lasnn());
        complete.args(["--", "lasnn", "dis"]).current_dir(sandbox.path());
        complete.env("LASNN_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "1");
        let offered = Outcome::of(complete.output().unwrap());
        assert!(offered.stdout.starts_with("distill"), "{shell}: {offered:#?}");
        assert_eq!(offered.stdout.trim_end().lines().count(), 1, "{shell}: {offered:#?}");
    }
}

/// Bash is on every machine that runs these tests, so this test runs its script.
#[cfg(unix)]
#[test]
fn bash_completes_recipes_data_sets_and_runs() {
    const COMPLETE: &str = r#"
        source completions.bash || exit 1
        complete -p lasnn | grep -q _clap_complete_lasnn || exit 1
        COMP_WORDS=(lasnn "$@") COMP_CWORD=$# COMP_TYPE=9 COMPREPLY=()
        _clap_complete_lasnn lasnn "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let sandbox = Sandbox::new();
    let run = "runs/tiny/20260131-091500-0123abcd";
    for folder in ["configs/cifar10", "data", run] {
        fs::create_dir_all(sandbox.path().join(folder)).unwrap();
    }
    for file in ["tiny.toml", "tiny.txt", "configs/quick.toml", "configs/cifar10/vgg5-cpu.toml"] {
        sandbox.write(file, "");
    }
    sandbox.write("completions.bash", &sandbox.succeed(&["completions", "bash"]).stdout);
    let complete = |words: &[&str]| {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", COMPLETE, "bash"]).args(words).current_dir(sandbox.path());
        let answer = Outcome::of(bash.output().unwrap());
        assert_eq!((answer.code, &*answer.stderr), (Some(0), ""), "{words:?}: {answer:#?}");
        answer.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for (typed, offered) in [
        (&["run", "conf"][..], &["configs/"][..]),
        (&["run", "configs/q"], &["configs/quick.toml"]),
        (&["run", "q"], &["quick"]),
        (&["run", "cif"], &["cifar10/vgg5-cpu"]),
        (&["train", "teacher", "t"], &["tiny.toml"]),
        (&["data", "verify", "ci"], &["cifar10", "cifar100", "cifar10/vgg5-cpu"]),
        (&["data", "fetch", "mn"], &["mnist"]),
        (&["inspect", "teacher-v"], &["teacher-vgg16"]),
        (&["runs", "ti"], &["tiny"]),
        (&["runs", "diff", "tiny/"], &["tiny/20260131-091500-0123abcd"]),
        (&["eval", "--stage", "con"], &["converted", "control"]),
        (&["run", "tiny.toml", "--set"], &["--set"]),
        (&["run", "tiny.toml", "--set", "student.train.ep"], &["student.train.epochs="]),
        (&["list", "su"], &["surrogates"]),
    ] {
        assert_eq!(complete(typed), offered, "{typed:?}");
    }
}
