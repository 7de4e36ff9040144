//! Burn's NdArray backend.

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::{DType, Shape, TensorData, TensorMetadata, ops::FloatTensor};
use burn_ndarray::{
    FloatNdArrayElement, IntNdArrayElement, NdArray, NdArrayTensor, QuantElement, SharedArray,
};
use lasnn_core::{Mask, Precision};
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

use super::dispatch::dense_on_host;
use super::host::{self, HostTensor};
use crate::backend::{BatchNormOutput, Convolution, DenseBackend};
use crate::conv_batch_norm::{
    self, ConvBatchNorm, ConvBatchNormGrads, ConvBatchNormInputs, InputGrad, SavedForBackward,
};
use crate::reference;

impl<E, I, Q> DenseBackend for NdArray<E, I, Q>
where
    E: FloatNdArrayElement,
    I: IntNdArrayElement,
    Q: QuantElement,
    NdArrayTensor: From<SharedArray<E>>,
    NdArrayTensor: From<SharedArray<I>>,
{
    dense_on_host!();
}

impl HostTensor for NdArrayTensor {
    fn read(&self) -> Cow<'_, [f32]> {
        let Self::F32(storage) = self else {
            panic!("expected an f32 tensor, found {:?}", self.dtype())
        };
        let view = storage.view();
        match view.to_slice() {
            Some(elements) => Cow::Borrowed(elements),
            None => Cow::Owned(view.iter().copied().collect()),
        }
    }

    fn buffer(length: usize) -> Vec<f32> {
        vec![0.0; length]
    }

    fn write(elements: Vec<f32>, shape: Shape) -> Self {
        Self::from_data(TensorData::new(elements, shape))
    }

    fn contiguous(self) -> Self {
        let shape = self.shape();
        let copy = match self.read() {
            Cow::Borrowed(_) => None,
            Cow::Owned(elements) => Some(elements),
        };
        match copy {
            Some(elements) => Self::write(elements, shape),
            None => self,
        }
    }

    fn elements_mut(&mut self) -> &mut [f32] {
        let dtype = self.dtype();
        let Self::F32(storage) = self else { panic!("expected an f32 tensor, found {dtype:?}") };
        let elements = storage.ensure_owned().as_slice_mut();
        elements.expect("`elements_mut` is called on contiguous tensors only")
    }
}
