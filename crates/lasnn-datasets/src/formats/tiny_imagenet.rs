//! The text files of Tiny ImageNet: the classes, their names, and the classes of the images.
//!
//! A class is identified by its WordNet number, such as `n01443537`.

use std::collections::HashSet;

use super::text::{quoted, unique_lines, utf8};
use crate::error::Flaw;

/// A line about an image in `val`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The name of the file.
    pub file: String,
    /// The index of the class.
    pub class: usize,
    /// The number of the line, counted from 1.
    pub line: usize,
}

/// The `classes` different classes of `wnids.txt`, which has one per line, in sorted order.
///
/// # Errors
///
/// Names an invalid line, or a wrong number of classes.
pub fn wnids(bytes: &[u8], classes: usize) -> Result<Vec<String>, Flaw> {
    let mut wnids = unique_lines(bytes, classes, "class", "classes", |line| {
        let known = line.strip_prefix('n').is_some_and(|digits| {
            digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit())
        });
        known.then_some(()).ok_or("`n` and eight digits")
    })?;
    wnids.sort_unstable();
    Ok(wnids)
}

/// The names of the classes `wnids` from `words.txt`, which has a class, a tab and its names in
/// each line, also of many other classes.
///
/// # Errors
///
/// Names an invalid line, a class that occurs twice, or a class without a line.
pub fn words(bytes: &[u8], wnids: &[String]) -> Result<Vec<String>, Flaw> {
    let mut names = vec![None; wnids.len()];
    for (line, text) in lines(bytes)? {
        let Some((wnid, name)) = text.split_once('\t').filter(|(_, name)| !name.is_empty()) else {
            return Err(Flaw::line(line, quoted(text), "a class, a tab and its names"));
        };
        if let Ok(class) = wnids.binary_search_by(|known| known.as_str().cmp(wnid))
            && names[class].replace(name.to_owned()).is_some()
        {
            let found = format!("the class {} for a second time", quoted(wnid));
            return Err(Flaw::line(line, found, "another class in each line"));
        }
    }
    let missing = names.iter().position(Option::is_none).and_then(|class| wnids.get(class));
    if let Some(wnid) = missing {
        return Err(Flaw::file(format!("no line for the class `{wnid}`"), "one for each class"));
    }
    Ok(names.into_iter().flatten().collect())
}

/// The lines of `val_annotations.txt`: the name of a file, its class, and the four numbers of a
/// bounding box, separated by tabs. `wnids` are the sorted classes.
///
/// # Errors
///
/// Names an invalid line, a class that does not exist, or a file that occurs twice.
pub fn val_annotations(bytes: &[u8], wnids: &[String]) -> Result<Vec<Annotation>, Flaw> {
    let mut seen = HashSet::new();
    let mut annotations = Vec::new();
    for (line, text) in lines(bytes)? {
        let expected = "a file, its class and four numbers, with tabs between";
        let fields: Vec<&str> = text.split('\t').collect();
        let [file, wnid, numbers @ ..] = fields.as_slice() else {
            return Err(Flaw::line(line, quoted(text), expected));
        };
        check_box(line, text, numbers, expected)?;
        check_file(line, file)?;
        let Ok(class) = wnids.binary_search_by(|known| known.as_str().cmp(wnid)) else {
            let found = format!("the class {}", quoted(wnid));
            return Err(Flaw::line(line, found, "one of the classes of wnids.txt"));
        };
        if !seen.insert(*file) {
            let found = format!("the file {} for a second time", quoted(file));
            return Err(Flaw::line(line, found, "another file in each line"));
        }
        annotations.push(Annotation { file: (*file).to_owned(), class, line });
    }
    Ok(annotations)
}

/// The files in the list `<wnid>_boxes.txt` of a class, with their line numbers. A line has the
/// name of a file and the four numbers of a bounding box, separated by tabs.
///
/// # Errors
///
/// Names an invalid line, a file of another class, or a file that occurs twice.
pub fn boxes(bytes: &[u8], wnid: &str) -> Result<Vec<(String, usize)>, Flaw> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for (line, text) in lines(bytes)? {
        let expected = "a file and four numbers, with tabs between";
        let fields: Vec<&str> = text.split('\t').collect();
        let [file, numbers @ ..] = fields.as_slice() else {
            return Err(Flaw::line(line, quoted(text), expected));
        };
        check_box(line, text, numbers, expected)?;
        check_file(line, file)?;
        if !file.strip_prefix(wnid).is_some_and(|rest| rest.starts_with('_')) {
            let found = format!("the file {}", quoted(file));
            return Err(Flaw::line(line, found, format!("one that begins with `{wnid}_`")));
        }
        if !seen.insert(*file) {
            let found = format!("the file {} for a second time", quoted(file));
            return Err(Flaw::line(line, found, "another file in each line"));
        }
        files.push(((*file).to_owned(), line));
    }
    Ok(files)
}

/// The lines that are not empty, with their line numbers.
fn lines(bytes: &[u8]) -> Result<impl Iterator<Item = (usize, &str)>, Flaw> {
    Ok((1..).zip(utf8(bytes)?.lines()).filter(|(_, text)| !text.trim().is_empty()))
}

