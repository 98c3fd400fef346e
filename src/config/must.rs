// SPDX-License-Identifier: Apache-2.0
//! What the value of a key must be beyond its type: a port, an hour, an address, a number above 0.
//!
//! Asked by `set`, so that a file, a flag and a command refuse the same values, each where it stands.

use super::AdvertiseRules;

/// A key's values, and the phrase that completes "it must be ...".
pub(super) struct Must {
    pub(super) kind: &'static str,
    pub(super) fits: fn(&str) -> bool,
}

const PORT: Must = Must { kind: "a port: 0 to 65535", fits: |text| text.parse::<u16>().is_ok() };
const ABOVE_ZERO: Must =
    Must { kind: "a whole number from 1 to 2147483647", fits: |text| text.parse().is_ok_and(|number: i32| number > 0) };
/// Smaller files of the log hold hardly a message, and each message that does not fit is refused.
const LOG_FILE: Must =
    Must { kind: "a whole number of bytes from 1024 to 2147483647", fits: |text| text.parse().is_ok_and(|bytes: i32| bytes >= 1_024) };
/// One unit of 20 bytes for each message: fewer than ten would make a file every few messages.
const QUEUE_FILE: Must = Must {
    kind: "a whole number of bytes from 200 to 2147483640",
    fits: |text| text.parse().is_ok_and(|bytes: i32| (200..=2_147_483_640).contains(&bytes)),
};
const NOT_NEGATIVE: Must =
    Must { kind: "a whole number from 0 to 2147483647", fits: |text| text.parse().is_ok_and(|number: i32| number >= 0) };
const MILLIS: Must = Must { kind: "a whole number, 0 or more", fits: |text| text.parse().is_ok_and(|number: i64| number >= 0) };
const BUDGET: Must = Must {
    kind: "0, or a whole number of bytes from 16777216 on",
    fits: |text| text.parse().is_ok_and(|number: i64| number == 0 || number >= 16 * 1024 * 1024),
};
const HOURS: Must = Must { kind: "hours from 00 to 23 with semicolons between, like 04 or 04;16", fits: are_hours };
const IP_ADDRESS: Must =
    Must { kind: "an IP address of this machine, like 0.0.0.0", fits: |text| text.parse::<std::net::IpAddr>().is_ok() };
const NAME_SERVERS: Must =
    Must { kind: "like 127.0.0.1:9876;192.168.0.1:9876, with semicolons between the addresses", fits: are_addresses };
const RULES: Must = Must {
    kind: "like 172.18.0.1/32=127.0.0.1, with commas between the rules NETWORK/BITS=HOST or NETWORK/BITS=HOST:PORT",
    fits: |text| AdvertiseRules::parse(text).is_ok(),
};

/// `None`: every value of the type will do.
pub(super) fn must(key: &str) -> Option<&'static Must> {
    Some(match key {
        "listenPort" => &PORT,
        "bindAddress" => &IP_ADDRESS,
        "namesrvAddr" => &NAME_SERVERS,
        "advertise" => &RULES,
        "deleteWhen" => &HOURS,
        "memoryBudgetBytes" => &BUDGET,
        "mappedFileSizeCommitLog" => &LOG_FILE,
        "mappedFileSizeConsumeQueue" => &QUEUE_FILE,
        "maxHashSlotNum"
        | "maxIndexNum"
        | "maxMessageSize"
        | "deleteFileBatchMax"
        | "maxTransferBytesOnMessageInMemory"
        | "maxTransferCountOnMessageInMemory"
        | "maxTransferBytesOnMessageInDisk"
        | "maxTransferCountOnMessageInDisk"
        | "maxFilterMessageSize"
        | "maxMsgsNumBatch" => &ABOVE_ZERO,
        "flushIntervalCommitLog"
        | "flushCommitLogLeastPages"
        | "flushCommitLogThoroughInterval"
        | "flushConsumeQueueThoroughInterval"
        | "syncFlushTimeout"
        | "fileReservedTime"
        | "cleanResourceInterval"
        | "accessMessageInMemoryMaxRatio" => &NOT_NEGATIVE,
        "osPageCacheBusyTimeOutMills" => &MILLIS,
        _ => return None,
    })
}

/// The original never cleans when one of them is no number, and an hour that no day has never comes.
fn are_hours(text: &str) -> bool {
    let text = text.strip_suffix(';').unwrap_or(text);
    text.split(';').all(|hour| hour.trim().parse().is_ok_and(|hour: u8| hour < 24))
}

/// Unset is good: the environment or the name server of this process stand in.
fn are_addresses(text: &str) -> bool {
    let is_address = |address: &str| {
        let host_and_port = address.trim().rsplit_once(':');
        host_and_port.is_some_and(|(host, port)| !host.is_empty() && !host.contains([',', ' ', '\t', '/']) && port.parse::<u16>().is_ok())
    };
    text.split(';').filter(|address| !address.trim().is_empty()).all(is_address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, Keys, NamesrvConfig};

    fn fits(key: &str, text: &str) -> bool {
        (must(key).unwrap().fits)(text)
    }

    #[test]
    fn hours_are_of_a_day() {
        for good in ["04", "4", "0;23", "04;", "04; 16"] {
            assert!(fits("deleteWhen", good), "{good}");
        }
        for wrong in ["25", "24", "", ";", "four", "-1", "04,16", "04;;16"] {
            assert!(!fits("deleteWhen", wrong), "{wrong}");
        }
    }

    #[test]
    fn name_servers_have_semicolons_between() {
        for good in ["", "a:9876", "a:9876;b:9876", "a:9876; b:9876;", "[::1]:9876", "127.0.0.1:9876"] {
            assert!(fits("namesrvAddr", good), "{good}");
        }
        for wrong in ["a:9876,b:9876", "a:9876 b:9876", "a", ":9876", "a:port", "http://a:9876"] {
            assert!(!fits("namesrvAddr", wrong), "{wrong}");
        }
    }

    /// A default that its own key refuses could not be written back.
    #[test]
    fn every_default_is_what_its_key_must_be() {
        fn all<K: Keys>() -> usize {
            let defaults = K::default();
            let ruled = K::KEYS.iter().filter_map(|key| must(key.name).map(|must| (key, must)));
            ruled.inspect(|(key, must)| assert!((must.fits)(&defaults.get(key.name).unwrap()), "{}", key.name)).count()
        }
        assert!(all::<BrokerConfig>() > 20 && all::<NamesrvConfig>() > 2);
    }
}
