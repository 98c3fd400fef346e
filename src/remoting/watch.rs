// SPDX-License-Identifier: Apache-2.0
//! The task that looks after those who wait for room in the memory budget. Asleep while nobody does.

use super::budget::Budget;
use super::limits::{BUDGET_LOOK, BUDGET_LOOK_PER_CONNECTION, BUDGET_SAY};
use crate::runtime::Runtime;

/// Starts it, once for all listeners that share the budget.
pub(super) fn start(budget: &Budget, runtime: &Runtime) {
    if budget.is_unwatched() {
        runtime.spawn("memory budget", watch(budget.clone(), runtime.clone()));
    }
}

async fn watch(budget: Budget, runtime: Runtime) {
    let mut pass = None;
    let mut say_nanos = 0;
    let mut looked_at = 0;
    loop {
        if !budget.has_paused() {
            if runtime.shutdown().or(budget.paused()).await.is_none() {
                return;
            }
            let now = runtime.clock().nanos();
            if now >= say_nanos {
                say_nanos = now + BUDGET_SAY.as_nanos() as u64;
                budget.say();
            }
        }
        // A look costs by the connection.
        let wait = BUDGET_LOOK.max(BUDGET_LOOK_PER_CONNECTION * looked_at);
        if runtime.shutdown().or(runtime.clock().sleep(wait)).await.is_none() {
            return;
        }
        let connections = budget.accounts();
        looked_at = u32::try_from(connections.len()).unwrap_or(u32::MAX);
        budget.look(&connections, runtime.clock().nanos(), &mut pass);
    }
}
