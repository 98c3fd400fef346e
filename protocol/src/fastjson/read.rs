// SPDX-License-Identifier: Apache-2.0
//! A tree of values as serde data, coerced as fastjson coerces: numbers and text into each other, ordinals to enums, null to the default.

use std::cell::Cell;
use std::collections::HashMap;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::ReadError;
use super::number::SIGN;
use super::parse::{self, Value};
use crate::scan;

/// Values that may be read again through `$ref`. A few references to references would otherwise stand for billions.
const REFERENCED_VALUES_MAX: usize = 1_000_000;

pub(super) fn from_value<T: DeserializeOwned>(root: &Value<'_>) -> Result<T, ReadError> {
    let document = Document { root, referenced: Cell::new(0) };
    T::deserialize(Node { value: root, document: &document, referenced: false })
}

/// What a `$ref` looks into.
struct Document<'v, 'a> {
    root: &'v Value<'a>,
    referenced: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Node<'v, 'a> {
    value: &'v Value<'a>,
    document: &'v Document<'v, 'a>,
    /// Reached through a reference: counted.
    referenced: bool,
}

impl<'v, 'a> Node<'v, 'a> {
    fn of(self, value: &'v Value<'a>) -> Self {
        Self { value, ..self }
    }

    /// Follows `{"$ref":"$.path"}`; a path that leads nowhere is null, as in the original.
    fn resolved(mut self) -> Result<Self, ReadError> {
        let mut hops = 0;
        while let Value::Object(members) = self.value
            && let [(key, path)] = members.as_slice()
            && key.as_text() == Some("$ref")
            && let Some(path) = path.as_text()
        {
            hops += 1;
            self.referenced = true;
            self.value = follow(self.document.root, path).filter(|_| hops < 8).unwrap_or(&Value::Null);
        }
        if self.referenced {
            let count = self.document.referenced.get() + 1;
            self.document.referenced.set(count);
            if count > REFERENCED_VALUES_MAX {
                return Err(ReadError::Shape("too many values behind $ref".into()));
            }
        }
        Ok(self)
    }

    fn integer(self, low: i64, high: i64) -> Result<i64, ReadError> {
        self.value.as_integer(low, high).ok_or_else(|| self.mismatch("an integer"))
    }

    /// A number is true when it is one, or minus one.
    fn boolean(self) -> Option<bool> {
        match self.value {
            Value::Null => Some(false),
            Value::Bool(value) => Some(*value),
            Value::Number(number) => (*number != SIGN).then_some(matches!(*number, "1" | "-1")),
            Value::Text(text) => match text.as_ref() {
                "" | "0" | "N" | "F" | "null" | "NULL" => Some(false),
                "1" | "Y" | "T" => Some(true),
                word => [true, false].into_iter().find(|value| word.eq_ignore_ascii_case(if *value { "true" } else { "false" })),
            },
            Value::List(items) if items.len() == 1 => self.of(&items[0]).boolean(),
            _ => None,
        }
    }

    fn mismatch(self, wanted: &str) -> ReadError {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) | Value::Bytes(_) => "text",
            Value::List(_) => "an array",
            Value::Object(_) => "an object",
        };
        ReadError::Shape(format!("{wanted} is expected, {found} is there"))
    }

    /// Another value where a list is wanted is a list of one.
    fn list(self) -> &'v [Value<'a>] {
        match self.value {
            Value::List(items) => items,
            value if is_null(value) => &[],
            value => std::slice::from_ref(value),
        }
    }

    fn members(self) -> Result<&'v [(Value<'a>, Value<'a>)], ReadError> {
        match self.value {
            Value::Object(members) => Ok(members),
            value if is_null(value) => Ok(&[]),
            _ => Err(self.mismatch("an object")),
        }
    }
}

/// Where an object or a list is wanted, empty text is null, and so is the word.
fn is_null(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.is_empty() || text == "null",
        _ => false,
    }
}

