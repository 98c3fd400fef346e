// SPDX-License-Identifier: Apache-2.0
//! Every request that the broker serves, with names that would be paths in every field: the fuzz target of this name, with cases that are
//! the same in every run.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use support::hostile;

/// Each takes a second at most, nearly all of it for two starts and stops.
const CASES: u64 = 16;
/// Enough for all the steps of a story.
const BYTES_PER_STEP: usize = 140;

/// splitmix64.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as u8
    };
    // Odd and even lengths: the stories end in a stop or in a kill.
    std::iter::repeat_with(next).take(hostile::STEPS_MAX * BYTES_PER_STEP + (seed % 2) as usize).collect()
}

#[tokio::test]
async fn no_name_in_any_request_leads_out_of_the_store() {
    for seed in 0..CASES {
        hostile::story(&bytes(seed)).await;
    }
}
