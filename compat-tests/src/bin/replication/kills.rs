// SPDX-License-Identifier: Apache-2.0
//! SIGKILL of the master under load, again and again, with two copies on two disks: nothing that was acknowledged is missing on the slave,
//! which is the next master. The slave lies some way off, and what is under way dies with the master: an acknowledgement that came before
//! the slave had the message is found out.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::plain_client::{Outgoing, PlainClient, eventually};
use compat_tests::producers::Producers;
use compat_tests::servers::{self, Make};

use super::cells::Cells;
use super::member::{CATCH_UP_LIMIT, Member, SEND_OK, knows_topic};
use super::proxy::{Network, PROXY_IP, Proxy};

const TOPIC: &str = "Killed";
const PROBE: &str = "Probe";
const PRODUCERS: usize = 8;
/// In each direction between the two.
const WAY: Duration = Duration::from_millis(10);
/// Requests in flight per producer.
const WINDOW: usize = 16;
/// Without a number of rounds: as many as fit.
const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS_MAX: u32 = 20;

pub(super) fn story(rounds: Option<u32>, home: &Path, cells: &mut Cells) -> Result<()> {
    let namesrv = servers::start_namesrv(&Make::Ferrocket, &home.join("namesrv"), servers::free_port()?, &[])?;
    let lines = ["brokerRole=SYNC_MASTER", "inSyncReplicas=2", "flushDiskType=SYNC_FLUSH"];
    let mut master = Member::master(&Make::Ferrocket, home, &namesrv, &lines)?;
    let mut slave = Member::slave(&Make::Ferrocket, home, &namesrv, 1)?;
    lines[1..].iter().for_each(|line| slave.set(line));
    for member in [&mut master, &mut slave] {
        member.set(&format!("brokerIP2={PROXY_IP}"));
    }
    let mut producers = Producers::new(TOPIC, PRODUCERS);
    let since = Instant::now();
    let mut done = 0;
    while rounds.map_or_else(|| done < ROUNDS_MAX && since.elapsed() < LIMIT, |rounds| done < rounds) {
        let (before, began) = (producers.acknowledged_count(), Instant::now());
        let outcome = round(done, &mut master, &mut slave, &mut producers, began);
        let took = outcome.with_context(|| format!("after {done} good rounds, {before} messages acknowledged"))?;
        println!("replication: kill {done}: {} acknowledged ({took:.1} s)", producers.acknowledged_count() - before);
        std::mem::swap(&mut master, &mut slave);
        done += 1;
    }
    println!("replication: {done} kills, {} acknowledged messages", producers.acknowledged_count());
    cells.run("double write and SYNC_FLUSH: nothing acknowledged is lost when the master is killed and its slave promoted", || {
        let server = master.start()?;
        producers.check_whole(server.addr)?;
        server.stop()
    })?;
    namesrv.stop()?;
    Ok(())
}

/// Until the slave has been the master once, and the other one has its store.
fn round(number: u32, master: &mut Member, slave: &mut Member, producers: &mut Producers, began: Instant) -> Result<f32> {
    let master_server = master.start()?;
    let mut client = PlainClient::open(master_server.addr)?;
    if number == 0 {
        client.create_topic(TOPIC, PRODUCERS as i32)?;
        client.create_topic(PROBE, 1)?;
    }
    let proxy = Proxy::start(SocketAddr::from((PROXY_IP, master.ha_port())), servers::loopback(master.ha_port()))?;
    proxy.set(Network::Slow(WAY));
    let slave_server = slave.start()?;
    let mut asking = PlainClient::open(slave_server.addr)?;
    knows_topic(&mut asking, TOPIC)?;
    let probe = Outgoing::new(PROBE, 0, "probe").request();
    eventually("a send has its slave", CATCH_UP_LIMIT, || Ok((client.ask(&probe)?.code == SEND_OK).then_some(())))?;

    // A time that differs from round to round, so that the kill meets rolls, flushes and quiet moments alike.
    let load = Duration::from_millis(250 + u64::from(number * 137 % 400));
    let before = producers.acknowledged_count();
    producers.load(master_server.addr, WINDOW, load, || {
        master_server.kill()?;
        proxy.set(Network::Parted);
        Ok(())
    })?;
    ensure!(producers.acknowledged_count() > before, "nothing was acknowledged");
    drop(asking);
    if number.is_multiple_of(2) {
        slave_server.kill()?;
    } else {
        slave_server.stop().map(drop)?;
    }
    slave.id = 0;
    slave.set("brokerRole=SYNC_MASTER");
    let promoted = slave.start()?;
    producers.check(promoted.addr).context("what the promoted slave has")?;
    promoted.stop()?;

    // The old master may have what its slave never got: it begins anew, with a copy.
    copy(&slave.store(), &master.store())?;
    master.id = 1;
    master.set("brokerRole=SLAVE");
    Ok(began.elapsed().as_secs_f32())
}

/// A directory with all that is in it takes another one's place.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