/// `$`, `$.name.name[3]`; `\` takes the next character as it is; a key that is an object answers to Java's text of it, or to `null`.
fn follow<'v, 'a>(root: &'v Value<'a>, path: &str) -> Option<&'v Value<'a>> {
    let mut rest = path.strip_prefix('$')?;
    let mut value = root;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']')?;
            let Value::List(items) = value else { return None };
            value = items.get(index.parse::<usize>().ok()?)?;
            rest = after;
            continue;
        }
        let (name, after) = step(rest.strip_prefix('.')?);
        let Value::Object(members) = value else { return None };
        value = match members.iter().find(|(key, _)| key_text(key).is_some_and(|text| text == name)) {
            Some((_, member)) => member,
            // fastjson calls the path of a key that is an object `null`.
            None if name == "null" => members.iter().find_map(|(key, _)| matches!(key, Value::Object(_)).then_some(key))?,
            None => return None,
        };
        rest = after;
    }
    Some(value)
}

/// One unescaped name and what follows it.
fn step(path: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = path.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '.' | '[' => return (name, &path[at..]),
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            other => name.push(other),
        }
    }
    (name, "")
}

fn key_text(key: &Value<'_>) -> Option<String> {
    if matches!(key, Value::Object(_)) {
        let part = |name| key.member(name).and_then(Value::to_text);
        return Some(format!("MessageQueue [topic={}, brokerName={}, queueId={}]", part("topic")?, part("brokerName")?, part("queueId")?));
    }
    key.to_text()
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let node = self.resolved()?;
            let (low, high) = (i64::try_from(<$type>::MIN).unwrap_or(i64::MIN), i64::try_from(<$type>::MAX).unwrap_or(i64::MAX));
            let number = node.integer(low, high)?;
            visitor.$visit(<$type>::try_from(number).map_err(|_| node.mismatch(stringify!($type)))?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'_, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        match node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.parse::<i64>(), number.parse::<u64>()) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => node.deserialize_f64(visitor),
            },
            Value::Text(text) => visitor.visit_str(text),
            Value::Bytes(bytes) => visitor.visit_str(&String::from_utf8_lossy(bytes)),
            Value::List(_) => node.deserialize_seq(visitor),
            Value::Object(_) => node.deserialize_map(visitor),
        }
    }

    integers!(deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i64 visit_i64 i64,
              deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64);

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        visitor.visit_i32(node.value.as_int().ok_or_else(|| node.mismatch("an int"))?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        let text = match node.value {
            Value::Null => return visitor.visit_f64(0.0),
            Value::Number(number) => number,
            Value::Text(text) if text.trim().is_empty() => return visitor.visit_f64(0.0),
            Value::Text(text) => text.trim(),
            _ => return Err(node.mismatch("a number")),
        };
        visitor.visit_f64(text.parse().map_err(|_| node.mismatch("a number"))?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        let value = node.boolean().ok_or_else(|| node.mismatch("a boolean"))?;
        visitor.visit_bool(value)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        match node.value {
            Value::Text(text) => visitor.visit_str(text),
            other => visitor.visit_string(other.to_text().unwrap_or_default()),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        match node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(node),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        visitor.visit_seq(Items { node, items: node.list().iter() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        visitor.visit_map(Members { node, members: node.members()?.iter(), value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        let members = node.members()?;
        // A name that came twice has the value that came last; null is as good as missing. Each is then told once.
        let mut last: HashMap<&str, usize> = HashMap::with_capacity(members.len());
        for (at, (key, _)) in members.iter().enumerate() {
            if let Some(name) = key.as_text() {
                last.insert(name, at);
            }
        }
        let told = |at: usize| {
            let (key, value) = &members[at];
            key.as_text().is_some_and(|name| last.get(name) == Some(&at)) && *value != Value::Null
        };
        let chosen: Vec<&(Value<'_>, Value<'_>)> = (0..members.len()).filter(|at| told(*at)).map(|at| &members[at]).collect();
        visitor.visit_map(Members { node, members: chosen.into_iter(), value: None })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let node = self.resolved()?;
        let by_ordinal = |ordinal: i64| constants(variants).nth(usize::try_from(ordinal).ok()?);
        let name = match node.value {
            Value::Null => NO_CONSTANT,
            // Of text every mistake is null, of a number none.
            Value::Text(word) => {
                let named = constants(variants).find(|constant| scan::is_same_word(constant.as_bytes(), word.as_bytes()));
                named.or_else(|| by_ordinal(scan::integer(word.as_bytes())?)).unwrap_or(NO_CONSTANT)
            }
            Value::Number(_) => by_ordinal(node.integer(i64::MIN, i64::MAX)?).ok_or_else(|| node.mismatch("an ordinal of an enum"))?,
            _ => return Err(node.mismatch("a name of an enum")),
        };
        visitor.visit_enum(Name(name))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { char bytes byte_buf unit_struct tuple tuple_struct }
}

struct Items<'v, 'a> {
    node: Node<'v, 'a>,
    items: std::slice::Iter<'v, Value<'a>>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        // Java keeps a null in a list and stumbles over it later.
        let item = self.items.by_ref().find(|item| **item != Value::Null);
        item.map(|item| seed.deserialize(self.node.of(item))).transpose()
    }
}

struct Members<'v, 'a, I> {
    node: Node<'v, 'a>,
    members: I,
    value: Option<&'v Value<'a>>,
}

impl<'de, 'v, 'a: 'v, I: Iterator<Item = &'v (Value<'a>, Value<'a>)>> MapAccess<'de> for Members<'v, 'a, I> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.members.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(Key(self.node.of(key))).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        let value = self.value.take().ok_or_else(|| ReadError::custom("a value was asked for before its key"))?;
        seed.deserialize(self.node.of(value))
    }
}

/// A key: as a value, but an object may also come as text that holds its JSON.
struct Key<'v, 'a>(Node<'v, 'a>);

impl<'v, 'a> Key<'v, 'a> {
    /// Of keys no word stands for zero.
    fn number(self) -> Result<Node<'v, 'a>, ReadError> {
        match self.0.value {
            Value::Number(_) => Ok(self.0),
            Value::Text(text) if text.bytes().any(|byte| byte.is_ascii_digit()) => Ok(self.0),
            _ => Err(self.0.mismatch("a number")),
        }
    }
}

impl<'de> Deserializer<'de> for Key<'_, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Value::Text(text) = self.0.value else { return self.0.deserialize_struct(name, fields, visitor) };
        let root = parse::parse(text.as_bytes())?;
        let document = Document { root: &root, referenced: Cell::new(0) };
        Node { value: &root, document: &document, referenced: false }.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.number()?.deserialize_i32(visitor)
    }
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.number()?.deserialize_i64(visitor)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_string(visitor)
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_string(visitor)
    }
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_string(visitor)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.0.deserialize_enum(name, variants, visitor)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 u8 u16 u32 u64 f32 f64 char bytes byte_buf option unit unit_struct seq tuple tuple_struct map ignored_any
    }
}

/// What stands for null where an enum is wanted: the variant that is called or aliased so. The writer leaves it out again.
const NO_CONSTANT: &str = "";

/// The names that have an ordinal.
fn constants<'v>(variants: &'v [&'static str]) -> impl Iterator<Item = &'static str> + 'v {
    variants.iter().copied().filter(|name| *name != NO_CONSTANT)
}

/// The name of an enum's constant.
struct Name<'n>(&'n str);

impl<'de> EnumAccess<'de> for Name<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let name: StrDeserializer<'_, ReadError> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Name<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, ReadError> {
        Err(ReadError::custom("enums of the protocol carry no data"))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _visitor: V) -> Result<V::Value, ReadError> {
        Err(ReadError::custom("enums of the protocol carry no data"))
    }
    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], _visitor: V) -> Result<V::Value, ReadError> {
        Err(ReadError::custom("enums of the protocol carry no data"))
    }
}
