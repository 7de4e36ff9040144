use std::path::Path;

use super::*;
use crate::recipe;

/// The recipe whose run the figures below were worked out for.
const RECIPE: &str = include_str!("../../../../results/2026-11-30-memory/vgg5-bf16.toml");

const FACTS: Facts =
    Facts { train: 256, student: 256, validation: 64, test: 64, pixels: Size::new(1 << 20) };

const MEBIBYTE: u128 = 1 << 20;

fn stages(text: &str, command: Command) -> Vec<Stage> {
    let file = Path::new("r.toml");
    let recipe = recipe::parse(text, file, None).unwrap();
    let image = lasnn_core::Shape { channels: 3, height: 32, width: 32 };
    let counts = recipe::Counts { train: FACTS.train, student: FACTS.student };
    let plans = recipe::validate(&recipe, file, image, 10, counts).unwrap();
    let facts = FACTS;
    walk(command, Asked { recipe: &recipe, plans: &plans, facts, threads: 2, on_gpu: false })
}

fn run(goal: Goal) -> Command {
    Command::Stages { goal, teacher: false, intermediate: false }
}

fn of(text: &str, part: Part) -> Size {
    stages(text, run(Goal::Run)).last().unwrap().parts.of(part)
}

fn with(from: &str, to: &str) -> String {
    assert!(RECIPE.contains(from), "`{from}` is not in the recipe");
    RECIPE.replace(from, to)
}

#[test]
fn a_command_has_the_stages_that_it_runs() {
    let names =
        |command| -> Vec<&str> { stages(RECIPE, command).iter().map(|stage| stage.name).collect() };
    let all = ["teacher", "intermediate", "conversion", "student"];
    assert_eq!(names(run(Goal::Run)), all);
    assert_eq!(names(run(Goal::Distill)), all);
    assert_eq!(names(run(Goal::Convert)), all[1..3]);
    assert_eq!(names(run(Goal::Train(AnnStage::Teacher))), all[..1]);
    assert_eq!(names(run(Goal::Train(AnnStage::Intermediate))), all[1..2]);
    let measure = Command::Measure { stage: StageName::Student, time_steps: 8 };
    assert_eq!(names(measure), ["measuring"]);
}

#[test]
fn weights_gradients_and_moments_are_those_of_the_plan() {
    // VGG5 has 50,595,520 weights, and Adam two numbers for each of them.
    let weights = Size::new(50_595_520 * 4);
    let alone = stages(RECIPE, run(Goal::Train(AnnStage::Intermediate)));
    let parts = &alone[0].parts;
    assert_eq!(parts.of(Part::Weights), weights);
    let optimiser = parts.of(Part::Optimiser);
    // Gradients of the smallest weights are not kept, and so not counted.
    assert!(optimiser <= weights * 3usize && optimiser >= weights * 29usize / 10usize);
    assert_eq!(parts.of(Part::Checkpoint), weights * 3usize, "at its peak it writes a checkpoint");
    let adopted = Command::Stages {
        goal: Goal::Train(AnnStage::Intermediate),
        teacher: false,
        intermediate: true,
    };
    assert!(stages(RECIPE, adopted)[0].parts.total() < parts.total() / 2usize);
}

#[test]
fn a_tape_grows_with_the_batch_and_the_steps() {
    let tape = of(RECIPE, Part::Tape);
    // A byte for each of 139,264 neurons, 64 images and 8 steps.
    assert!(tape >= Size::new(139_264 * 64 * 8), "{tape}");
    let longer = of(&with("[student]\ntime_steps = 8", "[student]\ntime_steps = 16"), Part::Tape);
    assert!(longer > tape * 16usize / 10usize, "{tape} to {longer}");
    let smaller = of(
        &with(
            "[student.train]\nepochs = 1\nbatch = 64",
            "[student.train]\nepochs = 1\nbatch = 64\nmicro_batch = 16",
        ),
        Part::Tape,
    );
    assert!(smaller * 3usize < tape, "{tape} to {smaller}");
}

#[test]
fn numbers_of_any_size_give_a_large_estimate_and_no_overflow() {
    let text = with("[student]\ntime_steps = 8", "[student]\ntime_steps = 9223372036854775807");
    let huge = stages(&text, run(Goal::Run)).pop().unwrap();
    assert!(huge.parts.total() > Size::new(1 << 80), "{}", huge.parts.total());
    let command = Command::Measure { stage: StageName::Student, time_steps: usize::MAX };
    assert!(stages(RECIPE, command)[0].parts.total() < Size::new(4096 * MEBIBYTE));
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    let memory = |bytes| Memory {
        stages: stages(RECIPE, run(Goal::Run)),
        available: Available { bytes, source: "the machine's memory" },
        on_gpu: false,
    };
    memory(None).check().unwrap();
    memory(Some(Size::new(16 * 1024 * MEBIBYTE))).check().unwrap();
    let error = memory(Some(Size::new(512 * MEBIBYTE))).check().unwrap_err();
    assert_eq!(format!("{:?}", crate::failure::exit_code(&error)), "ExitCode(unix_exit_status(2))");
    let message = error.to_string();
    for part in [
        "the stage `intermediate` takes about",
        "there are 512 MiB (the machine's memory)",
        "the largest part",
        "`micro_batch` in [intermediate.train]",
        "or run with --ignore-memory",
    ] {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}
