// SPDX-License-Identifier: Apache-2.0
//! The property string: editing its bytes is the same as rebuilding it from a map.
#![no_main]

use std::collections::HashMap;

use ferrocket_protocol::message::{properties, tags_code_of};
use libfuzzer_sys::fuzz_target;

fn all(bytes: &[u8]) -> HashMap<Vec<u8>, Vec<u8>> {
    properties::iter(bytes).map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let map = all(bytes);
    let _ = tags_code_of(bytes);
    let names = map.keys().filter_map(|name| std::str::from_utf8(name).ok()).take(3).chain(["TAGS", "KEYS"]);
    for name in names {
        assert_eq!(properties::find(bytes, name), map.get(name.as_bytes()).map(Vec::as_slice));
        let mut edited = bytes.to_vec();
        properties::set(&mut edited, name, "v");
        let mut expected = map.clone();
        expected.insert(name.into(), b"v".to_vec());
        assert_eq!(all(&edited), expected);
        properties::remove(&mut edited, name);
        expected.remove(name.as_bytes());
        assert_eq!(all(&edited), expected);
    }
});
