//! One module per data set. Each gives a [`crate::Dataset`] that is already checked, and says over
//! which bytes its SHA-256 is taken.

mod cifar;
pub mod cifar10;
pub mod cifar100;
pub mod digits;
pub mod folder;
pub mod mnist;
pub mod synthetic;
pub mod tiny_imagenet;
