//! Conversion of an ordinary (non-spiking) network to a spiking one (stage 2 of LaSNN).
//!
//! - [`convert`](mod@convert): weight transfer, and thresholds by a conversion method,
//! - [`methods`]: the conversion methods, a file for each,
//! - `calibration`: biases that are corrected after the conversion,
//! - [`fold`]: batch norms as a part of the convolutions before them,
//! - [`threshold`]: the policies that set a threshold,
//! - [`quantile`]: percentiles of a stream of numbers in constant memory,
//! - [`report`]: how well the firing rates of each layer follow the ordinary network's activations,
//! - [`config`]: the `conversion` table of a recipe.

mod calibration;
pub mod config;
pub mod convert;
pub mod error;
pub mod fold;
pub mod methods;
pub mod quantile;
pub mod report;
pub mod threshold;

pub use config::{Calibration, ClassScores, ConversionConfig};
pub use convert::{Activations, Balancing, convert};
pub use error::ConversionError;
pub use fold::fold_batch_norm;
pub use methods::{
    ActivationBounds, ConversionMethod, MethodConfig, MethodKind, ThresholdBalancing,
    WeightNormalisation,
};
pub use report::{ConversionReport, LayerReport};
pub use threshold::{Policy, ThresholdPolicy};
