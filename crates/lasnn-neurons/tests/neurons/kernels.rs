//! Every kernel against the reference, and the hand-written backward pass against Burn's autodiff.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, TensorPrimitive, backend::Backend};
use lasnn_neurons::parity::{Layout, ParityCase, compare};
use lasnn_neurons::{
    NeuronOptions, Reset, ScanParams, SpikingBackend, StepOrder, check_parity, reference,
};

use crate::support::{all_options, assert_close, normals, on_every_backend, tensor, values};

on_every_backend!(
    every_option_equals_the_reference,
    every_size_and_layout_equals_the_reference,
    the_cases_of_check_parity_pass,
    gradients_equal_burns_autodiff,
    a_membrane_at_the_threshold_does_not_fire,
);

const LAYOUTS: [Layout; 3] = [Layout::Contiguous, Layout::Transposed, Layout::Sliced];

#[track_caller]
fn check<B: SpikingBackend>(case: ParityCase) {
    let comparison = compare::<B>(case, &Default::default());
    // A comparison without spikes says little. Only the smallest cases may have none, and a single
    // step that fires before it integrates, which begins at rest.
    let spikes = comparison.unwrap_or_else(|error| panic!("{error}")).spikes;
    let fires_first = case.options.step_order == StepOrder::FireThenIntegrate;
    let is_silent = case.steps == 1 && fires_first && !case.per_neuron;
    let may_be_silent = is_silent || case.steps * case.neurons < 50;
    assert!(spikes > 0 || may_be_silent, "no spike to compare ({case})");
}

fn every_option_equals_the_reference<B: SpikingBackend>() {
    for options in all_options() {
        for layout in LAYOUTS {
            for leak in [1.0, 0.9] {
                check::<B>(ParityCase {
                    steps: 7,
                    neurons: 17,
                    threshold: 0.7,
                    leak,
                    options,
                    per_neuron: leak < 1.0,
                    layout,
                });
            }
        }
    }
}

/// The options and layouts take turns; the test above has all combinations.
fn every_size_and_layout_equals_the_reference<B: SpikingBackend>() {
    let mut turn = all_options().into_iter().cycle();
    for steps in [1, 2, 7, 100] {
        for neurons in [1, 3, 17, 1000] {
            for layout in LAYOUTS {
                let options = turn.next().unwrap();
                check::<B>(ParityCase {
                    steps,
                    neurons,
                    threshold: 1.3,
                    leak: 0.9,
                    options,
                    per_neuron: neurons % 2 == 1,
                    layout,
                });
            }
        }
    }
}

fn the_cases_of_check_parity_pass<B: SpikingBackend>() {
    let comparisons = check_parity::<B>(&Default::default()).unwrap();
    assert_eq!(comparisons.len(), ParityCase::all().len());
    assert!(comparisons.iter().any(|comparison| comparison.spikes > 1000));
}

fn scan<B: SpikingBackend>(
    currents: Tensor<B, 2>,
    params: ScanParams<Tensor<B, 1>>,
    options: NeuronOptions,
) -> Tensor<B, 2> {
    let params = params.map(|param| param.into_primitive().tensor());
    let spikes = B::scan(currents.into_primitive().tensor(), params, options);
    Tensor::from_primitive(TensorPrimitive::Float(spikes))
}

/// Neurons that start at rest.
fn shared<B: Backend>(threshold: f32, leak: f32) -> ScanParams<Tensor<B, 1>> {
    ScanParams { membrane: 0.0, threshold, leak }.map(|number| tensor(vec![number], [1]))
}

fn gradients_equal_burns_autodiff<B: SpikingBackend>() {
    let (steps, neurons) = (9, 33);
    let of_each = |first: f32, by: f32| -> Vec<f32> {
        (0..neurons).map(|neuron| first + by * (neuron % 4) as f32).collect()
    };
    let shared = ScanParams { membrane: vec![0.3], threshold: vec![0.8], leak: vec![0.95] };
    let own = ScanParams {
        membrane: of_each(-0.3, 0.4),
        threshold: of_each(0.7, 0.1),
        leak: of_each(0.7, 0.1),
    };
    for (key, options) in all_options().into_iter().enumerate() {
        let draws = normals(key as u32, 2 * steps * neurons);
        let (currents, weights) = draws.split_at(steps * neurons);
        let currents: Vec<f32> = currents.iter().map(|n| 0.25 + 0.6 * n).collect();
        for params in [&shared, &own] {
            type Scan<A> =
                fn(Tensor<A, 2>, ScanParams<Tensor<A, 1>>, NeuronOptions) -> Tensor<A, 2>;
            let run = |run: Scan<Autodiff<B>>| {
                let leaf = |values: &Vec<f32>| {
                    tensor::<Autodiff<B>, 1>(values.clone(), [values.len()]).require_grad()
                };
                let currents =
                    tensor::<Autodiff<B>, 2>(currents.clone(), [steps, neurons]).require_grad();
                let params = params.clone().map(|values| leaf(&values));
                let spikes = run(currents.clone(), params.clone(), options);
                let weights = tensor(weights.to_vec(), [steps, neurons]);
                // The gradient of this loss depends on the spikes, as in a network.
                let loss = (spikes.clone() * spikes.clone() * weights).sum();
                let grads = loss.backward();
                let ScanParams { membrane, threshold, leak } =
                    params.map(|param| values(param.grad(&grads).unwrap()));
                let currents = values(currents.grad(&grads).unwrap());
                (values(spikes), [currents, membrane, threshold, leak])
            };
            let (spikes, by_hand) = run(scan);
            let (expected, by_burn) = run(reference::differentiable_scan);
            assert_eq!(spikes, expected, "{options:?}");
            for (index, of) in ["currents", "membrane", "threshold", "leak"].iter().enumerate() {
                let (by_hand, by_burn) = (&by_hand[index], &by_burn[index]);
                // The gradient of a shared parameter is a sum whose terms cancel.
                let tolerance = if by_burn.len() == 1 { 1e-3 } else { 1e-4 };
                assert_close(&format!("{of}, {options:?}"), by_hand, by_burn, tolerance);
            }
        }
    }
}

