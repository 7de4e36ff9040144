//! Rules about combinations of keys in a recipe.
//!
//! A rule refuses a combination whose result would be wrong or meaningless, although each value is
//! valid. A key that has no effect is not refused; it gets a note (`notes`).

use std::ops::RangeInclusive;
use std::path::Path;

use lasnn_conversion::{ConversionConfig, Need};
use lasnn_core::{Architecture, Layer, Plan};
use lasnn_datasets::Normalisation;
use lasnn_distillation::{LossConfig, Subject};
use lasnn_neurons::{InitialMembranePer, Sharing, StepOrder, ThresholdPer};
use lasnn_snn::SpikingConfig;
use lasnn_snn::offset::offset_refused_because;
use lasnn_training::TrainConfig;

use super::error::RecipeError;
use super::graph::{Graph, StudentWork, Work};
use super::resolved::{Recipe, Start};
use super::validate::Plans;
use crate::stage::StageName;

/// A value that contradicts another value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {found}, expected {expected}")]
pub struct Contradiction {
    /// The key with the names of its tables.
    pub key: String,
    /// The value found.
    pub found: String,
    /// The value expected, and the reason.
    pub expected: String,
}

impl Contradiction {
    /// The same as an error of the recipe in `file`.
    pub fn in_file(self, file: &Path) -> RecipeError {
        let Self { key, found, expected } = self;
        RecipeError::Value { at: file.into(), key, found, expected }
    }
}

/// Checks that pixels are in the range that the encoder takes.
///
/// # Errors
///
/// Names the normalisation and the ones that fit the encoding.
pub fn check_encoding(
    spiking: &SpikingConfig,
    normalisation: Normalisation,
) -> Result<(), Contradiction> {
    let check = |normalisation: Normalisation| {
        let [lowest, highest] = normalisation.range();
        spiking.encoding.check_pixels(lowest, highest)
    };
    let quoted = |normalisation: Normalisation| format!("\"{}\"", normalisation.name());
    check(normalisation).map_err(|reason| {
        let fitting = Normalisation::ALL.into_iter().filter(|&other| check(other).is_ok());
        let fitting: Vec<_> = fitting.map(quoted).collect();
        Contradiction {
            key: "data.normalisation".into(),
            found: quoted(normalisation),
            expected: format!("{}, since {reason}", fitting.join(" or ")),
        }
    })
}

/// Checks that the number of time steps exceeds the delay of the network.
///
/// With the step order `fire-then-integrate` each layer delays the signal by one time step. If
/// there are not more time steps than layers, the readout gets no input.
///
/// # Errors
///
/// Names the number of time steps and the least number.
pub fn check_delay(recipe: &Recipe, time_steps: usize) -> Result<(), Contradiction> {
    delay(recipe, "the number of time steps", time_steps)
}

fn delay(recipe: &Recipe, key: &str, time_steps: usize) -> Result<(), Contradiction> {
    if recipe.spiking.neuron.options().step_order != StepOrder::FireThenIntegrate {
        return Ok(());
    }
    // The shortcut of a residual block skips the first of its two layers of neurons, so a block
    // counts once.
    let delays = |layer: &&Layer| {
        matches!(layer, Layer::Conv { .. } | Layer::Linear { .. } | Layer::Residual { .. })
    };
    let layers = recipe.intermediate.network.layers.iter().filter(delays).count();
    match time_steps > layers {
        true => Ok(()),
        false => Err(Contradiction {
            key: key.into(),
            found: time_steps.to_string(),
            expected: format!(
                "at least {}, since the shortest path to the readout has {layers} layers of \
                 neurons, and each delays the signal by one time step with \
                 `spiking.neuron.step_order = \"fire-then-integrate\"`",
                layers + 1
            ),
        }),
    }
}

