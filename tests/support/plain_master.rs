// SPDX-License-Identifier: Apache-2.0
//! The replication port of a master, served by a story by hand.

use std::net::SocketAddr;
use std::time::Duration;

use ferrocket::config::{BrokerConfig, BrokerRole};
use ferrocket::runtime::ManualClock;
use ferrocket_protocol::ha::{HA_REPORT_BYTES, HaHeader, LOGS_DIFFER_REPORT, decode_report, encode_report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::{PATIENCE, TestBroker};

/// The replication port of a master.
pub struct PlainMaster {
    listener: TcpListener,
    pub addr: SocketAddr,
}

/// A slave's connection to it.
pub struct SlaveLink {
    pub read: OwnedReadHalf,
    pub write: OwnedWriteHalf,
}

impl PlainMaster {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { listener, addr }
    }

    pub async fn accept(&self) -> SlaveLink {
        let (stream, _): (TcpStream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.expect("a slave").unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        SlaveLink { read, write }
    }

    /// The next connection, which a slave opens 5 s after the last one ended.
    pub async fn accept_again(&self, clock: &ManualClock) -> SlaveLink {
        let moves = async {
            loop {
                clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            link = self.accept() => link,
            () = moves => unreachable!("it never ends"),
        }
    }
}

impl SlaveLink {
    pub async fn report(&mut self) -> i64 {
        let mut bytes = [0; HA_REPORT_BYTES];
        tokio::time::timeout(PATIENCE, self.read.read_exact(&mut bytes)).await.expect("a report").unwrap();
        decode_report(bytes)
    }

    /// A slave has the last records that it has sent again, of a master with these bytes; where its log ends, as it says then.
    pub async fn resume(&mut self, slave: &TestBroker, bytes: &[u8]) -> i64 {
        let (start, end) = (self.report().await, end_of(slave));
        assert!(start <= end && (start > 0 || end == 0), "{start} of {end}");
        if start < end {
            self.write_all(&frames(start, &bytes[start as usize..end as usize], &[10_000, 77])).await;
            assert_eq!(self.report().await, end, "it says nothing of what it has before all of it was compared");
        }
        end
    }

    /// Reports come until one of this end does, never a smaller one than before.
    pub async fn reports_up_to(&mut self, end: i64) {
        let mut last = -1;
        while last < end {
            let report = self.report().await;
            assert!(report >= last && report <= end, "{report} after {last}, of {end}");
            last = report;
        }
    }

    pub async fn send(&mut self, offset: i64, body: &[u8]) {
        self.write_all(&frame(offset, body)).await;
    }

    pub async fn write_all(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.write.write_all(bytes)).await.expect("a slave that reads").unwrap();
    }

    /// The slave closes the connection; what it said before, in bytes.
    pub async fn closed(self, story: &str) -> usize {
        self.last_words(story).await.len()
    }

    async fn last_words(mut self, story: &str) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset, too, is an end: the slave had not read everything.
        let _ = tokio::time::timeout(PATIENCE, self.read.read_to_end(&mut rest)).await.expect(story);
        rest
    }

    /// The slave says that its log is another one and closes the connection, without a word of what it has.
    pub async fn differs(self, story: &str) {
        assert_eq!(self.last_words(story).await, encode_report(LOGS_DIFFER_REPORT), "{story}");
    }
}

pub fn frame(offset: i64, body: &[u8]) -> Vec<u8> {
    let mut frame = HaHeader { physical_offset: offset, body_bytes: body.len() as i32 }.encode().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// `bytes`, which begin at `start` in the log, in frames whose bodies have these lengths by turns.
pub fn frames(start: i64, bytes: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut framed, mut at) = (Vec::new(), 0);
    for length in lengths.iter().cycle() {
        if at == bytes.len() {
            return framed;
        }
        let end = (at + length).min(bytes.len());
        framed.extend(frame(start + at as i64, &bytes[at..end]));
        at = end;
    }
    framed
}

pub fn as_slave_of(addr: SocketAddr) -> impl FnOnce(&mut BrokerConfig) {
    move |config| {
        config.broker_role = BrokerRole::Slave;
        config.broker_id = 1;
        config.ha_master_address = addr.to_string();
    }
}

pub fn end_of(slave: &TestBroker) -> i64 {
    slave.broker.store.max_phy_offset()
}
