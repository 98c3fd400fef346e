// SPDX-License-Identifier: Apache-2.0
//! A bad network between a slave and its master's replication port.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

/// How often a pump looks whether the network has changed.
const TURN: Duration = Duration::from_millis(20);
/// Where a proxy may have the port that a master of ours has on 127.0.0.1: slaves are told so by `brokerIP2`.
pub(super) const PROXY_IP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Good,
    /// What comes goes on so much later.
    Slow(Duration),
    /// In pieces of one byte.
    Bytewise,
    /// A connection breaks when so many bytes came from the master, wherever in a header or a record that is.
    CutAfter(u64),
    /// Connections break, and new ones at once.
    Parted,
    /// Connections stay, and nothing passes.
    HalfOpen,
}

struct Shared {
    target: SocketAddr,
    network: Mutex<Network>,
    /// Counts changes after which no older connection may live on.
    broken: AtomicU64,
    over: AtomicBool,
}

pub(super) struct Proxy {
    shared: Arc<Shared>,
}

impl Shared {
    fn network(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    pub(super) fn start(listen: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
        listener.set_nonblocking(true)?;
        let shared =
            Arc::new(Shared { target, network: Mutex::new(Network::Good), broken: AtomicU64::new(0), over: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            while !accepting.over.load(Ordering::Relaxed) {
                // Whoever cannot be passed on is closed, as by a network.
                match listener.accept() {
                    Ok((slave, _)) if *accepting.network() != Network::Parted => drop(pass_on(&accepting, slave)),
                    _ => std::thread::sleep(TURN),
                }
            }
        });
        Ok(Self { shared })
    }

    pub(super) fn set(&self, network: Network) {
        *self.shared.network() = network;
        if network == Network::Parted {
            self.shared.broken.fetch_add(1, Ordering::Relaxed);
        }
        // Until every pump has seen it: what is under way passes.
        std::thread::sleep(5 * TURN);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn pass_on(shared: &Arc<Shared>, slave: TcpStream) -> std::io::Result<()> {
    slave.set_nonblocking(false)?;
    let master = TcpStream::connect_timeout(&shared.target, Duration::from_secs(2))?;
    let generation = shared.broken.load(Ordering::Relaxed);
    for (from, to, is_masters) in [(slave.try_clone()?, master.try_clone()?, false), (master, slave, true)] {
        from.set_read_timeout(Some(TURN))?;
        to.set_nodelay(true)?;
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // Either end may break it at any time: that is what this is for.
            let _ended = pump(&shared, generation, &from, &to, is_masters);
            for end in [from, to] {
                let _closed = end.shutdown(Shutdown::Both);
            }
        });
    }
    Ok(())
}

fn pump(shared: &Shared, generation: u64, mut from: &TcpStream, mut to: &TcpStream, is_masters: bool) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut passed = 0_u64;
    loop {
        if shared.over.load(Ordering::Relaxed) || shared.broken.load(Ordering::Relaxed) != generation {
            return Ok(());
        }
        let network = *shared.network();
        if network == Network::HalfOpen {
            std::thread::sleep(TURN);
            continue;
        }
        let bytes = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(bytes) => &chunk[..bytes],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error),
        };
        match network {
            Network::Slow(delay) => {
                std::thread::sleep(delay);
                to.write_all(bytes)?;
            }
            Network::Bytewise => bytes.iter().try_for_each(|byte| to.write_all(std::slice::from_ref(byte)))?,
            Network::CutAfter(limit) if is_masters && passed + bytes.len() as u64 >= limit => {
                return to.write_all(&bytes[..(limit - passed.min(limit)) as usize]);
            }
            _ => to.write_all(bytes)?,
        }
        passed += bytes.len() as u64;
    }
}
