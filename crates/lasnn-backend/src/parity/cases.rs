//! What is compared.

use std::fmt;

/// One comparison to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseCase {
    /// A convolution of `[batch, inputs, size, size]`, and its gradients.
    Convolution {
        /// Images.
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
    /// A batch norm with a rectifier, and its gradients.
    Norm {
        /// Of the map.
        shape: [usize; 4],
    },
    /// Maximum and average pooling, and their gradients.
    Pools,
    /// A mask of dropout, of three time steps.
    Mask,
    /// A step of Adam; with the decay taken off the parameter and the largest second moment kept, or not.
    Adam {
        /// AdamW and AMSGrad.
        variant: bool,
    },
    /// A step of gradient descent with momentum.
    Sgd {
        /// Whether Nesterov's.
        nesterov: bool,
    },
    /// The sum of the squares of so many numbers.
    SumOfSquares {
        /// Numbers.
        count: usize,
    },
}

impl DenseCase {
    /// Every operation, some in several shapes, small ones and one with sums over many images.
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
                    "{kernel}×{kernel} convolution of {batch}×{inputs}×{size}×{size} to {outputs} channels, \
                 stride {stride}"
                )
            }
            Self::Linear => write!(f, "linear layer"),
            Self::Norm { shape: [a, b, c, d] } => write!(f, "batch norm of {a}×{b}×{c}×{d}"),
            Self::Pools => write!(f, "poolings"),
            Self::Mask => write!(f, "mask of dropout"),
            Self::Adam { variant: false } => write!(f, "step of Adam"),
            Self::Adam { variant: true } => write!(f, "step of AdamW with AMSGrad"),
            Self::Sgd { nesterov: false } => write!(f, "step of gradient descent"),
            Self::Sgd { nesterov: true } => write!(f, "step of gradient descent, Nesterov's"),
            Self::SumOfSquares { count } => write!(f, "sum of {count} squares"),
        }
    }
}
