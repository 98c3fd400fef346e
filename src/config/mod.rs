// SPDX-License-Identifier: Apache-2.0
//! Every key of `broker.conf` and `namesrv.conf`, declared once: name, type, default, meaning, and what a change of it does.
//!
//! Knows the words of the files and the values of the keys. Reads no file, listens on no port, and does not know what a
//! broker does with a value: `server/` brings the text in, and hands the values out.

mod advertise;
mod broker;
mod cell;
mod declare;
mod misspelt;
mod must;
mod namesrv;
mod others;
mod printed;
mod properties;
mod refuse;
mod report;
mod sample;
mod value;
mod why;

pub use advertise::{AdvertiseRules, Advertised};
pub use broker::BrokerConfig;
pub use cell::{Cell, Changed, ConfigCell, NamesrvConfigCell, UpdateError, Version};
pub use declare::{BROKER_ID, BROKER_NAME, Key, Keys, Standing};
pub use misspelt::did_you_mean;
pub use namesrv::NamesrvConfig;
pub use printed::{printed, shown};
pub use properties::{Entry, Properties, PropertiesError, edit};
pub use refuse::{refuse_broker, refuse_namesrv, refuse_tls};
pub use report::{Became, Given, Report, Unreadable, read, set, set_by_hand};
pub use sample::annotated;
pub use value::{BrokerRole, ConfigValue, FlushDiskType};
