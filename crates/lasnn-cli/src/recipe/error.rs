//! The errors of a recipe: what is wrong, and where.

use std::path::PathBuf;

use super::origins::Place;
use crate::escape::printable;

/// The reason why a recipe cannot be run. Every variant names the file or the option.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {}: {source}", file.display())]
    Read {
        /// The recipe.
        file: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// There is no file and no recipe with this name.
    #[error(
        "there is no recipe `{}`: {reason}; {}",
        printable(&typed.to_string_lossy()),
        known(names)
    )]
    Unknown {
        /// The path or name as typed.
        typed: PathBuf,
        /// Why the file cannot be used.
        reason: String,
        /// The names of all recipes.
        names: Vec<String>,
    },
    /// The text is no TOML, or it has an unknown key or a value of a wrong type.
    #[error("{}:{line}:{column}: {at}{message}{excerpt}", file.display())]
    Text {
        /// The recipe.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
        /// The key as the beginning of the message. Empty if no key is known.
        at: String,
        /// The value found and what was expected.
        message: String,
        /// The line, with a mark below the column.
        excerpt: String,
    },
    /// A recipe extends a file that cannot be read.
    #[error("{at}: `extends` names {}, which cannot be read: {source}", base.display())]
    Base {
        /// Where the file is named.
        at: Place,
        /// The file.
        base: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A recipe extends itself.
    #[error("{}, so it would extend itself", links(chain))]
    Cycle {
        /// The files, each of which extends the next one. The last one is also among the others.
        chain: Vec<PathBuf>,
    },
    /// An option `--set` has an unknown key, or a value of a wrong type.
    #[error("--set {typed}: {message}")]
    Setting {
        /// The option as typed.
        typed: String,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A value is out of range.
    #[error("{at}: `{key}` is {found}, expected {expected}")]
    Value {
        /// Where the value is written, or the file if it is written nowhere.
        at: Place,
        /// The key with the names of its tables.
        key: String,
        /// The value found.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A table has a value that cannot be run. The source names the value.
    #[error("{at}: [{table}]: {source}")]
    Table {
        /// Where the value is written, or the file if it is written nowhere.
        at: Place,
        /// The table's name.
        table: String,
        /// What is wrong in the table.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RecipeError {
    /// A message of the TOML reader about the value at `offset` in `text`. `key` is the path of the
    /// value if it is known.
    pub fn in_text(
        file: PathBuf,
        text: &str,
        offset: usize,
        key: Option<&str>,
        message: &str,
    ) -> Self {
        let before = &text[..floor_char(text, offset.min(text.len()))];
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|&c| c != '\n').count();
        let content = text.lines().nth(line).unwrap_or_default();
        // The path of the whole recipe is a single dot.
        let at = key.filter(|&key| key != ".").map(|key| format!("`{key}`: ")).unwrap_or_default();
        let (number, blank) = ((line + 1).to_string(), "");
        let width = number.len();
        let excerpt = format!("\n  {number} | {content}\n  {blank:width$} | {blank:column$}^");
        let message = without_rust_words(message);
        Self::Text { file, line: line + 1, column: column + 1, at, message, excerpt }
    }

    /// A message of the TOML reader about the option `--set` as typed.
    pub fn setting(typed: &str, message: &str) -> Self {
        Self::Setting { typed: typed.to_owned(), message: without_rust_words(message) }
    }
}

/// A message of the TOML reader in which the words of Rust are replaced by plain words.
fn without_rust_words(message: &str) -> String {
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

/// Files that extend each other in words: "a.toml extends b.toml, which extends a.toml".
fn links(chain: &[PathBuf]) -> String {
    let mut text = String::new();
    for (index, file) in chain.iter().enumerate() {
        text.push_str(match index {
            0 => "",
            1 => " extends ",
            _ => ", which extends ",
        });
        text.push_str(&file.to_string_lossy());
    }
    text
}

/// What a user can type instead of an unknown recipe.
fn known(names: &[String]) -> String {
    match names {
        [] => "expected the path of a recipe, or its name in the folder `configs` in the current \
               folder, which has none"
            .into(),
        names => {
            let names: Vec<_> = names.iter().map(|name| printable(name)).collect();
            format!("expected the path of a recipe, or one of the names {}", names.join(", "))
        }
    }
}

/// The last character boundary of `text` at or before `offset`.
fn floor_char(text: &str, offset: usize) -> usize {
    (0..=offset).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_no_words_of_rust() {
        let check =
            |message: &str, expected: &str| assert_eq!(without_rust_words(message), expected);
        check(
            "invalid type: string \"two\", expected u32",
            "found the text \"two\", expected a whole number of 0 to 4294967295",
        );
        check(
            "invalid type: floating point `1.5`, expected usize",
            "found the number `1.5`, expected a whole number, at least 0",
        );
        check(
            "invalid type: string \"poisson\", expected internally tagged enum Encoding",
            "found the text \"poisson\", expected a table with the key `kind`",
        );
        check(
            "invalid type: integer `3`, expected struct TrainConfig",
            "found the number `3`, expected a table",
        );
        check("unknown field `x`, expected `y`", "unknown key `x`, expected `y`");
    }

    #[test]
    fn positions_count_characters_not_bytes() {
        let text = "# größer\nname = é\n";
        let error = toml::from_str::<toml::Table>(text).unwrap_err();
        let offset = error.span().unwrap().start;
        let error = RecipeError::in_text("r.toml".into(), text, offset, None, error.message());
        let error = error.to_string();
        assert!(error.starts_with("r.toml:2:8: "), "{error}");
        assert!(error.ends_with("\n  2 | name = é\n    |        ^"), "{error}");
    }

    #[test]
    fn a_cycle_shows_its_files() {
        let chain = ["a.toml", "b.toml", "a.toml"].map(Into::into).to_vec();
        let expected = "a.toml extends b.toml, which extends a.toml, so it would extend itself";
        assert_eq!(RecipeError::Cycle { chain }.to_string(), expected);
    }
}
