//! A finished network in its file, with everything that a later run or a reader wants to know.

use std::path::Path;

use anyhow::Context;
use lasnn_conversion::{ConversionReport, SpikingConfig};
use lasnn_core::{Architecture, Shape, StateDict};
use lasnn_training::{Checkpoint, EpochRecord};
use serde::{Deserialize, Serialize};

use crate::args::StageName;
use crate::summary::StageSummary;

/// Raised when the meaning of the metadata changes; older files are then made again.
pub const FORMAT: u32 = 1;

/// A finished network.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its tensors.
    pub state: StateDict,
    /// What is to be known about it.
    pub about: About,
}

/// What is to be known about a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The stage that it came out of.
    pub stage: StageName,
    /// Its layers.
    pub network: Architecture,
    /// The images that it was made for.
    pub image: Shape,
    /// How many classes it tells apart.
    pub classes: usize,
    /// What a spiking network is beside its layers.
    pub spiking: Option<SpikingConfig>,
    /// What it is worth.
    pub summary: StageSummary,
    /// How it was trained.
    pub history: Vec<EpochRecord>,
    /// How it was converted.
    pub conversion: Option<Conversion>,
}

/// What a conversion did to each layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// The layers of neurons from the image on.
    pub layers: Vec<ConvertedLayer>,
    /// What went wrong, with the name of the layer.
    pub warnings: Vec<String>,
}

/// What a conversion did to one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvertedLayer {
    /// Its name.
    pub layer: String,
    /// Its threshold, scaled.
    pub threshold: f32,
    /// Spikes per neuron and step.
    pub firing_rate: f64,
    /// Share of neurons that never fired.
    pub dead: f64,
    /// Share of neurons that fired at every step.
    pub saturated: f64,
    /// Correlation of activation and firing rate, where both vary.
    pub correlation: Option<f64>,
}

impl From<ConversionReport> for Conversion {
    fn from(report: ConversionReport) -> Self {
        let layer = |layer: lasnn_conversion::LayerReport| ConvertedLayer {
            layer: layer.name,
            threshold: layer.threshold,
            firing_rate: layer.firing_rate,
            dead: layer.dead,
            saturated: layer.saturated,
            correlation: layer.correlation,
        };
        Self { layers: report.layers.into_iter().map(layer).collect(), warnings: report.warnings }
    }
}

impl Stored {
    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    ///
    /// Fails if it is missing, damaged, or not such a file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::load(path)?;
        let about = checkpoint.metadata(path)?;
        Ok(Self { state: checkpoint.state, about })
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let metadata = serde_json::to_value(&self.about)?;
        Checkpoint { state: self.state.clone(), metadata }.save(path)?;
        Ok(())
    }
}
