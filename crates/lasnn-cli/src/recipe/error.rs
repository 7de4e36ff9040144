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
    /// A layer of a network cannot be read.
    #[error("{}: `{key}`: {message}", file.display())]
    Layer {
        /// The recipe.
        file: PathBuf,
        /// The layer's place, counted from 0.
        key: String,
        /// The value found and what was expected.
        message: String,
    },
    /// A value is out of range.
    #[error("{}: `{key}` is {found}, expected {expected}", file.display())]
    Value {
        /// The recipe.
        file: PathBuf,
        /// The key with the names of its tables.
        key: String,
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
        let message = plain(error.message());
        Self::Text { file, line: line + 1, column: column + 1, at, message, excerpt }
    }
}

/// The message of the TOML reader without the words of its programming language.
pub fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 29] = [
        ("invalid type: ", "found "),
        ("invalid value: ", "found "),
        ("unknown field ", "unknown key "),
        ("unknown variant ", "unknown value "),
        ("duplicate field ", "doubled key "),
        ("there are no fields", "no other key here"),
        ("missing field ", "there is no key "),
        ("floating point `", "the number `"),
        ("integer `", "the number `"),
        ("boolean `", "`"),
        ("string \"", "the text \""),
        ("found sequence", "found a list"),
        ("found map", "found a table"),
        (" as i128", ""),
        ("expected u32", "expected a whole number of 0 to 4294967295"),
        ("expected u64", "expected a whole number, at least 0"),
        ("expected usize", "expected a whole number, at least 0"),
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("expected a string", "expected a text"),
        ("expected path string", "expected a text"),
        ("expected variant identifier", "expected a text"),
        ("wanted string or table", "expected a text"),
        ("expected table, found", "expected a text, found"),
        ("expected empty table", "expected a text"),
        ("expected a sequence", "expected a list"),
        ("expected an array of length", "expected a list of length"),
        ("invalid length ", "found a list of length "),
    ];
    let mut text = message.to_owned();
    for (from, to) in WORDS {
        text = text.replace(from, to);
    }
    // "expected internally tagged enum Encoding", "expected struct TrainConfig"
    for kind in ["internally tagged enum ", "struct ", "enum "] {
        while let Some(start) = text.find(&format!("expected {kind}")) {
            let name = start + "expected ".len() + kind.len();
            let rest = &text[name..];
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            let what = match kind {
                "internally tagged enum " => "a table with the key `kind`",
                _ => "a table",
            };
            text.replace_range(start + "expected ".len()..name + end, what);
        }
    }
    text
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
    fn messages_have_no_words_of_a_programming_language() {
        let said = |message: &str, expected: &str| assert_eq!(plain(message), expected);
        said(
            "invalid type: string \"two\", expected u32",
            "found the text \"two\", expected a whole number of 0 to 4294967295",
        );
        said(
            "invalid type: floating point `1.5`, expected usize",
            "found the number `1.5`, expected a whole number, at least 0",
        );
        said(
            "invalid type: string \"poisson\", expected internally tagged enum Encoding",
            "found the text \"poisson\", expected a table with the key `kind`",
        );
        said(
            "invalid type: integer `3`, expected struct TrainConfig",
            "found the number `3`, expected a table",
        );
        said("unknown field `x`, expected `y`", "unknown key `x`, expected `y`");
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
