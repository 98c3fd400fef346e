// SPDX-License-Identifier: Apache-2.0
//! The programme's held pulls, with subscriptions of one tag.

#![expect(dead_code, unreachable_pub, reason = "the programme uses more of its files than the model does")]

pub mod filter {
    //! As much of a subscription as a waiter is asked for.

    #[derive(Debug)]
    pub struct Subscription {
        /// `None` wants all.
        pub tags_code: Option<i64>,
    }

    impl Subscription {
        pub fn matches_tags_code(&self, tags_code: i64) -> bool {
            self.tags_code.is_none_or(|wanted| wanted == tags_code)
        }
    }
}
#[path = "../../src/broker/hold/mod.rs"]
pub mod hold;
