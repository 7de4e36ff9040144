//! The README.md of a measurement.

use super::row::{Report, Row};
use crate::markdown::wrap;

const WIDTH: usize = 100;

/// How the loaders were measured, and all rows.
pub fn readme(report: &Report) -> String {
    let Report { machine, date, commit, command, need, rows } = report;
    let summary = format!(
        "Augmented images were loaded by lasnn and by torchvision, in turns, on {machine}."
    );
    let needed = format!(
        "- **Needed by training:** {:.0} images/s, by `{}` in {}.",
        need.images_per_s, need.network, need.format
    );
    let rows_of = |line: &dyn Fn(&Row) -> String| rows.iter().map(line).collect::<String>();
    format!(
        "# The data loader of lasnn compared with torchvision's\n\n\
         {}\n\n    {command}\n\n\
         - **Date and commit:** {date}, commit {commit}.\n\
         {}\n\
         {}\n\
         - **Files:** [loading.json](loading.json) has the same numbers.\n\n\
         {HOW}\n## Results\n\n{HEAD}{}\n{SETTINGS_HEAD}{}",
        wrap(&summary, 0, WIDTH),
        wrap(&format!("- **Machine:** {machine}."), 2, WIDTH),
        wrap(&needed, 2, WIDTH),
        rows_of(&|row| line(row, need.images_per_s)),
        rows_of(&settings),
    )
}

const HOW: &str = "\
## How it was measured

Both loaders read the same files, and a check before the rounds makes sure that they load the same
images.
An epoch consists of random crops (4 pixels of padding), flips and normalisation to [-1, 1], in
batches of 64 images of `f32`, which nothing consumes.
Whole processes take turns, and the first epoch of a process is not counted.

With two threads lasnn makes batches in two threads, and torchvision in two workers, which stay
alive from epoch to epoch.
With one thread torchvision uses one worker or none, whichever is faster.
The settings of torchvision are those of `benches/peers/loading.py`: the old transforms on pictures,
the new ones on pictures, and the new ones on tensors.
CIFAR-10 is an array in memory for both loaders.

torchvision decodes encoded images in every epoch.
lasnn decodes each image once, before the first epoch that uses it, with checks and a checksum of
every file; later runs read the decoded images from its cache.
\"Prepared\" is the speed of this preparation over the whole data set
and includes writing the cache.

A ratio is the speed of lasnn divided by that of torchvision, in the same round.
The table has the ratio of the median round and, in brackets, of the worst and the best round.
\"Needed by training\" are the images per second that the fastest training step consumes.
\"Share of training\" is the time in which one thread of lasnn loads an image, divided by the time
in which all cores train on it.
";

const SETTINGS_HEAD: &str = "\
| files | threads | settings of torchvision, images/s |
|---|---|---|
";

const HEAD: &str = "\
| files | threads | ours, images/s | torchvision, images/s | setting | ratio \
| prepared, images/s | share of training |
|---|---|---|---|---|---|---|---|
";

fn line(row: &Row, needed: f64) -> String {
    let share = if row.threads == 1 {
        format!("{:.2} %", 100.0 * needed / row.ours_images_per_s)
    } else {
        String::new()
    };
    format!(
        "| {} | {} | {:.0} | {:.0} | {} | {:.1} ({:.1} to {:.1}) | {:.0} | {share} |\n",
        row.files,
        row.threads,
        row.ours_images_per_s,
        row.peer_images_per_s,
        row.setting,
        row.ratio_median,
        row.ratio_min,
        row.ratio_max,
        row.ours_prepared_per_s,
    )
}

fn settings(row: &Row) -> String {
    let mut tried: Vec<_> = row.settings_images_per_s.iter().collect();
    tried.sort_by(|a, b| b.1.total_cmp(a.1));
    let tried: Vec<String> =
        tried.into_iter().map(|(setting, speed)| format!("{setting}: {speed:.0}")).collect();
    format!("| {} | {} | {} |\n", row.files, row.threads, tried.join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::row::Need;
    use super::*;

    #[test]
    fn the_document_names_machine_need_and_ratio() {
        let row = Row {
            files: "a folder".into(),
            threads: 1,
            rounds: 3,
            ours_images_per_s: 50_000.0,
            ours_prepared_per_s: 4000.0,
            setting: "v1-pil, no worker".into(),
            settings_images_per_s: [("v1-pil, no worker", 2000.0), ("v2-pil, 1 worker", 1000.0)]
                .map(|(setting, speed)| (setting.to_owned(), speed))
                .into(),
            peer_images_per_s: 2000.0,
            ratio_median: 25.0,
            ratio_min: 20.0,
            ratio_max: 30.0,
        };
        let report = Report {
            machine: "Abacus 9, 2 cores".into(),
            date: "2031-02-03".into(),
            commit: "0123456".into(),
            command: "cargo xtask bench loading".into(),
            need: Need { network: "vgg5".into(), format: "f32".into(), images_per_s: 500.0 },
            rows: vec![row],
        };
        let text = readme(&report);
        for part in [
            "by torchvision, in turns, on Abacus 9, 2 cores.\n\n    cargo xtask bench loading\n",
            "- **Date and commit:** 2031-02-03, commit 0123456.\n",
            "- **Needed by training:** 500 images/s, by `vgg5` in f32.\n",
            "| a folder | 1 | 50000 | 2000 | v1-pil, no worker | 25.0 (20.0 to 30.0) | 4000 \
             | 1.00 % |",
            "| a folder | 1 | v1-pil, no worker: 2000; v2-pil, 1 worker: 1000 |",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        let is_short = |line: &str| line.starts_with('|') || line.chars().count() <= WIDTH;
        assert!(text.lines().all(is_short), "{text}");
    }
}
