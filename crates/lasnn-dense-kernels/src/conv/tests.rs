//! All kernels compared with the definition of a convolution.

use proptest::prelude::*;

use super::{ConvShape, forward, input_grad, weight_grad};
use lasnn_core::Precision;
use lasnn_core::simd::Level;

/// Calls `term(input, weight, output)` for every product of the convolution, with its indices.
fn products(shape: &ConvShape, mut term: impl FnMut(usize, usize, usize)) {
    let ConvShape { batch, inputs, outputs, height, width, kernel, stride, padding } = *shape;
    let (rows, columns) = (shape.output_height(), shape.output_width());
    let all = |sizes: [usize; 7]| {
        (0..sizes.iter().product::<usize>()).map(move |mut at| {
            sizes.map(|size| {
                let index = at % size;
                at /= size;
                index
            })
        })
    };
    for [kx, ky, x, y, input, output, image] in
        all([kernel, kernel, columns, rows, inputs, outputs, batch])
    {
        let (from_y, from_x) = ((y * stride + ky), (x * stride + kx));
        let inside = (padding..padding + height).contains(&from_y)
            && (padding..padding + width).contains(&from_x);
        if inside {
            let (from_y, from_x) = (from_y - padding, from_x - padding);
            term(
                ((image * inputs + input) * height + from_y) * width + from_x,
                ((output * inputs + input) * kernel + ky) * kernel + kx,
                ((image * outputs + output) * rows + y) * columns + x,
            );
        }
    }
}

/// Pseudo-random numbers between -0.5 and 0.5.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let hash = |i: usize| (i as u32 + 1).wrapping_mul(0x9E37_79B1 ^ seed.wrapping_mul(0x85EB_CA6B));
    // Bfloat16 represents seven bits exactly, so both precisions give the same results.
    (0..count).map(|i| (hash(i) >> 25) as f32 / 128.0 - 0.5).collect()
}

#[track_caller]
fn assert_near(
    what: &str,
    (shape, precision): (&ConvShape, Precision),
    found: &[f32],
    expected: &[f64],
) {
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        let near = error <= 1e-5 * (1.0 + expected.abs()) * (1.0 + shape.batch as f64);
        assert!(near, "{what} {index} of {shape:?}, {precision:?}: {found} instead of {expected}");
    }
}

#[track_caller]
fn check(shape: ConvShape, relu: bool) {
    let input = numbers(shape.batch * shape.image(), 1);
    let weights = numbers(shape.weights(), 2);
    let grads = numbers(shape.batch * shape.output_image(), 3);
    let bias = numbers(shape.outputs, 4);
    let positions = shape.output_height() * shape.output_width();

    let bias_of = |index: usize| f64::from(bias[index / positions % shape.outputs]);
    let mut values: Vec<f64> = (0..grads.len()).map(bias_of).collect();
    let (mut to_input, mut to_weights) = (vec![0f64; input.len()], vec![0f64; weights.len()]);
    products(&shape, |i, w, o| {
        values[o] += f64::from(input[i]) * f64::from(weights[w]);
        to_input[i] += f64::from(grads[o]) * f64::from(weights[w]);
        to_weights[w] += f64::from(grads[o]) * f64::from(input[i]);
    });
    if relu {
        values.iter_mut().for_each(|value| *value = value.max(0.0));
    }

    let run = |precision| {
        let case = (&shape, precision);
        let mut output = vec![f32::NAN; grads.len()];
        forward(shape, precision, &input, &weights, Some(&bias), relu, &mut output);
        assert_near("output", case, &output, &values);
        let mut found = vec![f32::NAN; input.len()];
        input_grad(shape, precision, &grads, &weights, &mut found);
        assert_near("input gradient", case, &found, &to_input);
        let mut found = vec![f32::NAN; weights.len()];
        weight_grad(shape, precision, &input, &grads, &mut found);
        assert_near("weight gradient", case, &found, &to_weights);
    };
    run(Precision::F32);
    run(Precision::Bf16);
    Level::EmulatedTiles.run(2, || run(Precision::Bf16));
}

#[test]
fn typical_shapes() {
    for [inputs, outputs, size, kernel, stride] in [
        [3, 16, 8, 3, 1],
        [16, 16, 16, 3, 1],
        [16, 32, 8, 3, 2],
        [16, 32, 8, 1, 2],
        [33, 17, 4, 1, 1],
        [40, 70, 6, 3, 1],
    ] {
        let padding = kernel / 2;
        let (height, width) = (size, size);
        let shape = ConvShape { batch: 2, inputs, outputs, height, width, kernel, stride, padding };
        check(shape, false);
        check(shape, true);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = ConvShape {
        batch: 5,
        inputs: 20,
        outputs: 24,
        height: 7,
        width: 9,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    let input = numbers(shape.batch * shape.image(), 1);
    let grads = numbers(shape.batch * shape.output_image(), 3);
    let with = |threads: usize, precision| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut found = vec![0.0; shape.weights()];
        pool.install(|| weight_grad(shape, precision, &input, &grads, &mut found));
        found
    };
    for precision in [Precision::F32, Precision::Bf16] {
        assert_eq!(with(1, precision), with(3, precision));
    }
}

proptest! {
    #[test]
    fn random_shapes(
        (batch, inputs, outputs) in (1..4usize, 1..20usize, 1..20usize),
        (height, width) in (1..11usize, 1..20usize),
        (kernel, stride) in (1..5usize, 1..4usize),
        padding in 0..4usize,
        relu: bool,
    ) {
        let padding = padding.min(kernel - 1);
        prop_assume!(height + 2 * padding >= kernel && width + 2 * padding >= kernel);
        check(ConvShape { batch, inputs, outputs, height, width, kernel, stride, padding }, relu);
    }
}
