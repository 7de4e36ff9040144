//! Burn's Flex backend.

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::{DType, Shape, ops::FloatTensor};
use burn_flex::{Flex, FlexTensor, Layout};
use lasnn_core::{Mask, Precision};
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};
use lasnn_gemm::memory;

use super::dispatch::dense_on_host;
use super::host::{self, HostTensor};
use super::recycle;
use crate::backend::{BatchNormOutput, Convolution, DenseBackend};
use crate::conv_batch_norm::{
    self, ConvBatchNorm, ConvBatchNormGrads, ConvBatchNormInputs, InputGrad, SavedForBackward,
};
use crate::reference;

impl DenseBackend for Flex {
    dense_on_host!();
}

impl HostTensor for FlexTensor {
    fn read(&self) -> Cow<'_, [f32]> {
        match self.as_slice::<f32>() {
            Some(elements) => Cow::Borrowed(elements),
            None => Cow::Owned(self.to_contiguous().storage::<f32>().to_vec()),
        }
    }

    fn buffer(length: usize) -> Vec<f32> {
        memory::take(length)
    }

    fn write(elements: Vec<f32>, shape: Shape) -> Self {
        Self::new(recycle::bytes(elements), Layout::contiguous(shape), DType::F32)
    }

    fn contiguous(self) -> Self {
        // A tensor that fills its memory exactly is not copied. A slice of a larger one is: its
        // `elements_mut` would be the memory of the larger one.
        let fills_memory =
            self.as_slice::<f32>().is_some_and(|e| size_of_val(e) == self.bytes().len());
        if fills_memory { self } else { self.to_contiguous() }
    }

    fn elements_mut(&mut self) -> &mut [f32] {
        self.storage_mut()
    }
}
