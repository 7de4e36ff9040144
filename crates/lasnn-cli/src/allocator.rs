//! The memory allocator: jemalloc with huge pages.
//!
//! A training step reads and writes hundreds of MiB of weights, gradients and optimiser state.
//! With pages of 4 KiB the translation of their addresses takes a noticeable part of the time;
//! docs/log/2026-11-25-huge-pages.md has the measurement.

#![allow(unsafe_code, reason = "jemalloc reads its configuration from an exported symbol")]

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The configuration that jemalloc reads when it starts.
// SAFETY: the symbol name is reserved for jemalloc, which expects a pointer to a string that ends
// in a zero byte. This is such a pointer, and the string lives as long as the program.
#[unsafe(export_name = "_rjem_malloc_conf")]
static CONFIGURATION: Option<&'static std::ffi::c_char> = {
    const TEXT: &std::ffi::CStr = c"thp:always";
    // SAFETY: a `CStr` has at least its terminating zero byte, so the pointer is valid.
    Some(unsafe { &*TEXT.as_ptr() })
};
