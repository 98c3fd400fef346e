// SPDX-License-Identifier: Apache-2.0
//! `config!`: one line per key, from which the struct, its reader, its printer and the lists for people are made.

/// What a value of a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Obeyed; a change by command is obeyed at once.
    Live,
    /// Obeyed; a change by command is obeyed after the next start.
    Restart,
    /// Accepted without effect, and why.
    Inert(&'static str),
    /// Only some values can be obeyed, others refuse the start.
    Guarded(&'static str),
}

/// Keys that fields of requests are called like.
pub const BROKER_ID: &str = "brokerId";
pub const BROKER_NAME: &str = "brokerName";

/// One key as people see it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    /// What it means; empty where `standing` says all.
    pub doc: &'static str,
    pub standing: Standing,
}

impl Key {
    pub fn is_honoured(&self) -> bool {
        matches!(self.standing, Standing::Live | Standing::Restart)
    }
}

/// A set of keys with their values: what `config!` makes.
pub trait Keys: Default + Clone + Send + Sync + 'static {
    const KEYS: &'static [Key];
    /// `Ok(false)`: there is no such key. `Err`: what the value should have been.
    fn set(&mut self, key: &str, text: &str) -> Result<bool, &'static str>;
    fn get(&self, key: &str) -> Option<String>;
    /// Keys that a file, a flag or a command has given a value, as opposed to the default.
    fn given(&self) -> &std::collections::BTreeSet<&'static str>;
    fn given_mut(&mut self) -> &mut std::collections::BTreeSet<&'static str>;
    /// Keys that no command may change.
    fn black_list(&self) -> Vec<String>;
    /// The first value that cannot be obeyed safely, as one sentence.
    fn refusal(&self) -> Option<(&'static str, String)>;
}

macro_rules! config {
    ($(#[$about:meta])* pub struct $name:ident, black list $black:expr, refusal $refusal:path {
        $( $(#[doc = $doc:literal])* $field:ident $key:literal : $kind:ty = $default:expr => $standing:expr; )+
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            given: std::collections::BTreeSet<&'static str>,
            $( $(#[doc = $doc])* pub $field: $kind, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { given: std::collections::BTreeSet::new(), $( $field: $default, )+ }
            }
        }

        impl $name {
            /// Was the key given a value, rather than left at its default?
            pub fn is_given(&self, key: &str) -> bool {
                self.given.contains(key)
            }
        }

        impl $crate::config::Keys for $name {
            const KEYS: &'static [$crate::config::Key] = &[ $( $crate::config::Key {
                name: $key,
                doc: concat!($($doc),*),
                standing: $standing,
            } ),+ ];

            fn set(&mut self, key: &str, text: &str) -> Result<bool, &'static str> {
                match key {
                    $( $key => {
                        let must = $crate::config::must::must($key);
                        let kind = must.map_or(<$kind as $crate::config::ConfigValue>::KIND, |must| must.kind);
                        let parsed = <$kind as $crate::config::ConfigValue>::parse(text);
                        self.$field = parsed.filter(|_| must.is_none_or(|must| (must.fits)(text.trim()))).ok_or(kind)?;
                        self.given.insert($key);
                    } )+
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn get(&self, key: &str) -> Option<String> {
                match key {
                    $( $key => Some($crate::config::ConfigValue::print(&self.$field)), )+
                    _ => None,
                }
            }

            fn given(&self) -> &std::collections::BTreeSet<&'static str> {
                &self.given
            }

            fn given_mut(&mut self) -> &mut std::collections::BTreeSet<&'static str> {
                &mut self.given
            }

            fn black_list(&self) -> Vec<String> {
                let fixed: &[&str] = &$black;
                fixed.iter().copied().chain(self.config_black_list.split(';')).map(|key| key.trim().to_owned()).collect()
            }

            fn refusal(&self) -> Option<(&'static str, String)> {
                $refusal(self)
            }
        }
    };
}
pub(super) use config;
