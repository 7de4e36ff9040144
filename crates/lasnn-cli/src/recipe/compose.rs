//! Composes a recipe from its file, the files that it extends, and the options `--set`.
//!
//! Tables are merged, key by key. All other values, lists included, replace the value below. A
//! table whose `kind` differs from the one below also replaces it, because the keys of another kind
//! would be refused.

use std::mem;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::RecipeError;
use super::setting::Setting;
use super::sources::Sources;

/// The whole table of a recipe, with positions in `sources`. `settings` are the options in
/// `sources`.
///
/// Options that choose a `kind` are applied before the others, so that their order does not matter.
///
/// # Errors
///
/// If an option names an element that a list does not have, or a key in a value that is no table.
pub fn compose<'i>(
    sources: &'i Sources,
    settings: &'i [Setting],
) -> Result<Spanned<DeValue<'i>>, RecipeError> {
    let mut composed = Spanned::new(0..0, DeValue::Table(DeTable::new()));
    for (table, start) in sources.tables()?.into_iter().rev() {
        let span = moved(table.span(), start);
        let mut value = Spanned::new(span, DeValue::Table(table.into_inner()));
        shift(&mut value, start);
        composed = laid(composed, value);
    }
    let mut in_order: Vec<_> = settings.iter().enumerate().collect();
    in_order.sort_by_key(|(_, setting)| !setting.is_kind());
    for (index, setting) in in_order {
        let span = sources.setting(index);
        let mut value = Spanned::new(span.clone(), setting.value());
        at_one_position(&mut value, &span);
        put(&mut composed, setting.key(), value)
            .map_err(|message| RecipeError::setting(setting.typed(), &message))?;
    }
    Ok(composed)
}

/// `above` laid upon `below`.
fn laid<'i>(below: Spanned<DeValue<'i>>, above: Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>> {
    let span = above.span();
    let value = match (below.into_inner(), above.into_inner()) {
        (DeValue::Table(mut below), DeValue::Table(above)) if same_kind(&below, &above) => {
            for (key, value) in above {
                let value = match below.remove(&**key.get_ref()) {
                    Some(other) => laid(other, value),
                    None => value,
                };
                below.insert(key, value);
            }
            DeValue::Table(below)
        }
        (_, above) => above,
    };
    Spanned::new(span, value)
}

/// Whether two tables can be merged: they do not have different kinds.
fn same_kind(below: &DeTable<'_>, above: &DeTable<'_>) -> bool {
    match (kind(below), kind(above)) {
        (Some(below), Some(above)) => below == above,
        _ => true,
    }
}

fn kind<'a>(table: &'a DeTable<'_>) -> Option<&'a str> {
    table.get("kind").and_then(|kind| kind.get_ref().as_str())
}

/// Lays `value` upon the value that `key` names in `target`.
fn put<'i>(
    target: &mut Spanned<DeValue<'i>>,
    key: &'i [String],
    value: Spanned<DeValue<'i>>,
) -> Result<(), String> {
    let mut target = target;
    for (depth, name) in key.iter().enumerate() {
        let (path, rest) = (&key[..depth], &key[depth + 1..]);
        target = match target.get_mut() {
            DeValue::Table(table) if rest.is_empty() || !table.contains_key(name.as_str()) => {
                put_key(table, name, rest, value);
                return Ok(());
            }
            DeValue::Table(table) => &mut table[name.as_str()],
            DeValue::Array(list) => element(list, path, name)?,
            other => {
                let (path, found) = (path.join("."), noun(other));
                return Err(format!("`{path}` is {found}, so it has no key `{name}`"));
            }
        };
    }
    let below = mem::replace(target, Spanned::new(0..0, DeValue::Boolean(false)));
    *target = laid(below, value);
    Ok(())
}

/// Lays `value` upon the value of the key `name.rest` in `table`, where `name` is the last name or
/// unknown.
fn put_key<'i>(
    table: &mut DeTable<'i>,
    name: &'i str,
    rest: &'i [String],
    value: Spanned<DeValue<'i>>,
) {
    let span = value.span();
    let spanned = |name: &'i str| Spanned::new(span.clone(), DeString::Borrowed(name));
    let mut value = value;
    for name in rest.iter().rev() {
        let inner: DeTable<'i> = [(spanned(name), value)].into_iter().collect();
        value = Spanned::new(span.clone(), DeValue::Table(inner));
    }
    // The keys of another kind go, as they do when a table is laid upon a table.
    if name == "kind" && kind(table).is_some_and(|below| value.get_ref().as_str() != Some(below)) {
        table.clear();
    }
    if let Some(below) = table.remove(name) {
        value = laid(below, value);
    }
    table.insert(spanned(name), value);
}

/// An element of the list `path`.
fn element<'a, 'i>(
    list: &'a mut [Spanned<DeValue<'i>>],
    path: &[String],
    name: &str,
) -> Result<&'a mut Spanned<DeValue<'i>>, String> {
    let (path, length) = (path.join("."), list.len());
    let index = name.parse().ok().filter(|&index: &usize| index < length);
    match index {
        Some(index) => Ok(&mut list[index]),
        None => Err(format!(
            "`{path}` is a list of length {length}, so it has no element `{name}`{}",
            match length {
                0 => String::new(),
                _ => format!(", expected an index of 0 to {}", length - 1),
            }
        )),
    }
}

/// What a value is, in words.
fn noun(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Adds `start` to all positions of a value and in it.
fn shift(value: &mut Spanned<DeValue<'_>>, start: usize) {
    reposition(value, &|span| moved(span, start));
}

fn moved(span: Range<usize>, start: usize) -> Range<usize> {
    span.start + start..span.end + start
}

/// Replaces all positions in a value by `position`.
fn at_one_position(value: &mut Spanned<DeValue<'_>>, position: &Range<usize>) {
    reposition(value, &|_| position.clone());
}

/// Replaces all positions in a value, but not the position of the value itself.
fn reposition(value: &mut Spanned<DeValue<'_>>, new: &impl Fn(Range<usize>) -> Range<usize>) {
    let again = |mut inner: Spanned<_>| {
        reposition(&mut inner, new);
        Spanned::new(new(inner.span()), inner.into_inner())
    };
    match value.get_mut() {
        DeValue::Table(table) => {
            let entries = mem::take(table).into_iter();
            let entry = |(key, inner): (Spanned<_>, _)| {
                (Spanned::new(new(key.span()), key.into_inner()), again(inner))
            };
            *table = entries.map(entry).collect();
        }
        DeValue::Array(list) => {
            for element in list.iter_mut() {
                let inner = mem::replace(element, Spanned::new(0..0, DeValue::Boolean(false)));
                *element = again(inner);
            }
        }
        _ => {}
    }
}
