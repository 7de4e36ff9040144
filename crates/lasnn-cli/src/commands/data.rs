//! `data verify`, `data info` and `data fetch`.

use std::path::Path;

use anyhow::Context;
use lasnn_core::Seed;
use lasnn_datasets::fetch::Fetched;
use lasnn_datasets::{
    Dataset, DatasetConfig, Description, Source, Verified, contact_sheet, describe,
};
use serde_json::json;

use crate::args::{DataAction, DataTarget, DatasetName, Global};
use crate::dataset_request::DatasetRequest;
use crate::escape::printable;
use crate::failure::invalid_input;
use crate::progress::Progress;
use crate::recipe::{self, Origins};
use crate::summary::DatasetSummary;
use crate::tables::table;
use crate::{fetch, output};

/// Fetches a data set, or reads the images of a data set or a recipe and prints what they are.
///
/// # Errors
///
/// Fails if the recipe is wrong, if the data set is missing or malformed, if verified images differ
/// from the official ones, or if the data set cannot be fetched.
pub fn data(action: &DataAction, global: &Global) -> anyhow::Result<()> {
    match action {
        DataAction::Fetch { name, mirror } => fetch_named(*name, mirror.as_deref(), global),
        DataAction::Verify(target) => verify(target, global),
        DataAction::Info { target, sheet } => info(target, sheet.as_deref(), global),
    }
}

fn verify(target: &DataTarget, global: &Global) -> anyhow::Result<()> {
    let (dataset, split, verified) =
        read(target, global, |request, progress| request.verify(global, progress))?;
    let found = DatasetSummary::new(&dataset, &split);
    let json = json!({"verified": verified, "dataset": found});
    output::print(global, &json, || {
        format!(
            "{}: {} training, {} validation and {} test images of {}; {}\nsha256 {}",
            found.name,
            found.train,
            found.validation,
            found.test,
            dataset.shape,
            meaning(verified),
            found.sha256
        )
    })
}

fn info(target: &DataTarget, sheet: Option<&Path>, global: &Global) -> anyhow::Result<()> {
    let (dataset, split) =
        read(target, global, |request, progress| request.load(global, progress))?;
    let description = describe(&dataset, &split);
    if let Some(path) = sheet {
        let Dataset { train, classes, .. } = &dataset;
        contact_sheet(train, &split.train, *classes)?.save(path)?;
    }
    output::print(global, &description, || text(&description))
}

/// Finds the data set or the recipe that `target` names, and reads its images.
fn read<T>(
    target: &DataTarget,
    global: &Global,
    read: impl Fn(&DatasetRequest<'_>, &Progress) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let name = target.target.as_path();
    let (origins, config, seed) = match name.to_str().and_then(Source::named) {
        Some(source) if !target.set_options.set.is_empty() => {
            return Err(invalid_input(format_args!(
                "--set changes a recipe; `{}` is a data set",
                source.name()
            )));
        }
        // No images are held out, so the seed has no effect.
        Some(source) => (Origins::unknown(name), DatasetConfig::new(source), Seed(0)),
        None => {
            let file = recipe::find(name).map_err(|error| match is_path(name) {
                true => error.into(),
                false => unknown(name),
            })?;
            let (recipe, origins) = recipe::read(&file, target.set_options.changes(global))?;
            (origins, recipe.data, recipe.seed)
        }
    };
    let request = DatasetRequest { config: &config, origins: &origins, seed };
    let progress = Progress::new(global.quiet);
    fetch::fetch_if_missing(&target.fetch_options, global, || read(&request, &progress))
}

/// Whether `target` is the path of a recipe, and not the name of a data set or of a recipe.
fn is_path(target: &Path) -> bool {
    target.exists() || target.extension().is_some_and(|extension| extension == "toml")
}

fn unknown(target: &Path) -> anyhow::Error {
    let names = Source::ALL.map(Source::name);
    invalid_input(format_args!(
        "`{}` is no recipe (.toml) and no data set; the data sets are {}",
        printable(&target.to_string_lossy()),
        names.join(", ")
    ))
}

/// The result of a verification in words.
fn meaning(verified: Verified) -> &'static str {
    match verified {
        Verified::Official => "they are the images of the official edition",
        Verified::Structure => {
            "only the structure was checked, since no hash of the official images is known"
        }
        Verified::BuiltIn => "they are part of the program",
    }
}

fn fetch_named(name: DatasetName, mirror: Option<&str>, global: &Global) -> anyhow::Result<()> {
    let name = name.name();
    let remote = Source::named(name).and_then(|source| source.remote());
    let remote = remote.with_context(|| format!("`{name}` cannot be fetched"))?;
    let fetched = fetch::fetch_dataset(remote, mirror, global)?;
    let Fetched { folder, files, bytes, received } = fetched;
    let json = json!({
        "dataset": name,
        "folder": folder,
        "files": files,
        "bytes": bytes,
        "fetched": received.is_some(),
        "received": received.unwrap_or(0),
    });
    output::print(global, &json, || {
        let found = format!("{name}: {files} files of {bytes} bytes in {}", folder.display());
        match received {
            Some(_) => found,
            None => format!("{found}; the data set was complete, nothing to do"),
        }
    })
}

fn text(description: &Description) -> String {
    let parts = [
        ("train", &description.train),
        ("validation", &description.validation),
        ("test", &description.test),
    ];
    let mut classes = table(&["class", "train", "validation", "test"]);
    for (index, name) in description.class_names.iter().enumerate() {
        let mut row = vec![printable(name)];
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
