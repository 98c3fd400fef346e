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

/// A whole number of a range.
macro_rules! range {
    ($least:literal to $most:literal) => {
        range!("a whole number from ", $least, $most)
    };
    (bytes $least:literal to $most:literal) => {
        range!("a whole number of bytes from ", $least, $most)
    };
    ($kind:literal, $least:literal, $most:literal) => {{
        const RANGE: Must = Must {
            kind: concat!($kind, $least, " to ", $most),
            fits: |text| text.parse().is_ok_and(|number: i64| ($least..=$most).contains(&number)),
        };
        &RANGE
    }};
}

const PORT: Must = Must { kind: "a port: 0 to 65535", fits: |text| text.parse::<u16>().is_ok() };
const BUDGET: Must = Must {
    kind: "0, or a whole number of bytes from 16777216 on",
    fits: |text| text.parse().is_ok_and(|number: i64| number == 0 || number >= 16 * 1024 * 1024),
};
const HOURS: Must = Must { kind: "hours from 00 to 23 with semicolons between, like 04 or 04;16", fits: are_hours };
const IP_ADDRESS: Must =
    Must { kind: "an IP address of this machine, like 0.0.0.0", fits: |text| text.parse::<std::net::IpAddr>().is_ok() };
const HA_ADDRESS: Must =
    Must { kind: "an address with a port, like 192.168.0.1:10912", fits: |text| text.trim().is_empty() || is_address(text) };
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
        "haMasterAddress" => &HA_ADDRESS,
        "advertise" => &RULES,
        "deleteWhen" => &HOURS,
        "memoryBudgetBytes" => &BUDGET,
        "haListenPort" => &PORT,
        // Smaller files of the log hold hardly a message, and each message that does not fit is refused.
        "mappedFileSizeCommitLog" => range!(bytes 1024 to 2147483647),
        // One unit of 20 bytes for each message: fewer than ten would make a file every few messages.
        "mappedFileSizeConsumeQueue" => range!(bytes 200 to 2147483640),
        // What ends a transaction is a message too, of up to 20 bytes.
        "maxMessageSize" => range!(bytes 64 to 2147483647),
        // One entry stays empty. How many bytes both make together is asked by `refuse`.
        "maxIndexNum" => range!(2 to 2147483647),
        // A topic can be given no more.
        "defaultTopicQueueNums" => range!(1 to 32768),
        "brokerPermission" => range!(0 to 7),
        // Percent; inside of it the original keeps the last three in narrower ranges.
        "accessMessageInMemoryMaxRatio" | "diskMaxUsedSpaceRatio" | "diskSpaceCleanForciblyRatio" | "diskSpaceWarningLevelRatio" => {
            range!(0 to 100)
        }
        // Nothing can be divided by 0, nobody waits without end for nothing, and a period of 0 would keep a processor busy.
        "brokerHeartbeatInterval"
        | "cleanResourceInterval"
        | "defaultQueryMaxNum"
        | "deleteFileBatchMax"
        | "flushConsumeQueueThoroughInterval"
        | "flushConsumerOffsetInterval"
        | "flushIntervalCommitLog"
        | "haHousekeepingInterval"
        | "haMaxGapNotInSync"
        | "haSendHeartbeatInterval"
        | "inSyncReplicas"
        | "maxFilterMessageSize"
        | "maxHashSlotNum"
        | "maxMsgsNumBatch"
        | "minInSyncReplicas"
        | "maxTransferBytesOnMessageInDisk"
        | "maxTransferBytesOnMessageInMemory"
        | "maxTransferCountOnMessageInDisk"
        | "maxTransferCountOnMessageInMemory"
        | "registerBrokerTimeoutMills"
        | "replyThreadPoolQueueCapacity"
        | "sendHeartbeatTimeoutMillis"
        | "sendThreadPoolQueueCapacity"
        | "splitMetadataSize"
        | "splitRegistrationSize"
        | "syncBrokerMemberGroupPeriod"
        | "syncFlushTimeout"
        | "totalReplicas"
        | "transactionOpMsgMaxSize" => range!(1 to 2147483647),
        // The original keeps registerNameServerPeriod between 10 and 60 seconds.
        "fileReservedTime"
        | "flushCommitLogLeastPages"
        | "flushCommitLogThoroughInterval"
        | "registerNameServerPeriod"
        | "slaveTimeout"
        | "transactionCheckMax"
        | "transactionOpBatchInterval"
        | "waitSecondsForService" => range!(0 to 2147483647),
        // Added to a time: 100 years.
        "brokerNotActiveTimeoutMillis"
        | "flushDelayOffsetInterval"
        | "scanNotActiveBrokerInterval"
        | "transactionCheckInterval"
        | "transactionMetricFlushInterval" => range!(1 to 3153600000000),
        "shortPollingTimeMills" | "transactionTimeOut" => range!(0 to 3153600000000),
        // A slave of the original reads into 4 MiB, the header of 12 bytes too, and waits for ever for what does not fit.
        "haTransferBatchSize" => range!(bytes 1 to 4194292),
        "maxHaTransferByteInSecond" | "consumerOffsetUpdateVersionStep" | "delayOffsetUpdateVersionStep" => {
            range!(1 to 9223372036854775807)
        }
        "osPageCacheBusyTimeOutMills"
        | "startAcceptSendRequestTimeStamp"
        | "waitTimeMillsInAdminBrokerQueue"
        | "waitTimeMillsInHeartbeatQueue"
        | "waitTimeMillsInLitePullQueue"
        | "waitTimeMillsInPullQueue"
        | "waitTimeMillsInSendQueue"
        | "waitTimeMillsInTransactionQueue" => range!(0 to 9223372036854775807),
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
    text.split(';').filter(|address| !address.trim().is_empty()).all(is_address)
}

