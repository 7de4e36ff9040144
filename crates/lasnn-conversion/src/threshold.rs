//! How a layer's threshold follows from its weighted input sums.

use lasnn_core::Kind;
use serde::{Deserialize, Serialize};

use crate::quantile::StreamingQuantile;

/// Computes the threshold of one layer from its weighted input sums, which come chunk by chunk.
///
/// An implementation must not store the sums, so that balancing over 2500 time steps takes no more
/// memory than over one.
pub trait ThresholdPolicy {
    /// Gets weighted input sums of the layer, in any order and number.
    fn observe(&mut self, currents: &[f32]);

    /// The threshold, before the recipe's scale; not positive if too few sums are positive.
    fn threshold(&self) -> f32;

    /// The share of positive sums, 0 to 1.
    fn positive_share(&self) -> f64;
}

/// The policies that a recipe can name.
///
/// A variant without keys has braces because serde accepts unknown keys beside a unit variant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Policy {
    /// The maximum over time, batch and neurons (Sengupta et al., 2019; the paper's choice).
    Maximum {},
    /// A percentile over time, batch and neurons (Rathi and Roy, "DIET-SNN", use the 99.7th). The
    /// maximum depends on a few outliers, with which the other neurons hardly fire in few time
    /// steps.
    Percentile {
        /// In per cent, above 0 and at most 100.
        #[serde(default = "diet_percentile")]
        percentile: f64,
    },
}

fn diet_percentile() -> f64 {
    99.7
}

impl Default for Policy {
    /// The 99.7th percentile. The maximum, the paper's choice, needs a hundred time steps or more.
    fn default() -> Self {
        Self::Percentile { percentile: diet_percentile() }
    }
}

impl Policy {
    /// The names of all policies, in the order of the variants.
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "maximum",
            about: "the threshold is the maximum of a layer's weighted input sums",
            source: "Sengupta et al. 2019; LaSNN",
        },
        Kind {
            name: "percentile",
            about: "the threshold is a percentile of a layer's weighted input sums",
            source: "Rathi and Roy 2020 (DIET-SNN)",
        },
    ];

    /// The policy at work on one layer, before the first sums.
    pub fn start(self) -> Box<dyn ThresholdPolicy> {
        match self {
            Self::Maximum {} => Box::new(Maximum(0.0)),
            Self::Percentile { percentile } => {
                Box::new(Percentile { percentile, sums: StreamingQuantile::default() })
            }
        }
    }
}

struct Maximum(f32);

impl ThresholdPolicy for Maximum {
    fn observe(&mut self, currents: &[f32]) {
        for &current in currents {
            // `f32::max` would ignore a NaN, which has to be reported.
            if current > self.0 || current.is_nan() {
                self.0 = current;
            }
        }
    }

    fn threshold(&self) -> f32 {
        self.0
    }

    /// 1 or 0: the maximum is positive as soon as one sum is.
    fn positive_share(&self) -> f64 {
        if self.0 > 0.0 { 1.0 } else { 0.0 }
    }
}

struct Percentile {
    percentile: f64,
    sums: StreamingQuantile,
}

impl ThresholdPolicy for Percentile {
    fn observe(&mut self, currents: &[f32]) {
        self.sums.extend(currents);
    }

    fn threshold(&self) -> f32 {
        self.sums.percentile(self.percentile)
    }

    fn positive_share(&self) -> f64 {
        self.sums.positive_share()
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::MapDeserializer;

    use super::*;

    fn threshold(policy: Policy, chunks: &[&[f32]]) -> f32 {
        let mut policy = policy.start();
        chunks.iter().for_each(|chunk| policy.observe(chunk));
        policy.threshold()
    }

    #[test]
    fn every_name_is_read_as_its_kind() {
        let index = |policy: &Policy| match policy {
            Policy::Maximum {} => 0,
            Policy::Percentile { .. } => 1,
        };
        for (expected, kind) in Policy::KINDS.iter().enumerate() {
            let table = std::iter::once(("kind", kind.name));
            let table = MapDeserializer::<_, serde::de::value::Error>::new(table);
            assert_eq!(index(&Policy::deserialize(table).unwrap()), expected, "{}", kind.name);
        }
        assert_eq!(Policy::KINDS.len(), 2, "as many as there are variants");
    }

    #[test]
    fn the_maximum_is_over_all_chunks() {
        assert_eq!(threshold(Policy::Maximum {}, &[&[0.5, -3.0], &[2.5], &[1.0]]), 2.5);
        assert_eq!(threshold(Policy::Maximum {}, &[&[-1.0]]), 0.0);
        assert!(threshold(Policy::Maximum {}, &[&[f32::NAN]]).is_nan());
    }

    #[test]
    fn a_percentile_leaves_outliers_out() {
        let values: Vec<f32> = (1..=1000).map(|v| v as f32).chain([1e6]).collect();
        let found = threshold(Policy::default(), &[&values]);
        assert!((found - 998.0).abs() < 1.0, "{found}");
    }
}
