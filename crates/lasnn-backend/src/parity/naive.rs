//! A convolution and its gradients in plain loops.

use super::{DenseCase, HostResults, draws};

/// A [`DenseCase::Convolution`]. Its padding is `kernel / 2`.
pub(super) struct NaiveConvolution {
    batch: usize,
    inputs: usize,
    outputs: usize,
    size: usize,
    kernel: usize,
    stride: usize,
}

impl NaiveConvolution {
    pub(super) fn of(case: DenseCase) -> Option<Self> {
        match case {
            DenseCase::Convolution { batch, channels: [inputs, outputs], size, kernel, stride } => {
                Some(Self { batch, inputs, outputs, size, kernel, stride })
            }
            _ => None,
        }
    }

    fn out(&self) -> usize {
        self.size.div_ceil(self.stride)
    }

    /// Calls `visit` for every product of the convolution, with the indices of the input element,
    /// the weight and the output element.
    fn for_each_product(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let Self { batch, inputs, outputs, size, kernel, stride } = *self;
        let (out, padding) = (self.out(), kernel / 2);
        // The input position of an output position and an offset in the window; `None` in the
        // padding.
        let inside = |position: usize, offset: usize| {
            let from = (position * stride + offset).checked_sub(padding)?;
            (from < size).then_some(from)
        };
        for image in 0..batch {
            for output in 0..outputs {
                for (y, x) in (0..out * out).map(|at| (at / out, at % out)) {
                    let to = ((image * outputs + output) * out + y) * out + x;
                    for (i, j) in (0..kernel * kernel).map(|at| (at / kernel, at % kernel)) {
                        let (Some(row), Some(column)) = (inside(y, i), inside(x, j)) else {
                            continue;
                        };
                        for input in 0..inputs {
                            let from = ((image * inputs + input) * size + row) * size + column;
                            let weight = ((output * inputs + input) * kernel + i) * kernel + j;
                            visit(from, weight, to);
                        }
                    }
                }
            }
        }
    }

    /// The output with a ReLU, the output with a bias, and the gradients of input, weights and
    /// bias. All products are multiples of 1/1024, so the sums are exact.
    pub(super) fn compute(&self) -> HostResults {
        let Self { batch, inputs, outputs, size, kernel, .. } = *self;
        let out = self.out();
        let input_shape = vec![batch, inputs, size, size];
        let weight_shape = vec![outputs, inputs, kernel, kernel];
        let output_shape = vec![batch, outputs, out, out];
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let input = draws(count(&input_shape), 1);
        let weights = draws(count(&weight_shape), 2);
        let bias = draws(outputs, 3);
        let grad = draws(count(&output_shape), 4);

        let mut output = vec![0.0; grad.len()];
        let mut input_grad = vec![0.0; input.len()];
        let mut weight_grad = vec![0.0; weights.len()];
        self.for_each_product(|from, weight, to| {
            output[to] += input[from] * weights[weight];
            input_grad[from] += weights[weight] * grad[to];
            weight_grad[weight] += input[from] * grad[to];
        });
        let channel = |at: usize| at / (out * out) % outputs;
        let mut bias_grad = vec![0.0; outputs];
        for (at, grad) in grad.iter().enumerate() {
            bias_grad[channel(at)] += grad;
        }
        let relu_output = output.iter().map(|value| value.max(0.0)).collect();
        let biased = output.iter().enumerate().map(|(at, value)| value + bias[channel(at)]);
        HostResults {
            outputs: vec![(output_shape.clone(), relu_output), (output_shape, biased.collect())],
            gradients: vec![
                (input_shape, input_grad),
                (weight_shape, weight_grad),
                (vec![outputs], bias_grad),
            ],
        }
    }
}
