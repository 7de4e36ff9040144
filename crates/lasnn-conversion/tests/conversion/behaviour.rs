//! Conversion end to end on small random networks.

use std::cell::RefCell;
use std::ops::ControlFlow;

use burn::tensor::Tensor;
use lasnn_conversion::{Ann, Balancing, ConversionConfig, ConversionError, Policy, convert};
use lasnn_core::{Batch, Pass};
use lasnn_models::{Init, Network};
use lasnn_neurons::{NeuronModel, PlifConfig, SpikingNeurons};
use lasnn_nn::{BatchTensors, Observable, state};
use lasnn_snn::{Progress, Simulator, SpikingConfig, SpikingNetwork, Task, progress, simulate};

use crate::helpers::{
    B, Converted, Fixed, SEED, balancing, balancing_by, converted, device, images, maximum,
    residual_plan,
};

/// With maximum thresholds, firing rates over many time steps approach the activations. This is the
/// theory of conversion, so it tests all parts of it, including residual blocks.
#[test]
fn with_many_steps_the_converted_network_classifies_like_the_ordinary_one() {
    let config = ConversionConfig { time_steps: 600, method: maximum(), ..Default::default() };
    let Converted { ann, snn, report } =
        converted(&residual_plan(), &SpikingConfig::default(), &config);
    let names: Vec<&str> = report.layers.iter().map(|layer| layer.name.as_str()).collect();
    let expected = [
        "layers.0",
        "layers.2.first",
        "layers.2.second",
        "layers.3.first",
        "layers.3.second",
        "layers.5",
    ];
    assert_eq!(names, expected);
    for layer in &report.layers {
        let correlation = layer.correlation.unwrap();
        assert!(correlation > 0.95, "{}: {correlation}", layer.name);
    }
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);

    let mut batch = images(16);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let logits = ann.logits(batch.images(&device()), &pass);
    batch.labels = logits.argmax(1).into_data().iter::<u32>().collect();
    let simulation = simulate(&Simulator::new(snn.clone()), &Fixed(batch), 600, SEED, &device());
    assert!(simulation.accuracy >= 0.9, "{simulation:?}");
}

#[test]
fn the_first_threshold_is_the_scaled_maximum_of_the_first_convolution() {
    let config =
        ConversionConfig { time_steps: 3, method: maximum(), scale: 0.5, ..Default::default() };
    let Converted { ann, snn, report } =
        converted(&residual_plan(), &SpikingConfig::default(), &config);
    // The maximum of the ReLU activations is the maximum of the weighted input sums.
    let batch = images(16);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let (_, activation) = ann.activations(batch.images(&device()), &pass).remove(0);
    let expected = 0.5 * activation.max().into_scalar();
    // The ordinary network sums its convolutions in another order.
    let found = report.layers[0].threshold;
    assert!((found - expected).abs() < 1e-6 * expected, "{found} instead of {expected}");
    assert_eq!(snn.neurons()[0].1.threshold_value(), found);
}

/// Layers are balanced without leak, so the thresholds do not depend on the neuron model.
#[test]
fn neurons_with_a_trained_leak_are_converted() {
    let config = ConversionConfig { time_steps: 20, ..Default::default() };
    let plif = PlifConfig { leak: 0.75, ..Default::default() };
    let spiking = SpikingConfig { neuron: plif.into(), ..Default::default() };
    let Converted { snn, report, .. } = converted(&residual_plan(), &spiking, &config);
    let expected = converted(&residual_plan(), &SpikingConfig::default(), &config).report;
    let thresholds = |report: &lasnn_conversion::ConversionReport| -> Vec<f32> {
        report.layers.iter().map(|layer| layer.threshold).collect()
    };
    assert_eq!(thresholds(&report), thresholds(&expected));
    for ((name, neurons), threshold) in snn.neurons().into_iter().zip(thresholds(&report)) {
        let SpikingNeurons::Plif(neurons) = neurons else { panic!("{name}: {neurons:?}") };
        assert_eq!(neurons.thresholds(), [threshold], "{name}");
        let leak = neurons.leak().into_scalar();
        assert!((leak - 0.75).abs() < 1e-6, "{name}: {leak}");
    }
}

