// SPDX-License-Identifier: Apache-2.0
//! What the ext fields of each code are called and what type they have. One room per family of codes; `header!` is the table's form.

use std::ops::RangeInclusive;

use crate::error::HeaderError;
use crate::ext_fields::{ExtFields, FieldValue};
use crate::scan;
use crate::str::Str;

pub mod admin;
pub mod client;
pub mod lock;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod relay;
mod required;
pub mod route;
pub mod send;
pub mod transaction;

pub use admin::{broker::*, group::*, topic::*};
pub use client::*;
pub use lock::*;
pub use offset::*;
pub use pop::*;
pub use pull::*;
pub use query::*;
pub use relay::*;
pub use required::Required;
pub use route::*;
pub use send::*;
pub use transaction::*;

/// The fields of one code, read from and written to a command.
pub trait Header: Sized + Default {
    /// Those without which the original cannot go on.
    const REQUIRED: &'static [Required] = &[];

    /// As tolerant as the original: what is missing, null or cannot be parsed keeps its default.
    fn decode(ext: &ExtFields) -> Self;

    /// Writes every field but the absent optional ones.
    fn encode(&self, ext: &mut ExtFields);

    /// For the few that the original refuses by their values.
    fn check(&self) -> Result<(), HeaderError> {
        Ok(())
    }
}

/// For codes without fields.
impl Header for () {
    fn decode(_ext: &ExtFields) -> Self {}
    fn encode(&self, _ext: &mut ExtFields) {}
}

/// A type that a field can have.
pub trait Field: Sized {
    /// What the text of a number can be; `None` of a type that any text is.
    const RANGE: Option<RangeInclusive<i64>> = None;

    /// `None` when the text cannot be parsed.
    fn read(value: FieldValue<'_>) -> Option<Self>;
    fn write(&self, name: &str, ext: &mut ExtFields);
}

impl Field for Str {
    fn read(value: FieldValue<'_>) -> Option<Self> {
        Some(value.to_str())
    }
    fn write(&self, name: &str, ext: &mut ExtFields) {
        ext.insert(name, self);
    }
}

impl Field for i32 {
    const RANGE: Option<RangeInclusive<i64>> = Some(i32::MIN as i64..=i32::MAX as i64);

    fn read(value: FieldValue<'_>) -> Option<Self> {
        scan::integer(value.bytes()).and_then(|number| number.try_into().ok())
    }
    fn write(&self, name: &str, ext: &mut ExtFields) {
        ext.insert_display(name, self);
    }
}

impl Field for i64 {
    const RANGE: Option<RangeInclusive<i64>> = Some(i64::MIN..=i64::MAX);

    fn read(value: FieldValue<'_>) -> Option<Self> {
        scan::integer(value.bytes())
    }
    fn write(&self, name: &str, ext: &mut ExtFields) {
        ext.insert_display(name, self);
    }
}

impl Field for bool {
    /// `Boolean.parseBoolean`: what is not `true` is false.
    #[inline]
    fn read(value: FieldValue<'_>) -> Option<Self> {
        Some(value.bytes().eq_ignore_ascii_case(b"true"))
    }
    fn write(&self, name: &str, ext: &mut ExtFields) {
        ext.insert(name, if *self { "true" } else { "false" });
    }
}

impl<T: Field> Field for Option<T> {
    const RANGE: Option<RangeInclusive<i64>> = T::RANGE;

    fn read(value: FieldValue<'_>) -> Option<Self> {
        T::read(value).map(Some)
    }
    fn write(&self, name: &str, ext: &mut ExtFields) {
        if let Some(value) = self {
            value.write(name, ext);
        }
    }
}

/// Declares a header: `"wireName" => field: Type`. `!` marks what the original declares as not null (it only says so in its log);
/// `required` is what it cannot go on without (of a type that is no `Option`); `Option` is where null must be told apart; `= value` is the default where it is not zero,
/// false or empty.
macro_rules! header {
    (@default) => { Default::default() };
    (@default $value:expr) => { $value };
    (@required $wire:literal $kind:ty) => { $crate::header::Required::new::<$kind>($wire) };
    ($(
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$field_about:meta])* $wire:literal => $field:ident : $kind:ident $(< $inner:ident >)? $(!)? $($needed:ident)? $(= $value:expr)?),* $(,)?
        }
        $(check $check:path;)?
    )*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $kind $(< $inner >)?,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: header!(@default $($value)?),)* }
            }
        }

        impl $crate::header::Header for $name {
            const REQUIRED: &'static [$crate::header::Required] = &[$($(header!(@$needed $wire $kind),)?)*];

            /// One walk over the pairs: a name that comes twice ends with its last value.
            fn decode(ext: &$crate::ext_fields::ExtFields) -> Self {
                let mut header = Self::default();
                for (word, name, value) in ext.walk() {
                    match word {
                        $(word if word == const { $crate::scan::word_of($wire.as_bytes()) } && name.is($wire) => {
                            if !value.is_null() && let Some(read) = $crate::header::Field::read(value) {
                                header.$field = read;
                            }
                        })*
                        _ => {}
                    }
                }
                header
            }

            fn encode(&self, ext: &mut $crate::ext_fields::ExtFields) {
                ext.mark_present();
                $($crate::header::Field::write(&self.$field, $wire, ext);)*
            }

            $(fn check(&self) -> Result<(), $crate::error::HeaderError> {
                $check(self)
            })?
        }
    )*};
}
pub(crate) use header;
