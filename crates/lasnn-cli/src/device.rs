//! The one place where backends have names.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use anyhow::bail;
use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use clap::ValueEnum;
use lasnn_backend::DenseBackend;
use lasnn_neurons::SpikingBackend;

use crate::commands::{Job, compute};
use crate::failure::wrong;

/// A backend with gradients around one without; everything that computes is written for this.
pub trait TrainingBackend:
    DenseBackend + SpikingBackend + AutodiffBackend<InnerBackend: DenseBackend + SpikingBackend>
{
}

impl<A> TrainingBackend for A where
    A: DenseBackend + SpikingBackend + AutodiffBackend<InnerBackend: DenseBackend + SpikingBackend>
{
}

/// The backends that a build can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    /// Burn's fast CPU backend.
    Flex,
    /// A second CPU backend, slow, to compare with.
    Ndarray,
    /// NVIDIA GPUs.
    Cuda,
    /// GPUs of any maker.
    Vulkan,
}

impl BackendName {
    /// Whether it computes on the CPU, with kernels of our own.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }

    /// The name on the command line and in the summary, which is also that of the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Cuda => "cuda",
            Self::Vulkan => "vulkan",
        }
    }
}

/// Does `job` on `backend`.
///
/// # Errors
///
/// Fails if the backend is not compiled in, and as the job does.
pub fn dispatch(backend: BackendName, job: Job) -> anyhow::Result<()> {
    match backend {
        #[cfg(feature = "flex")]
        BackendName::Flex => compute::<Autodiff<burn_flex::Flex>>(job, &Default::default()),
        #[cfg(feature = "ndarray")]
        BackendName::Ndarray => {
            compute::<Autodiff<burn_ndarray::NdArray>>(job, &Default::default())
        }
        #[cfg(feature = "cuda")]
        BackendName::Cuda => compute::<Autodiff<burn::backend::Cuda>>(job, &Default::default()),
        #[cfg(feature = "vulkan")]
        BackendName::Vulkan => compute::<Autodiff<burn::backend::Vulkan>>(job, &Default::default()),
        #[allow(unreachable_patterns)] // With all features there is none left.
        absent => Err(not_compiled_in(absent)),
    }
}

/// Finds out whether the device is there, before anything depends on it.
///
/// Burn's GPU backends panic where there is no driver or no device, and a panic is no message for
/// somebody who has only named the wrong backend.
///
/// # Errors
///
/// Fails if the device cannot add two numbers.
pub fn probe<A: TrainingBackend>(device: &A::Device) -> anyhow::Result<()> {
    let usual = std::panic::take_hook();
    // The first panic is that of the thread that talks to the driver, and has the reason; those that it
    // causes only say that this thread is gone.
    let reason = Arc::new(OnceLock::new());
    let first = Arc::clone(&reason);
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or("no reason given");
        first.get_or_init(|| text.to_owned());
    }));
    let sum = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let two = Tensor::<A::InnerBackend, 1>::ones([1], device) + 1.0;
        two.try_into_data().map(|data| data.iter::<f32>().next())
    }));
    std::panic::set_hook(usual);
    match sum {
        Ok(Ok(Some(2.0))) => Ok(()),
        Ok(Ok(Some(other))) => bail!("the device is broken: 1 + 1 is {other} there"),
        Ok(Ok(None)) => bail!("the device is broken: 1 + 1 has no result there"),
        Ok(Err(error)) => bail!("the device cannot be used: {error}"),
        Err(_) => {
            let reason = reason.get().map_or("no reason given", String::as_str);
            bail!("the device cannot be used: {reason}")
        }
    }
}

fn not_compiled_in(backend: BackendName) -> anyhow::Error {
    let name = backend.name();
    wrong(format_args!(
        "the backend `{name}` is not compiled into this program; build with `--features {name}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_absent_is_named_with_its_feature() {
        let error = not_compiled_in(BackendName::Cuda);
        assert!(error.to_string().contains("build with `--features cuda`"), "{error}");
    }

    #[test]
    fn the_command_line_and_the_summary_use_the_same_names() {
        for backend in BackendName::value_variants() {
            let typed = backend.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(typed.as_deref(), Some(backend.name()));
        }
    }
}