#[test]
fn errors_name_the_tensor_or_the_layer() {
    let plan = residual_plan();
    let network =
        || SpikingNetwork::<B>::new(&plan, &SpikingConfig::default(), 8, &device()).unwrap();
    let run = |weights, batches: &[Batch]| {
        let reference = |_: &Batch| Vec::<(String, Tensor<B, 4>)>::new();
        let config = ConversionConfig { time_steps: 2, ..Default::default() };
        convert(network(), Ann::new(&weights, &reference), balancing(&config, batches), &device())
            .err()
            .unwrap()
    };
    let good = state::save::<B, _>(&Network::<B>::new(&plan, Init::Kaiming, SEED, &device()));

    assert_eq!(run(good.clone(), &[]), ConversionError::NoImages);
    assert!(matches!(run(good.clone(), &[images(2)]), ConversionError::Activations { .. }));

    let mut missing = good.clone();
    missing.remove("layers.2.first.conv.weight");
    let message = run(missing, &[images(2)]).to_string();
    assert!(message.contains("`layers.2.first.conv.weight` is missing"), "{message}");

    let mut broken = good;
    let (name, shape) = ("layers.0.conv.weight", broken["layers.0.conv.weight"].shape.clone());
    let values = vec![f32::NAN; shape.num_elements()];
    broken.insert(name.into(), burn::tensor::TensorData::new(values, shape));
    let message = run(broken, &[images(2)]).to_string();
    assert!(message.contains("layer `layers.0`") && message.contains("NaN"), "{message}");
}

/// Converts the residual network, with `go_on` as the progress function.
fn convert_while(
    config: &ConversionConfig,
    go_on: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Result<(), ConversionError> {
    let plan = residual_plan();
    let ann = Network::<B>::new(&plan, Init::Kaiming, SEED, &device());
    let network = SpikingNetwork::new(&plan, &SpikingConfig::default(), 8, &device())?;
    let reference = |batch: &Batch| {
        ann.activations(batch.images(&device()), &Pass::evaluate(SEED, &batch.samples))
    };
    let batches = [images(16), images(5)];
    let balancing = Balancing { on_progress: go_on, ..balancing(config, &batches) };
    convert(network, Ann::new(&state::save::<B, _>(&ann), &reference), balancing, &device())
        .map(|_| ())
}

#[test]
fn a_conversion_reports_progress_and_can_be_stopped_anywhere() {
    let config = ConversionConfig { time_steps: 40, ..Default::default() };
    let reports = RefCell::new(Vec::new());
    let report = |progress: Progress| {
        reports.borrow_mut().push(progress);
        ControlFlow::Continue(())
    };
    convert_while(&config, &report).unwrap();
    let reports = reports.into_inner();
    for task in [Task::Balancing, Task::Comparing] {
        let of_task: Vec<_> = reports.iter().filter(|progress| progress.task == task).collect();
        assert!(of_task.windows(2).all(|pair| pair[0].done <= pair[1].done), "{of_task:?}");
        let last = of_task.last().unwrap();
        assert_eq!(last.done, last.total, "{task:?}");
    }
    for end in 0..reports.len() {
        let calls = RefCell::new(0);
        let stop = |_: Progress| {
            *calls.borrow_mut() += 1;
            match *calls.borrow() == end + 1 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        assert_eq!(convert_while(&config, &stop), Err(ConversionError::Interrupted), "{end}");
    }
}

#[test]
fn a_percentile_that_is_not_positive_is_an_error() {
    let method = balancing_by(Policy::Percentile { percentile: 10.0 });
    let config = ConversionConfig { time_steps: 4, method, ..Default::default() };
    let error = convert_while(&config, &progress::go_on).unwrap_err();
    assert!(matches!(error, ConversionError::NotPositive { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("layer `layers.0`: only"), "{message}");
    assert!(message.contains("`conversion.method.policy`"), "{message}");
}
