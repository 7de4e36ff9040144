//! What `loading.json` holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that was measured on one kind of machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The kind of machine.
    pub machine: String,
    /// The commit of ours.
    pub commit: String,
    /// What training needs.
    pub need: Need,
    /// One comparison each.
    pub rows: Vec<Row>,
}

/// The training step that asks for images the fastest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Of which network.
    pub network: String,
    /// What it computes with.
    pub format: String,
    /// Images that it trains on in a second, by all cores.
    pub images_per_s: f64,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What is read.
    pub files: String,
    /// Threads of ours; the peer's workers, or its process.
    pub threads: usize,
    /// How often both took their turn.
    pub rounds: usize,
    /// Ours in an epoch.
    pub ours_images_per_s: f64,
    /// Ours before the first epoch: reading, checking and, where images are encoded, decoding all of the
    /// data set and writing the pack. Later runs find the pack.
    pub ours_prepared_per_s: f64,
    /// The peer's fastest setting.
    pub setting: String,
    /// What every setting came to.
    pub settings_images_per_s: BTreeMap<String, f64>,
    /// The peer in an epoch.
    pub peer_images_per_s: f64,
    /// Ours over the peer's in the median round.
    pub ratio_median: f64,
    /// In the worst round.
    pub ratio_min: f64,
    /// In the best round.
    pub ratio_max: f64,
}
