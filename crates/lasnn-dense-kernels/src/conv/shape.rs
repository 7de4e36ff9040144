//! The sizes of a convolution.

/// The sizes of a convolution with a square kernel: `conv2d` of PyTorch without dilation and
/// groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// The number of images.
    pub batch: usize,
    /// The number of channels of an input image.
    pub inputs: usize,
    /// The number of channels of an output image.
    pub outputs: usize,
    /// The number of rows of an input image.
    pub height: usize,
    /// The number of columns of an input image.
    pub width: usize,
    /// The number of rows and of columns of the kernel.
    pub kernel: usize,
    /// The distance of the input positions that neighbouring output positions read; at least 1.
    pub stride: usize,
    /// Rows and columns of zeros at each edge of an input image; fewer than `kernel`.
    pub padding: usize,
}

impl ConvShape {
    /// The number of rows of an output image.
    pub fn output_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// The number of columns of an output image.
    pub fn output_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// The number of elements of one input image.
    pub fn image(&self) -> usize {
        self.inputs * self.height * self.width
    }

    /// The number of elements of one output image.
    pub fn output_image(&self) -> usize {
        self.outputs * self.output_height() * self.output_width()
    }

    /// The number of elements of the weights `[outputs, inputs, kernel, kernel]`.
    pub fn weights(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// The number of taps (positions of the kernel).
    pub(super) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Where a tap reads along one axis: output position `i` reads input position
    /// `stride · (i + shift) + phase`.
    pub(super) fn reach(&self, tap: usize) -> Reach {
        let distance = tap as isize - self.padding as isize;
        let stride = self.stride as isize;
        Reach { phase: distance.rem_euclid(stride) as usize, shift: distance.div_euclid(stride) }
    }

    /// The smallest and the largest shift of a tap.
    pub(super) fn shifts(&self) -> [isize; 2] {
        [self.reach(0).shift, self.reach(self.kernel - 1).shift]
    }

    /// Panics unless the convolution exists and the slices have its numbers of elements.
    pub(super) fn check(&self, input: usize, weights: usize, output: usize) {
        assert!(
            self.padding < self.kernel && self.stride > 0,
            "a convolution with too much padding or without stride: {self:?}"
        );
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