/// Checks that the network from which a spiking one is made has no maximum pooling.
///
/// # Errors
///
/// Names the first layer with it, and the key that replaces it.
pub fn check_pooling(intermediate: &Architecture) -> Result<(), Contradiction> {
    let mut layers = intermediate.layers.iter().enumerate();
    let is_max_pool = |(_, layer): &(usize, &Layer)| matches!(layer, Layer::MaxPool { .. });
    layers.find(is_max_pool).map_or(Ok(()), |(index, layer)| {
        Err(Contradiction {
            key: format!("intermediate.network.layers[{index}]"),
            found: format!("a `{}` of network `{}`", layer.kind(), intermediate.name),
            expected: format!(
                "no maximum pooling in a network that is made spiking, since {}; \
                 `intermediate.max_pool = \"average\"` replaces it by average pooling over the \
                 same windows before the network is trained",
                layer.not_spiking_because().unwrap_or("it cannot be made spiking")
            ),
        })
    })
}

/// Checks that the activations have the bounds that the conversion takes.
fn check_bounds(recipe: &Recipe) -> Result<(), Contradiction> {
    let is_missing = !recipe.intermediate.activation.has_bound();
    match recipe.conversion.method.needs_bounds() && is_missing {
        true => Err(Contradiction {
            key: "intermediate.activation".into(),
            found: "an activation without an upper bound".into(),
            expected:
                "one with a bound, such as `clip` or `qcfs`, since `conversion.method` takes \
                       the bounds as thresholds"
                    .into(),
        }),
        false => Ok(()),
    }
}

/// Checks that the neurons have the parameters that the conversion sets.
fn check_neurons(recipe: &Recipe) -> Result<(), Contradiction> {
    let ConversionConfig { method, calibration, .. } = &recipe.conversion;
    let Sharing { threshold, initial_membrane } = recipe.spiking.neuron.sharing();
    let refuse = |key: &str, found: &str, expected: String| {
        let key = format!("spiking.neuron.{key}.per");
        Err(Contradiction { key, found: found.into(), expected })
    };
    if method.is_by_channel() && threshold == ThresholdPer::Layer {
        let expected = "\"channel\", since `conversion.method` finds a threshold of each channel";
        return refuse("threshold", "\"layer\"", expected.into());
    }
    if method.is_by_channel() && initial_membrane == Some(InitialMembranePer::Layer) {
        let expected = "\"neuron\", since the potentials are fractions of thresholds, and \
                        `conversion.method` finds a threshold of each channel";
        return refuse("initial_membrane", "\"layer\"", expected.into());
    }
    let by_neuron = initial_membrane == Some(InitialMembranePer::Neuron);
    let needs = calibration.iter().find(|found| found.need() == Some(Need::Potentials));
    match needs.filter(|_| !by_neuron) {
        None => Ok(()),
        Some(found) => {
            let expected = format!(
                "\"neuron\" with `kind = \"lif\"`, since the calibration `{}` sets the potential \
                 of each neuron",
                found.name()
            );
            refuse("initial_membrane", "not \"neuron\"", expected)
        }
    }
}

/// Checks that the ordinary network has batch norms if the calibration measures them again.
fn check_norms(recipe: &Recipe) -> Result<(), Contradiction> {
    let needs =
        recipe.conversion.calibration.iter().find(|found| found.need() == Some(Need::BatchNorms));
    let has_norm = recipe.intermediate.network.layers.iter().any(Layer::has_batch_norm);
    match needs.filter(|_| !has_norm) {
        None => Ok(()),
        Some(found) => Err(Contradiction {
            key: "conversion.calibration".into(),
            found: format!("`{}`", found.name()),
            expected: "another calibration, since no layer of `intermediate.network` has a batch \
                       norm"
                .into(),
        }),
    }
}

/// Checks that the converted network can be corrected by offset spikes.
fn check_offset(recipe: &Recipe) -> Result<(), Contradiction> {
    let steps = recipe.evaluation.offset_steps;
    let refuse = |expected: String| {
        let (key, found) = ("evaluation.offset_steps".into(), steps.to_string());
        Err(Contradiction { key, found, expected })
    };
    if steps > MOST_OFFSET_STEPS {
        return refuse(format!("at most {MOST_OFFSET_STEPS}"));
    }
    match offset_refused_because(&recipe.spiking).filter(|_| steps > 0) {
        Some(reason) => refuse(format!(
            "0, or integrate-and-fire neurons that integrate first and are reset by subtraction, \
             and direct encoding: the network cannot be corrected, since {reason}"
        )),
        None => Ok(()),
    }
}

