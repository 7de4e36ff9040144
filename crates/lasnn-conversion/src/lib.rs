//! Conversion of an ordinary (non-spiking) network to a spiking one (stage 2 of LaSNN).
//!
//! - [`convert`](mod@convert): weight transfer, and thresholds by a conversion method,
//! - [`methods`]: the conversion methods, a file for each,
//! - [`calibrations`]: what is corrected after the conversion, a file for each,
//! - [`ann`]: what a conversion knows of the ordinary network,
//! - [`fold`]: batch norms as a part of the convolutions before them,
//! - [`measure`]: the two networks beside each other, and the curve of a neuron,
//! - [`errors`]: the errors of the layers by their cause,
//! - [`scales`]: what spikes and currents stand for, and the scales of weights that follow,
//! - [`threshold`]: the policies that set a threshold,
//! - [`quantile`]: percentiles of a stream of numbers in constant memory,
//! - [`report`]: how well the firing rates of each layer follow the ordinary network's activations,
//! - [`config`]: the `conversion` table of a recipe.

pub mod ann;
pub mod calibrations;
pub mod config;
pub mod convert;
pub mod error;
pub mod errors;
pub mod fold;
pub mod measure;
pub mod methods;
pub mod quantile;
pub mod report;
pub mod scales;
pub mod threshold;

pub use ann::{Activations, Ann, Norm, Norms};
pub use calibrations::{
    BatchNormCalibration, BiasCalibration, Calibration, CalibrationConfig, CalibrationKind, Need,
    PotentialCalibration, WeightCalibration,
};
pub use config::{ClassScores, ConversionConfig};
pub use convert::{Balancing, convert};
pub use error::ConversionError;
pub use errors::{Cause, LayerErrors};
pub use fold::{batch_norms, fold_batch_norm};
pub use methods::{
    ActivationBounds, ConversionMethod, LocalThresholdBalancing, MethodConfig, MethodKind,
    ThresholdBalancing, WeightNormalisation,
};
pub use report::{ConversionReport, LayerReport};
pub use threshold::{Policy, ThresholdPolicy};
