//! `data verify` and `data info`.

use std::path::Path;

use lasnn_datasets::{Description, describe};
use serde_json::json;

use super::show;
use crate::args::{DataAction, Global};
use crate::data::Data;
use crate::recipe;
use crate::report::table;

/// Reads the images of a recipe, which checks them, and says what was found.
///
/// # Errors
///
/// Fails if the recipe is wrong or the data are missing or malformed.
pub fn data(action: DataAction, file: &Path, global: &Global) -> anyhow::Result<()> {
    let recipe = recipe::read(file, global.seed)?;
    let data = Data::load(&recipe, file, &global.data_dir(), global.threads())?;
    match action {
        DataAction::Verify => {
            let found = data.summary();
            let json = json!({"verified": true, "dataset": found});
            show(global, &json, || {
                format!(
                    "{}: {} training, {} validation and {} test images of {}, well-formed\nsha256 {}",
                    found.name,
                    found.train,
                    found.validation,
                    found.test,
                    data.dataset.shape,
                    found.sha256
                )
            })
        }
        DataAction::Info => {
            let description = describe(&data.dataset, &data.split);
            show(global, &description, || text(&description))
        }
    }
}

fn text(description: &Description) -> String {
    let parts = [
        ("train", &description.train),
        ("validation", &description.validation),
        ("test", &description.test),
    ];
    let mut classes = table(&["class", "train", "validation", "test"]);
    for (index, name) in description.class_names.iter().enumerate() {
        let mut row = vec![name.clone()];
        row.extend(parts.iter().map(|(_, part)| part.class_counts[index].to_string()));
        classes.add_row(row);
    }
    let mut sum = vec!["all".to_owned()];
    sum.extend(parts.iter().map(|(_, part)| part.images.to_string()));
    classes.add_row(sum);

    let mut channels = table(&["pixels (0 to 1)", "channel", "mean", "deviation"]);
    for (name, part) in parts {
        let moments = part.channels.mean.iter().zip(&part.channels.deviation);
        for (channel, (mean, deviation)) in moments.enumerate() {
            channels.add_row([
                name.to_owned(),
                channel.to_string(),
                format!("{mean:.4}"),
                format!("{deviation:.4}"),
            ]);
        }
    }
    let Description { name, shape, sha256, .. } = description;
    format!("{name}, images of {shape}\n{classes}\n{channels}\nsha256 {sha256}")
}
