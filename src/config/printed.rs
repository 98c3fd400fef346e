// SPDX-License-Identifier: Apache-2.0
//! The keys as `-p` and `-m` print them, and values as a log may show them.

use std::borrow::Cow;

use super::Keys;

/// Longer values are cut in a log.
const SHOWN_CHARS_MAX: usize = 256;

/// A value for a log: nothing of what looks like a secret by its key, and no more than a line holds.
pub fn shown<'a>(key: &str, value: &'a str) -> Cow<'a, str> {
    const SECRETS: [&str; 7] = ["password", "passphrase", "secret", "accesskey", "credential", "token", "exporterheader"];
    let key = key.to_ascii_lowercase();
    if !value.is_empty() && (SECRETS.iter().any(|secret| key.contains(secret)) || key == "initauthenticationuser") {
        return Cow::Borrowed("(hidden)");
    }
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}... ({} bytes)", &value[..end], value.len())),
        None => Cow::Borrowed(value),
    }
}

/// `-p` and `-m`: keys with their values, as the original logs them.
pub fn printed<K: Keys>(config: &K, important_only: bool) -> String {
    const IMPORTANT: &[&str] = &[
        "brokerName",
        "brokerClusterName",
        "brokerId",
        "namesrvAddr",
        "listenPort",
        "brokerIP1",
        "recoverConcurrently",
        "autoCreateTopicEnable",
        "autoCreateSubscriptionGroup",
        "msgTraceTopicName",
        "traceTopicEnable",
        "rejectTransactionMessage",
        "fetchNameSrvAddrByDnsLookup",
        "fetchNamesrvAddrByAddressServer",
        "transactionTimeOut",
        "transactionCheckMax",
        "transactionCheckInterval",
        "aclEnable",
        "storePathRootDir",
        "storePathCommitLog",
        "storePathDLedgerCommitLog",
        "storePathEpochFile",
        "storePathBrokerIdentity",
        "disappearTimeAfterStart",
        "storeType",
        "flushIntervalCommitLog",
        "commitIntervalCommitLog",
        "flushCommitLogTimed",
        "deleteWhen",
        "fileReservedTime",
        "deleteFileBatchMax",
        "maxTransferBytesOnMessageInMemory",
        "maxTransferCountOnMessageInMemory",
        "maxTransferBytesOnMessageInDisk",
        "maxTransferCountOnMessageInDisk",
        "accessMessageInMemoryMaxRatio",
        "messageIndexEnable",
        "messageIndexSafe",
        "haMasterAddress",
        "brokerRole",
        "flushDiskType",
        "cleanFileForciblyEnable",
        "transientStorePoolEnable",
        "writeWithoutMmap",
        "enableRunningFlagsInFlush",
        "dispatchFromSenderThread",
        "wakeCommitWhenPutMessage",
        "wakeFlushWhenPutMessage",
        "enableCleanExpiredOffset",
        "totalReplicas",
        "inSyncReplicas",
        "minInSyncReplicas",
        "allAckInSyncStateSet",
        "enableAutoInSyncReplicas",
        "haFlowControlEnable",
    ];
    let keys = K::KEYS.iter().filter(|key| !important_only || IMPORTANT.contains(&key.name));
    keys.map(|key| format!("{}={}\n", key.name, config.get(key.name).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_log_shows_no_secret_and_no_endless_value() {
        for key in ["objectStoreSecretKey", "objectStoreAccessKey", "innerClientAuthenticationCredentials", "tls.server.keyPassword"] {
            assert_eq!((&*shown(key, "s3cret"), &*shown(key, "")), ("(hidden)", ""), "{key}");
        }
        assert_eq!((&*shown("initAuthenticationUser", "{}"), &*shown("brokerName", "b")), ("(hidden)", "b"));
        let long = "ü".repeat(1_000);
        assert_eq!(shown("brokerName", &long), format!("{}... (2000 bytes)", "ü".repeat(256)));
    }
}
