// SPDX-License-Identifier: Apache-2.0
//! A master and its slave, from a send without a slave to the slave that carries on. One life of the pair shows it all, since a broker of
//! the original takes seconds to start and its slave a minute to copy tables.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::plain_client::{Outgoing, PlainClient, eventually};
use compat_tests::servers::{self, Make};
use compat_tests::wire::Frame;

use super::cells::Cells;
use super::member::{
    CATCH_UP_LIMIT, LOG_FILE_BYTES, LOG_FILES, Member, QUEUES, SEND_OK, SLAVE_TIMEOUT, Sent, TABLES_LIMIT, TOPIC, caught_up, knows_topic,
    log_bounds, same_files,
};

const GROUP: &str = "CopiedGroup";
const COMMITTED: i64 = 77;
const DELAYED: &str = "Delayed";
/// Files that go as by retention.
const EXPIRED: usize = 2;

pub(super) fn story(master_make: &Make, slave_make: &Make, home: &Path, cells: &mut Cells) -> Result<()> {
    let namesrv = servers::start_namesrv(&Make::Ferrocket, &home.join("namesrv"), servers::free_port()?, &[])?;
    let mut master = Member::master(master_make, home, &namesrv, &["brokerRole=SYNC_MASTER", "inSyncReplicas=2"])?;
    let mut slave = Member::slave(slave_make, home, &namesrv, 1)?;
    let mut sent = Sent::default();
    let is_old = *master_make == Make::Java("4.9.7");
    let master_server = master.start()?;
    let mut client = PlainClient::open(master_server.addr)?;
    client.create_topic(TOPIC, QUEUES)?;
    client.create_group(GROUP)?;
    cells.run("double write: a send without a slave waits, or is answered at once by 4.x", || {
        let since = Instant::now();
        let code = sent.send(&mut client, true)?;
        ensure!(code == master.unacknowledged(), "it was answered {code}");
        ensure!(is_old || since.elapsed() >= SLAVE_TIMEOUT, "after {:?}", since.elapsed());
        Ok(())
    })?;
    if !is_old {
        cells.run("double write: with inSyncReplicas=1 nothing waits", || {
            client.expect(&Frame::request(25).with_body("inSyncReplicas=1"))?;
            let code = sent.send(&mut client, true)?;
            ensure!(code == SEND_OK, "it was answered {code}");
            client.expect(&Frame::request(25).with_body("inSyncReplicas=2")).map(|_| ())
        })?;
    }
    sent.fill_files(&mut client)?;
    client.commit(GROUP, TOPIC, 1, COMMITTED)?;

    let (slave_server, mut asking) = cells.run("a late joiner of a log of many files: an empty slave gets the last file only", || {
        let end = log_bounds(&mut client)?.1;
        ensure!(end > LOG_FILES * LOG_FILE_BYTES, "the log has only {end} bytes");
        let server = slave.start()?;
        let mut asking = PlainClient::open(server.addr)?;
        caught_up(&mut client, &mut asking)?;
        let first = log_bounds(&mut asking)?.0;
        ensure!(first == end - end % LOG_FILE_BYTES, "the slave's log begins at {first}, the master's ends at {end}");
        Ok((server, asking))
    })?;
    client.send(&Outgoing::new(DELAYED, 0, "later").with("DELAY", "1").with("WAIT", "false"))?;
    cells.run("double write: what is acknowledged is at the slave", || {
        eventually("a send has a slave", CATCH_UP_LIMIT, || Ok((sent.send(&mut client, true)? == SEND_OK).then_some(())))?;
        for _ in 0..200 {
            let code = sent.send(&mut client, true)?;
            ensure!(code == SEND_OK, "a send with a slave was answered {code}");
        }
        // What is acknowledged is there; the delayed message's second life may still be under way.
        let last = log_bounds(&mut client)?.1;
        eventually("the slave has it", Duration::from_secs(2), || Ok((log_bounds(&mut asking)?.1 >= last).then_some(())))
    })?;
    if *master_make == Make::Ferrocket && *slave_make == Make::Ferrocket {
        cells.run("the original's haStatus names the slave", || {
            // A JVM on a busy machine may give up on its own requests.
            eventually("the tool names it", CATCH_UP_LIMIT, || {
                let status = tool(&["haStatus", "-b", &master_server.addr.to_string()], &namesrv.addr.to_string())?;
                Ok(status.contains("127.0.0.1:").then_some(()))
            })
        })?;
    }
    eventually("the delayed message is there", CATCH_UP_LIMIT, || Ok((client.max_offset(DELAYED, 0)? == 1).then_some(())))?;
    cells.run("the slave is killed: a send is not acknowledged", || {
        slave_server.kill()?;
        let unacknowledged = master.unacknowledged();
        eventually("a send has no slave", CATCH_UP_LIMIT, || Ok((sent.send(&mut client, true)? == unacknowledged).then_some(())))
    })?;
    let slave_server = cells.run("the slave is back, many files of the log later", || {
        sent.fill_files(&mut client)?;
        let server = slave.start()?;
        asking = PlainClient::open(server.addr)?;
        caught_up(&mut client, &mut asking)?;
        Ok(server)
    })?;

    // A master of 5.x is not pulled from before: afterwards its slave of 5.x cannot read the offsets any more. What is copied is known by
    // heart.
    cells.run("topics, groups, offsets and the progress of delayed messages are carried", || {
        let delayed = client.body(&Frame::request(45))?["offsetTable"].clone();
        let mut lacks = "";
        eventually("the slave has the master's tables", TABLES_LIMIT, || {
            let mut vip = PlainClient::open(vip(&slave))?;
            let offset = asking.ask(&Frame::request(14).with("consumerGroup", GROUP).with("topic", TOPIC).with("queueId", 1))?;
            lacks = if vip.body(&Frame::request(21))?["topicConfigTable"][TOPIC].is_null() {
                "the topic"
            } else if asking.body(&Frame::request(201))?["subscriptionGroupTable"][GROUP].is_null() {
                "the group"
            } else if offset.code != SEND_OK || offset.ext_i64("offset")? != COMMITTED {
                "the group's offset"
            } else if slave.delay_offsets()? != delayed {
                "the progress of delayed messages"
            } else if master.delay_offsets()? != delayed {
                // It is killed next, and would deliver again what its file does not say yet.
                "time until its master has written that, too"
            } else {
                return Ok(Some(()));
            };
            Ok(None)
        })
        .with_context(|| format!("it lacks {lacks}"))
    })?;
    cells.run("the master is killed: its slave serves everything that it has", || {
        master_server.kill()?;
        sent.check(&mut asking)?;
        let code = asking.ask(&Outgoing::new(TOPIC, 0, "no").request())?.code;
        ensure!(code != SEND_OK, "a slave took a message");
        Ok(())
    })?;
    master.set("brokerRole=ASYNC_MASTER");
    let master_server = cells.run("the master is back, asynchronous, without the first files of its log", || {
        master.expire_first_files(EXPIRED)?;
        let held = log_bounds(&mut asking)?.0;
        let server = master.start()?;
        client = PlainClient::open(server.addr)?;
        ensure!(log_bounds(&mut client)?.0 == EXPIRED as i64 * LOG_FILE_BYTES, "its log begins at {}", log_bounds(&mut client)?.0);
        sent.fill(&mut client, 500)?;
        caught_up(&mut client, &mut asking)?;
        ensure!(log_bounds(&mut asking)?.0 == held, "the slave's own files are its own retention's");
        Ok(server)
    })?;

    cells.run("the VIP ports of both serve: the master's takes sends, the slave's tells its topics", || {
        sent.fill(&mut PlainClient::open(vip(&master))?, 2 * QUEUES)?;
        knows_topic(&mut PlainClient::open(vip(&slave))?, TOPIC)
    })?;
    cells.run("equal bytes and queue offsets", || {
        caught_up(&mut client, &mut asking)?;
        sent.check(&mut client)?;
        sent.check(&mut asking)?;
        drop((client, asking));
        slave_server.stop()?;
        master_server.stop()?;
        let common = same_files(&master, &slave)?;
        ensure!(common as i64 >= LOG_FILES, "only {common} files of the log are on both");
        Ok(())
    })?;
    cells.run("the slave carries on as the master on the same store", || {
        slave.promote();
        let server = slave.start()?;
        let mut client = PlainClient::open(server.addr)?;
        sent.check(&mut client)?;
        sent.fill(&mut client, 2 * QUEUES)?;
        sent.check(&mut client)?;
        ensure!(client.committed(GROUP, TOPIC, 1)? == COMMITTED, "the group's offset is {}", client.committed(GROUP, TOPIC, 1)?);
        // Time for what may not happen.
        std::thread::sleep(Duration::from_secs(2));
        ensure!(client.max_offset(DELAYED, 0)? == 1, "a delayed message that the master had delivered comes again");
        server.stop().map(|_| ())
    })?;
    namesrv.stop()?;
    Ok(())
}

fn vip(member: &Member) -> std::net::SocketAddr {
    servers::loopback(member.port - 2)
}

/// The original's own tool.
fn tool(arguments: &[&str], namesrv: &str) -> Result<String> {
    let output = Command::new("java")
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &servers::oracle_classpath("5.5.0")?])
        .arg("org.apache.rocketmq.tools.command.MQAdminStartup")
        .args(arguments)
        .args(["-n", namesrv])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
