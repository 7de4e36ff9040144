//! Gradients by the names of their parameters.

use std::collections::BTreeMap;

use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_nn::state::Path;

/// The gradients of one step by the names of their parameters, as flat tensors.
///
/// A parameter has no gradient if the loss does not depend on it, or if it is not trained
/// (thresholds, running statistics).
#[derive(Clone, Debug, Default)]
pub struct Gradients<B: Backend> {
    by_name: BTreeMap<String, Tensor<B, 1>>,
}

impl<B: Backend> Gradients<B> {
    /// Collects the gradients of `model`'s parameters from the result of a backward pass.
    pub fn collect<A, M>(model: &M, gradients: A::Gradients) -> Self
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: AutodiffModule<A>,
    {
        let mut visitor =
            Collect::<A> { path: Path::default(), gradients, by_name: BTreeMap::new() };
        model.visit(&mut visitor);
        Self { by_name: visitor.by_name }
    }

    /// The gradient of the parameter `name`, flat.
    pub fn get(&self, name: &str) -> Option<&Tensor<B, 1>> {
        self.by_name.get(name)
    }

    /// Removes and returns the gradient of the parameter `name`.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Tensor<B, 1>> {
        self.by_name.remove(name)
    }

    /// Multiplies all gradients by `factor`.
    pub fn scale(self, factor: f64) -> Self {
        let scaled = self.by_name.into_iter().map(|(name, gradient)| (name, gradient * factor));
        Self { by_name: scaled.collect() }
    }

    /// The sum of two sets of gradients; a missing gradient counts as zero.
    pub fn plus(mut self, other: Self) -> Self {
        for (name, gradient) in other.by_name {
            let sum = match self.by_name.remove(&name) {
                Some(before) => before + gradient,
                None => gradient,
            };
            self.by_name.insert(name, sum);
        }
        self
    }
}

impl<B: DenseBackend> Gradients<B> {
    /// The Euclidean norm of all gradients together. Reads from the device, so it waits for it.
    pub fn norm(&self) -> f64 {
        if self.by_name.is_empty() {
            return 0.0;
        }
        let squares = self.by_name.values().cloned().map(ops::sum_of_squares);
        // One tensor, so that the program waits for the device once and not once per parameter.
        let squares = Tensor::cat(squares.collect(), 0).into_data();
        squares.iter::<f64>().sum::<f64>().sqrt()
    }

    /// Scales the gradients down to the norm `max_norm` if their norm is larger. `norm` is their
    /// [`norm`](Self::norm). As in PyTorch's `clip_grad_norm_`, the factor is
    /// `max_norm / (norm + 1e-6)`.
    pub fn clip(self, norm: f64, max_norm: f64) -> Self {
        let factor = max_norm / (norm + 1e-6);
        match factor < 1.0 {
            true => self.scale(factor),
            false => self,
        }
    }
}

struct Collect<A: AutodiffBackend> {
    path: Path,
    gradients: A::Gradients,
    by_name: BTreeMap<String, Tensor<A::InnerBackend, 1>>,
}

impl<A: AutodiffBackend> ModuleVisitor<A> for Collect<A> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
        if let Some(gradient) = param.val().grad_remove(&mut self.gradients) {
            let length = gradient.shape().num_elements();
            self.by_name.insert(self.path.name(), gradient.reshape([length]));
        }
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }
}
