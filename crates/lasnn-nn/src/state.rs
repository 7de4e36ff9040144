//! The tensors of a network by name. Checkpoints store them, and conversion copies them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Shape, Tensor, TensorData, backend::Backend};

/// The tensors of a network, by names such as `layers.0.conv.weight`.
pub type StateDict = BTreeMap<String, TensorData>;

/// Whether a tensor is a parameter of an activation of an ordinary network, such as
/// `layers.0.activation.bound`. A spiking network has no such tensors.
pub fn is_of_activation(name: &str) -> bool {
    let module = name.rsplit('.').nth(1);
    module == Some("activation")
}

/// A mismatch between tensors and a network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StateError {
    /// The state lacks a tensor of the network.
    #[error("tensor `{name}` is missing; the network expects it with shape {expected:?}")]
    Missing {
        /// The tensor's name.
        name: String,
        /// Its shape in the network.
        expected: Vec<usize>,
    },
    /// A tensor has the wrong shape.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    WrongShape {
        /// The tensor's name.
        name: String,
        /// Its shape in the state.
        found: Vec<usize>,
        /// Its shape in the network.
        expected: Vec<usize>,
    },
    /// The state has a tensor that is not part of the network.
    #[error("tensor `{name}` is not part of the network")]
    Unknown {
        /// The tensor's name.
        name: String,
    },
}

/// Reads every tensor of `module`.
///
/// For a module on an autodiff backend, pass `module.valid()`, which also applies pending updates
/// of the running statistics of Burn's batch norm.
pub fn save<B: Backend, M: Module<B>>(module: &M) -> StateDict {
    let mut visitor = Save { path: Path::default(), state: StateDict::new() };
    module.visit(&mut visitor);
    visitor.state
}

/// Loads the tensors of `state` into `module`. Both must have the same tensors.
///
/// # Errors
///
/// Returns the first tensor that is missing, unknown or of the wrong shape.
pub fn load<B: Backend, M: Module<B>>(module: M, mut state: StateDict) -> Result<M, StateError> {
    let module = load_known(module, &mut state)?;
    match state.pop_first() {
        Some((name, _)) => Err(StateError::Unknown { name }),
        None => Ok(module),
    }
}

/// Moves the tensors of `module` out of `state` into it, and leaves all other tensors in `state`.
///
/// # Errors
///
/// Returns the first tensor that is missing or of the wrong shape.
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

/// The path of modules from the root to the tensor being visited.
///
/// Enum variants are left out of the path: the architecture already says that a layer is a
/// convolution, and names in checkpoints must not change with a refactoring. The type is public so
/// that optimisers name their state as checkpoints name the tensors.
#[derive(Clone, Debug, Default)]
pub struct Path(Vec<String>);

impl Path {
    /// Extends the path; to be called from `enter_module`.
    pub fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    /// Shortens the path; to be called from `exit_module`.
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
