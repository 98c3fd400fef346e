// SPDX-License-Identifier: Apache-2.0
//! The broker itself: its configuration, statistics and helpers of its operators.

use crate::header::header;
use crate::str::Str;

header! {
    /// The answer to GET_BROKER_CONFIG (26): `version` is the JSON of a DataVersion.
    pub struct GetBrokerConfigResponseHeader {
        "version" => version: Str!,
    }

    /// VIEW_BROKER_STATS_DATA (315).
    pub struct ViewBrokerStatsDataRequestHeader {
        "statsName" => stats_name: Str!,
        "statsKey" => stats_key: Str!,
    }

    /// GET_BROKER_CONSUME_STATS (317).
    pub struct GetConsumeStatsInBrokerHeader {
        "isOrder" => is_order: bool!,
    }

    /// CHECK_ROCKSDB_CQ_WRITE_PROGRESS (354).
    pub struct CheckRocksdbCqWriteProgressRequestHeader {
        "topic" => topic: Option<Str>,
        "checkStoreTime" => check_store_time: i64,
    }

    /// EXPORT_ROCKSDB_CONFIG_TO_JSON (355).
    pub struct ExportRocksdbConfigToJsonRequestHeader {
        "configType" => config_type: Str!,
    }

    /// EXCHANGE_BROKER_HA_INFO (906), both directions.
    pub struct ExchangeHaInfoHeader {
        "masterHaAddress" => master_ha_address: Option<Str>,
        "masterFlushOffset" => master_flush_offset: Option<i64>,
        "masterAddress" => master_address: Option<Str>,
    }

    /// RESET_MASTER_FLUSH_OFFSET (908).
    pub struct ResetMasterFlushOffsetHeader {
        "masterFlushOffset" => master_flush_offset: i64!,
    }
}
