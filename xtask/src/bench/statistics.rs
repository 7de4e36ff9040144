//! Medians and ratios of paired times.

/// How many times faster lasnn was than the other side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratios {
    /// In the median round.
    pub median: f64,
    /// In the worst round.
    pub min: f64,
    /// In the best round.
    pub max: f64,
}

/// The other side's time divided by ours, for each round. If something slows the machine for a
/// while, it slows both sides of a round.
pub fn ratios(ours: &[f64], other: &[f64]) -> Ratios {
    let by_round: Vec<f64> = ours.iter().zip(other).map(|(ours, other)| other / ours).collect();
    let fold = |start, pick: fn(f64, f64) -> f64| by_round.iter().copied().fold(start, pick);
    Ratios {
        median: median(&by_round),
        min: fold(f64::INFINITY, f64::min),
        max: fold(f64::NEG_INFINITY, f64::max),
    }
}

/// The middle value, or the mean of the two middle values. It is NaN if there is no value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        // Twice as fast in every round, although the machine was four times slower in the second.
        let found = ratios(&[1.0, 4.0, 2.0], &[2.0, 8.0, 4.0]);
        assert_eq!(found, Ratios { median: 2.0, min: 2.0, max: 2.0 });
        let found = ratios(&[1.0, 1.0, 1.0, 1.0], &[4.0, 1.0, 2.0, 3.0]);
        assert_eq!(found, Ratios { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn the_median_ignores_an_outlier() {
        assert_eq!(median(&[1.0, 1000.0, 2.0]), 2.0);
        assert_eq!(median(&[5.0]), 5.0);
        assert!(median(&[]).is_nan());
    }
}
