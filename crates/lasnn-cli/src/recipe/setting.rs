//! `--set KEY=VALUE`: a value of a recipe on the command line.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Before a value to make a document of it.
const PREFIX: &str = "value=";

/// A value that the command line puts into a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    typed: String,
    /// The names of the tables and of the key. The index of an element of a list is a name, too.
    key: Vec<String>,
    /// [`PREFIX`] and the value as typed.
    document: String,
}

impl Setting {
    /// Parses `KEY=VALUE`. The key is dotted as in TOML. The value is a value of TOML, or else a
    /// word, which is a text.
    ///
    /// # Errors
    ///
    /// The message names the expected form of the text.
    pub fn parse(typed: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "for instance student.train.epochs=8";
        let (key, value) =
            typed.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, {EXAMPLE}"))?;
        let key = names(key).ok_or_else(|| {
            format!("`{}` is no key, expected names with dots between them, {EXAMPLE}", key.trim())
        })?;
        if key[0] == "extends" {
            return Err("`extends` is only possible in a file: it is a path relative to the file \
                        that contains it"
                .into());
        }
        let value = value.trim();
        if value.is_empty() {
            return Err(format!("expected a value after `=`, {EXAMPLE}; an empty text is \"\""));
        }
        let document = format!("{PREFIX}{value}");
        if value.starts_with(['"', '\'', '[', '{'])
            && let Err(message) = parsed(&document)
        {
            return Err(format!("the value is no TOML: {message}"));
        }
        Ok(Self { typed: typed.to_owned(), key, document })
    }

    /// The option as typed.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The names of the tables and of the key.
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> DeValue<'_> {
        let word = || DeValue::String(DeString::Borrowed(&self.document[PREFIX.len()..]));
        parsed(&self.document).unwrap_or_else(|_| word())
    }

    /// Whether the option chooses the `kind` of a table.
    pub fn is_kind(&self) -> bool {
        self.key.last().is_some_and(|name| name == "kind")
    }
}

/// The value in a document that begins with [`PREFIX`] and has nothing else.
fn parsed(document: &str) -> Result<DeValue<'_>, String> {
    let table = DeTable::parse(document).map_err(|error| error.message().to_owned())?;
    let value = table.into_inner().remove("value");
    let whole = value.filter(|value| value.span() == (PREFIX.len()..document.len()));
    whole.map(Spanned::into_inner).ok_or_else(|| "there is more text after the value".to_owned())
}

/// The names in a dotted key. `None` if the text is no key.
fn names(key: &str) -> Option<Vec<String>> {
    // These would begin a table, or end the line.
    if key.contains(['[', '\n', '\r', '#']) {
        return None;
    }
    let text = format!("{key}=0");
    let mut value = DeValue::Table(DeTable::parse(&text).ok().map(Spanned::into_inner)?);
    let mut names = Vec::new();
    while let DeValue::Table(table) = value {
        let (name, inner) = table.into_iter().next()?;
        names.push(name.into_inner().into_owned());
        value = inner.into_inner();
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(typed: &str) -> toml::Value {
        let setting = Setting::parse(typed).unwrap();
        match setting.value() {
            DeValue::String(text) => toml::Value::String(text.into_owned()),
            _ => toml::from_str::<toml::Table>(&setting.document).unwrap()["value"].clone(),
        }
    }

    #[test]
    fn keys_have_dots_and_values_are_toml_or_words() {
        let setting = Setting::parse("student.losses.0.weight=0.1").unwrap();
        assert_eq!(setting.key(), ["student", "losses", "0", "weight"]);
        assert_eq!(setting.typed(), "student.losses.0.weight=0.1");
        assert_eq!(Setting::parse(" a . \"b c\" = 1").unwrap().key(), ["a", "b c"]);
        assert_eq!(value("a=0.1"), toml::Value::Float(0.1));
        assert_eq!(value("a=8"), toml::Value::Integer(8));
        assert_eq!(value("a=true"), toml::Value::Boolean(true));
        assert_eq!(value("a=[1, 2]").as_array().unwrap().len(), 2);
        assert_eq!(value("a={ kind = \"sgd\" }")["kind"].as_str(), Some("sgd"));
        for (typed, text) in [
            ("data.source=cifar10", "cifar10"),
            ("data.folder.path=/my images/a=b", "/my images/a=b"),
            ("a=\"8\"", "8"),
            ("a=mean-square", "mean-square"),
            // A comment would be ignored.
            ("a=8 # x", "8 # x"),
            ("a=1\nb=2", "1\nb=2"),
            ("a=\"\"", ""),
        ] {
            assert_eq!(value(typed).as_str(), Some(text), "{typed}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (typed, expected) in [
            ("epochs", "expected KEY=VALUE"),
            ("=8", "`` is no key"),
            ("a..b=8", "`a..b` is no key"),
            ("layers[0].size=8", "`layers[0].size` is no key"),
            ("a b=8", "`a b` is no key"),
            ("a#=8", "`a#` is no key"),
            ("a=", "expected a value after `=`"),
            ("a=[1", "the value is no TOML"),
            ("a=\"x", "the value is no TOML"),
            ("a=[1] # x", "there is more text after the value"),
            ("extends=base.toml", "`extends` is only possible in a file"),
        ] {
            let error = Setting::parse(typed).unwrap_err();
            assert!(error.contains(expected), "{typed}: {error}");
        }
    }

    #[test]
    fn the_kind_of_a_table_is_recognised() {
        assert!(Setting::parse("student.train.optimizer.kind=sgd").unwrap().is_kind());
        assert!(!Setting::parse("student.train.optimizer={kind=\"sgd\"}").unwrap().is_kind());
    }
}