/// Sums of multiples of 0.5 are exact, so a membrane potential can be exactly at the threshold.
fn a_membrane_at_the_threshold_does_not_fire<B: SpikingBackend>() {
    let options = NeuronOptions::default();
    let currents = tensor::<B, 2>(vec![1.0, 1.5, 0.5, 0.5, 0.0, 0.5], [2, 3]);
    let spikes = scan(currents, shared(1.0, 1.0), options);
    // Membrane potentials of neuron 0: 1, then 1.5 (spike). Neuron 1: 1.5 (spike), then
    // 1.5 - 1 + 0 = 0.5. Neuron 2: 0.5, then 1.
    assert_eq!(values(spikes), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
}

/// The CPU kernels and the reference round in the same order, so their results have the same bits,
/// even if a membrane potential is close to the threshold.
fn cpu_gives_the_bits_of_the_reference<B: SpikingBackend>() {
    for (key, options) in all_options().into_iter().enumerate() {
        // More than one block of neurons, and enough values for several threads.
        let (steps, neurons) = (20, 2500);
        let draws = normals(100 + key as u32, 2 * steps * neurons);
        let currents = draws[..steps * neurons].iter().map(|n| 0.25 + 0.6 * n).collect();
        let currents = tensor::<B, 2>(currents, [steps, neurons]);
        let output_grad = tensor::<B, 2>(draws[steps * neurons..].to_vec(), [steps, neurons]);
        let spikes = scan(currents.clone(), shared(0.7, 0.9), options);
        let expected = reference::scan(currents.clone(), shared(0.7, 0.9), options);
        assert!(values(spikes) == values(expected), "{options:?}");

        let found = B::scan_backward(
            currents.clone().into_primitive().tensor(),
            shared::<B>(0.7, 0.9).map(|param| param.into_primitive().tensor()),
            output_grad.clone().into_primitive().tensor(),
            (options, true),
        );
        let expected = reference::scan_backward(currents, shared(0.7, 0.9), output_grad, options);
        let grad = Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(found.currents));
        assert!(values(grad) == values(expected.currents), "{options:?}");
        let (found, expected) = (found.params.unwrap(), expected.params.unwrap());
        for (found, expected) in [
            (found.membrane, expected.membrane),
            (found.threshold, expected.threshold),
            (found.leak, expected.leak),
        ] {
            let found = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(found));
            assert!(values(found) == values(expected), "{options:?}");
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn flex_gives_the_bits_of_the_reference() {
    cpu_gives_the_bits_of_the_reference::<burn_flex::Flex>();
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_gives_the_bits_of_the_reference() {
    cpu_gives_the_bits_of_the_reference::<burn_ndarray::NdArray<f32>>();
}

#[cfg(feature = "flex")]
#[test]
fn the_number_of_threads_changes_no_bit() {
    type B = burn_flex::Flex;
    let options = NeuronOptions {
        reset: Reset::Zero,
        step_order: StepOrder::FireThenIntegrate,
        ..NeuronOptions::default()
    };
    let (steps, neurons) = (20, 5000);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let currents = tensor::<B, 2>(normals(1, steps * neurons), [steps, neurons]);
            let grads = B::scan_backward(
                currents.clone().into_primitive().tensor(),
                shared::<B>(0.7, 0.9).map(|param| param.into_primitive().tensor()),
                currents.clone().into_primitive().tensor(),
                (options, true),
            );
            let grad = Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(grads.currents));
            let leak = TensorPrimitive::Float(grads.params.unwrap().leak);
            let leak = Tensor::<B, 1>::from_primitive(leak);
            (values(scan(currents, shared(0.7, 0.9), options)), values(grad), values(leak))
        })
    };
    assert!(run(1) == run(3));
}

/// Half-precision types have no CPU kernel and use the reference.
#[cfg(feature = "flex")]
#[test]
fn half_precision_runs() {
    type B = burn_flex::Flex;
    let half = |values: Vec<f32>, shape: [usize; 2]| {
        tensor::<B, 2>(values, shape).cast(burn::tensor::FloatDType::BF16)
    };
    let number = |number| half(vec![number], [1, 1]).squeeze_dim::<1>(0);
    let params = ScanParams { membrane: 0.0, threshold: 1.0, leak: 1.0 }.map(number);
    let currents = half(vec![0.5, 1.5, 1.0, 0.0], [2, 2]);
    assert_eq!(B::name(&Default::default()), "flex");
    let spikes = scan(currents, params, NeuronOptions::default());
    assert_eq!(values(spikes), [0.0, 1.0, 1.0, 0.0]);
}
