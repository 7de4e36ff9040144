//! The contents of `loading.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The kind of machine.
    pub machine: String,
    /// Year, month and day.
    pub date: String,
    /// The commit of our loader.
    pub commit: String,
    /// The command that measured.
    pub command: String,
    /// How many images per second training needs.
    pub need: Need,
    /// The comparisons.
    pub rows: Vec<Row>,
}

/// The training step that consumes the most images per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// The network that is trained.
    pub network: String,
    /// Its number format.
    pub format: String,
    /// Images per second that it trains on, using all cores.
    pub images_per_s: f64,
}

/// One comparison. All speeds are medians over the rounds, in images per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The files that are read.
    pub files: String,
    /// Threads of our loader, and workers of torchvision. With one thread torchvision may load in
    /// the process itself.
    pub threads: usize,
    /// How often both sides were timed.
    pub rounds: usize,
    /// The speed of our loader in an epoch.
    pub ours_images_per_s: f64,
    /// The speed of our loader before the first epoch, when it reads and checks the whole data set.
    /// If images are encoded, it also decodes them and writes them to the cache for later runs.
    pub ours_prepared_per_s: f64,
    /// The fastest setting of torchvision.
    pub setting: String,
    /// The speed of torchvision in every setting, before the rounds.
    pub settings_images_per_s: BTreeMap<String, f64>,
    /// The speed of torchvision in an epoch.
    pub peer_images_per_s: f64,
    /// Our speed divided by that of torchvision, in the median round.
    pub ratio_median: f64,
    /// The ratio of the worst round.
    pub ratio_min: f64,
    /// The ratio of the best round.
    pub ratio_max: f64,
}
