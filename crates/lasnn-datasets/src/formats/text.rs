//! Text files with one entry per line, such as class names.

use crate::error::Flaw;

/// The text of a file.
///
/// # Errors
///
/// Names the byte at which the text is not UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str, Flaw> {
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let found = bytes.get(offset).map_or("the end of the file".into(), |b| format!("byte {b}"));
        Flaw::byte(offset, found, "UTF-8 text")
    })
}

/// The different names of `classes` classes, one per line. Empty lines are skipped, since official
/// files end with one.
///
/// # Errors
///
/// Names the byte at which the text is not UTF-8, a name that occurs twice, or a wrong number of
/// names.
pub fn class_names(bytes: &[u8], classes: usize) -> Result<Vec<String>, Flaw> {
    unique_lines(bytes, classes, "class name", "class names", |_| Ok(()))
}

/// The `count` different lines that are not empty, without surrounding space. `check` returns what
/// an invalid line should have been. `one` and `many` are the names of lines in errors.
pub(crate) fn unique_lines(
    bytes: &[u8],
    count: usize,
    one: &str,
    many: &str,
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<Vec<String>, Flaw> {
    let mut lines: Vec<String> = Vec::new();
    for (number, line) in (1..).zip(utf8(bytes)?.lines().map(str::trim)) {
        if line.is_empty() {
            continue;
        }
        check(line).map_err(|expected| Flaw::line(number, quoted(line), expected))?;
        if lines.len() == count {
            let expected = format!("the end of the file after {count} {many}");
            return Err(Flaw::line(number, quoted(line), expected));
        }
        if lines.iter().any(|known| known == line) {
            let found = format!("the {one} {} for a second time", quoted(line));
            return Err(Flaw::line(number, found, format!("another {one} in each line")));
        }
        lines.push(line.to_owned());
    }
    if lines.len() < count {
        return Err(Flaw::byte(
            bytes.len(),
            format!("the end of the file after {} {many}", lines.len()),
            format!("{count} {many}, one per line"),
        ));
    }
    Ok(lines)
}

/// Formats text from a file for an error: escaped, on one line, and cut off if it is long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let shown: String = text.chars().take(LONGEST).collect();
    let more = if shown.len() < text.len() { "..." } else { "" };
    format!("`{}{more}`", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuses(text: &str, message: &str) {
        assert_eq!(class_names(text.as_bytes(), 2).unwrap_err().to_string(), message);
    }

    #[test]
    fn names_are_lines_with_text() {
        assert_eq!(class_names(b"cat\r\n\n  dog \n\n", 2).unwrap(), ["cat", "dog"]);
    }

    #[test]
    fn every_class_has_one_name_of_its_own() {
        refuses(
            "cat\n",
            "byte 4: found the end of the file after 1 class names, expected 2 class names, one \
             per line",
        );
        refuses(
            "cat\n\ncat\n",
            "line 3: found the class name `cat` for a second time, expected another class name in \
             each line",
        );
        refuses(
            "cat\ndog\nc\u{7}ow\n",
            "line 3: found `c\\u{7}ow`, expected the end of the file after 2 class names",
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        let error = class_names(b"cat\nd\xFFg\n", 2).unwrap_err();
        assert_eq!(error.to_string(), "byte 5: found byte 255, expected UTF-8 text");
        let error = class_names(b"cat\nd\xC3", 2).unwrap_err();
        assert_eq!(error.to_string(), "byte 5: found byte 195, expected UTF-8 text");
    }
}