/// Checks that every layer of neurons has a bias if the conversion adds a current to it.
fn check_biases(recipe: &Recipe) -> Result<(), Contradiction> {
    let ConversionConfig { shift_steps, calibration, .. } = &recipe.conversion;
    let needs = calibration.iter().find(|found| found.need() == Some(Need::Biases));
    let (key, found) = match (shift_steps, needs) {
        (0, None) => return Ok(()),
        (0, Some(found)) => ("conversion.calibration", format!("`{}`", found.name())),
        (steps, _) => ("conversion.shift_steps", steps.to_string()),
    };
    let folded = recipe.intermediate.network.folded();
    let lacks_bias = |layer: &Layer| {
        matches!(
            layer,
            Layer::Conv { bias: false, .. }
                | Layer::Linear { bias: false, .. }
                | Layer::Residual { bias: false, .. }
        )
    };
    let missing = folded.layers.iter().enumerate().find(|(_, layer)| lacks_bias(layer));
    missing.map_or(Ok(()), |(index, layer)| {
        Err(Contradiction {
            key: key.into(),
            found,
            expected: format!(
                "none, or a bias or a batch norm in each layer, since a bias takes the additional \
                 current and layer {index} ({}) of `intermediate.network` has none",
                layer.kind()
            ),
        })
    })
}

/// Checks the rules that do not depend on the images.
///
/// # Errors
///
/// Names the first key that contradicts another key.
pub fn check(recipe: &Recipe, graph: &Graph<'_>) -> Result<(), Contradiction> {
    check_encoding(&recipe.spiking, recipe.data.normalisation)?;
    for steps in graph.nodes().iter().filter_map(|node| node.network.time_steps.as_ref()) {
        delay(recipe, &steps.key, steps.number)?;
    }
    if graph.get(&StageName::CONVERTED).is_ok() {
        delay(recipe, "conversion.time_steps", recipe.conversion.time_steps)?;
        check_bounds(recipe)?;
        check_biases(recipe)?;
        check_neurons(recipe)?;
        check_norms(recipe)?;
        check_offset(recipe)?;
    }
    let steps = &recipe.evaluation.time_steps;
    for (index, &time_steps) in steps.iter().enumerate() {
        delay(recipe, "evaluation.time_steps", time_steps)?;
        if steps[..index].contains(&time_steps) {
            return Err(Contradiction {
                key: "evaluation.time_steps".into(),
                found: format!("{steps:?}"),
                expected: format!("each number once, but {time_steps} is there twice"),
            });
        }
    }
    if recipe.name == "cache" {
        return Err(Contradiction {
            key: "name".into(),
            found: "\"cache\"".into(),
            expected: "another name, since the folder `cache` contains networks for later runs"
                .into(),
        });
    }
    Ok(())
}

/// The largest number of steps for a correction by offset spikes, which are in memory at once.
const MOST_OFFSET_STEPS: usize = 1000;

/// The range of thresholds. With others, membrane potentials or gradients would overflow or vanish
/// in single precision.
const THRESHOLDS: RangeInclusive<f64> = 1e-6..=1e6;

/// Checks the threshold of a network that starts at random.
///
/// # Errors
///
/// Names the threshold and its range.
pub fn check_threshold(work: &StudentWork<'_>) -> Result<(), Contradiction> {
    match work.start != Start::Random || THRESHOLDS.contains(&work.threshold) {
        true => Ok(()),
        false => Err(Contradiction {
            key: format!("{}.threshold", work.table),
            found: work.threshold.to_string(),
            expected: "a number above 0, from 1e-6 to 1e6".into(),
        }),
    }
}

