//! A student that is trained with batch norms, which are folded afterwards.

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::tensor_names;
use serde_json::Value;

const TRAIN: &str =
    "epochs = 1\nbatch = 64\noptimizer = { kind = \"adam\", learning_rate = 2e-3 }\n";

/// A student that starts at random, and a second one that goes on from it.
fn recipe() -> String {
    format!(
        "name = \"norms\"\n[data]\nsource = \"digits\"\nvalidation = 300\ntrain_limit = 400\n\
         [intermediate.network]\nname = \"small\"\nlayers = [\n\
         {{ kind = \"conv\", channels = 6 }},\n{{ kind = \"average-pool\" }},\n\
         {{ kind = \"residual\", channels = 8, stride = 2 }},\n{{ kind = \"classifier\" }} ]\n\
         [student]\nstart = \"random\"\ntime_steps = 3\nthreshold = 0.5\n\
         batch_norm = {{ kind = \"threshold-dependent\" }}\n\
         losses = [{{ kind = \"cross-entropy\" }}]\n[student.train]\n{TRAIN}\
         [stages.longer]\nkind = \"student\"\nfrom = \"student\"\n[stages.longer.train]\n{TRAIN}"
    )
}

#[test]
fn a_student_trains_with_batch_norms_and_is_measured_without() {
    let sandbox = Sandbox::with("norms.toml", &recipe());
    let outcome = sandbox.succeed(&["run", "norms.toml"]);
    assert!(outcome.stderr.contains("note: `student.batch_norm`"), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("note:").count(), 1, "{}", outcome.stderr);
    let checkpoints = sandbox.only_run("norms").join("checkpoints");
    let summary = sandbox.summary("norms");
    for stage in ["student", "longer"] {
        let file = checkpoints.join(format!("{stage}.safetensors"));
        let names = tensor_names(&file);
        assert!(!names.iter().any(|name| name.contains("norm")), "{stage}: {names:?}");
        let biases = names.iter().filter(|name| name.ends_with(".conv.bias"));
        assert_eq!(biases.count(), 4, "{stage}: {names:?}");
        let arguments = ["eval", "norms.toml", "--checkpoint", &file.to_string_lossy()];
        let measured = sandbox.json(&arguments);
        for key in ["test_accuracy", "spikes_per_image"] {
            assert_eq!(measured[key], summary["stages"][stage][key], "{stage}: {key}");
        }
    }
    // The resolved recipe describes the same experiment.
    let resolved = sandbox.only_run("norms").join("recipe.toml");
    let again = sandbox.json(&["run", &resolved.to_string_lossy()]);
    let accuracy = |summary: &Value| summary["stages"]["longer"]["test_accuracy"].clone();
    assert_eq!(accuracy(&again), accuracy(&summary));
}

#[test]
fn a_batch_norm_needs_a_random_start_and_a_positive_scale() {
    let sandbox = Sandbox::with("norms.toml", &recipe());
    let later = "stages.longer.batch_norm.kind=plain";
    let words = ["`stages.longer.batch_norm`", "`student`", "starts at random", "folded"];
    sandbox.fail(&["run", "norms.toml", "--set", later], 2, &words);
    let negative = "student.batch_norm.alpha=-1.0";
    sandbox.fail(&["run", "norms.toml", "--set", negative], 2, &["alpha is -1", "above 0"]);
    let unknown = "student.batch_norm.kind=group";
    let words = ["student.batch_norm", "`group`", "`threshold-dependent`"];
    sandbox.fail(&["run", "norms.toml", "--set", unknown], 2, &words);
}
