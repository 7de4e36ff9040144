//! What can be wrong with a recipe, and where.

use std::path::PathBuf;

use crate::printable::printable;

/// A recipe that cannot be run. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {}: {source}", file.display())]
    Read {
        /// The recipe.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is neither such a file nor such a name.
    #[error(
        "there is no recipe `{}`: {reason}; {}",
        printable(&typed.to_string_lossy()),
        known(names)
    )]
    Unknown {
        /// What was typed.
        typed: PathBuf,
        /// Why it is no file.
        reason: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// The text is no TOML, or a key or a value is not one of a recipe.
    #[error("{}:{line}:{column}: {at}{message}{excerpt}", file.display())]
    Text {
        /// The recipe.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// The key, as the start of a message, if the place has one.
        at: String,
        /// The value found and what was expected.
        message: String,
        /// The line itself, marked.
        excerpt: String,
    },
    /// A value is out of range.
    #[error("{}: {key} is {found}, expected {expected}", file.display())]
    Value {
        /// The recipe.
        file: PathBuf,
        /// The key with the names of its tables.
        key: &'static str,
        /// The value found.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A table holds something that cannot be run; the source names it.
    #[error("{}: [{table}]: {source}", file.display())]
    Table {
        /// The recipe.
        file: PathBuf,
        /// The table's name.
        table: &'static str,
        /// What is wrong in it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RecipeError {
    /// The error of the TOML reader, with its place in `text`.
    pub fn in_text(file: PathBuf, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text[..floor_char(text, offset)];
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|&c| c != '\n').count();
        let content = text.lines().nth(line).unwrap_or_default();
        let at = key_at(text, line).map(|key| format!("`{key}`: ")).unwrap_or_default();
        let (number, blank) = ((line + 1).to_string(), "");
        let width = number.len();
        let excerpt = format!("\n  {number} | {content}\n  {blank:width$} | {blank:column$}^");
        let message = error.message().to_owned();
        Self::Text { file, line: line + 1, column: column + 1, at, message, excerpt }
    }
}

/// What may be typed in place of a recipe that is unknown.
fn known(names: &[String]) -> String {
    match names {
        [] => "expected the path of a recipe, or its name in the folder `configs` below the \
               current folder, where there is none"
            .into(),
        names => {
            let names: Vec<_> = names.iter().map(|name| printable(name)).collect();
            format!("expected the path of a recipe, or one of the names {}", names.join(", "))
        }
    }
}

/// The last place at or before `offset` where `text` may be cut.
fn floor_char(text: &str, offset: usize) -> usize {
    (0..=offset).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The key that line number `line` (from 0) of a TOML text belongs to, with its table.
///
/// The TOML reader gives a position and no key, and for the content of a tagged table only the
/// position of the table; a reader of the message wants the key.
fn key_at(text: &str, line: usize) -> Option<String> {
    let (mut table, mut key) = (None, None);
    for content in text.lines().take(line + 1).map(str::trim) {
        if let Some(header) = content.strip_prefix('[').filter(|rest| !rest.starts_with([' ', '{']))
        {
            // `[a.b]` and `[[a.b]]`; the lines of an array of arrays are none of a recipe's.
            let name = header.trim_start_matches('[').split(']').next().unwrap_or_default();
            table = Some(name.trim().to_owned());
            key = None;
        } else if let Some((name, _)) = content.split_once('=') {
            let name = name.trim();
            let bare = |c: char| c.is_ascii_alphanumeric() || "_-.\"".contains(c);
            if !name.is_empty() && name.chars().all(bare) {
                key = Some(name.to_owned());
            }
        }
    }
    match (table, key) {
        (Some(table), Some(key)) => Some(format!("{table}.{key}")),
        (table, key) => table.or(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_belongs_to_a_key_and_its_table() {
        let text = "name = \"a\"\n[student.train]\nepochs = 3 # few\n\n[teacher.network]\nlayers = [\n  { kind = \"conv\" },\n]";
        let check = |line, key: &str| assert_eq!(key_at(text, line).as_deref(), Some(key));
        check(0, "name");
        check(1, "student.train");
        check(2, "student.train.epochs");
        check(4, "teacher.network");
        check(6, "teacher.network.layers");
    }

    #[test]
    fn positions_count_characters_not_bytes() {
        let text = "# größer\nname = é\n";
        let error = toml::from_str::<toml::Table>(text).unwrap_err();
        let error = RecipeError::in_text("r.toml".into(), text, &error).to_string();
        assert!(error.starts_with("r.toml:2:8: `name`: "), "{error}");
        assert!(error.ends_with("\n  2 | name = é\n    |        ^"), "{error}");
    }
}
