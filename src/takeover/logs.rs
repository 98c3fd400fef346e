// SPDX-License-Identifier: Apache-2.0
//! Reads the old master's log once more, as a slave does, and compares it with the one here byte for byte.

use std::sync::Arc;
use std::time::Duration;

use ferrocket_protocol::ha::{HA_HEADER_BYTES, HaHeader, encode_report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker::Broker;

/// How long nothing may come: a master of the original waits 5 s before it says that it has nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// No master sends more in one piece.
const PIECE_BYTES_MAX: i32 = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Equal {
    pub begin: i64,
    pub end: i64,
    /// CRC-32 of these bytes, of either.
    pub crc32: u32,
}

/// From where both have it up to `end`, in which both logs ended.
pub(super) async fn compare(broker: &Arc<Broker>, ha_addr: &str, begin: i64, end: i64) -> Result<Equal, String> {
    // As an empty slave's report, 0 would mean the last file.
    let begin = begin.max(broker.store.min_phy_offset()).max(1);
    let failed = |error: std::io::Error| format!("the old log cannot be read: {error}");
    let mut stream = TcpStream::connect(ha_addr).await.map_err(failed)?;
    let (mut there, mut here) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
    let mut at = begin;
    while at < end {
        // Who says nothing for 20 s is closed.
        stream.write_all(&encode_report(at)).await.map_err(failed)?;
        let mut piece = Vec::new();
        let read = async {
            let mut header = [0; HA_HEADER_BYTES];
            stream.read_exact(&mut header).await?;
            let HaHeader { physical_offset, body_bytes } = HaHeader::decode(header);
            if (body_bytes > 0 && physical_offset != at) || !(0..=PIECE_BYTES_MAX).contains(&body_bytes) {
                return Err(std::io::Error::other(format!("{body_bytes} bytes of {physical_offset} came, and {at} was asked for")));
            }
            piece.resize(body_bytes as usize, 0);
            stream.read_exact(&mut piece).await
        };
        tokio::select! {
            read = read => read.map(|_| ()).map_err(failed)?,
            () = broker.clock.sleep(SILENCE_MAX) => return Err(format!("nothing of the old log comes from {at} on")),
        }
        piece.truncate((end - at) as usize);
        let (store, from, wanted) = (Arc::clone(&broker.store), at, piece.len());
        let ours = move || {
            let mut bytes = Vec::with_capacity(wanted);
            while bytes.len() < wanted {
                let range = store.log_range(from + bytes.len() as i64, wanted - bytes.len());
                let range = range.ok_or_else(|| std::io::Error::other("the log here does not have it"))?;
                match range.in_memory() {
                    Some(memory) => bytes.extend_from_slice(memory),
                    None => bytes.extend(range.read()?),
                }
            }
            Ok::<_, std::io::Error>(bytes)
        };
        let ours = broker.runtime.spawn_blocking("read the log to compare it", ours).join().await;
        let ours = ours.ok_or("see the log")?.map_err(|error| format!("the log here cannot be read at {at}: {error}"))?;
        if let Some(differs) = ours.iter().zip(&piece).position(|(ours, theirs)| ours != theirs) {
            return Err(format!("the logs differ at {}", at + differs as i64));
        }
        here.update(&ours);
        there.update(&piece);
        at += piece.len() as i64;
    }
    let (here, there) = (here.finalize(), there.finalize());
    assert_eq!(here, there, "equal bytes have equal sums");
    Ok(Equal { begin, end, crc32: here })
}
