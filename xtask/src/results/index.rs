//! The list of all folders under `results/`.

use std::fs;

use anyhow::Context;

use super::Folder;
use crate::markdown::{first_sentence, heading, wrap};

const WIDTH: usize = 100;

const INTRODUCTION: &str = "\
# Results

<!-- `cargo xtask results` writes this file from the folders beside it. -->

Each folder holds one run or one measurement, with the commit, the machine and the command.
A folder is never rewritten: a new measurement gets a new folder.
**Newest** marks the newest folder of its topic.
";

/// One entry for each folder, in the order of `folders`, which is from new to old.
///
/// # Errors
///
/// If a folder has no README.md with a heading and a sentence.
pub fn text(folders: &[Folder]) -> anyhow::Result<String> {
    let mut text = INTRODUCTION.to_owned();
    let mut date = "";
    for (index, folder) in folders.iter().enumerate() {
        if folder.date != date {
            date = &folder.date;
            text.push_str(&format!("\n## {date}\n\n"));
        }
        let is_newest = folders[..index].iter().all(|newer| newer.topic != folder.topic);
        text.push_str(&entry(folder, is_newest)?);
    }
    Ok(text)
}

fn entry(folder: &Folder, is_newest: bool) -> anyhow::Result<String> {
    let path = folder.path.join("README.md");
    let readme =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let title =
        heading(&readme).with_context(|| format!("{} has no heading `# …`", path.display()))?;
    let sentence =
        first_sentence(&readme).with_context(|| format!("{} has no sentence", path.display()))?;
    let newest = if is_newest { " **Newest.**" } else { "" };
    let link = format!("- [{}]({}/README.md):", folder.topic, folder.name());
    let first = format!("{link} {}.{newest}", title.trim_end_matches('.'));
    Ok(format!("{}\n  {}\n", wrap(&first, 2, WIDTH), wrap(&sentence, 2, WIDTH - 2)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::results::folders;

    fn write(results: &Path, name: &str, readme: &str) {
        fs::create_dir(results.join(name)).unwrap();
        fs::write(results.join(name).join("README.md"), readme).unwrap();
    }

    #[test]
    fn entries_have_link_heading_and_sentence_and_the_newest_of_a_topic_is_marked() {
        let results = tempfile::tempdir().unwrap();
        write(results.path(), "2031-02-03-peers", "# Old speed\n\nIt is fast. It is small.\n");
        write(results.path(), "2031-02-04-peers", "# New speed\n\n[It](x.md) is\nfaster.\n");
        write(results.path(), "2031-02-03-vgg5", "# VGG5: 80 %\n\nOne run.\n");
        let text = text(&folders(results.path()).unwrap()).unwrap();
        let expected = "
## 2031-02-04

- [peers](2031-02-04-peers/README.md): New speed. **Newest.**
  It is faster.

## 2031-02-03

- [peers](2031-02-03-peers/README.md): Old speed.
  It is fast.
- [vgg5](2031-02-03-vgg5/README.md): VGG5: 80 %. **Newest.**
  One run.
";
        assert_eq!(text.strip_prefix(INTRODUCTION).unwrap(), expected);
    }

    #[test]
    fn long_sentences_are_wrapped() {
        let results = tempfile::tempdir().unwrap();
        let readme = format!("# Title\n\n{}end.\n", "word ".repeat(50));
        write(results.path(), "2031-02-03-a", &readme);
        let text = text(&folders(results.path()).unwrap()).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("\n  word word"), "{text}");
    }

    #[test]
    fn a_folder_without_heading_or_sentence_is_an_error_that_names_the_file() {
        for readme in ["no heading\n", "# Only a heading\n"] {
            let results = tempfile::tempdir().unwrap();
            write(results.path(), "2031-02-03-a", readme);
            let error = text(&folders(results.path()).unwrap()).unwrap_err().to_string();
            assert!(error.contains("2031-02-03-a/README.md has no"), "{error}");
        }
    }
}
