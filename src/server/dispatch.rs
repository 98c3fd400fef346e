// SPDX-License-Identifier: Apache-2.0
//! One dispatcher for the codes of name server and broker: they do not overlap, so every port of the process serves both.

use std::sync::Arc;

use ferrocket_protocol::RemotingCommand;

use crate::namesrv::{self, NameServer};
use crate::remoting::{Peer, Replies, RequestHandler};

/// `B` is the broker's handler.
pub(super) struct Dispatch<B> {
    pub namesrv: Arc<NameServer>,
    pub broker: Arc<B>,
}

impl<B: RequestHandler> RequestHandler for Dispatch<B> {
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        if namesrv::serves(request.code) {
            self.namesrv.handle(peer, request, replies);
        } else {
            self.broker.handle(peer, request, replies);
        }
    }

    fn connected(&self, peer: &Arc<Peer>) {
        self.namesrv.connected(peer);
        self.broker.connected(peer);
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.broker.closed(peer);
        self.namesrv.closed(peer);
    }
}
