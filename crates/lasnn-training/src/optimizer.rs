//! An update rule applied to all parameters of a network, with its state by name.
//!
//! Burn's own optimisers are not used. Their defaults differ from PyTorch's, and the keys of their
//! state are drawn at random in every process, so a checkpoint could not be compared with another
//! one.

use std::collections::BTreeMap;

use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use lasnn_backend::DenseBackend;
use lasnn_nn::state::Path;
use lasnn_nn::{StateDict, StateError};

use crate::adam::Moments;
use crate::config::OptimizerConfig;
use crate::gradients::Gradients;
use crate::groups::{Groups, ParamKind};

const MOMENTUM: &str = "momentum";
const MEAN: &str = "exp_avg";
const SQUARE: &str = "exp_avg_sq";
const MAX_SQUARE: &str = "max_exp_avg_sq";

/// An update rule and its state for each parameter.
#[derive(Clone, Debug)]
pub struct Optimizer<B: Backend> {
    rule: OptimizerConfig,
    groups: Groups,
    steps: u64,
    /// By names such as `momentum.layers.0.conv.weight`.
    slots: BTreeMap<String, Slot<B>>,
}

/// One tensor of the state.
#[derive(Clone, Debug)]
struct Slot<B: Backend> {
    /// Flat.
    value: Tensor<B, 1>,
    /// The shape of its parameter.
    shape: Vec<usize>,
}

impl<B: DenseBackend> Optimizer<B> {
    /// An optimiser before its first step.
    pub fn new(rule: OptimizerConfig) -> Self {
        Self { rule, groups: Groups::default(), steps: 0, slots: BTreeMap::new() }
    }

    /// The same optimiser with other learning rates and weight decays for kinds of parameters.
    pub fn with_groups(self, groups: Groups) -> Self {
        Self { groups, ..self }
    }

    /// The number of steps so far. PyTorch counts for each parameter; the two agree if a parameter
    /// has a gradient either at every step or at none.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Updates every parameter of `model` that has a gradient. `factor` is that of the schedule, by
    /// which all initial learning rates are multiplied.
    ///
    /// Running statistics stay as they are. A batch norm keeps the updates of the current pass
    /// apart from the value that a module's mapper gets, and this value is not changed.
    pub fn step<A, M>(&mut self, model: M, gradients: Gradients<B>, factor: f64) -> M
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: AutodiffModule<A>,
    {
        self.steps += 1;
        model.map(&mut Step { path: Path::default(), optimizer: self, gradients, factor })
    }

    /// The state, by names such as `exp_avg.layers.0.conv.weight`.
    pub fn state(&self) -> StateDict {
        let data = |slot: &Slot<B>| TensorData {
            shape: slot.shape.clone().into(),
            ..slot.value.to_data()
        };
        self.slots.iter().map(|(name, slot)| (name.clone(), data(slot))).collect()
    }

    /// An optimiser that continues from a saved state, without groups.
    ///
    /// # Errors
    ///
    /// Names the first tensor of the state that belongs to no parameter of `model`, or whose shape
    /// differs from the parameter's.
    pub fn restore<C: Backend, M: Module<C>>(
        rule: OptimizerConfig,
        steps: u64,
        state: StateDict,
        model: &M,
        device: &B::Device,
    ) -> Result<Self, StateError> {
        let mut shapes = Shapes::default();
        model.visit(&mut shapes);
        let kinds: &[&str] = match rule {
            OptimizerConfig::Sgd(_) => &[MOMENTUM],
            OptimizerConfig::Adam(_) => &[MEAN, SQUARE, MAX_SQUARE],
        };
        let mut slots = BTreeMap::new();
        for (name, data) in state {
            let expected = name
                .split_once('.')
                .filter(|(kind, _)| kinds.contains(kind))
                .and_then(|(_, parameter)| shapes.by_name.get(parameter));
            let found = data.shape.to_vec();
            match expected {
                None => return Err(StateError::Unknown { name }),
                Some(expected) if *expected != found => {
                    return Err(StateError::WrongShape { name, found, expected: expected.clone() });
                }
                Some(_) => {}
            }
            let length = data.num_elements();
            let flat = TensorData { shape: vec![length].into(), ..data };
            slots.insert(name, Slot { value: Tensor::from_data(flat, device), shape: found });
        }
        Ok(Self { rule, groups: Groups::default(), steps, slots })
    }

    /// Applies the update rule to one flat parameter.
    fn update(
        &mut self,
        name: &str,
        shape: &[usize],
        parameter: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        factor: f64,
    ) -> Tensor<B, 1> {
        let rule = self.groups.rule(ParamKind::of(name), &self.rule);
        let learning_rate = rule.learning_rate() * factor;
        match rule {
            OptimizerConfig::Sgd(sgd) => {
                let buffer = self.take(MOMENTUM, name);
                let (parameter, buffer) = sgd.step(learning_rate, parameter, gradient, buffer);
                self.put(MOMENTUM, name, shape, buffer);
                parameter
            }
            OptimizerConfig::Adam(adam) => {
                let moments = match (self.take(MEAN, name), self.take(SQUARE, name)) {
                    (Some(mean), Some(square)) => {
                        Some(Moments { mean, square, max_square: self.take(MAX_SQUARE, name) })
                    }
                    _ => None,
                };
                let (parameter, moments) =
                    adam.step(learning_rate, self.steps, parameter, gradient, moments);
                self.put(MEAN, name, shape, Some(moments.mean));
                self.put(SQUARE, name, shape, Some(moments.square));
                self.put(MAX_SQUARE, name, shape, moments.max_square);
                parameter
            }
        }
    }

    fn take(&mut self, kind: &str, parameter: &str) -> Option<Tensor<B, 1>> {
        self.slots.remove(&format!("{kind}.{parameter}")).map(|slot| slot.value)
    }

    fn put(&mut self, kind: &str, parameter: &str, shape: &[usize], value: Option<Tensor<B, 1>>) {
        if let Some(value) = value {
            let slot = Slot { value, shape: shape.to_vec() };
            self.slots.insert(format!("{kind}.{parameter}"), slot);
        }
    }
}

/// Walks over the parameters of a network and updates them.
struct Step<'a, B: Backend> {
    path: Path,
    optimizer: &'a mut Optimizer<B>,
    gradients: Gradients<B>,
    factor: f64,
}

impl<A> ModuleMapper<A> for Step<'_, A::InnerBackend>
where
    A: AutodiffBackend<InnerBackend: DenseBackend>,
{
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<A, D>>) -> Param<Tensor<A, D>> {
        let name = self.path.name();
        let Some(gradient) = self.gradients.remove(&name) else { return param };
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.dims();
        let flat = tensor.inner().reshape([shape.iter().product::<usize>()]);
        let updated = self.optimizer.update(&name, &shape, flat, gradient, self.factor);
        // A new leaf tensor, so that this step's graph is not part of the next step's.
        let tensor = Tensor::from_inner(updated.reshape(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }
}

/// Collects the shape of every parameter.
#[derive(Default)]
struct Shapes {
    path: Path,
    by_name: BTreeMap<String, Vec<usize>>,
}

impl<B: Backend> ModuleVisitor<B> for Shapes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.by_name.insert(self.path.name(), param.lazy_shape().to_vec());
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }
}
