//! The trait of a network whose parameters have ranges.

/// A network whose trained parameters have to stay in a range.
///
/// An optimiser knows no ranges: a step may make a leak larger than 1, or a threshold negative. The
/// training loop therefore calls [`constrained`](Self::constrained) after each step. A network
/// without such parameters implements the trait with an empty block.
pub trait Constrained: Sized {
    /// The network with each trained parameter moved to the nearest value of its range. Parameters
    /// that are not trained keep their bits, and so do those in their range.
    ///
    /// An implementation keeps the identities of parameters, and which of them have a gradient. It
    /// computes on the device and reads nothing from it, so that a GPU is not waited for.
    fn constrained(self) -> Self {
        self
    }
}
