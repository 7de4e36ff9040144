//! Finding the first number that is not finite.

use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use lasnn_backend::DenseBackend;
use lasnn_core::{Batch, Pass, Probe, Probes, Tap};
use lasnn_nn::state::Path;
use lasnn_nn::{BatchTensors, Observable};

use crate::config::TrainConfig;
use crate::gradients::Gradients;

/// Says which of these is the first that is not finite, in the order of cause and effect: the
/// images, the parameters, the feature maps at the taps, the logits (class scores), the gradients.
pub(crate) fn first_not_finite<B, M>(
    model: &M,
    gradients: &Gradients<B::InnerBackend>,
    batch: &Batch,
    pass: &Pass<'_>,
    device: &B::Device,
) -> String
where
    B: AutodiffBackend<InnerBackend: DenseBackend>,
    M: AutodiffModule<B>,
    M::InnerModule: Observable<B::InnerBackend>,
{
    if batch.pixels.iter().any(|pixel| !pixel.is_finite()) {
        return "the batch's images are not finite".into();
    }
    if let Some(name) = parameter(model, None) {
        return format!("parameter `{name}` is not finite");
    }
    let probes = Probes::from(Tap::ALL.map(Probe::Features));
    let observed = model.valid().observe(batch.images(device), pass, &probes);
    for (tap, map) in observed.features {
        if !finite(map) {
            return format!("the feature map at tap `{tap}` is not finite");
        }
    }
    if !finite(observed.logits) {
        return "the logits are not finite".into();
    }
    match parameter(model, Some(gradients)) {
        Some(name) => format!("the gradient of `{name}` is not finite"),
        None => "all parameters and gradients are finite".into(),
    }
}

/// The name of the first parameter whose value is not finite, or whose gradient is not finite if
/// gradients are given.
pub(crate) fn parameter<B, M>(
    model: &M,
    gradients: Option<&Gradients<B::InnerBackend>>,
) -> Option<String>
where
    B: AutodiffBackend<InnerBackend: DenseBackend>,
    M: AutodiffModule<B>,
{
    let mut visitor = First { path: Path::default(), gradients, found: None };
    model.visit(&mut visitor);
    visitor.found
}

/// What a user may try against numbers that are not finite.
pub(crate) fn suggestion(config: &TrainConfig, learning_rate: f64) -> String {
    let clip = match config.clip_norm {
        Some(norm) => format!("lower `clip_norm` (now {norm})"),
        None => "set `clip_norm`, for instance to 1".into(),
    };
    format!("lower `optimizer.learning_rate` ({learning_rate} in this epoch), or {clip}")
}

fn finite<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> bool {
    tensor.into_data().iter::<f32>().all(f32::is_finite)
}

struct First<'a, B: Backend> {
    path: Path,
    gradients: Option<&'a Gradients<B>>,
    found: Option<String>,
}

impl<A: AutodiffBackend> ModuleVisitor<A> for First<'_, A::InnerBackend> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
        if self.found.is_some() {
            return;
        }
        let name = self.path.name();
        let finite = match self.gradients {
            None => finite(param.val()),
            Some(gradients) => gradients.get(&name).is_none_or(|one| finite(one.clone())),
        };
        if !finite {
            self.found = Some(name);
        }
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }
}
