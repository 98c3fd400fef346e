// SPDX-License-Identifier: Apache-2.0
//! What a value may be, and how it is written.

/// A type that a key may have.
pub trait ConfigValue: Sized {
    /// As a phrase that completes "must be ...".
    const KIND: &'static str;
    /// Blanks around a value mean nothing. The original forgives them in strings only, and elsewhere silently falls back to the default.
    fn parse(text: &str) -> Option<Self>;
    fn print(&self) -> String;
}

impl ConfigValue for i32 {
    const KIND: &'static str = "a whole number between -2147483648 and 2147483647";
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for i64 {
    const KIND: &'static str = "a whole number";
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for f64 {
    const KIND: &'static str = "a number";
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }
    /// As Java prints it: always with a decimal point.
    fn print(&self) -> String {
        format!("{self:?}")
    }
}

impl ConfigValue for bool {
    const KIND: &'static str = "true or false";
    fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for String {
    const KIND: &'static str = "a text";
    fn parse(text: &str) -> Option<Self> {
        Some(text.trim().to_owned())
    }
    fn print(&self) -> String {
        self.clone()
    }
}

/// When a send is acknowledged: once in the page cache, or once on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDiskType {
    SyncFlush,
    AsyncFlush,
}

impl ConfigValue for FlushDiskType {
    const KIND: &'static str = "SYNC_FLUSH or ASYNC_FLUSH";
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "SYNC_FLUSH" => Some(Self::SyncFlush),
            "ASYNC_FLUSH" => Some(Self::AsyncFlush),
            _ => None,
        }
    }
    fn print(&self) -> String {
        match self {
            Self::SyncFlush => "SYNC_FLUSH",
            Self::AsyncFlush => "ASYNC_FLUSH",
        }
        .to_owned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerRole {
    AsyncMaster,
    SyncMaster,
    Slave,
}

impl ConfigValue for BrokerRole {
    const KIND: &'static str = "ASYNC_MASTER, SYNC_MASTER or SLAVE";
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "ASYNC_MASTER" => Some(Self::AsyncMaster),
            "SYNC_MASTER" => Some(Self::SyncMaster),
            "SLAVE" => Some(Self::Slave),
            _ => None,
        }
    }
    fn print(&self) -> String {
        match self {
            Self::AsyncMaster => "ASYNC_MASTER",
            Self::SyncMaster => "SYNC_MASTER",
            Self::Slave => "SLAVE",
        }
        .to_owned()
    }
}

// Shorthands for the defaults.

pub(super) fn unset() -> String {
    String::new()
}

pub(super) fn text(value: &str) -> String {
    value.to_owned()
}

/// Java's `availableProcessors`.
pub(super) fn cpus() -> i32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as i32)
}
