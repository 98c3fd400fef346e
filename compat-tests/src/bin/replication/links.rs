// SPDX-License-Identifier: Apache-2.0
//! A slave behind a bad network: it loses nothing, takes nothing twice, and is there again by itself.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::plain_client::{PlainClient, eventually};
use compat_tests::servers::{self, Make};

use super::cells::Cells;
use super::member::{CATCH_UP_LIMIT, Member, QUEUES, Sent, TOPIC, caught_up, knows_topic, log_bounds, same_files};
use super::proxy::{Network, PROXY_IP, Proxy};

/// Longer than `haHousekeepingInterval`, after which both ends give up a connection on which nothing comes.
const OUTAGE: Duration = Duration::from_secs(7);

pub(super) fn story(master_make: &Make, slave_make: &Make, home: &Path, cells: &mut Cells) -> Result<()> {
    let namesrv = servers::start_namesrv(&Make::Ferrocket, &home.join("namesrv"), servers::free_port()?, &[])?;
    let mut master = Member::master(master_make, home, &namesrv, &["brokerRole=ASYNC_MASTER"])?;
    let mut slave = Member::slave(slave_make, home, &namesrv, 1)?;
    let target = servers::loopback(master.ha_port());
    // The original's slave goes where the name server says, and 5.x forgets `haMasterAddress`: there the port of the same number on
    // another address of the loopback is the proxy's, which a master that listens on every address would have itself.
    let listen = if *master_make == Make::Ferrocket {
        master.set(&format!("brokerIP2={PROXY_IP}"));
        SocketAddr::from((PROXY_IP, master.ha_port()))
    } else {
        let listen = servers::loopback(servers::free_port()?);
        slave.set(&format!("haMasterAddress={listen}"));
        listen
    };
    let proxy = Proxy::start(listen, target)?;
    let master_server = master.start()?;
    let slave_server = slave.start()?;
    let mut client = PlainClient::open(master_server.addr)?;
    let mut asking = PlainClient::open(slave_server.addr)?;
    client.create_topic(TOPIC, QUEUES)?;
    let mut sent = Sent::default();
    sent.fill(&mut client, 100)?;
    caught_up(&mut client, &mut asking)?;

    let passing = [
        ("link: 100 ms slower in each direction", Network::Slow(Duration::from_millis(100)), 200),
        ("link: one byte at a time", Network::Bytewise, 40),
    ];
    for (name, network, count) in passing {
        cells.run(name, || {
            proxy.set(network);
            sent.fill(&mut client, count)?;
            caught_up(&mut client, &mut asking)
        })?;
    }
    // In a header, and in a record.
    for (name, bytes) in [("link: cut within a header", 5), ("link: cut within a record", 100_003)] {
        cells.run(name, || {
            proxy.set(Network::Parted);
            let at = log_bounds(&mut asking)?.1;
            sent.fill(&mut client, 100)?;
            proxy.set(Network::CutAfter(bytes));
            if bytes > 1_000 {
                eventually("something came before the cut", CATCH_UP_LIMIT, || Ok((log_bounds(&mut asking)?.1 > at).then_some(())))?;
            } else {
                std::thread::sleep(OUTAGE);
                ensure!(log_bounds(&mut asking)?.1 == at, "a header that was cut brought something");
            }
            proxy.set(Network::Good);
            caught_up(&mut client, &mut asking)
        })?;
    }
    for (name, network) in
        [("link: parted, and whole again", Network::Parted), ("link: half open for longer than both ends wait", Network::HalfOpen)]
    {
        cells.run(name, || {
            proxy.set(network);
            let at = log_bounds(&mut asking)?.1;
            sent.fill(&mut client, 300)?;
            std::thread::sleep(OUTAGE);
            ensure!(log_bounds(&mut asking)?.1 == at, "something came through");
            proxy.set(Network::Good);
            caught_up(&mut client, &mut asking)
        })?;
    }
    cells.run("link: equal bytes and queue offsets after all that", || {
        knows_topic(&mut asking, TOPIC)?;
        sent.check(&mut asking)?;
        drop((asking, client));
        slave_server.stop()?;
        master_server.stop()?;
        same_files(&master, &slave).map(|_| ()).context("behind a bad network")
    })?;
    namesrv.stop()?;
    Ok(())
}
