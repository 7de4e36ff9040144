//! Burn's NdArray backend.

use std::borrow::Cow;

use burn::tensor::{Shape, TensorData, TensorMetadata, ops::FloatTensor};
use burn_ndarray::{
    FloatNdArrayElement, IntNdArrayElement, NdArray, NdArrayTensor, QuantElement, SharedArray,
};
use lasnn_core::neuron::NeuronOptions;

use super::host::{self, HostTensor};
use crate::backend::{ScanGrads, ScanParams, SpikingBackend};

impl<E, I, Q> SpikingBackend for NdArray<E, I, Q>
where
    E: FloatNdArrayElement,
    I: IntNdArrayElement,
    Q: QuantElement,
    NdArrayTensor: From<SharedArray<E>>,
    NdArrayTensor: From<SharedArray<I>>,
{
    fn scan(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        match currents {
            NdArrayTensor::F64(_) => host::scan::<f64, _>(currents, params, options),
            _ => host::scan::<f32, _>(currents, params, options),
        }
    }

    fn scan_backward(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        options: (NeuronOptions, bool),
    ) -> ScanGrads<FloatTensor<Self>> {
        match currents {
            NdArrayTensor::F64(_) => {
                host::scan_backward::<f64, _>(currents, params, output_grad, options)
            }
            _ => host::scan_backward::<f32, _>(currents, params, output_grad, options),
        }
    }

    fn advance(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        match currents {
            NdArrayTensor::F64(_) => host::advance::<f64, _>(currents, params, options),
            _ => host::advance::<f32, _>(currents, params, options),
        }
    }

    fn on_host<R>(tensors: &[FloatTensor<Self>], run: impl FnOnce(&[&[f32]]) -> R) -> Option<R> {
        host::on_host(tensors, run)
    }
}

macro_rules! host_tensor {
    ($float:ty, $variant:ident) => {
        impl HostTensor<$float> for NdArrayTensor {
            fn read(&self) -> Cow<'_, [$float]> {
                let Self::$variant(storage) = self else {
                    panic!("expected a tensor of {}, found {:?}", stringify!($float), self.dtype())
                };
                let view = storage.view();
                match view.to_slice() {
                    Some(elements) => Cow::Borrowed(elements),
                    None => Cow::Owned(view.iter().copied().collect()),
                }
            }

            fn write(elements: Vec<$float>, shape: Shape) -> Self {
                Self::from_data(TensorData::new(elements, shape))
            }
        }
    };
}

host_tensor!(f32, F32);
host_tensor!(f64, F64);
