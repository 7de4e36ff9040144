//! Whether both sides computed the same.

use anyhow::Context;
use serde_json::Value;

use super::matrix::Format;

/// How far the spikes of a layer may differ, as a share of them. Sums are rounded in another order on each
/// side, so a membrane potential next to the threshold may fire here and not there; what
/// follows from that one spike differs too. A wrong weight or threshold changes much more.
const LIMIT: f64 = 0.005;

/// The same where ours has rounded its weights, to 12 bits or to bfloat16. That is another network, whose spikes
/// go their own way layer by layer, so this says little; that a rounded network is computed rightly is what the
/// tests of the kernels are for.
const ROUNDED_LIMIT: f64 = 0.1;

/// How many images both sides must give the same class, where both compute with the same numbers. (Random
/// weights give every class nearly the same score, so rounded ones change many.)
const SAME_CLASSES: f64 = 0.75;

/// What two passes over the same input have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// The largest difference of a layer: that of each image's number of spikes, added up, as a share
    /// of the larger number of all images.
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
        let (our_spikes, spikes) = (rows(&ours["spikes"])?, rows(&other["spikes"])?);
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
        let same = our_classes.iter().zip(&classes).filter(|(a, b)| a == b).count();
        let mut largest = 0f64;
        for (ours, other) in our_spikes.iter().zip(&spikes) {
            let found = [ours.len(), other.len()];
            anyhow::ensure!(found == [classes.len(); 2], "spikes of {found:?} images");
            let apart: f64 = ours.iter().zip(other).map(|(a, b)| (a - b).abs()).sum();
            let all = ours.iter().sum::<f64>().max(other.iter().sum());
            largest = largest.max(apart / all.max(1.0));
        }
        Ok(Self { spikes: largest, classes: same as f64 / classes.len() as f64 })
    }

    /// What differs by more than it may where ours computes with `format`.
    pub fn beyond(&self, format: Format) -> Option<String> {
        let (limit, same) = match format {
            Format::F32 => (LIMIT, SAME_CLASSES),
            Format::Int12 | Format::Bf16 => (ROUNDED_LIMIT, 0.0),
        };
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        if self.spikes > limit {
            let [found, limit] = [self.spikes, limit].map(percent);
            return Some(format!(
                "spikes of a layer differ by {found}, at most {limit} is allowed,"
            ));
        }
        (self.classes < same).then(|| {
            let [found, same] = [self.classes, same].map(percent);
            format!("{found} of the images have the same class, at least {same} is expected,")
        })
    }
}

fn rows(lists: &Value) -> anyhow::Result<Vec<Vec<f64>>> {
    lists.as_array().with_context(|| format!("`{lists}` is no list"))?.iter().map(numbers).collect()
}

fn numbers(list: &Value) -> anyhow::Result<Vec<f64>> {
    let list = list.as_array().with_context(|| format!("`{list}` is no list"))?;
    let number = |value: &Value| value.as_f64().with_context(|| format!("`{value}` is no number"));
    list.iter().map(number).collect()
}

/// The place of the largest score of every image.
fn classes(logits: &Value) -> anyhow::Result<Vec<usize>> {
    let largest = |scores: Vec<f64>| {
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        best.context("an image has no scores")
    };
    rows(logits)?.into_iter().map(largest).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_worst_layer_and_the_share_of_equal_classes_count() {
        let ours = json!({"spikes": [[500, 500], [100, 100]], "logits": [[0.0, 1.0], [3.0, 2.0]]});
        let same = Agreement::of(&ours, &ours).unwrap();
        assert_eq!(same, Agreement { spikes: 0.0, classes: 1.0 });
        // As many spikes in all, but not for each image.
        let other = json!({"spikes": [[500, 500], [95, 105]], "logits": [[0.0, 1.0], [2.0, 3.0]]});
        let found = Agreement::of(&ours, &other).unwrap();
        assert_eq!(found, Agreement { spikes: 0.05, classes: 0.5 });
    }

    #[test]
    fn rounded_weights_may_lead_further_away() {
        let far = Agreement { spikes: 0.04, classes: 0.1 };
        assert!(far.beyond(Format::Bf16).is_none());
        assert!(far.beyond(Format::F32).unwrap().contains("4.00 %, at most 0.50 %"));
        let further = Agreement { spikes: 0.11, classes: 1.0 };
        assert!(further.beyond(Format::Int12).unwrap().contains("11.00 %, at most 10.00 %"));
        let classes = Agreement { spikes: 0.0, classes: 0.5 };
        assert!(classes.beyond(Format::F32).unwrap().contains("50.00 % of the images"));
        assert!(Agreement { spikes: 0.005, classes: 0.75 }.beyond(Format::F32).is_none());
    }

    #[test]
    fn other_layers_or_images_are_an_error() {
        let ours = json!({"spikes": [[10.0]], "logits": [[0.0, 1.0]]});
        let layers = json!({"spikes": [[10.0], [10.0]], "logits": [[0.0, 1.0]]});
        assert!(Agreement::of(&ours, &layers).is_err());
        let images = json!({"spikes": [[10.0]], "logits": []});
        assert!(Agreement::of(&ours, &images).is_err());
        let spikes = json!({"spikes": [[10.0, 10.0]], "logits": [[0.0, 1.0]]});
        assert!(Agreement::of(&ours, &spikes).is_err());
        assert!(Agreement::of(&ours, &json!({})).is_err());
    }
}
