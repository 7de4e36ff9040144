//! Metadata that earlier versions of the program wrote, as this version writes them.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::stage_artifact::FORMAT;

/// The versions of the metadata that contain all that this version needs.
pub const READABLE: RangeInclusive<u64> = 3..=FORMAT as u64;

/// The keys of neurons, which the table of the spiking network itself had until version 3.
const NEURON: [&str; 6] =
    ["leak", "threshold", "initial_membrane", "reset", "step_order", "surrogate"];

/// Metadata of version 3 as this version writes them. Other metadata stay as they are.
pub fn upgraded(mut metadata: Value) -> Value {
    if metadata["format"] == json!(3) {
        if let Some(config) = metadata.pointer_mut("/definition/spiking/config") {
            nest_neuron(config);
        }
        metadata["format"] = json!(FORMAT);
    }
    metadata
}

/// Moves the keys of neurons in the table `spiking` into the table `neuron`.
pub fn nest_neuron(spiking: &mut Value) {
    let Some(spiking) = spiking.as_object_mut().filter(|table| !table.contains_key("neuron"))
    else {
        return;
    };
    let keys = NEURON.iter().filter_map(|&key| Some((key.to_owned(), spiking.remove(key)?)));
    let mut neuron: serde_json::Map<String, Value> = keys.collect();
    neuron.insert("kind".into(), json!("lif"));
    spiking.insert("neuron".into(), Value::Object(neuron));
}

#[cfg(test)]
mod tests {
    use lasnn_neurons::LifConfig;
    use lasnn_snn::SpikingConfig;

    use super::*;

    #[test]
    fn a_definition_of_version_3_is_read() {
        let config = json!({
            "leak": 0.75,
            "reset": "subtract",
            "step_order": "integrate-then-fire",
            "surrogate": {"kind": "linear", "damping": 0.3},
            "encoding": {"kind": "direct"},
        });
        let old = json!({"format": 3, "definition": {"spiking": {"config": config}}});
        let mut new = upgraded(old);
        assert_eq!(new["format"], FORMAT);
        let config = new["definition"]["spiking"]["config"].take();
        let read: SpikingConfig = serde_json::from_value(config).unwrap();
        let neuron = LifConfig { leak: 0.75.into(), ..Default::default() }.into();
        assert_eq!(read, SpikingConfig { neuron, ..Default::default() });
    }

    #[test]
    fn other_metadata_stay_as_they_are() {
        let ann = json!({"format": 3, "definition": {"spiking": null}});
        assert_eq!(upgraded(ann)["definition"]["spiking"], Value::Null);
        for other in [json!({"format": 1, "spiking": {"leak": 1.0}}), Value::Null] {
            assert_eq!(upgraded(other.clone()), other);
        }
    }
}
