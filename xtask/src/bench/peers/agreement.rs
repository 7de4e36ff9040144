//! Whether both sides compute the same spikes and classes.

use anyhow::Context;
use serde_json::Value;

use super::matrix::Format;

/// How much the spikes of a layer may differ, as a share of them.
///
/// The two sides add up in a different order and therefore round differently. A neuron whose
/// membrane potential is close to the threshold may spike on one side only, and that spike changes
/// other neurons downstream. A wrong weight or threshold changes much more.
const LIMIT: f64 = 0.005;

/// The limit for weights that lasnn has rounded to 12 bits or to bfloat16.
///
/// Rounded weights make another network, and its spikes differ more with every layer, so this check
/// finds only gross errors. The tests of the kernels check that rounded networks are computed
/// correctly.
const ROUNDED_LIMIT: f64 = 0.1;

/// The share of images to which both sides must give the same class if both compute with the same
/// weights. There is no such limit for rounded weights, because random weights give all classes
/// nearly the same score and rounding then changes the class of many images.
const MIN_SAME_CLASSES: f64 = 0.75;

/// How well two passes over the same input agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// The largest difference of a layer: the differences between the spike counts of each image,
    /// added up, as a share of the larger spike count of all images.
    pub spike_difference: f64,
    /// The share of images to which both sides give the same class.
    pub same_classes: f64,
}

impl Agreement {
    /// Compares the answers of two workers to the request `check`.
    ///
    /// # Errors
    ///
    /// If an answer is malformed, or the two are about different networks or images.
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
            let difference: f64 = ours.iter().zip(other).map(|(a, b)| (a - b).abs()).sum();
            let all = ours.iter().sum::<f64>().max(other.iter().sum());
            largest = largest.max(difference / all.max(1.0));
        }
        Ok(Self { spike_difference: largest, same_classes: same as f64 / classes.len() as f64 })
    }

    /// A message about what differs too much, given the number format of lasnn.
    pub fn beyond_limits(&self, format: Format) -> Option<String> {
        let (limit, min_same) = match format {
            Format::F32 => (LIMIT, MIN_SAME_CLASSES),
            Format::Int12 | Format::Bf16 => (ROUNDED_LIMIT, 0.0),
        };
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        if self.spike_difference > limit {
            let [found, limit] = [self.spike_difference, limit].map(percent);
            return Some(format!("the spikes of a layer differ by {found}, the limit is {limit}"));
        }
        (self.same_classes < min_same).then(|| {
            let [found, min_same] = [self.same_classes, min_same].map(percent);
            format!("{found} of the images have the same class, at least {min_same} are required")
        })
    }
}

fn rows(lists: &Value) -> anyhow::Result<Vec<Vec<f64>>> {
    lists
        .as_array()
        .with_context(|| format!("`{lists}` is not a list"))?
        .iter()
        .map(numbers)
        .collect()
}

fn numbers(list: &Value) -> anyhow::Result<Vec<f64>> {
    let list = list.as_array().with_context(|| format!("`{list}` is not a list"))?;
    let number =
        |value: &Value| value.as_f64().with_context(|| format!("`{value}` is not a number"));
    list.iter().map(number).collect()
}

/// The class with the largest score, for every image.
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
    fn the_worst_layer_and_the_share_of_same_classes_are_found() {
        let ours = json!({"spikes": [[500, 500], [100, 100]], "logits": [[0.0, 1.0], [3.0, 2.0]]});
        let same = Agreement::of(&ours, &ours).unwrap();
        assert_eq!(same, Agreement { spike_difference: 0.0, same_classes: 1.0 });
        // As many spikes in total, but not for each image.
        let other = json!({"spikes": [[500, 500], [95, 105]], "logits": [[0.0, 1.0], [2.0, 3.0]]});
        let found = Agreement::of(&ours, &other).unwrap();
        assert_eq!(found, Agreement { spike_difference: 0.05, same_classes: 0.5 });
    }

    #[test]
    fn rounded_weights_may_differ_more() {
        let far = Agreement { spike_difference: 0.04, same_classes: 0.1 };
        assert!(far.beyond_limits(Format::Bf16).is_none());
        assert!(far.beyond_limits(Format::F32).unwrap().contains("4.00 %, the limit is 0.50 %"));
        let further = Agreement { spike_difference: 0.11, same_classes: 1.0 };
        assert!(
            further.beyond_limits(Format::Int12).unwrap().contains("11.00 %, the limit is 10.00 %")
        );
        let classes = Agreement { spike_difference: 0.0, same_classes: 0.5 };
        assert!(classes.beyond_limits(Format::F32).unwrap().contains("50.00 % of the images"));
        assert!(
            Agreement { spike_difference: 0.005, same_classes: 0.75 }
                .beyond_limits(Format::F32)
                .is_none()
        );
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
