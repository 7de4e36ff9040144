//! What hands out memory: jemalloc with huge pages.
//!
//! A training step walks over hundreds of MiB of weights, gradients and moments, and pages of 4 KiB make the
//! translation of their addresses dear; docs/performance.md has the figures.

#![allow(unsafe_code, reason = "the name of a symbol that jemalloc reads")]

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc when it starts.
// SAFETY: the name belongs to jemalloc, which expects there a pointer to a string that ends in zero, as
// this one does and which lives as long as the program.
#[unsafe(export_name = "_rjem_malloc_conf")]
static CONFIGURATION: Option<&'static std::ffi::c_char> = {
    const TEXT: &std::ffi::CStr = c"thp:always";
    // SAFETY: a `CStr` has at least its terminating zero to point to.
    Some(unsafe { &*TEXT.as_ptr() })
};
