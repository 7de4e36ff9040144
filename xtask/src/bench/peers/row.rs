//! The outcome of one comparison, as `peers.json` holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::matrix::{Encoding, Format, Mode};

/// The name of the other side when lasnn is compared with itself.
pub const OURS: &str = "lasnn";

/// The peer for ordinary networks.
pub const PYTORCH: &str = "pytorch";

/// The outcome of one comparison. Older files are read too, so the names of the fields stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The network.
    pub net: String,
    /// Whether the weights are trained. If not, they are random, with calibrated thresholds.
    pub trained: bool,
    pub mode: Mode,
    /// How an image becomes input; none for an ordinary network.
    pub encoding: Option<Encoding>,
    pub time_steps: usize,
    /// Images of a step.
    pub batch: usize,
    /// Threads of both sides.
    pub threads: usize,
    /// Spikes per neuron and time step; none for an ordinary network.
    pub firing_rate: Option<f64>,
    /// The number format of lasnn.
    #[serde(default)]
    pub format: Format,
    /// The median time of a step of lasnn.
    pub ours_ms: f64,
    /// The name of the other side.
    pub peer: String,
    /// The setting of the other side.
    pub setting: String,
    /// The milliseconds of a step in every setting that was tried before the rounds; none where the
    /// setting failed or took too long.
    pub settings_ms: BTreeMap<String, Option<f64>>,
    /// The median time of a step of the other side.
    pub peer_ms: f64,
    /// The other side's time divided by that of lasnn, in the median round.
    pub ratio_median: f64,
    /// The ratio of the worst round.
    pub ratio_min: f64,
    /// The ratio of the best round.
    pub ratio_max: f64,
    /// The peak of resident memory of lasnn during the rounds; none if it was not measured.
    pub ours_peak_mib: Option<f64>,
    /// The peak of resident memory of the other side during the rounds.
    pub peer_peak_mib: Option<f64>,
    /// How often both sides were timed.
    pub rounds: usize,
    /// The largest difference of a layer's spikes, as a share of them; none if lasnn is compared
    /// with itself.
    pub spike_difference: Option<f64>,
    /// The share of images to which both sides give the same class.
    pub same_classes: Option<f64>,
    /// The kind of machine.
    pub machine: String,
    /// The commit of lasnn.
    pub commit: String,
}

impl Row {
    /// The outcome in one line.
    pub fn summary(&self) -> String {
        format!(
            "{}, {} {}: {:.1} ms against {:.1} ms, {:.2}x",
            self.net, self.peer, self.setting, self.ours_ms, self.peer_ms, self.ratio_median
        )
    }

    /// The network with its input encoding, as tables name it.
    pub fn network(&self) -> String {
        let encoding = self.encoding.map_or("ordinary", Encoding::name);
        let trained = if self.trained { ", trained" } else { "" };
        format!("{}, {encoding}{trained}", self.net)
    }

    /// Whether two rows measure the same thing, so that the newer one replaces the older one.
    pub fn measures_same_as(&self, other: &Self) -> bool {
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

    /// VGG5 inference at 5 %, six times as fast as the peer with a quarter of its memory.
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
    fn rows_that_differ_only_in_their_outcome_measure_the_same() {
        let old = row();
        let new = Row { ours_ms: 5.0, firing_rate: Some(0.0499), setting: "bf16".into(), ..row() };
        assert!(new.measures_same_as(&old));
        assert!(!Row { peer: "spikingjelly".into(), ..row() }.measures_same_as(&old));
        assert!(!Row { firing_rate: Some(0.1), ..row() }.measures_same_as(&old));
        assert!(!Row { format: Format::Int12, ..row() }.measures_same_as(&old));
        assert!(!Row { machine: "Abacus 10, 2 cores".into(), ..row() }.measures_same_as(&old));
        let ours = |setting: &str| Row { peer: OURS.into(), setting: setting.into(), ..row() };
        assert!(!ours("1 thread").measures_same_as(&ours("T = 16")));
    }
}
