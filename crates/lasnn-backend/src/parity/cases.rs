//! The operations that are compared.

use std::fmt;

/// An operation with the sizes of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseCase {
    /// A convolution of `[batch, inputs, size, size]`, and its gradients.
    Convolution {
        /// Images in the batch.
        batch: usize,
        /// Channels of the input and the output.
        channels: [usize; 2],
        /// Height and width of the input.
        size: usize,
        /// Height and width of the window.
        kernel: usize,
        /// Input positions from one output position to the next.
        stride: usize,
    },
    /// A linear layer with a bias, and its gradients.
    Linear,
    /// A batch norm with a ReLU, and its gradients.
    Norm {
        /// The shape of the feature map.
        shape: [usize; 4],
    },
    /// Max and average pooling, and their gradients.
    Pools,
    /// A dropout mask over three time steps.
    Mask,
    /// A step of Adam.
    Adam {
        /// Whether the step is AdamW's, with decoupled weight decay, and AMSGrad's, with the
        /// maximum of the second moment.
        variant: bool,
    },
    /// A step of gradient descent with momentum.
    Sgd {
        /// Whether the momentum is Nesterov's.
        nesterov: bool,
    },
    /// The sum of the squares of a tensor.
    SumOfSquares {
        /// Elements of the tensor.
        count: usize,
    },
}

impl DenseCase {
    /// Every operation, some of them in several shapes: small ones, and one with sums over many
    /// images.
    pub fn all() -> Vec<Self> {
        let convolution = |batch, channels, size, kernel, stride| Self::Convolution {
            batch,
            channels,
            size,
            kernel,
            stride,
        };
        vec![
            convolution(3, [3, 16], 8, 3, 1),
            convolution(50, [1, 16], 8, 3, 1),
            convolution(2, [20, 9], 7, 3, 2),
            convolution(5, [16, 40], 8, 1, 2),
            convolution(40, [24, 48], 12, 3, 1),
            convolution(100, [256, 256], 4, 1, 1),
            Self::Linear,
            Self::Norm { shape: [50, 16, 8, 8] },
            Self::Norm { shape: [3, 5, 1, 7] },
            Self::Norm { shape: [40, 24, 12, 12] },
            Self::Pools,
            Self::Mask,
            Self::Adam { variant: false },
            Self::Adam { variant: true },
            Self::Sgd { nesterov: false },
            Self::Sgd { nesterov: true },
            Self::SumOfSquares { count: 7 },
            Self::SumOfSquares { count: 300_001 },
        ]
    }
}

impl fmt::Display for DenseCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convolution { batch, channels: [inputs, outputs], size, kernel, stride } => {
                write!(
                    f,
                    "{kernel}×{kernel} convolution of {batch}×{inputs}×{size}×{size} to {outputs} \
                     channels, stride {stride}"
                )
            }
            Self::Linear => write!(f, "linear layer"),
            Self::Norm { shape: [a, b, c, d] } => write!(f, "batch norm of {a}×{b}×{c}×{d}"),
            Self::Pools => write!(f, "max and average pooling"),
            Self::Mask => write!(f, "dropout mask"),
            Self::Adam { variant: false } => write!(f, "step of Adam"),
            Self::Adam { variant: true } => write!(f, "step of AdamW with AMSGrad"),
            Self::Sgd { nesterov: false } => write!(f, "step of SGD with momentum"),
            Self::Sgd { nesterov: true } => write!(f, "step of SGD with Nesterov momentum"),
            Self::SumOfSquares { count } => write!(f, "sum of {count} squares"),
        }
    }
}
