use std::path::Path;

use super::estimate::DataSize;
use super::size::Size;
use super::*;
use crate::pipeline::Goal;
use crate::recipe;

/// The recipe for which the numbers below were computed.
const RECIPE: &str = include_str!("../../../../results/2026-11-30-memory/vgg5-bf16.toml");

const DATA: DataSize =
    DataSize { train: 256, validation: 64, test: 64, pixels: Size::new(1 << 20) };

const MEBIBYTE: u128 = 1 << 20;

/// What is estimated.
#[derive(Clone, Copy)]
enum What<'a> {
    Run(&'a Goal),
    /// A checkpoint is supplied in place of the last stage.
    Supplied(&'a Goal),
    Measure(usize),
}

fn stages(text: &str, what: What<'_>) -> Vec<StageEstimate> {
    let file = Path::new("r.toml");
    let recipe = recipe::parse(text, file, None).unwrap();
    let image = lasnn_core::Shape { channels: 3, height: 32, width: 32 };
    let plans = recipe::validate(&recipe, file, image, 10, DATA.train).unwrap();
    let inputs = Inputs { recipe: &recipe, plans: &plans, data: DATA, threads: 2, on_gpu: false };
    let graph = Graph::new(&recipe).unwrap();
    let network = recipe.network_of(&StageName::STUDENT).unwrap();
    let goal = match what {
        What::Run(goal) | What::Supplied(goal) => goal,
        What::Measure(time_steps) => {
            return estimate(Command::Measure { network: &network, time_steps }, inputs);
        }
    };
    let stages = goal.stages(&graph).unwrap();
    let last = stages.last().unwrap().name().clone();
    let supplied = if matches!(what, What::Supplied(_)) { vec![last] } else { vec![] };
    estimate(Command::Stages { stages: &stages, supplied: &supplied }, inputs)
}

fn run(text: &str) -> Vec<StageEstimate> {
    stages(text, What::Run(&Goal::Run))
}

/// The memory of one purpose in the last stage of a run.
fn of_student(text: &str, purpose: Purpose) -> Size {
    run(text).last().unwrap().memory.of(purpose)
}

fn with(from: &str, to: &str) -> String {
    assert!(RECIPE.contains(from), "`{from}` is not in the recipe");
    RECIPE.replace(from, to)
}

#[test]
fn a_command_has_the_stages_that_it_runs() {
    let names = |text: &str, goal: Goal| -> Vec<String> {
        stages(text, What::Run(&goal)).into_iter().map(|stage| stage.name).collect()
    };
    let all = ["teacher", "intermediate", "conversion", "student"];
    assert_eq!(names(RECIPE, Goal::Run), all);
    assert_eq!(names(RECIPE, Goal::Distill), all);
    assert_eq!(names(RECIPE, Goal::Convert), all[1..3]);
    assert_eq!(names(RECIPE, Goal::Train(StageName::TEACHER)), all[..1]);
    assert_eq!(names(RECIPE, Goal::Train(StageName::INTERMEDIATE)), all[1..2]);
    assert_eq!(stages(RECIPE, What::Measure(8))[0].name, "measuring");

    let student = "[student]\ntime_steps = 8";
    let random = with(student, &format!("{student}\nstart = \"random\""));
    assert_eq!(names(&random, Goal::Run), ["teacher", "student"]);
    let control = with(student, &format!("{student}\nwithout_distillation = true"));
    assert_eq!(names(&control, Goal::Run).last().unwrap(), "student_without_distillation");
    let longer = format!(
        "{RECIPE}\n[stages.longer]\nkind = \"student\"\nfrom = \"student\"\ntime_steps = 16\n\
         [stages.longer.train]\nepochs = 1\nbatch = 64\nprecision = \"bf16\"\n\
         optimizer = {{ kind = \"adam\", learning_rate = 1e-4 }}\n"
    );
    let found = run(&longer);
    assert_eq!(found.last().unwrap().name, "longer");
    let tape = |index: usize| found[index].memory.of(Purpose::Tape);
    assert!(tape(4) > tape(3), "it has more time steps than the student");
    assert!(found[4].advice.contains("[stages.longer.train]"), "{}", found[4].advice);
}

#[test]
fn weights_gradients_and_moments_are_those_of_the_plan() {
    // VGG5 has 50,595,520 weights, and Adam has two moments for each of them.
    let weights = Size::new(50_595_520 * 4);
    let goal = Goal::Train(StageName::INTERMEDIATE);
    let trained = stages(RECIPE, What::Run(&goal));
    let memory = &trained[0].memory;
    assert_eq!(memory.of(Purpose::Weights), weights);
    let optimiser = memory.of(Purpose::Optimiser);
    // Gradients of the smallest weight tensors are not in the pool, and so do not count.
    assert!(optimiser <= weights * 3usize && optimiser >= weights * 29usize / 10usize);
    assert_eq!(memory.of(Purpose::Checkpoint), weights * 3usize, "the peak is at a checkpoint");
    let supplied = What::Supplied(&goal);
    assert!(stages(RECIPE, supplied)[0].memory.total() < memory.total() / 2usize);
}

#[test]
fn an_activation_without_a_kernel_keeps_its_input_and_a_mask() {
    let goal = Goal::Train(StageName::INTERMEDIATE);
    let of = |text: &str| stages(text, What::Run(&goal))[0].memory.of(Purpose::Activations);
    // Smaller numbers of weights, so that the peak is not in the optimiser.
    let layers = "[intermediate]\nnetwork = { name = \"convolutions\", layers = [
        { kind = \"conv\", channels = 64, tap = \"low\" },
        { kind = \"conv\", channels = 64, tap = \"middle\" },
        { kind = \"conv\", channels = 64, tap = \"high\" },
        { kind = \"classifier\" },
    ] }";
    let fused = with("[intermediate]\nnetwork = \"vgg5\"", layers);
    let unfused = fused.replace("[intermediate]", "[intermediate]\nactivation.kind = \"clip\"");
    // At least 5 bytes more for each element of the three feature maps of 64 images.
    let map = Size::new(64 * 32 * 32 * 64);
    let (fused, unfused) = (of(&fused), of(&unfused));
    assert!(unfused >= fused + map * 15usize, "{fused} to {unfused}");
    assert!(unfused <= fused + map * 24usize, "{fused} to {unfused}");
}

#[test]
fn the_tape_grows_with_the_batch_and_the_time_steps() {
    let tape = of_student(RECIPE, Purpose::Tape);
    // At least one byte for each of 139,264 neurons, 64 images and 8 time steps.
    assert!(tape >= Size::new(139_264 * 64 * 8), "{tape}");
    let longer = with("[student]\ntime_steps = 8", "[student]\ntime_steps = 16");
    let longer = of_student(&longer, Purpose::Tape);
    assert!(longer > tape * 16usize / 10usize, "{tape} to {longer}");
    let train = "[student.train]\nepochs = 1\nbatch = 64";
    let smaller = of_student(&with(train, &format!("{train}\nmicro_batch = 16")), Purpose::Tape);
    assert!(smaller * 3usize < tape, "{tape} to {smaller}");
}

#[test]
fn trained_neurons_need_a_longer_tape_and_more_state() {
    let spiking =
        |keys: &str| with("[student]\n", &format!("[spiking.neuron]\n{keys}\n[student]\n"));
    let rectangular = "surrogate = { kind = \"rectangular\" }";
    let tape = |keys: &str| of_student(&spiking(keys), Purpose::Tape);
    let derivatives = of_student(RECIPE, Purpose::Tape);
    // Spikes of a bit, and derivatives of a byte or potentials of two.
    let longer = tape("leak = { train = true }");
    assert!(longer > derivatives * 16usize / 10usize, "{derivatives} to {longer}");
    for as_long in ["threshold = { train = true }", rectangular] {
        assert_eq!(tape(as_long), derivatives, "{as_long}");
    }

    let optimiser = |keys: &str| of_student(&spiking(keys), Purpose::Optimiser);
    let potentials = optimiser("initial_membrane = { per = \"neuron\", train = true }");
    // Adam has two moments for each of 139,264 potentials.
    let expected = optimiser("leak = 1.0") + Size::new(139_264 * 4 * 2);
    assert!(potentials >= expected, "{potentials}, expected {expected}");
}

#[test]
fn losses_decide_whether_there_is_a_teacher() {
    let student = "[student]\ntime_steps = 8";
    let by_step = "losses = [{ kind = \"cross-entropy\", on = \"step\" }]";
    let by_step = with(student, &format!("{student}\n{by_step}"));
    let of = |purpose| (of_student(&by_step, purpose), of_student(RECIPE, purpose));
    let (without, with_teacher) = of(Purpose::Weights);
    assert!(without < with_teacher, "{without}, with teacher {with_teacher}");
    let (by_step, of_mean) = of(Purpose::Tape);
    assert!(by_step < of_mean * 2usize, "the kernels compute the logits of each step: {by_step}");
}

#[test]
fn a_teacher_with_gradients_keeps_the_activations_from_the_lowest_tap_on() {
    let student = "[student]\ntime_steps = 8";
    let activations = |loss: &str| {
        let losses = format!("{student}\nlosses = [{{ kind = \"cross-entropy\" }}, {{ {loss} }}]");
        of_student(&with(student, &losses), Purpose::Activations)
    };
    let attention = activations("kind = \"attention\"");
    let high = activations("kind = \"gradient-attention\", taps = [\"high\"]");
    let all = activations("kind = \"gradient-attention\"");
    assert!(attention < all && high < all, "{attention}, {high}, {all}");
    // From the low tap on, ResNet20 has 12 convolutions of 64 images with at least 4096 outputs.
    assert!(all >= Size::new(12 * 64 * 4096 * 4), "{all}");
}

#[test]
fn neurons_without_a_kernel_take_more_memory() {
    let student = "[student]\ntime_steps = 8";
    let plif = with(student, &format!("[spiking.neuron]\nkind = \"plif\"\n{student}"));
    let plif = of_student(&plif, Purpose::Tape);
    let lif = of_student(RECIPE, Purpose::Tape);
    assert!(plif > lif * 2usize, "{plif}, LIF {lif}");
    let keys = "[spiking.neuron]\nsurrogate = { kind = \"spike-time\" }";
    let by_layer = of_student(&with(student, &format!("{keys}\n{student}")), Purpose::Tape);
    assert!(by_layer > lif * 2usize, "{by_layer}, fused {lif}");
}

#[test]
fn huge_numbers_give_a_huge_estimate_without_overflow() {
    let text = with("[student]\ntime_steps = 8", "[student]\ntime_steps = 9223372036854775807");
    let huge = run(&text).pop().unwrap();
    assert!(huge.memory.total() > Size::new(1 << 80), "{}", huge.memory.total());
    assert!(
        stages(RECIPE, What::Measure(usize::MAX))[0].memory.total() < Size::new(4096 * MEBIBYTE)
    );
}

#[test]
fn a_stage_that_does_not_fit_is_refused_with_advice() {
    let memory = |bytes| Memory {
        stages: run(RECIPE),
        available: Available { bytes, source: "the machine's memory" },
        on_gpu: false,
    };
    memory(None).check().unwrap();
    memory(Some(Size::new(16 * 1024 * MEBIBYTE))).check().unwrap();
    let error = memory(Some(Size::new(512 * MEBIBYTE))).check().unwrap_err();
    assert_eq!(format!("{:?}", crate::failure::exit_code(&error)), "ExitCode(unix_exit_status(2))");
    let message = error.to_string();
    for part in [
        "the stage `intermediate` needs about",
        "512 MiB are available (the machine's memory)",
        "the largest part",
        "`micro_batch` in [intermediate.train]",
        "or run with --ignore-memory",
    ] {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}
