//! The reports as a person reads them.

use super::row::{Report, Row};

const HOW: &str = "\
# Our loader beside torchvision's

Written by `cargo xtask bench loading --data-dir DIR`; `loading.json` has the same numbers.

Both sides read the same files, check that they see the same images, and take turns, process by process: an epoch of random crops \
(4 pixels of padding), flips and normalisation to [-1, 1], in batches of 64 images of `f32`, which nothing consumes. The first epoch of a process does not count. \
Threads are ours that make batches; torchvision has as many workers, which stay from epoch to epoch, or with one thread \
none if that is faster. Its settings are those of `benches/peers/loading.py`: the old transforms on pictures, the new ones on pictures, the new ones on \
tensors; CIFAR-10 is an array in memory for both. It decodes encoded images in every epoch; ours decodes them once, with checks and a checksum of every file, \
before the first epoch that ever uses them (*prepared*, images per second of the whole data set, with the writing of the pack), and later runs take them from the pack. A ratio is of one round: the median one, and \
in brackets the worst and the best.

*Needed* are the images per second of the training step that asks for the most; a share is the time that one thread of ours takes for an image \
over the time that all cores take to train on it.
";

/// The document.
pub fn text(reports: &[Report]) -> String {
    let mut text = HOW.to_owned();
    for report in reports {
        let need = &report.need;
        text.push_str(&format!(
            "\n## {}\n\nCommit {}. Needed: {:.0} images/s ({}, {}).\n\n{HEAD}",
            report.machine, report.commit, need.images_per_s, need.network, need.format
        ));
        report.rows.iter().for_each(|row| text.push_str(&line(row, need.images_per_s)));
        text.push_str("\n| files | threads | settings of torchvision, images/s |\n|---|---|---|\n");
        report.rows.iter().for_each(|row| text.push_str(&settings(row)));
    }
    text
}

const HEAD: &str = "\
| files | threads | ours, images/s | torchvision, images/s | setting | ratio | prepared, images/s | share of training |
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
            commit: "0123456".into(),
            need: Need { network: "vgg5".into(), format: "f32".into(), images_per_s: 500.0 },
            rows: vec![row],
        };
        let text = text(&[report]);
        for part in [
            "## Abacus 9, 2 cores\n\nCommit 0123456. Needed: 500 images/s (vgg5, f32).",
            "| a folder | 1 | 50000 | 2000 | v1-pil, no worker | 25.0 (20.0 to 30.0) | 4000 | 1.00 % |",
            "| a folder | 1 | v1-pil, no worker: 2000; v2-pil, 1 worker: 1000 |",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }
}
