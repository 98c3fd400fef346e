// SPDX-License-Identifier: Apache-2.0
//! Serde data as the original writes it. Structs must declare their fields in ascending order of their names, as fastjson prints them.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::escape::write_text;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Usual,
    Standard,
    Pretty,
}

pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T, form: Form) -> Vec<u8> {
    let mut writer = Writer { out: Vec::with_capacity(256), form, depth: 0, wrote_null: false };
    value.serialize(&mut writer).expect("writing to memory fails for no shape that a body has");
    writer.out
}

/// A shape that no body has: the programme is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Impossible(String);

impl ser::Error for Impossible {
    fn custom<T: Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

struct Writer {
    out: Vec<u8>,
    form: Form,
    depth: usize,
    /// The last value was a null: its member is taken back.
    wrote_null: bool,
}

impl Writer {
    fn text(&mut self, text: &str) {
        write_text(text.as_bytes(), &mut self.out);
    }

    fn display(&mut self, value: impl Display) {
        write!(self.out, "{value}").expect("a Vec takes every byte");
    }

    fn line(&mut self) {
        if self.form == Form::Pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + self.depth, b'\t');
        }
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
    }

    fn close(&mut self, bracket: u8, empty: bool) {
        self.depth -= 1;
        if !empty {
            self.line();
        }
        self.out.push(bracket);
    }
}

/// Java's `Double.toString`: always a decimal point, exponents only far from one.
pub(super) fn java_double(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// An array or object under way.
struct Members<'w> {
    writer: &'w mut Writer,
    closing: u8,
    first: bool,
    /// Where the member under way began.
    start: usize,
    /// The name before, to see that they ascend.
    last: &'static str,
}

impl<'w> Members<'w> {
    fn open(writer: &'w mut Writer, opening: u8, closing: u8) -> Self {
        writer.open(opening);
        Self { start: writer.out.len(), writer, closing, first: true, last: "" }
    }

    fn begin(&mut self) {
        self.start = self.writer.out.len();
        if !self.first {
            self.writer.out.push(b',');
        }
        self.writer.line();
    }

    /// Takes the member back when its value was null.
    fn finish_member(&mut self) {
        if std::mem::take(&mut self.writer.wrote_null) {
            self.writer.out.truncate(self.start);
        } else {
            self.first = false;
        }
    }

    fn close(self) {
        self.writer.close(self.closing, self.first);
        self.writer.wrote_null = false;
    }
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Impossible;
    type SerializeSeq = Members<'w>;
    type SerializeTuple = Members<'w>;
    type SerializeTupleStruct = Members<'w>;
    type SerializeTupleVariant = ser::Impossible<(), Impossible>;
    type SerializeMap = Members<'w>;
    type SerializeStruct = Members<'w>;
    type SerializeStructVariant = ser::Impossible<(), Impossible>;

