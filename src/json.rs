//! JSON as Go's decoder reads it, for files that Go programs write.
//!
//! Keys are compared without regard to case, unknown ones are skipped whatever they hold, null is
//! the zero value, and what follows the first value is not looked at.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// A struct that is read from a JSON object, field by field.
pub(crate) trait Fields: Default {
    /// Takes the value of a key, which is given in lower case; what is not taken is skipped.
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error>;
}

/// The value of a key, not read yet.
pub(crate) struct Value<'a, A>(&'a mut A);

impl<'de, A: MapAccess<'de>> Value<'_, A> {
    /// Reads the value; null is the zero value.
    pub(crate) fn read<T: serde::Deserialize<'de> + Default>(self) -> Result<T, A::Error> {
        Ok(self.0.next_value::<Option<T>>()?.unwrap_or_default())
    }

    /// Skips the value.
    pub(crate) fn skip(self) -> Result<(), A::Error> {
        self.0.next_value::<IgnoredAny>().map(drop)
    }
}

struct Object<T>(T);

impl<'de, T: Fields> DeserializeSeed<'de> for Object<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Fields> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
        while let Some(mut key) = map.next_key::<String>()? {
            key.make_ascii_lowercase();
            self.0.field(&key, Value(&mut map))?;
        }
        Ok(self.0)
    }
}

/// Reads the first JSON value of `text`, an object.
///
/// # Errors
/// What is wrong with it, and where; `unexpected EOF` if it ends too early.
pub(crate) fn read_object<T: Fields>(text: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Object(T::default()).deserialize(&mut deserializer).map_err(|error| {
        if error.is_eof() { "unexpected EOF".to_owned() } else { error.to_string() }
    })
}
