//! The sizes of a convolution.

/// A convolution with square kernels, as PyTorch's `conv2d` without dilation and groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Channels of an input image.
    pub inputs: usize,
    /// Channels of an output image.
    pub outputs: usize,
    /// Rows of an input image.
    pub height: usize,
    /// Columns of an input image.
    pub width: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Input positions from one output position to the next.
    pub stride: usize,
    /// Zeros around the input image; fewer than `kernel`.
    pub padding: usize,
}

impl ConvShape {
    /// Rows of an output image.
    pub fn output_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Columns of an output image.
    pub fn output_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Elements of one input image.
    pub fn image(&self) -> usize {
        self.inputs * self.height * self.width
    }

    /// Elements of one output image.
    pub fn output_image(&self) -> usize {
        self.outputs * self.output_height() * self.output_width()
    }

    /// Elements of the weights `[outputs, inputs, kernel, kernel]`.
    pub fn weights(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// Positions of the kernel.
    pub(super) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Where a tap of one axis reads: output position `i` reads the input at
    /// `stride · (i + shift) + phase`.
    pub(super) fn reach(&self, tap: usize) -> Reach {
        let distance = tap as isize - self.padding as isize;
        let stride = self.stride as isize;
        Reach { phase: distance.rem_euclid(stride) as usize, shift: distance.div_euclid(stride) }
    }

    /// The smallest and the largest shift of any tap.
    pub(super) fn shifts(&self) -> [isize; 2] {
        [self.reach(0).shift, self.reach(self.kernel - 1).shift]
    }

    /// Panics unless the slices have the elements that the shape says.
    pub(super) fn check(&self, input: usize, weights: usize, output: usize) {
        assert!(self.padding < self.kernel && self.stride > 0, "no such convolution: {self:?}");
        assert_eq!(input, self.batch * self.image(), "elements of the input of {self:?}");
        assert_eq!(weights, self.weights(), "elements of the weights of {self:?}");
        assert_eq!(output, self.batch * self.output_image(), "elements of the output of {self:?}");
    }
}

/// See [`ConvShape::reach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub phase: usize,
    pub shift: isize,
}
