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
use crate::backend::{Convolution, DenseBackend, Normalised};
use crate::conv_batch_norm::{
    self, ConvolutionGrads, ConvolutionInputs, InputGrad, NormalisedConvolution, Recorded,
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

    fn room(length: usize) -> Vec<f32> {
        memory::take(length)
    }

    fn write(elements: Vec<f32>, shape: Shape) -> Self {
        Self::new(recycle::bytes(elements), Layout::contiguous(shape), DType::F32)
    }

    fn contiguous(self) -> Self {
        // Keeps the tensor where it is if it is what its memory holds, no more and no less.
        let whole = self.as_slice::<f32>().is_some_and(|e| size_of_val(e) == self.bytes().len());
        if whole { self } else { self.to_contiguous() }
    }

    fn elements_mut(&mut self) -> &mut [f32] {
        self.storage_mut()
    }
}
