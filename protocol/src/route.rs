// SPDX-License-Identifier: Apache-2.0
//! What a server says of a request code once, before any request comes: its fields, the right that it takes, its name in metrics, and
//! where to find its handler and its proof. Who serves it, and how, is the server's: its row has this beside its own columns.

use std::fmt;

use crate::ext_fields::ExtFields;
use crate::header::Required;

/// The part of a row that is alike in every server; `route!` makes it.
#[derive(Debug)]
pub struct Route {
    pub code: i32,
    /// What metrics call the code, as `RemotingHelper.java#getRequestCodeDesc`: its name in lower case.
    pub label: &'static str,
    /// The type of its fields, `()` where it has none.
    pub header: &'static str,
    /// The fields without which the original cannot go on.
    pub required: &'static [Required],
    /// Those of them that are looked at before the handler; none where it tells them itself while it reads.
    pub checked: &'static [Required],
    pub permission: Permission,
    /// The path of the function that serves it, from the room of its server.
    pub handler: &'static str,
    /// The test file that shows what it answers.
    pub proof: &'static str,
}

impl Route {
    /// The first field of a request that is missing or, being a number, cannot be read.
    #[inline]
    pub fn unreadable_field(&self, ext: &ExtFields) -> Option<&'static str> {
        Required::first_unreadable(self.checked, ext)
    }
}

/// What the access control of 5.x asks for (`DefaultAuthorizationContextBuilder.java`): one of the actions on each of the resources, which
/// the request names. The topic of a retry stands for its group. Nothing is asked for where both are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    pub actions: &'static [Action],
    pub on: &'static [Resource],
}

/// `Action.java`, as far as requests ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pub,
    Sub,
    Create,
    Update,
    Delete,
    Get,
}

/// `ResourceType.java`, as far as requests ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Cluster,
    Topic,
    Group,
}

impl fmt::Display for Permission {
    /// As in `docs/request-codes.tsv`: `Sub/Get on Topic, Group`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, action) in self.actions.iter().enumerate() {
            write!(f, "{}{action:?}", if at == 0 { "" } else { "/" })?;
        }
        for (at, resource) in self.on.iter().enumerate() {
            write!(f, "{}{resource:?}", if at == 0 { " on " } else { ", " })?;
        }
        Ok(())
    }
}

/// The bytes of a name in lower case.
pub const fn lower_case<const N: usize>(name: &str) -> [u8; N] {
    let (name, mut lower, mut at) = (name.as_bytes(), [0; N], 0);
    while at < N {
        lower[at] = name[at].to_ascii_lowercase();
        at += 1;
    }
    lower
}

/// `NAME, checks Header, [Action | Action on Resource & Resource], proof, handler`. `reads` in the place of `checks`: the handler tells a
/// missing field while it reads.
#[macro_export]
macro_rules! route {
    ($name:ident, $how:ident $header:ty, [$($($action:ident)|+ on $($resource:ident)&+)?], $proof:expr, $handler:expr) => {
        $crate::route::Route {
            code: $crate::request_code::$name,
            label: {
                const LABEL: [u8; stringify!($name).len()] = $crate::route::lower_case(stringify!($name));
                match ::std::str::from_utf8(&LABEL) {
                    Ok(label) => label,
                    Err(_) => panic!("a name is ASCII"),
                }
            },
            header: stringify!($header),
            required: <$header as $crate::Header>::REQUIRED,
            checked: $crate::route!(@checked $how $header),
            permission: $crate::route::Permission {
                actions: &[$($($crate::route::Action::$action),+)?],
                on: &[$($($crate::route::Resource::$resource),+)?],
            },
            handler: $handler,
            proof: $proof,
        }
    };
    (@checked checks $header:ty) => { <$header as $crate::Header>::REQUIRED };
    (@checked reads $header:ty) => { &[] };
}

#[cfg(test)]
mod tests {
    use crate::header::{GetMaxOffsetRequestHeader, PullMessageRequestHeader};

    #[test]
    fn a_row_is_made_of_what_the_protocol_says() {
        let checks = route!(GET_MAX_OFFSET, checks GetMaxOffsetRequestHeader, [Sub | Get on Topic & Group], "tests/x.rs", "a::b");
        assert_eq!((checks.code, checks.label, checks.header), (30, "get_max_offset", "GetMaxOffsetRequestHeader"));
        assert_eq!(checks.required.iter().map(|field| field.name).collect::<Vec<_>>(), ["topic", "queueId"]);
        assert_eq!(checks.unreadable_field(&Default::default()), Some("topic"));
        assert_eq!(checks.permission.to_string(), "Sub/Get on Topic, Group");
        let reads = route!(PULL_MESSAGE, reads PullMessageRequestHeader, [], "tests/x.rs", "a::b");
        assert_eq!((reads.required.len(), reads.unreadable_field(&Default::default())), (6, None));
        assert_eq!(reads.permission.to_string(), "");
    }
}
