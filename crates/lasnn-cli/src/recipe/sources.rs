//! The texts of which a recipe consists: its file, the files that it extends, and the options
//! `--set`.
//!
//! All texts share one range of positions, as the source files of a compiler do: each text begins
//! where the one before it has ended. So a position in the composed recipe also says in which text
//! a value is written.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::RecipeError;
use super::origins::Place;
use super::setting::Setting;

/// The key that names the recipe below.
const EXTENDS: &str = "extends";

/// The texts of a recipe: the recipe, the files that it extends from the nearest to the farthest,
/// and the options `--set`.
#[derive(Debug)]
pub struct Sources {
    files: Vec<File>,
    /// Each option has one position, which follows those of the files.
    settings: Vec<String>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
    /// The position of its first byte.
    start: usize,
}

impl File {
    /// The positions of the file. One follows the text, for errors at its end.
    fn positions(&self) -> Range<usize> {
        self.start..self.start + self.text.len() + 1
    }
}

impl Sources {
    /// The texts of the recipe `text` in the file `path`. Reads all files that it extends.
    ///
    /// # Errors
    ///
    /// If a text is no TOML, if a file cannot be read, or if a file extends itself.
    pub fn follow(text: String, path: &Path, settings: &[Setting]) -> Result<Self, RecipeError> {
        let settings = settings.iter().map(|setting| setting.typed().to_owned()).collect();
        let mut sources = Self { files: Vec::new(), settings };
        let mut chain = vec![identity(path)];
        let (mut path, mut text) = (path.to_owned(), text);
        loop {
            let start = sources.files.last().map_or(0, |file| file.positions().end);
            let file = File { path, text, start };
            let base = extended(&file)?;
            sources.files.push(file);
            let Some((base, at)) = base else { return Ok(sources) };
            let next = identity(&base);
            if chain.contains(&next) {
                let files = sources.files.into_iter().map(|file| file.path);
                return Err(RecipeError::Cycle { chain: files.chain([base]).collect() });
            }
            chain.push(next);
            text = fs::read_to_string(&base).map_err(|source| RecipeError::Base {
                at,
                base: base.clone(),
                source,
            })?;
            path = base;
        }
    }

    /// The tables of the files, without the key `extends`, each with its first position: first the
    /// recipe, then the files that it extends.
    ///
    /// # Errors
    ///
    /// If a text is no TOML.
    pub fn tables(&self) -> Result<Vec<(Spanned<DeTable<'_>>, usize)>, RecipeError> {
        let mut tables = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let mut table = parsed(file)?;
            table.get_mut().remove(EXTENDS);
            tables.push((table, file.start));
        }
        Ok(tables)
    }

    /// The positions of an option `--set`, which are counted from 0.
    pub fn setting(&self, index: usize) -> Range<usize> {
        let start = self.files.last().map_or(0, |file| file.positions().end) + index;
        start..start + 1
    }

    /// The error of the TOML reader about the value at `position`. `key` is the path of the value
    /// if it is known.
    pub fn error(&self, position: usize, key: Option<&str>, message: &str) -> RecipeError {
        match self.find(position) {
            Found::File(file) => in_file(file, position - file.start, key, message),
            Found::Setting(typed) => RecipeError::setting(typed, message),
        }
    }

    /// The place of a position.
    pub fn place(&self, position: usize) -> Place {
        match self.find(position) {
            Found::File(file) => place(file, position - file.start),
            Found::Setting(typed) => Place::Setting(typed.to_owned()),
        }
    }

    fn find(&self, position: usize) -> Found<'_> {
        match self.files.iter().find(|file| file.positions().contains(&position)) {
            Some(file) => Found::File(file),
            None => {
                let index = position.saturating_sub(self.setting(0).start);
                Found::Setting(self.settings.get(index).map_or("", String::as_str))
            }
        }
    }
}

/// The text of a position.
enum Found<'a> {
    File(&'a File),
    /// An option as typed.
    Setting(&'a str),
}

/// The file that `file` extends, and the place where it says so.
fn extended(file: &File) -> Result<Option<(PathBuf, Place)>, RecipeError> {
    let table = parsed(file)?;
    let Some(value) = table.get_ref().get(EXTENDS) else { return Ok(None) };
    let start = value.span().start;
    let DeValue::String(name) = value.get_ref() else {
        let message = "expected a text, the path of a recipe relative to this file";
        return Err(in_file(file, start, Some(EXTENDS), message));
    };
    let folder = file.path.parent().unwrap_or(Path::new(""));
    Ok(Some((folder.join(&**name), place(file, start))))
}

fn parsed(file: &File) -> Result<Spanned<DeTable<'_>>, RecipeError> {
    DeTable::parse(&file.text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        in_file(file, offset, None, error.message())
    })
}

fn in_file(file: &File, offset: usize, key: Option<&str>, message: &str) -> RecipeError {
    RecipeError::in_text(file.path.clone(), &file.text, offset, key, message)
}

fn place(file: &File, offset: usize) -> Place {
    let before = &file.text.as_bytes()[..offset.min(file.text.len())];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    Place::File { file: file.path.clone(), line: Some(line) }
}

/// The path by which a file is recognised, however it was written.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
