// SPDX-License-Identifier: Apache-2.0
//! The word "stop", said once and heard everywhere below it.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// A cheap clone of the stop signal. A child stops with its parent, not the other way round.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    pub fn begin(&self) {
        self.0.cancel();
    }

    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when the stop has begun.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }

    /// The future's result, or `None` when the stop begins first.
    pub async fn or<F: Future>(&self, future: F) -> Option<F::Output> {
        self.0.run_until_cancelled(future).await
    }
}