    fn serialize_bool(self, value: bool) -> Result<(), Impossible> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }
    fn serialize_i8(self, value: i8) -> Result<(), Impossible> {
        self.serialize_i64(value.into())
    }
    fn serialize_i16(self, value: i16) -> Result<(), Impossible> {
        self.serialize_i64(value.into())
    }
    fn serialize_i32(self, value: i32) -> Result<(), Impossible> {
        self.serialize_i64(value.into())
    }
    fn serialize_i64(self, value: i64) -> Result<(), Impossible> {
        self.display(value);
        Ok(())
    }
    fn serialize_u8(self, value: u8) -> Result<(), Impossible> {
        self.serialize_u64(value.into())
    }
    fn serialize_u16(self, value: u16) -> Result<(), Impossible> {
        self.serialize_u64(value.into())
    }
    fn serialize_u32(self, value: u32) -> Result<(), Impossible> {
        self.serialize_u64(value.into())
    }
    fn serialize_u64(self, value: u64) -> Result<(), Impossible> {
        self.display(value);
        Ok(())
    }
    fn serialize_f32(self, value: f32) -> Result<(), Impossible> {
        self.serialize_f64(value.into())
    }
    fn serialize_f64(self, value: f64) -> Result<(), Impossible> {
        if !value.is_finite() {
            return self.serialize_none();
        }
        self.out.extend_from_slice(java_double(value).as_bytes());
        Ok(())
    }
    fn serialize_char(self, value: char) -> Result<(), Impossible> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<(), Impossible> {
        self.text(value);
        Ok(())
    }
    fn serialize_bytes(self, _value: &[u8]) -> Result<(), Impossible> {
        Err(ser::Error::custom("bytes travel as base64 text"))
    }
    fn serialize_none(self) -> Result<(), Impossible> {
        self.out.extend_from_slice(b"null");
        self.wrote_null = true;
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Impossible> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Impossible> {
        self.serialize_none()
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Impossible> {
        self.serialize_none()
    }
    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<(), Impossible> {
        // Without a name it stands for null.
        if variant.is_empty() { self.serialize_none() } else { self.serialize_str(variant) }
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Impossible> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, _: &'static str, _: &T) -> Result<(), Impossible> {
        Err(ser::Error::custom("enums of the protocol carry no data"))
    }
    fn serialize_seq(self, _length: Option<usize>) -> Result<Members<'w>, Impossible> {
        Ok(Members::open(self, b'[', b']'))
    }
    fn serialize_tuple(self, _length: usize) -> Result<Members<'w>, Impossible> {
        Ok(Members::open(self, b'[', b']'))
    }
    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Members<'w>, Impossible> {
        Ok(Members::open(self, b'[', b']'))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Impossible> {
        Err(ser::Error::custom("enums of the protocol carry no data"))
    }
    fn serialize_map(self, _length: Option<usize>) -> Result<Members<'w>, Impossible> {
        Ok(Members::open(self, b'{', b'}'))
    }
    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Members<'w>, Impossible> {
        Ok(Members::open(self, b'{', b'}'))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Impossible> {
        Err(ser::Error::custom("enums of the protocol carry no data"))
    }
}

impl ser::SerializeSeq for Members<'_> {
    type Ok = ();
    type Error = Impossible;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Impossible> {
        self.begin();
        value.serialize(&mut *self.writer)?;
        // A null item stays: the places of the others count.
        self.writer.wrote_null = false;
        self.first = false;
        Ok(())
    }

    fn end(self) -> Result<(), Impossible> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTuple for Members<'_> {
    type Ok = ();
    type Error = Impossible;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Impossible> {
        ser::SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Result<(), Impossible> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for Members<'_> {
    type Ok = ();
    type Error = Impossible;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Impossible> {
        ser::SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Result<(), Impossible> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Impossible;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Impossible> {
        self.begin();
        let at = self.writer.out.len();
        // A key that is an object stands on one line, however pretty the rest.
        let form = self.writer.form;
        if form == Form::Pretty {
            self.writer.form = Form::Usual;
        }
        key.serialize(&mut *self.writer)?;
        self.writer.form = form;
        if form == Form::Standard && !matches!(self.writer.out[at], b'"' | b'{') {
            self.writer.out.insert(at, b'"');
            self.writer.out.push(b'"');
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Impossible> {
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)?;
        self.finish_member();
        Ok(())
    }

    fn end(self) -> Result<(), Impossible> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Impossible;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Impossible> {
        debug_assert!(self.last < name, "fields are declared as they are printed: {} before {name}", self.last);
        self.last = name;
        self.begin();
        self.writer.text(name);
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)?;
        self.finish_member();
        Ok(())
    }

    fn end(self) -> Result<(), Impossible> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Java 17's `Double.toString`.
    #[test]
    fn doubles_print_as_in_java() {
        let printed = [0.0, 1.5, 100.0, 0.001, 9_999_999.0, 1e7, 1.5e-5, -2.0, 123_456_789.125].map(java_double);
        assert_eq!(printed, ["0.0", "1.5", "100.0", "0.001", "9999999.0", "1.0E7", "1.5E-5", "-2.0", "1.23456789125E8"]);
    }
}