/// Checks that a control without distillation learns something.
///
/// # Errors
///
/// Fails if the recipe requests a control, and all its losses need a teacher.
pub fn check_control(recipe: &Recipe, student: Subject<'_>) -> Result<(), Contradiction> {
    let losses = LossConfig::without_teacher(&recipe.student.losses);
    let learns = lasnn_distillation::check(&losses, student, None).is_ok();
    match learns || !recipe.student.without_distillation {
        true => Ok(()),
        false => Err(Contradiction {
            key: "student.without_distillation".into(),
            found: "true".into(),
            expected: "an entry of [[student.losses]] that needs no teacher, such as \
                       `kind = \"cross-entropy\"`, since the control has no other losses"
                .into(),
        }),
    }
}

/// Checks the rules that depend on the number of training images.
///
/// # Errors
///
/// Names the first key that does not fit the number of images.
pub fn check_images(
    recipe: &Recipe,
    graph: &Graph<'_>,
    plans: &Plans,
    images: usize,
) -> Result<(), Contradiction> {
    for node in graph.nodes() {
        let plan = plans.trained(node);
        match &node.work {
            Work::Ann(work) => batch_norm(plan, work.train, &node.network.table, images)?,
            Work::Student(work) => {
                // Several time steps do not help: under direct encoding, the first convolution
                // gives the same values at each of them.
                let images = work.train_limit.unwrap_or(images);
                batch_norm(plan, work.train, &work.table, images)?;
            }
            Work::Conversion { .. } => {}
        }
    }
    let (batches, batch) = (recipe.conversion.batches, recipe.conversion.batch);
    let most = images.div_ceil(batch);
    match batches <= most || graph.get(&StageName::CONVERTED).is_err() {
        true => Ok(()),
        false => Err(Contradiction {
            key: "conversion.batches".into(),
            found: batches.to_string(),
            expected: format!(
                "at most {most}, since there are {images} images to train on and \
                 `conversion.batch` is {batch}"
            ),
        }),
    }
}

/// Checks that each batch norm sees more than one value per channel.
///
/// The batch norm of a single value returns its bias, whatever the value is.
fn batch_norm(
    plan: &Plan,
    train: &TrainConfig,
    table: &str,
    images: usize,
) -> Result<(), Contradiction> {
    let Some((layer, positions)) = smallest_norm(plan) else { return Ok(()) };
    let contradiction = |key: &str, found: usize, expected: String| Contradiction {
        key: key.to_owned(),
        found: found.to_string(),
        expected: format!(
            "{expected}: the batch norm of `layers.{layer}` sees one position per image, and a \
             single value per channel carries no information after normalisation"
        ),
    };
    if positions > 1 {
        return Ok(());
    }
    let micro = train.micro_batch.unwrap_or(train.batch);
    if images == 1 {
        let key = "the number of images to train on";
        return Err(contradiction(key, images, "at least 2".into()));
    }
    if train.batch == 1 {
        let key = format!("{table}.train.batch");
        return Err(contradiction(&key, 1, "at least 2 images".into()));
    }
    // A last batch of one image is left out; see `Splits::train`.
    let last = Some(images % train.batch).filter(|&rest| rest > 1);
    let full = (images >= train.batch).then_some(train.batch);
    for batch in full.into_iter().chain(last) {
        if micro.min(batch) == 1 || batch % micro == 1 {
            let expected = format!("parts of at least 2 images of a batch of {batch}");
            let key = format!("{table}.train.micro_batch");
            return Err(contradiction(&key, micro, expected));
        }
    }
    Ok(())
}

/// The layer whose batch norm sees the smallest feature map, and the number of its positions.
fn smallest_norm(plan: &Plan) -> Option<(usize, usize)> {
    let positions = plan.layers.iter().enumerate().filter_map(|(index, planned)| {
        let shape = match planned.layer {
            Layer::Norm { .. } | Layer::Dense { .. } => planned.input,
            _ if planned.layer.has_batch_norm() => planned.output,
            _ => return None,
        };
        Some((index, shape.height * shape.width))
    });
    positions.min_by_key(|&(_, positions)| positions)
}

/// Whether a network has a batch norm.
pub fn has_batch_norm(plan: &Plan) -> bool {
    smallest_norm(plan).is_some()
}
