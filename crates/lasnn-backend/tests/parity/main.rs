//! Compares every operation with the reference: the values, and the gradients that Burn's autodiff
//! computes for the reference.

// Everything here is a test, helpers included.
#![allow(clippy::unwrap_used)]

mod layers;
mod norms;
mod support;
mod updates;

#[cfg(feature = "vulkan")]
use burn::backend::Vulkan;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_backend::DenseBackend;
use lasnn_backend::parity::{DenseCase, compare_dense};

/// The cases that `lasnn check-backend` runs on machines without tests.
fn parity_cases<B: DenseBackend>() {
    for case in DenseCase::all() {
        let found = compare_dense::<B>(case, &B::Device::default()).unwrap();
        assert!(found.is_right(), "{case}: {found:?}");
    }
}

/// Runs every test on one backend.
macro_rules! on {
    ($backend:ident, $type:ty) => {
        mod $backend {
            use super::*;

            #[test]
            fn convolutions() {
                layers::convolutions::<$type>();
            }

            #[test]
            fn linear_layers() {
                layers::linear_layers::<$type>();
            }

            #[test]
            fn norms() {
                norms::norms::<$type>();
            }

            #[test]
            fn convolutions_with_norms() {
                norms::convolutions_with_norms::<$type>();
                norms::residual_blocks::<$type>();
            }

            #[test]
            fn elementwise_and_pooling() {
                layers::elementwise_and_pooling::<$type>();
            }

            #[test]
            fn optimizer_steps() {
                updates::updates::<$type>();
            }

            #[test]
            fn parity_cases() {
                super::parity_cases::<$type>();
            }
        }
    };
}

on!(flex, Flex);
on!(ndarray, NdArray);
#[cfg(feature = "vulkan")]
on!(vulkan, Vulkan);
