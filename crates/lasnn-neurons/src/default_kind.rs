//! Reads a table whose `kind` may be missing.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};

/// Reads a table as the tagged enum `T`. A table without `kind` has the kind `default`.
///
/// Serde has no default for the tag of an enum.
pub fn deserialize<'de, T, D>(deserializer: D, default: &'static str) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_map(Table { default, result: PhantomData })
}

struct Table<T> {
    default: &'static str,
    result: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with the key `kind`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let entries = Entries { map, missing: Some(self.default), next: Next::Entry };
        T::deserialize(MapAccessDeserializer::new(entries))
    }
}

/// The entries of a table, and the kind as the last one if it is missing.
struct Entries<A> {
    map: A,
    /// The default kind, as long as no kind has been found.
    missing: Option<&'static str>,
    next: Next,
}

/// What is read next.
enum Next {
    /// An entry of the table.
    Entry,
    /// The value of the default kind.
    Kind(&'static str),
    /// Nothing.
    End,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<A> {
    type Error = A::Error;

    fn next_key_seed<K>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error>
    where
        K: DeserializeSeed<'de>,
    {
        if matches!(self.next, Next::End) {
            return Ok(None);
        }
        let key = match self.map.next_key::<String>()? {
            Some(key) => key,
            None => match self.missing.take() {
                Some(kind) => {
                    self.next = Next::Kind(kind);
                    "kind".to_owned()
                }
                None => {
                    self.next = Next::End;
                    return Ok(None);
                }
            },
        };
        if key == "kind" {
            self.missing = None;
        }
        seed.deserialize(IntoDeserializer::<A::Error>::into_deserializer(key)).map(Some)
    }

    fn next_value_seed<V>(&mut self, seed: V) -> Result<V::Value, A::Error>
    where
        V: DeserializeSeed<'de>,
    {
        match self.next {
            Next::Kind(kind) => {
                self.next = Next::End;
                seed.deserialize(IntoDeserializer::<A::Error>::into_deserializer(kind))
            }
            Next::Entry | Next::End => self.map.next_value_seed(seed),
        }
    }
}
