//! One comparison as `peers.json` holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::matrix::{Encoding, Format, Mode};

/// The name of ours where it is compared with itself.
pub const OURS: &str = "lasnn";

/// The peer of ordinary networks.
pub const PYTORCH: &str = "pytorch";

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The network.
    pub net: String,
    /// Whether its weights are trained; else random, with calibrated thresholds.
    pub trained: bool,
    /// What a step is.
    pub mode: Mode,
    /// How an image becomes input; none for an ordinary network.
    pub encoding: Option<Encoding>,
    /// Time steps.
    pub time_steps: usize,
    /// Images.
    pub batch: usize,
    /// Threads of both sides.
    pub threads: usize,
    /// Spikes per neuron and time step; none for an ordinary network.
    pub firing_rate: Option<f64>,
    /// What ours computes with.
    #[serde(default)]
    pub format: Format,
    /// Our median time of a step.
    pub ours_ms: f64,
    /// The other side.
    pub peer: String,
    /// Its setting.
    pub setting: String,
    /// The milliseconds of a step in every setting that was tried before; `null` where it failed or
    /// took too long.
    pub settings_ms: BTreeMap<String, Option<f64>>,
    /// Its median time of a step.
    pub peer_ms: f64,
    /// Its time over ours in the median round.
    pub ratio_median: f64,
    /// In the worst round.
    pub ratio_min: f64,
    /// In the best round.
    pub ratio_max: f64,
    /// Our peak of resident memory during the rounds; none where nobody looked.
    pub ours_peak_mib: Option<f64>,
    /// The other side's.
    pub peer_peak_mib: Option<f64>,
    /// How many rounds.
    pub rounds: usize,
    /// The largest difference of a layer's spikes, as a share; none where ours is compared with
    /// itself.
    pub spike_difference: Option<f64>,
    /// The share of images of the same class.
    pub same_classes: Option<f64>,
    /// The kind of machine.
    pub machine: String,
    /// The commit of ours.
    pub commit: String,
}

impl Row {
    /// The network with its input encoding, as tables name it.
    pub fn network(&self) -> String {
        let encoding = self.encoding.map_or("ordinary", Encoding::name);
        let trained = if self.trained { ", trained" } else { "" };
        format!("{}, {encoding}{trained}", self.net)
    }

    /// Whether two rows measure the same, so that the newer one takes the older one's place.
    pub fn measures_what(&self, other: &Self) -> bool {
        let key = |row: &Self| {
            let rate = row.firing_rate.map(|rate| (rate * 100.0).round() as u32);
            (row.net.clone(), row.trained, row.mode, row.encoding, row.time_steps, row.batch, rate)
        };
        let setting = |row: &Self| (row.peer == OURS).then(|| row.setting.clone());
        key(self) == key(other)
            && self.machine == other.machine
            && self.threads == other.threads
            && self.format == other.format
            && self.peer == other.peer
            && setting(self) == setting(other)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// VGG5 inference at 5 %, 6 times as fast as the peer with a quarter of its memory.
    pub fn row() -> Row {
        Row {
            net: "vgg5".into(),
            trained: false,
            mode: Mode::Infer,
            encoding: Some(Encoding::Direct),
            time_steps: 8,
            batch: 16,
            threads: 2,
            firing_rate: Some(0.05),
            format: Format::F32,
            ours_ms: 10.0,
            peer: "snntorch".into(),
            setting: "bf16-nhwc".into(),
            settings_ms: BTreeMap::from([("bf16-nhwc".into(), Some(61.0)), ("fp32".into(), None)]),
            peer_ms: 60.0,
            ratio_median: 6.0,
            ratio_min: 5.5,
            ratio_max: 7.0,
            ours_peak_mib: Some(250.0),
            peer_peak_mib: Some(1000.0),
            rounds: 9,
            spike_difference: Some(0.0),
            same_classes: Some(1.0),
            machine: "Abacus 9, 2 cores".into(),
            commit: "0123456".into(),
        }
    }

    #[test]
    fn a_row_is_known_by_what_it_measures_and_not_by_what_it_found() {
        let old = row();
        let new = Row { ours_ms: 5.0, firing_rate: Some(0.0499), setting: "bf16".into(), ..row() };
        assert!(new.measures_what(&old));
        assert!(!Row { peer: "spikingjelly".into(), ..row() }.measures_what(&old));
        assert!(!Row { firing_rate: Some(0.1), ..row() }.measures_what(&old));
        assert!(!Row { format: Format::Int12, ..row() }.measures_what(&old));
        assert!(!Row { machine: "Abacus 10, 2 cores".into(), ..row() }.measures_what(&old));
        let ours = |setting: &str| Row { peer: OURS.into(), setting: setting.into(), ..row() };
        assert!(!ours("1 thread").measures_what(&ours("T = 16")));
    }
}
