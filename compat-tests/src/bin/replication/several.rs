// SPDX-License-Identifier: Apache-2.0
//! One master and two slaves: three copies, and what a send waits for.

use std::path::Path;

use anyhow::{Result, ensure};
use compat_tests::plain_client::{PlainClient, eventually};
use compat_tests::servers::{self, Make};

use super::cells::Cells;
use super::member::{CATCH_UP_LIMIT, FLUSH_SLAVE_TIMEOUT, Member, QUEUES, SEND_OK, Sent, TOPIC, caught_up, knows_topic, same_files};

pub(super) fn story(master_make: &Make, slave_makes: [&Make; 2], home: &Path, cells: &mut Cells) -> Result<()> {
    let namesrv = servers::start_namesrv(&Make::Ferrocket, &home.join("namesrv"), servers::free_port()?, &[])?;
    let master = Member::master(master_make, home, &namesrv, &["brokerRole=SYNC_MASTER", "inSyncReplicas=3"])?;
    let [first, second] = [Member::slave(slave_makes[0], home, &namesrv, 1)?, Member::slave(slave_makes[1], home, &namesrv, 2)?];
    let master_server = master.start()?;
    let mut client = PlainClient::open(master_server.addr)?;
    client.create_topic(TOPIC, QUEUES)?;
    let mut sent = Sent::default();
    let first_server = first.start()?;
    sent.fill(&mut client, 200)?;
    caught_up(&mut client, &mut PlainClient::open(first_server.addr)?)?;
    // A master of 4.x is content with any slave.
    if *master_make != Make::Java("4.9.7") {
        cells.run("double write: 2 acknowledgements are waited for, one slave is there", || {
            let code = sent.send(&mut client, true)?;
            ensure!(code == FLUSH_SLAVE_TIMEOUT, "a send was answered {code}");
            Ok(())
        })?;
    }
    let second_server = second.start()?;
    cells.run("double write: 2 acknowledgements are waited for, both slaves are there", || {
        eventually("a send has two slaves", CATCH_UP_LIMIT, || Ok((sent.send(&mut client, true)? == SEND_OK).then_some(())))?;
        for _ in 0..200 {
            let code = sent.send(&mut client, true)?;
            ensure!(code == SEND_OK, "a send was answered {code}");
        }
        Ok(())
    })?;
    cells.run("two slaves: equal bytes and queue offsets", || {
        for server in [first_server, second_server] {
            let mut asking = PlainClient::open(server.addr)?;
            caught_up(&mut client, &mut asking)?;
            knows_topic(&mut asking, TOPIC)?;
            sent.check(&mut asking)?;
            drop(asking);
            server.stop()?;
        }
        drop(client);
        master_server.stop()?;
        same_files(&master, &first)?;
        same_files(&master, &second)?;
        Ok(())
    })?;
    namesrv.stop()?;
    Ok(())
}
