//! Burn's Flex backend. Half-precision types, which Flex computes in software, use the reference.

use std::borrow::Cow;

use burn::tensor::{DType, Shape, TensorData, ops::FloatTensor};
use burn_flex::{Flex, FlexTensor, Layout};
use lasnn_core::neuron::NeuronOptions;

use super::host::{self, HostTensor};
use crate::backend::{ScanGrads, ScanParams, SpikingBackend, from_primitive, into_primitive};
use crate::reference;

impl SpikingBackend for Flex {
    fn scan(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        match currents.dtype() {
            DType::F32 => host::scan::<f32, _>(currents, params, options),
            DType::F64 => host::scan::<f64, _>(currents, params, options),
            _ => {
                let params = params.map(from_primitive);
                into_primitive(reference::scan::<Self>(from_primitive(currents), params, options))
            }
        }
    }

    fn scan_backward(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        grad: FloatTensor<Self>,
        options: (NeuronOptions, bool),
    ) -> ScanGrads<FloatTensor<Self>> {
        match currents.dtype() {
            DType::F32 => host::scan_backward::<f32, _>(currents, params, grad, options),
            DType::F64 => host::scan_backward::<f64, _>(currents, params, grad, options),
            _ => {
                let (currents, grad) = (from_primitive(currents), from_primitive(grad));
                let params = params.map(from_primitive);
                let grads = reference::scan_backward::<Self>(currents, params, grad, options.0);
                grads.into_primitives()
            }
        }
    }

    fn advance(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        match currents.dtype() {
            DType::F32 => host::advance::<f32, _>(currents, params, options),
            DType::F64 => host::advance::<f64, _>(currents, params, options),
            _ => {
                let params = params.map(from_primitive);
                let (spikes, membrane) =
                    reference::advance::<Self>(from_primitive(currents), params, options);
                (into_primitive(spikes), into_primitive(membrane))
            }
        }
    }

    fn on_host<R>(tensors: &[FloatTensor<Self>], run: impl FnOnce(&[&[f32]]) -> R) -> Option<R> {
        host::on_host(tensors, run)
    }

    fn from_host(values: Vec<f32>, shape: Shape, _: &Self::Device) -> FloatTensor<Self> {
        FlexTensor::new(lasnn_backend::recycled(values), Layout::contiguous(shape), DType::F32)
    }
}

macro_rules! host_tensor {
    ($float:ty) => {
        impl HostTensor<$float> for FlexTensor {
            fn read(&self) -> Cow<'_, [$float]> {
                match self.as_slice::<$float>() {
                    Some(elements) => Cow::Borrowed(elements),
                    None => Cow::Owned(self.to_contiguous().storage::<$float>().to_vec()),
                }
            }

            fn write(elements: Vec<$float>, shape: Shape) -> Self {
                Self::from_data(TensorData::new(elements, shape))
            }
        }
    };
}

host_tensor!(f32);
host_tensor!(f64);