/// Bounding boxes are not used here, but a line without one is damaged.
fn check_box(line: usize, text: &str, numbers: &[&str], expected: &str) -> Result<(), Flaw> {
    let is_number = |number: &&str| number.trim().parse::<i32>().is_ok();
    if numbers.len() == 4 && numbers.iter().all(is_number) {
        return Ok(());
    }
    Err(Flaw::line(line, quoted(text), expected))
}

/// File names become parts of paths, so they must not lead out of the folder.
fn check_file(line: usize, file: &str) -> Result<(), Flaw> {
    let plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain && file.ends_with(".JPEG") && !file.starts_with('.') {
        return Ok(());
    }
    let expected = "one of letters, digits, `_`, `-` and `.` that ends in `.JPEG`";
    Err(Flaw::line(line, format!("the file {}", quoted(file)), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["n00000001", "n00000002"].map(str::to_owned).to_vec()
    }

    #[track_caller]
    fn refuses<T: std::fmt::Debug>(parsed: Result<T, Flaw>, message: &str) {
        assert_eq!(parsed.unwrap_err().to_string(), message);
    }

    #[test]
    fn classes_are_sorted() {
        assert_eq!(wnids(b"n00000002\nn00000001\n", 2).unwrap(), classes());
        for (text, message) in [
            (
                "n00000001\n../n000001\n",
                "line 2: found `../n000001`, expected `n` and eight digits",
            ),
            (
                "n00000001\nn00000001\n",
                "line 2: found the class `n00000001` for a second time, expected another class in \
                 each line",
            ),
            (
                "n00000001\n",
                "byte 10: found the end of the file after 1 classes, expected 2 classes, one per \
                 line",
            ),
        ] {
            refuses(wnids(text.as_bytes(), 2), message);
        }
    }

    #[test]
    fn every_class_has_words() {
        let text = "n00000000\tnothing\nn00000002\tcat, house cat\r\nn00000001\tdog\n";
        assert_eq!(words(text.as_bytes(), &classes()).unwrap(), ["dog", "cat, house cat"]);
        for (text, message) in [
            (
                "n00000001\tdog\nn00000001\tdog\n",
                "line 2: found the class `n00000001` for a second time, expected another class in \
                 each line",
            ),
            (
                "n00000001\tdog\n",
                "found no line for the class `n00000002`, expected one for each class",
            ),
            (
                "n00000001 dog\n",
                "line 1: found `n00000001 dog`, expected a class, a tab and its names",
            ),
        ] {
            refuses(words(text.as_bytes(), &classes()), message);
        }
    }

    #[test]
    fn annotations_name_files_and_classes() {
        let text = b"val_0.JPEG\tn00000002\t0\t32\t44\t62\n\nval_1.JPEG\tn00000001\t1\t2\t3\t4";
        let annotation = |file: &str, class, line| Annotation { file: file.into(), class, line };
        assert_eq!(
            val_annotations(text, &classes()).unwrap(),
            [annotation("val_0.JPEG", 1, 1), annotation("val_1.JPEG", 0, 3)]
        );
        for (text, message) in [
            (
                "a.JPEG\tn00000001\t1\t2\t3\n",
                "line 1: found `a.JPEG\\tn00000001\\t1\\t2\\t3`, expected a file, its class and \
                 four numbers, with tabs between",
            ),
            (
                "a.JPEG\n",
                "line 1: found `a.JPEG`, expected a file, its class and four numbers, with tabs \
                 between",
            ),
            (
                "a.JPEG\tn00000001\t1\t2\t3\tx\n",
                "line 1: found `a.JPEG\\tn00000001\\t1\\t2\\t3\\tx`, expected a file, its class \
                 and four numbers, with tabs between",
            ),
            (
                "a.JPEG\tn00000003\t1\t2\t3\t4\n",
                "line 1: found the class `n00000003`, expected one of the classes of wnids.txt",
            ),
            (
                "a.JPEG\tn00000001\t1\t2\t3\t4\na.JPEG\tn00000002\t1\t2\t3\t4\n",
                "line 2: found the file `a.JPEG` for a second time, expected another file in each \
                 line",
            ),
            (
                "../a.JPEG\tn00000001\t1\t2\t3\t4\n",
                "line 1: found the file `../a.JPEG`, expected one of letters, digits, `_`, `-` and \
                 `.` that ends in `.JPEG`",
            ),
        ] {
            refuses(val_annotations(text.as_bytes(), &classes()), message);
        }
    }

    #[test]
    fn boxes_list_the_files_of_one_class() {
        let text = b"n00000001_0.JPEG\t0\t10\t63\t58\nn00000001_1.JPEG\t0\t0\t0\t0\n";
        let files = boxes(text, "n00000001").unwrap();
        assert_eq!(files, [("n00000001_0.JPEG".into(), 1), ("n00000001_1.JPEG".into(), 2)]);
        refuses(
            boxes(text, "n00000002"),
            "line 1: found the file `n00000001_0.JPEG`, expected one that begins with `n00000002_`",
        );
        refuses(
            boxes(&text.repeat(2), "n00000001"),
            "line 3: found the file `n00000001_0.JPEG` for a second time, expected another file in \
             each line",
        );
    }
}
