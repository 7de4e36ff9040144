//! The newest comparisons with the peers, as one table for each kind of machine.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;

use super::Folder;
use crate::bench::peers::row::{OURS, Row};
use crate::bench::peers::target::{Target, targets};

const INTRODUCTION: &str = "
## Speed beside the peers

Each row is the newest measurement of its kind that one of our targets applies to.
A ratio is the peer's time divided by the time of lasnn, both for the same step in the same round.
For memory it is the peer's peak of resident memory divided by that of lasnn.
The table has the ratio of the median round, and of the worst and the best round.
\"Numbers\" is the number format of lasnn; the peer runs in its fastest setting.
\"Same class\" is the share of images to which both sides give the same class.
The README.md of each folder has the conditions of its measurement.
";

const TABLE_HEAD: &str = "\
| what | network | numbers | against | ratio | worst to best | same class | commit |
|---|---|---|---|---|---|---|---|
";

/// A row and the folder that it is from.
struct Measured<'a> {
    row: Row,
    folder: &'a Folder,
}

/// The section, or nothing if no folder has a `peers.json`. `folders` are from new to old.
///
/// # Errors
///
/// If a `peers.json` cannot be read.
pub fn text(folders: &[Folder]) -> anyhow::Result<String> {
    let mut by_machine: BTreeMap<String, Vec<Measured>> = BTreeMap::new();
    for measured in newest(folders)? {
        by_machine.entry(measured.row.machine.clone()).or_default().push(measured);
    }
    if by_machine.is_empty() {
        return Ok(String::new());
    }
    let mut text = INTRODUCTION.to_owned();
    for (machine, measured) in by_machine {
        let mut sources: Vec<String> = measured.iter().map(|row| row.folder.name()).collect();
        sources.sort();
        sources.dedup();
        let sources = sources.iter().rev().map(|name| format!("- [{name}]({name}/README.md)\n"));
        let sources: String = sources.collect();
        let mut lines: Vec<String> = measured
            .iter()
            .flat_map(|measured| {
                targets(&measured.row).into_iter().map(|t| line(&measured.row, &t))
            })
            .collect();
        lines.sort();
        text.push_str(&format!("\n### {machine}\n\n{sources}\n{TABLE_HEAD}{}", lines.concat()));
    }
    Ok(text)
}

/// The newest row of everything that was measured and has a target, except lasnn against itself.
fn newest(folders: &[Folder]) -> anyhow::Result<Vec<Measured<'_>>> {
    let mut newest: Vec<Measured> = Vec::new();
    for folder in folders {
        let path = folder.path.join("peers.json");
        if !path.is_file() {
            continue;
        }
        let failed = || format!("cannot read {}", path.display());
        let text = fs::read_to_string(&path).with_context(failed)?;
        let rows: Vec<Row> = serde_json::from_str(&text).with_context(failed)?;
        for row in rows {
            let is_known = newest.iter().any(|newer| newer.row.measures_same_as(&row));
            if !is_known && row.peer != OURS && !targets(&row).is_empty() {
                newest.push(Measured { row, folder });
            }
        }
    }
    Ok(newest)
}

fn line(row: &Row, target: &Target) -> String {
    let range =
        target.range.map_or_else(String::new, |(worst, best)| format!("{worst:.2} to {best:.2}"));
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    format!(
        "| {} | {} | {} | {}, T = {}, batch {} | {:.2} | {range} | {} | {} |\n",
        target.what,
        row.network(),
        row.format.name(),
        row.peer,
        row.time_steps,
        row.batch,
        target.found,
        row.same_classes.map_or_else(String::new, share),
        row.commit,
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::bench::peers::row::tests::row;
    use crate::results::folders;

    fn write(results: &Path, name: &str, rows: &[Row]) {
        fs::create_dir(results.join(name)).unwrap();
        let text = serde_json::to_string(rows).unwrap();
        fs::write(results.join(name).join("peers.json"), text).unwrap();
    }

    #[test]
    fn the_newest_row_of_a_kind_counts_and_machines_have_tables_of_their_own() {
        let results = tempfile::tempdir().unwrap();
        let other_machine = Row { machine: "Abacus 10, 2 cores".into(), ..row() };
        let other_peer = Row { peer: "spikingjelly".into(), commit: "old".into(), ..row() };
        let old = Row { commit: "old".into(), ratio_median: 1.0, ..row() };
        write(results.path(), "2031-02-03-peers", &[old, other_machine, other_peer]);
        let itself = Row { peer: OURS.into(), setting: "1 thread".into(), ..row() };
        write(results.path(), "2031-02-04-peers", &[row(), itself]);
        let text = text(&folders(results.path()).unwrap()).unwrap();
        let head = TABLE_HEAD;
        let cells = |peer: &str| {
            let what = "inference at 5 % | vgg5, direct | f32";
            format!("| {what} | {peer}, T = 8, batch 16 | 6.00 | 5.50 to 7.00 | 100.0 %")
        };
        let (snntorch, spikingjelly) = (cells("snntorch"), cells("spikingjelly"));
        let expected = format!(
            "
### Abacus 10, 2 cores

- [2031-02-03-peers](2031-02-03-peers/README.md)

{head}{snntorch} | 0123456 |

### Abacus 9, 2 cores

- [2031-02-04-peers](2031-02-04-peers/README.md)
- [2031-02-03-peers](2031-02-03-peers/README.md)

{head}{snntorch} | 0123456 |
{spikingjelly} | old |
"
        );
        assert_eq!(text.strip_prefix(INTRODUCTION).unwrap(), expected);
    }

    #[test]
    fn without_peers_there_is_no_section_and_a_broken_file_is_an_error() {
        let results = tempfile::tempdir().unwrap();
        assert_eq!(text(&folders(results.path()).unwrap()).unwrap(), "");
        write(results.path(), "2031-02-03-peers", &[]);
        assert_eq!(text(&folders(results.path()).unwrap()).unwrap(), "");
        let path = results.path().join("2031-02-03-peers/peers.json");
        fs::write(&path, "{}").unwrap();
        let error = format!("{:#}", text(&folders(results.path()).unwrap()).unwrap_err());
        assert!(error.contains("peers.json"), "{error}");
    }
}
