//! The tensors of a network by name: what checkpoints hold and conversion copies.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Shape, Tensor, TensorData, backend::Backend};

/// The tensors of a network, by names such as `layers.0.conv.weight`.
pub type StateDict = BTreeMap<String, TensorData>;

/// Tensors that do not fit a network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StateError {
    /// The network has a tensor that the state lacks.
    #[error("tensor `{name}` is missing; the network expects it with shape {expected:?}")]
    Missing {
        /// The tensor's name.
        name: String,
        /// The shape that the network gives it.
        expected: Vec<usize>,
    },
    /// A tensor has the wrong shape.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    WrongShape {
        /// The tensor's name.
        name: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape that the network gives it.
        expected: Vec<usize>,
    },
    /// The state has a tensor that the network lacks.
    #[error("tensor `{name}` is not part of the network")]
    Unknown {
        /// The tensor's name.
        name: String,
    },
}

/// Reads every tensor of `module`.
///
/// A module on an autodiff backend is read through its `valid()` form, which also brings the
/// running statistics of Burn's batch norm up to date.
pub fn save<B: Backend, M: Module<B>>(module: &M) -> StateDict {
    let mut visitor = Save { path: Path::default(), state: StateDict::new() };
    module.visit(&mut visitor);
    visitor.state
}

/// Gives `module` the tensors of `state`; every tensor of either must have its match.
///
/// # Errors
///
/// Names the first tensor that is missing, unknown or of the wrong shape.
pub fn load<B: Backend, M: Module<B>>(module: M, mut state: StateDict) -> Result<M, StateError> {
    let module = load_known(module, &mut state)?;
    match state.pop_first() {
        Some((name, _)) => Err(StateError::Unknown { name }),
        None => Ok(module),
    }
}

/// Gives `module` the tensors it needs out of `state` and leaves the others there.
///
/// # Errors
///
/// Names the first tensor that is missing or of the wrong shape.
pub fn load_known<B: Backend, M: Module<B>>(
    module: M,
    state: &mut StateDict,
) -> Result<M, StateError> {
    let mut mapper = Load { path: Path::default(), state, error: None };
    let module = module.map(&mut mapper);
    match mapper.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// The names above the tensor being visited. Enum variants are left out: that a layer is a
/// convolution is said by the architecture, and a name should not change with a refactoring.
///
/// Public so that optimisers name their state as checkpoints name the tensors.
#[derive(Clone, Debug, Default)]
pub struct Path(Vec<String>);

impl Path {
    /// Call from `enter_module`.
    pub fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    /// Call from `exit_module`.
    pub fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    /// The name of the tensor being visited.
    pub fn name(&self) -> String {
        self.0.join(".")
    }
}

struct Save {
    path: Path,
    state: StateDict,
}

impl<B: Backend> ModuleVisitor<B> for Save {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.state.insert(self.path.name(), param.val().into_data());
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }
}

struct Load<'a> {
    path: Path,
    state: &'a mut StateDict,
    error: Option<StateError>,
}

impl<B: Backend> ModuleMapper<B> for Load<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let name = self.path.name();
        let expected: Vec<usize> = tensor.dims().to_vec();
        let loaded = match self.state.remove(&name) {
            None => Err(StateError::Missing { name, expected }),
            Some(data) if data.shape != Shape::from(expected.clone()) => {
                Err(StateError::WrongShape { name, found: data.shape.to_vec(), expected })
            }
            Some(data) => {
                let loaded = Tensor::from_data(data, &tensor.device());
                Ok(loaded.set_require_grad(tensor.is_require_grad()))
            }
        };
        let tensor = loaded.unwrap_or_else(|error| {
            self.error.get_or_insert(error);
            tensor
        });
        Param::from_mapped_value(id, tensor, mapper)
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }
}
