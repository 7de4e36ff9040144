//! Tensors whose memory goes back to `lasnn_gemm::memory`.

#![allow(unsafe_code, reason = "a tensor that owns a block of recycled memory")]

use std::mem::{MaybeUninit, take};

use burn_std::{AllocationController, AllocationProperty, Bytes};
use lasnn_gemm::memory;

/// The numbers as a tensor's memory, which is given back when the tensor goes.
pub fn bytes(block: Vec<f32>) -> Bytes {
    if block.len() < memory::SMALLEST {
        return Bytes::from_elems(block);
    }
    let length = size_of_val(&block[..]);
    // SAFETY: all elements of a vector are initialised, and `memory` shows exactly these.
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
        // SAFETY: the bytes are those of the vector, which is borrowed mutably for as long as the
        // slice lives; the caller promises to write initialised bytes only, and any four of them
        // are a valid `f32`.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), length) }
    }

    fn memory(&self) -> &[MaybeUninit<u8>] {
        let length = size_of_val(&self.0[..]);
        // SAFETY: the bytes are those of the vector, which is borrowed for as long as the slice
        // lives.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), length) }
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        memory::give(take(&mut self.0));
    }
}
