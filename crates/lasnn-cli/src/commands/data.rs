//! `data verify`, `data info` and `data fetch`.

use std::path::Path;

use anyhow::Context;
use lasnn_core::Seed;
use lasnn_datasets::fetch::Fetched;
use lasnn_datasets::{
    Dataset, DatasetConfig, Description, Source, Verified, contact_sheet, describe,
};
use serde_json::json;

use crate::args::{DataAction, DataOf, DatasetName, Global};
use crate::data::{Wanted, summary};
use crate::failure::wrong;
use crate::output;
use crate::printable::printable;
use crate::progress::Progress;
use crate::report::table;
use crate::{fetch, recipe};

/// Gets a data set, or reads one or the images of a recipe, which checks them, and says what was found.
///
/// # Errors
///
/// Fails if the recipe is wrong, if the data are missing or malformed, if they are to be verified and
/// are not the official ones, or if they cannot be had.
pub fn data(action: &DataAction, global: &Global) -> anyhow::Result<()> {
    match action {
        DataAction::Fetch { name, mirror } => get(*name, mirror.as_deref(), global),
        DataAction::Verify(of) => {
            let (dataset, split, verified) =
                read(of, global, |wanted, progress| wanted.verify(global, progress))?;
            let found = summary(&dataset, &split);
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
        DataAction::Info { of, sheet } => {
            let (dataset, split) =
                read(of, global, |wanted, progress| wanted.load(global, progress))?;
            let description = describe(&dataset, &split);
            if let Some(path) = sheet {
                let Dataset { train, classes, .. } = &dataset;
                contact_sheet(train, &split.train, *classes)?.save(path)?;
            }
            output::print(global, &description, || text(&description))
        }
    }
}

/// Finds out which images are wanted, and reads them.
fn read<T>(
    of: &DataOf,
    global: &Global,
    read: impl Fn(&Wanted<'_>, &Progress) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let by = of.target.as_path();
    let file;
    let (by, config, seed) = match by.to_str().and_then(Source::named) {
        // Nothing is held out, so the seed decides nothing.
        Some(source) => (by, DatasetConfig::new(source), Seed(0)),
        None => {
            file = recipe::find(by).map_err(|error| match is_path(by) {
                true => error.into(),
                false => unknown(by),
            })?;
            let recipe = recipe::read(&file, global.seed)?;
            (file.as_path(), recipe.data, recipe.seed)
        }
    };
    let wanted = Wanted { config: &config, by, seed };
    let progress = Progress::new(global.quiet);
    fetch::or_get(&of.missing, global, || read(&wanted, &progress))
}

/// Whether a recipe is meant by its path, and neither a data set nor a recipe by its name.
fn is_path(target: &Path) -> bool {
    target.exists() || target.extension().is_some_and(|extension| extension == "toml")
}

fn unknown(target: &Path) -> anyhow::Error {
    let names = Source::ALL.map(Source::name);
    wrong(format_args!(
        "`{}` is no recipe (.toml) and no data set; the data sets are {}",
        printable(&target.to_string_lossy()),
        names.join(", ")
    ))
}

/// What a user may conclude.
fn meaning(verified: Verified) -> &'static str {
    match verified {
        Verified::Official => "they are those of the official edition",
        Verified::Structure => {
            "well-formed, but only the structure was checked: no hash of the right images is known"
        }
        Verified::BuiltIn => "they come with the program",
    }
}

fn get(name: DatasetName, mirror: Option<&str>, global: &Global) -> anyhow::Result<()> {
    let name = name.name();
    let remote = Source::named(name).and_then(|source| source.remote());
    let remote = remote.with_context(|| format!("nothing is known of `{name}`"))?;
    let Fetched { folder, files, bytes, received } = fetch::get(remote, mirror, global)?;
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
            None => format!("{found}, there already; nothing to do"),
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
