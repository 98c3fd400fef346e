// SPDX-License-Identifier: Apache-2.0
//! Clients and their groups: heartbeat's answer, leaving, who else is there.

use super::header;
use crate::str::Str;

header! {
    /// The answer to HEART_BEAT (34); the names are constants of the original, hence their spelling.
    pub struct HeartbeatResponseHeader {
        "IS_SUPPORT_HEART_BEAT_V2" => supports_heartbeat_v2: bool!,
        "IS_SUB_CHANGE" => subscription_changed: bool!,
    }

    /// UNREGISTER_CLIENT (35).
    pub struct UnregisterClientRequestHeader {
        "clientID" => client_id: Str!,
        "producerGroup" => producer_group: Option<Str>,
        "consumerGroup" => consumer_group: Option<Str>,
    }

    /// GET_CONSUMER_LIST_BY_GROUP (38).
    pub struct GetConsumerListByGroupRequestHeader {
        "consumerGroup" => consumer_group: Str! required,
        "bname" => broker_name: Option<Str>,
    }

    /// NOTIFY_CONSUMER_IDS_CHANGED (40), broker to client.
    pub struct NotifyConsumerIdsChangedRequestHeader {
        "consumerGroup" => consumer_group: Str!,
    }
}
