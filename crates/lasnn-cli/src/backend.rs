//! The names of the backends.

use clap::ValueEnum;

/// The backends that a build can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    /// Burn's fast CPU backend.
    Flex,
    /// A second CPU backend. It is slow and serves as a reference.
    Ndarray,
    /// NVIDIA GPUs.
    Cuda,
    /// GPUs of any vendor.
    Vulkan,
}

impl BackendName {
    /// Whether the backend computes on the CPU, with the kernels of this workspace.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }

    /// The name on the command line and in the summary. The cargo feature has the same name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Cuda => "cuda",
            Self::Vulkan => "vulkan",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_and_the_summary_use_the_same_names() {
        for backend in BackendName::value_variants() {
            let typed = backend.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(typed.as_deref(), Some(backend.name()));
        }
    }
}
