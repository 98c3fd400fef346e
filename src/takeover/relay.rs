// SPDX-License-Identifier: Apache-2.0
//! Passes connections on to the old master, byte for byte, so that clients have moved to this address before anything moves. Held, it
//! takes no more requests, and answers still come; ended, its connections are closed and its socket is given back: who connects
//! meanwhile waits in it.
//!
//! Knows nothing of what is said.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use crate::runtime::{Runtime, Shutdown, Task};

/// Connections that are passed on at the same time; others wait. Each takes two descriptors and 32 KiB.
const RELAYED_MAX: usize = 8_192;
const BUFFER_BYTES: usize = 16 * 1024;

pub(super) struct Relay {
    over: Shutdown,
    held: watch::Sender<bool>,
    task: Task<TcpListener>,
}

impl Relay {
    pub(super) fn start(socket: TcpListener, target: String, runtime: &Runtime) -> Self {
        let (over, held) = (runtime.shutdown().child(), watch::Sender::new(false));
        let accept = Intake { target: target.into(), held: held.clone(), over: over.clone(), runtime: runtime.clone() };
        Self { task: runtime.spawn("accept for the old master", accept.run(socket)), over, held }
    }

    pub(super) fn hold(&self, is_held: bool) {
        self.held.send_replace(is_held);
    }

    /// `None`: the task has panicked.
    pub(super) async fn end(self) -> Option<TcpListener> {
        self.over.begin();
        self.task.join().await
    }
}

struct Intake {
    target: Arc<str>,
    held: watch::Sender<bool>,
    over: Shutdown,
    runtime: Runtime,
}

impl Intake {
    async fn run(self, socket: TcpListener) -> TcpListener {
        let room = Arc::new(Semaphore::new(RELAYED_MAX));
        let accept_all = async {
            // Never closed, so a permit always comes.
            while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
                match socket.accept().await {
                    Ok((client, addr)) => {
                        let (target, held, over) = (Arc::clone(&self.target), self.held.subscribe(), self.over.clone());
                        self.runtime.spawn("pass on a connection", async move {
                            over.or(pass_on(client, addr, &target, held)).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        warn!(%error, "a connection could not be accepted");
                        self.runtime.clock().sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
        };
        self.over.or(accept_all).await;
        socket
    }
}

async fn pass_on(client: TcpStream, addr: SocketAddr, target: &str, mut held: watch::Receiver<bool>) {
    let relayed = async {
        let old = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        old.set_nodelay(true)?;
        let ((mut from_client, mut to_client), (mut from_old, mut to_old)) = (client.into_split(), old.into_split());
        let requests = async {
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                // The sender lives as long as the relay.
                let _ = held.wait_for(|is_held| !is_held).await;
                let bytes = tokio::select! {
                    read = from_client.read(&mut buffer) => read?,
                    _ = held.changed() => continue,
                };
                if bytes == 0 {
                    return Ok(());
                }
                to_old.write_all(&buffer[..bytes]).await?;
            }
        };
        tokio::select! {
            ended = requests => ended,
            ended = tokio::io::copy(&mut from_old, &mut to_client) => ended.map(|_| ()),
        }
    };
    let ended: std::io::Result<()> = relayed.await;
    if let Err(error) = ended {
        debug!(%addr, %error, "a connection to the old master has ended");
    }
}
