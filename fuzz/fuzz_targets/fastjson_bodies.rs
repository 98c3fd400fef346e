// SPDX-License-Identifier: Apache-2.0
//! The bodies that a server reads: what can be read is written so that it reads the same. The first byte chooses which.
#![no_main]

use std::collections::BTreeMap;

use ferrocket_protocol::body::{
    assignment::*, group::*, heartbeat::*, lock::*, offset::*, pop::*, queue::MessageQueue, register::*, route::*, running_info::*, stats::*, topic::*,
};
use ferrocket_protocol::fastjson;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn again<T: Serialize + DeserializeOwned + PartialEq>(text: &[u8]) {
    let Ok(body) = fastjson::from_slice::<T>(text) else { return };
    for written in [fastjson::to_vec(&body), fastjson::to_vec_standard(&body), fastjson::to_pretty(&body)] {
        let read = fastjson::from_slice::<T>(&written).expect("our own text");
        assert!(read == body || fastjson::to_vec(&read) == fastjson::to_vec(&body));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    match choice % 16 {
        0 => again::<HeartbeatData>(text),
        1 => again::<TopicConfigAndMappingSerializeWrapper>(text),
        2 => again::<SubscriptionGroupWrapper>(text),
        3 => again::<LockBatchRequestBody>(text),
        4 => again::<ConsumerOffsetSerializeWrapper>(text),
        5 => again::<ResetOffsetBody>(text),
        6 => again::<ConsumeStats>(text),
        7 => again::<TopicRouteData>(text),
        8 => again::<RegisterBrokerBody>(text),
        9 => again::<BatchAckMessageRequestBody>(text),
        10 => again::<ConsumerRunningInfo>(text),
        11 => again::<QueryAssignmentRequestBody>(text),
        12 => again::<BTreeMap<MessageQueue, BTreeMap<i64, String>>>(text),
        13 => again::<CheckClientRequestBody>(text),
        14 => {
            let _ = RegisterBrokerBody::decode(text, true, i32::MAX);
        }
        _ => {
            let _ = std::str::from_utf8(text).map(TopicConfig::from_text);
        }
    }
});
