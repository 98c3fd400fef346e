// SPDX-License-Identifier: Apache-2.0
//! Which clients asked in vain for something that is not served: one warning for each, so that an operator sees why it does not work.
//!
//! Knows the names of features as texts only; who refuses gives them.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::warn;

/// Pairs of client and feature that are remembered. A client may come from as many addresses as it likes; an operator has seen enough.
const REMEMBERED_COUNT_MAX: usize = 1_024;

/// Clones share what was said: one for all listeners of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct AskedInVain(Arc<Mutex<HashSet<(IpAddr, &'static str)>>>);

impl AskedInVain {
    /// A client comes with a new port each time, so its address is what counts. `code`: of the request by which it asked.
    pub(super) fn asked(&self, client: SocketAddr, feature: &'static str, code: Option<i32>) {
        if self.is_new(client.ip(), feature) {
            warn!(%client, code, "a client asks for {feature}, which is not served yet; it is not warned of again");
        }
    }

    fn is_new(&self, client: IpAddr, feature: &'static str) -> bool {
        let mut said = self.0.lock();
        if said.len() >= REMEMBERED_COUNT_MAX {
            return false;
        }
        let is_new = said.insert((client, feature));
        if said.len() >= REMEMBERED_COUNT_MAX {
            warn!(clients = said.len(), "so many clients ask for what is not served yet that no more of them are named");
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_once_for_each_feature_and_there_is_an_end_of_it() {
        let unserved = AskedInVain::default();
        let address = |number: u32| IpAddr::V4(number.into());
        assert!(unserved.is_new(address(1), "TLS"));
        assert!(!unserved.clone().is_new(address(1), "TLS"));
        assert!(unserved.is_new(address(1), "POP consumption"));
        assert!(unserved.is_new(address(2), "TLS"));
        (0..10_000).for_each(|number| _ = unserved.is_new(address(number), "TLS"));
        assert!(!unserved.is_new(address(20_000), "TLS"));
        assert_eq!(unserved.0.lock().len(), REMEMBERED_COUNT_MAX);
    }
}
