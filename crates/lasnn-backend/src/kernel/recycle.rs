//! Tensors whose memory returns to the pool of `lasnn_gemm::memory` when they are dropped.

#![allow(unsafe_code, reason = "a tensor's memory is a recycled vector")]

use std::mem::{MaybeUninit, take};

use burn_std::{AllocationController, AllocationProperty, Bytes};
use lasnn_gemm::memory;

/// Makes a vector the memory of a tensor. A large vector returns to the pool when the tensor is
/// dropped.
pub fn bytes(block: Vec<f32>) -> Bytes {
    if block.len() < memory::SMALLEST {
        return Bytes::from_elems(block);
    }
    let length = size_of_val(&block[..]);
    // SAFETY: `length` is the size in bytes of the slice that `memory` returns, and all elements of
    // a vector are initialised.
    unsafe { Bytes::from_controller(Box::new(Recycled(block)), length) }
}

/// The memory of a tensor.
struct Recycled(Vec<f32>);

impl AllocationController for Recycled {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        let length = size_of_val(&self.0[..]);
        // SAFETY: the slice covers the elements of the vector, which is borrowed mutably for as
        // long as the slice lives. The caller promises to write initialised bytes only, and any
        // four bytes are a valid `f32`.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), length) }
    }

    fn memory(&self) -> &[MaybeUninit<u8>] {
        let length = size_of_val(&self.0[..]);
        // SAFETY: the slice covers the elements of the vector, which is borrowed for as long as the
        // slice lives.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), length) }
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        memory::give(take(&mut self.0));
    }
}
