//! The one place where the name of a backend becomes a type.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use anyhow::bail;
use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use lasnn_backend::DenseBackend;
use lasnn_neurons::SpikingBackend;

use crate::backend::BackendName;
use crate::failure::invalid_input;

/// A backend with automatic differentiation around one without. Everything that computes is
/// generic over this trait.
pub trait TrainingBackend:
    DenseBackend + SpikingBackend + AutodiffBackend<InnerBackend: DenseBackend + SpikingBackend>
{
}

impl<A> TrainingBackend for A where
    A: DenseBackend + SpikingBackend + AutodiffBackend<InnerBackend: DenseBackend + SpikingBackend>
{
}

/// A command that computes. Its code is compiled once for each backend.
pub trait Job {
    /// Does the work on a device of one backend.
    ///
    /// # Errors
    ///
    /// Each command documents its own.
    fn run<A: TrainingBackend>(&self, device: &A::Device) -> anyhow::Result<()>;
}

/// Does `job` on the default device of `backend`.
///
/// # Errors
///
/// Fails if the backend is not compiled in, if its device does not work, or if the job fails.
pub fn dispatch(backend: BackendName, job: &impl Job) -> anyhow::Result<()> {
    match backend {
        #[cfg(feature = "flex")]
        BackendName::Flex => run_on::<Autodiff<burn_flex::Flex>>(job),
        #[cfg(feature = "ndarray")]
        BackendName::Ndarray => run_on::<Autodiff<burn_ndarray::NdArray>>(job),
        #[cfg(feature = "cuda")]
        BackendName::Cuda => run_on::<Autodiff<burn::backend::Cuda>>(job),
        #[cfg(feature = "vulkan")]
        BackendName::Vulkan => run_on::<Autodiff<burn::backend::Vulkan>>(job),
        #[allow(unreachable_patterns, reason = "with all features no backend is left")]
        absent => Err(not_compiled_in(absent)),
    }
}

fn run_on<A: TrainingBackend>(job: &impl Job) -> anyhow::Result<()> {
    let device = A::Device::default();
    probe::<A>(&device)?;
    job.run::<A>(&device)
}

/// Adds two numbers on the device, before anything depends on it.
///
/// Burn's GPU backends panic where there is no driver or no device. A user who has only named the
/// wrong backend should get an error message instead.
///
/// # Errors
///
/// Fails if the device cannot add two numbers.
fn probe<A: TrainingBackend>(device: &A::Device) -> anyhow::Result<()> {
    let previous_hook = std::panic::take_hook();
    // The first panic comes from the thread that talks to the driver and has the reason. Later
    // panics follow from it and only say that this thread is gone.
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
    std::panic::set_hook(previous_hook);
    match sum {
        Ok(Ok(Some(2.0))) => Ok(()),
        Ok(Ok(Some(other))) => bail!("the device is broken: it computes 1 + 1 = {other}"),
        Ok(Ok(None)) => bail!("the device is broken: it computes no result for 1 + 1"),
        Ok(Err(error)) => bail!("the device cannot be used: {error}"),
        Err(_) => {
            let reason = reason.get().map_or("no reason given", String::as_str);
            bail!("the device cannot be used: {reason}")
        }
    }
}

fn not_compiled_in(backend: BackendName) -> anyhow::Error {
    let name = backend.name();
    invalid_input(format_args!(
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
}
