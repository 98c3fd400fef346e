// SPDX-License-Identifier: Apache-2.0
//! A broker, asked for everything it serves with names that would be paths: nothing leaves its directory, nothing panics. The driver is
//! `tests/support/hostile.rs`, which `tests/hostile_names.rs` runs with cases of its own.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(support::hostile::story(bytes));
});
