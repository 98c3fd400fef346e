// SPDX-License-Identifier: Apache-2.0
//! Records and batches: every length may lie, and what is a record encodes to itself again.
#![no_main]

use bytes::Bytes;
use ferrocket_protocol::Str;
use ferrocket_protocol::message::{MessageInner, MessageView, batch, decode::records, encode_record, layout, patch_record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for record in records(bytes) {
        let Ok(view) = record else { break };
        let inner = MessageInner {
            topic: Str::copy_from(view.topic),
            queue_id: view.queue_id,
            flag: view.flag,
            sys_flag: view.sys_flag,
            born_timestamp: view.born_timestamp,
            born_host: view.born_host,
            store_host: view.store_host,
            reconsume_times: view.reconsume_times,
            prepared_transaction_offset: view.prepared_transaction_offset,
            body: Bytes::copy_from_slice(view.body),
            properties: Bytes::copy_from_slice(view.properties),
            tags_code: 0,
        };
        let mut encoded = Vec::new();
        encode_record(&inner, &mut encoded);
        patch_record(&mut encoded, view.queue_offset, view.physical_offset, view.store_timestamp);
        let again = MessageView::decode(&encoded).expect("our own record");
        assert!(again.has_valid_body_crc());
        assert_eq!((again.topic, again.body, again.properties), (view.topic, view.body, view.properties));
        assert_eq!((again.queue_offset, again.physical_offset, again.store_timestamp), (view.queue_offset, view.physical_offset, view.store_timestamp));
        assert_eq!(again.magic == layout::MAGIC_V2, view.topic.len() > layout::TOPIC_V1_BYTES_MAX);
    }
    let body = Bytes::copy_from_slice(bytes);
    let items: Vec<_> = batch::items(&body).map_while(Result::ok).collect();
    let mut encoded = Vec::new();
    for item in &items {
        batch::encode_item(item.flag, &item.body, &item.properties, &mut encoded);
    }
    let encoded = Bytes::from(encoded);
    assert!(batch::items(&encoded).map(|item| item.expect("our own item")).eq(items));
});