fn is_address(address: &str) -> bool {
    let host_and_port = address.trim().rsplit_once(':');
    host_and_port.is_some_and(|(host, port)| !host.is_empty() && !host.contains([',', ';', ' ', '\t', '/']) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, Cell, Keys, NamesrvConfig, Standing, read};

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
        assert!(fits("haMasterAddress", "") && fits("haMasterAddress", "a:1") && !fits("haMasterAddress", "a:1;b:1"));
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
        assert!(all::<BrokerConfig>() > 50 && all::<NamesrvConfig>() > 4);
    }

    /// Every key with a number that anybody reads, and the least and the most that it may be.
    const NUMBERS: &[(&str, i64, i64)] = &[
        ("accessMessageInMemoryMaxRatio", 0, 100),
        ("brokerHeartbeatInterval", 1, INT_MAX),
        ("brokerNotActiveTimeoutMillis", 1, CENTURY_MILLIS),
        ("brokerPermission", 0, 7),
        ("cleanResourceInterval", 1, INT_MAX),
        ("consumerOffsetUpdateVersionStep", 1, i64::MAX),
        ("defaultQueryMaxNum", 1, INT_MAX),
        ("defaultTopicQueueNums", 1, 32_768),
        ("delayOffsetUpdateVersionStep", 1, i64::MAX),
        ("deleteFileBatchMax", 1, INT_MAX),
        ("diskMaxUsedSpaceRatio", 0, 100),
        ("diskSpaceCleanForciblyRatio", 0, 100),
        ("diskSpaceWarningLevelRatio", 0, 100),
        ("fileReservedTime", 0, INT_MAX),
        ("flushCommitLogLeastPages", 0, INT_MAX),
        ("flushCommitLogThoroughInterval", 0, INT_MAX),
        ("flushConsumeQueueThoroughInterval", 1, INT_MAX),
        ("flushConsumerOffsetInterval", 1, INT_MAX),
        ("flushDelayOffsetInterval", 1, CENTURY_MILLIS),
        ("flushIntervalCommitLog", 1, INT_MAX),
        ("haHousekeepingInterval", 1, INT_MAX),
        ("haListenPort", 0, 65_535),
        ("haMaxGapNotInSync", 1, INT_MAX),
        ("haSendHeartbeatInterval", 1, INT_MAX),
        ("haTransferBatchSize", 1, 4_194_292),
        ("inSyncReplicas", 1, INT_MAX),
        ("listenPort", 0, 65_535),
        ("mappedFileSizeCommitLog", 1_024, INT_MAX),
        ("mappedFileSizeConsumeQueue", 200, 2_147_483_640),
        ("maxFilterMessageSize", 1, INT_MAX),
        ("maxHaTransferByteInSecond", 1, i64::MAX),
        ("maxHashSlotNum", 1, INT_MAX),
        ("maxIndexNum", 2, INT_MAX),
        ("maxMessageSize", 64, INT_MAX),
        ("maxMsgsNumBatch", 1, INT_MAX),
        ("maxTransferBytesOnMessageInDisk", 1, INT_MAX),
        ("maxTransferBytesOnMessageInMemory", 1, INT_MAX),
        ("maxTransferCountOnMessageInDisk", 1, INT_MAX),
        ("maxTransferCountOnMessageInMemory", 1, INT_MAX),
        ("memoryBudgetBytes", 16_777_216, i64::MAX),
        ("minInSyncReplicas", 1, INT_MAX),
        ("osPageCacheBusyTimeOutMills", 0, i64::MAX),
        ("registerBrokerTimeoutMills", 1, INT_MAX),
        ("registerNameServerPeriod", 0, INT_MAX),
        ("replyThreadPoolQueueCapacity", 1, INT_MAX),
        ("scanNotActiveBrokerInterval", 1, CENTURY_MILLIS),
        ("sendHeartbeatTimeoutMillis", 1, INT_MAX),
        ("sendThreadPoolQueueCapacity", 1, INT_MAX),
        // 0 or less: no connection is closed for idleness, as in the original.
        ("serverChannelMaxIdleTimeSeconds", -INT_MAX - 1, INT_MAX),
        ("shortPollingTimeMills", 0, CENTURY_MILLIS),
        ("slaveTimeout", 0, INT_MAX),
        ("splitMetadataSize", 1, INT_MAX),
        ("splitRegistrationSize", 1, INT_MAX),
        ("startAcceptSendRequestTimeStamp", 0, i64::MAX),
        ("syncBrokerMemberGroupPeriod", 1, INT_MAX),
        ("syncFlushTimeout", 1, INT_MAX),
        ("totalReplicas", 1, INT_MAX),
        ("transactionCheckInterval", 1, CENTURY_MILLIS),
        ("transactionCheckMax", 0, INT_MAX),
        ("transactionMetricFlushInterval", 1, CENTURY_MILLIS),
        ("transactionOpBatchInterval", 0, INT_MAX),
        ("transactionOpMsgMaxSize", 1, INT_MAX),
        ("transactionTimeOut", 0, CENTURY_MILLIS),
        ("waitSecondsForService", 0, INT_MAX),
        ("waitTimeMillsInAdminBrokerQueue", 0, i64::MAX),
        ("waitTimeMillsInHeartbeatQueue", 0, i64::MAX),
        ("waitTimeMillsInLitePullQueue", 0, i64::MAX),
        ("waitTimeMillsInPullQueue", 0, i64::MAX),
        ("waitTimeMillsInSendQueue", 0, i64::MAX),
        ("waitTimeMillsInTransactionQueue", 0, i64::MAX),
    ];
    const INT_MAX: i64 = i32::MAX as i64;
    const CENTURY_MILLIS: i64 = 100 * 365 * 86_400_000;
    /// Looks like a number and is none; and of which no value but 0 is served.
    const NO_NUMBERS: [&str; 2] = ["deleteWhen", "brokerId"];

    #[test]
    fn a_number_out_of_its_range_is_refused_at_the_start_and_by_command_with_the_same_words() {
        fn all<K: Keys>() {
            let defaults = K::default();
            let mut read_keys = Vec::new();
            for key in K::KEYS.iter().filter(|key| !matches!(key.standing, Standing::Inert(_)) && !NO_NUMBERS.contains(&key.name)) {
                if defaults.get(key.name).unwrap().parse::<i64>().is_err() {
                    continue;
                }
                read_keys.push(key.name);
                let (_, least, most) = NUMBERS.iter().find(|(name, ..)| *name == key.name).unwrap_or_else(|| panic!("{}", key.name));
                for good in [*least, *most] {
                    assert_eq!(K::default().set(key.name, &good.to_string()), Ok(true), "{}={good}", key.name);
                }
                let beyond = [i128::from(*least) - 1, i128::from(*most) + 1].map(|number| number.to_string());
                for wrong in beyond.iter().map(String::as_str).chain(["many", "", "1.5", "0x10"]) {
                    let refused = read(&mut K::default(), format!("# mine\n{}={wrong}", key.name).as_bytes(), "a.conf");
                    let refused = refused.map(drop).unwrap_err().to_string();
                    let sentence = refused.strip_prefix("a.conf, line 2: ").unwrap();
                    assert!(sentence.starts_with(&format!("{}={wrong} is wrong: it must be ", key.name)), "{sentence}");
                    let has_range = sentence.contains(&least.to_string()) && sentence.contains(&most.to_string());
                    assert!(has_range || key.name == "memoryBudgetBytes", "{sentence}");
                    if !defaults.black_list().iter().any(|listed| listed == key.name) {
                        let told = Cell::new(K::default()).update(format!("{}={wrong}", key.name).as_bytes(), 0).unwrap_err();
                        assert_eq!(told.to_string(), sentence);
                    }
                }
            }
            assert!(!read_keys.is_empty());
        }
        all::<BrokerConfig>();
        all::<NamesrvConfig>();
        let known = |key: &str| BrokerConfig::KEYS.iter().chain(NamesrvConfig::KEYS).any(|known| known.name == key);
        assert!(NUMBERS.iter().all(|(key, ..)| known(key)), "no key that is not there");
    }
}
