// SPDX-License-Identifier: Apache-2.0
//! Requests whose work may wait for the disk: done on the pool for that, answered through a completion.

use std::sync::Arc;

use ferrocket_protocol::RemotingCommand;

use super::reply::{Refusal, Reply};
use crate::broker::Broker;
use crate::remoting::Peer;

/// Runs `work` where it may block; the connection reads on.
pub(super) fn answer_blocking(
    broker: &Arc<Broker>,
    peer: &Arc<Peer>,
    request: &RemotingCommand,
    name: &'static str,
    work: impl FnOnce(&Arc<Broker>) -> Result<RemotingCommand, Refusal> + Send + 'static,
) -> Result<Reply, Refusal> {
    let completion = peer.completion(request);
    let working = Arc::clone(broker);
    broker.runtime.spawn_blocking(name, move || {
        completion.answer_now(work(&working).unwrap_or_else(Refusal::into_response));
    });
    Ok(Reply::Later)
}
