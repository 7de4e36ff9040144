//! Whether both sides computed the same.

use anyhow::Context;
use serde_json::Value;

/// How far the spikes of a layer may differ, as a share of them. Sums are rounded in another order on each
/// side, so a membrane potential next to the threshold may fire here and not there; what
/// follows from that one spike differs too. A wrong weight or threshold changes much more.
pub const LIMIT: f64 = 0.005;

/// The same where ours has rounded its weights to 12 bits.
pub const INT12_LIMIT: f64 = 0.02;

/// The same where it has rounded them to bfloat16, up to eight times as far.
pub const BF16_LIMIT: f64 = 0.05;

/// What two passes over the same input have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// The largest difference of a layer's spikes, as a share of the larger number.
    pub spikes: f64,
    /// The share of images to which both give the same class.
    pub classes: f64,
}

impl Agreement {
    /// Compares two answers to `check`.
    ///
    /// # Errors
    ///
    /// If an answer has another form than that, or the two are of different networks or images.
    pub fn of(ours: &Value, other: &Value) -> anyhow::Result<Self> {
        let (our_spikes, spikes) = (numbers(&ours["spikes"])?, numbers(&other["spikes"])?);
        anyhow::ensure!(
            our_spikes.len() == spikes.len() && !spikes.is_empty(),
            "{} layers of neurons against {}",
            our_spikes.len(),
            spikes.len()
        );
        let (our_classes, classes) = (classes(&ours["logits"])?, classes(&other["logits"])?);
        anyhow::ensure!(
            our_classes.len() == classes.len() && !classes.is_empty(),
            "{} images against {}",
            our_classes.len(),
            classes.len()
        );
        let difference = |(a, b): (&f64, &f64)| (a - b).abs() / a.max(*b).max(1.0);
        let same = our_classes.iter().zip(&classes).filter(|(a, b)| a == b).count();
        Ok(Self {
            spikes: our_spikes.iter().zip(&spikes).map(difference).fold(0.0, f64::max),
            classes: same as f64 / classes.len() as f64,
        })
    }
}

fn numbers(list: &Value) -> anyhow::Result<Vec<f64>> {
    let list = list.as_array().with_context(|| format!("`{list}` is no list"))?;
    let number = |value: &Value| value.as_f64().with_context(|| format!("`{value}` is no number"));
    list.iter().map(number).collect()
}

/// The place of the largest score of every image.
fn classes(logits: &Value) -> anyhow::Result<Vec<usize>> {
    let rows = logits.as_array().context("there are no scores")?;
    let largest = |row: &Value| -> anyhow::Result<usize> {
        let scores = numbers(row)?;
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        best.context("an image has no scores")
    };
    rows.iter().map(largest).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_worst_layer_and_the_share_of_equal_classes_count() {
        let ours = json!({"spikes": [1000.0, 200.0], "logits": [[0.0, 1.0], [3.0, 2.0]]});
        let same = Agreement::of(&ours, &ours).unwrap();
        assert_eq!(same, Agreement { spikes: 0.0, classes: 1.0 });
        let other = json!({"spikes": [1000, 190], "logits": [[0.0, 1.0], [2.0, 3.0]]});
        let found = Agreement::of(&ours, &other).unwrap();
        assert_eq!(found, Agreement { spikes: 0.05, classes: 0.5 });
    }

    #[test]
    fn other_layers_or_images_are_an_error() {
        let ours = json!({"spikes": [10.0], "logits": [[0.0, 1.0]]});
        let layers = json!({"spikes": [10.0, 10.0], "logits": [[0.0, 1.0]]});
        assert!(Agreement::of(&ours, &layers).is_err());
        let images = json!({"spikes": [10.0], "logits": []});
        assert!(Agreement::of(&ours, &images).is_err());
        assert!(Agreement::of(&ours, &json!({})).is_err());
    }
}
