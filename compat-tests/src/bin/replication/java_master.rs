// SPDX-License-Identifier: Apache-2.0
//! A master of the original with a slave of ours: when the master is killed consumers read on from the slave, which is then started as the
//! master on the same store.

use std::path::Path;

use anyhow::{Result, ensure};
use compat_tests::plain_client::{Outgoing, PlainClient, eventually};
use compat_tests::servers::{self, Make};
use compat_tests::wire::Frame;

use super::{CATCH_UP_LIMIT, GROUP, Member, QUEUES, SEND_OK, TABLES_LIMIT, TOPIC, caught_up, same_files, send_many};

const DELAY_LEVEL: &str = "2";

pub(super) fn carried_on(home: &Path) -> Result<()> {
    let namesrv = servers::start_namesrv(&Make::Ferrocket, &home.join("namesrv"), servers::free_port()?, &[])?;
    let master = Member::new(&Make::Java("5.5.0"), home, &namesrv, 0, &["brokerRole=ASYNC_MASTER"])?;
    let reading = ["brokerRole=SLAVE", "slaveReadEnable=true", "registerNameServerPeriod=10000"];
    let mut slave = Member::new(&Make::Ferrocket, home, &namesrv, 1, &reading)?;
    let master_server = master.start()?;
    let slave_server = slave.start()?;
    let mut client = PlainClient::open(master_server.addr)?;
    client.create_topic(TOPIC, QUEUES)?;
    client.create_group(GROUP)?;
    caught_up(&mut client)?;
    send_many(&mut client, 0, 4_000)?;
    client.send(&Outgoing::new("Delayed", 0, "later").with("DELAY", DELAY_LEVEL))?;
    client.commit(GROUP, TOPIC, 1, 77)?;
    eventually("the delayed message is there", CATCH_UP_LIMIT, || Ok((client.max_offset("Delayed", 0)? == 1).then_some(())))?;
    caught_up(&mut client)?;

    let mut asking = PlainClient::open(slave_server.addr)?;
    let delayed = client.body(&Frame::request(45))?["offsetTable"].clone();
    eventually("the slave has the master's tables", TABLES_LIMIT, || {
        let asked = Frame::request(14).with("consumerGroup", GROUP).with("topic", TOPIC).with("queueId", 1);
        let answer = asking.ask(&asked)?;
        let has_offset = answer.code == SEND_OK && answer.ext_i64("offset")? == 77;
        Ok((has_offset && asking.body(&Frame::request(45))?["offsetTable"] == delayed).then_some(()))
    })?;
    let refused = asking.ask(&Outgoing::new(TOPIC, 0, "no").request())?.code;
    ensure!(refused == 2, "a send to a slave was answered {refused}");
    let held: Vec<_> = (0..QUEUES).map(|queue_id| client.pull_all(TOPIC, queue_id, 0, "*")).collect::<Result<_>>()?;

    // A consumer goes on at the slave, where the other one has ended.
    master_server.kill()?;
    for (queue_id, held) in (0..).zip(&held) {
        let read = asking.pull_all(TOPIC, queue_id, 0, "*")?;
        ensure!(read == *held, "queue {queue_id}: {} messages at the slave, {} at its master", read.len(), held.len());
    }
    drop(asking);
    slave_server.stop()?;
    same_files(&master, &slave)?;

    slave.id = 0;
    slave.lines = vec!["brokerRole=ASYNC_MASTER".to_owned(), "brokerId=0".to_owned()];
    let promoted = slave.start()?;
    let mut client = PlainClient::open(promoted.addr)?;
    for (queue_id, held) in (0..).zip(&held) {
        let sent = client.send(&Outgoing::new(TOPIC, queue_id, "the next"))?;
        ensure!(sent.ext_i64("queueOffset")? == held.len() as i64, "queue {queue_id} goes on at {}", sent.ext("queueOffset"));
    }
    ensure!(client.committed(GROUP, TOPIC, 1)? == 77, "the group's offset");
    ensure!(client.max_offset("Delayed", 0)? == 1, "a delayed message that the master had delivered comes again");
    promoted.stop()?;
    namesrv.stop()?;
    Ok(())
}
