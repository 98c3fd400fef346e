// SPDX-License-Identifier: Apache-2.0
//! `mixed`: brokers of the original and of Ferrocket in one cluster, behind a name server of either make: routes, sends,
//! consumption, rebalance notices, an orderly stop and a kill of either; a Ferrocket broker with several name servers of which
//! one is down; changed topics and addresses with name servers of every kind; the original's own tool through it all.
//! An argument runs only the trials whose name contains it.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::plain_client::{Outgoing, PlainClient, eventually};
use compat_tests::servers::{self, BrokerSettings, Make, Server};
use compat_tests::wire::{Frame, Next};
use serde_json::Value;

const TOPIC: &str = "Mixed";
const GROUP: &str = "MixedGroup";
const QUEUES: i32 = 4;
/// A registration that a change calls for is there at once; the periodic one within 30 s.
const ROUTE_LIMIT: Duration = Duration::from_secs(40);
/// A closed connection takes its broker out of the route without waiting for the 120 s.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// Runs in a directory of its own.
type Trial = fn(&Path) -> Result<()>;

fn main() -> ExitCode {
    let started = Instant::now();
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let trials: [(&str, Trial); 5] = [
        ("a 5.5.0 and a Ferrocket broker behind Ferrocket's name server", |home| one_cluster(home, &Make::Ferrocket, &Make::Java("5.5.0"))),
        ("a 5.5.0 and a Ferrocket broker behind the original's name server", |home| {
            one_cluster(home, &Make::Java("5.5.0"), &Make::Java("5.5.0"))
        }),
        ("a 4.9.7 and a Ferrocket broker behind Ferrocket's name server", |home| one_cluster(home, &Make::Ferrocket, &Make::Java("4.9.7"))),
        ("a Ferrocket broker with three name servers, one of them down", several_name_servers),
        ("changed topics and addresses, name servers that delete what is not named, 4.9.7, one down", changes_with_every_name_server),
    ];
    let mut good = true;
    for (name, trial) in trials.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let since = Instant::now();
        let result = servers::scratch("mixed").and_then(|home| {
            trial(&home).with_context(|| format!("the directories stay in {}", home.display()))?;
            Ok(fs::remove_dir_all(&home)?)
        });
        match result {
            Ok(()) => println!("mixed: {name}: good ({:.1} s)", since.elapsed().as_secs_f32()),
            Err(error) => {
                good = false;
                println!("mixed: {name}: FAILED: {error:#}");
            }
        }
    }
    println!("mixed: {} in {:.1} s", if good { "all good" } else { "FAILED" }, started.elapsed().as_secs_f32());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Member {
    make: Make,
    name: &'static str,
    port: u16,
}

impl Member {
    fn start(&self, home: &Path, namesrv: &str) -> Result<Server> {
        servers::start_broker(
            &self.make,
            &home.join(self.name),
            &BrokerSettings { name: self.name, port: self.port, namesrv: Some(namesrv.to_owned()), lines: &[] },
        )
    }
}

fn one_cluster(home: &Path, namesrv_make: &Make, java: &Make) -> Result<()> {
    let namesrv = servers::start_namesrv(namesrv_make, &home.join("namesrv"), servers::free_port()?, &[])?;
    let original = Member { make: java.clone(), name: "original", port: servers::free_port()? };
    let ours = Member { make: Make::Ferrocket, name: "ours", port: servers::free_port()? };
    let address = namesrv.addr.to_string();
    let original_server = original.start(home, &address)?;
    let our_server = ours.start(home, &address)?;
    let mut asking = PlainClient::open(namesrv.addr)?;
    both_in_route(&mut asking, "TBW102", &["original", "ours"])?;

    for server in [&original_server, &our_server] {
        PlainClient::open(server.addr)?.create_topic(TOPIC, QUEUES)?;
    }
    both_in_route(&mut asking, TOPIC, &["original", "ours"])?;
    let cluster = asking.body(&Frame::request(106))?;
    let members = cluster["clusterAddrTable"]["DefaultCluster"].as_array().context("no DefaultCluster")?.len();
    ensure!(members == 2, "the cluster has {members} members: {cluster}");

    send_to_both(&mut asking, 20)?;
    consume_from_both(&mut asking, 40)?;
    notices(&[&original_server, &our_server])?;
    tool(&["clusterList"], &address, &["original", "ours"])?;
    tool(&["topicRoute", "-t", TOPIC], &address, &["original", "ours"])?;
    for broker in ["original", "ours"] {
        tool(&["sendMessage", "-t", TOPIC, "-p", "from the tool", "-b", broker, "-i", "1"], &address, &["SEND_OK"])?;
    }

    // Either goes, orderly or not: the route loses it at once, the rest serves on; it comes back with what it had.
    original_server.stop()?;
    both_in_route(&mut asking, TOPIC, &["ours"])?;
    send_to_both(&mut asking, 5)?;
    let original_server = original.start(home, &address)?;
    both_in_route(&mut asking, TOPIC, &["original", "ours"])?;
    our_server.kill()?;
    both_in_route(&mut asking, TOPIC, &["original"])?;
    send_to_both(&mut asking, 5)?;
    let our_server = ours.start(home, &address)?;
    both_in_route(&mut asking, TOPIC, &["original", "ours"])?;
    consume_from_both(&mut asking, 40 + 2 + 5 + 5)?;
    our_server.stop()?;
    both_in_route(&mut asking, TOPIC, &["original"])?;
    original_server.kill()?;
    namesrv.stop()?;
    Ok(())
}

/// The route's broker names, exactly these.
fn both_in_route(asking: &mut PlainClient, topic: &str, names: &[&str]) -> Result<Value> {
    let wanted: BTreeSet<&str> = names.iter().copied().collect();
    let limit = if names.len() == 1 { GONE_LIMIT } else { ROUTE_LIMIT };
    eventually(&format!("{names:?} in the route of {topic}"), limit, || {
        let Some(route) = asking.route(topic)? else { return Ok(None) };
        let datas = route["brokerDatas"].as_array().context("a route without brokerDatas")?;
        let found: BTreeSet<&str> = datas.iter().filter_map(|data| data["brokerName"].as_str()).collect();
        let queues = route["queueDatas"].as_array().context("a route without queueDatas")?.len();
        Ok((found == wanted && queues == wanted.len()).then(|| route.clone()))
    })
}

/// The masters of the route.
fn masters(asking: &mut PlainClient) -> Result<Vec<PlainClient>> {
    let route = asking.route(TOPIC)?.context("no route")?;
    let datas = route["brokerDatas"].as_array().context("a route without brokerDatas")?;
    datas
        .iter()
        .map(|data| {
            let addresses = &data["brokerAddrs"];
            let master = addresses.get("0").or_else(|| addresses.get("#0")).and_then(Value::as_str).context("a broker without a master")?;
            PlainClient::open(master.parse().with_context(|| format!("address {master}"))?)
        })
        .collect()
}

fn send_to_both(asking: &mut PlainClient, each: i32) -> Result<()> {
    for broker in &mut masters(asking)? {
        for index in 0..each {
            broker.send(&Outgoing::new(TOPIC, index % QUEUES, format!("message {index}")).with("TAGS", "t"))?;
        }
    }
    Ok(())
}

fn consume_from_both(asking: &mut PlainClient, expected: usize) -> Result<()> {
    let mut count = 0;
    for broker in &mut masters(asking)? {
        broker.create_group(GROUP)?;
        for queue_id in 0..QUEUES {
            let records = broker.pull_all(TOPIC, queue_id, 0, "t || *")?;
            let end = records.last().map_or(0, |record| record.queue_offset + 1);
            broker.commit(GROUP, TOPIC, queue_id, end)?;
            ensure!(broker.committed(GROUP, TOPIC, queue_id)? == end, "the commit of queue {queue_id} is gone");
            count += broker.pull_all(TOPIC, queue_id, 0, "*")?.len();
        }
    }
    ensure!(count == expected, "{count} messages on both brokers, {expected} were sent");
    Ok(())
}

/// Two members of one group on each broker: each is told of the other, and of its leaving.
fn notices(servers: &[&Server]) -> Result<()> {
    for server in servers {
        let mut first = PlainClient::open(server.addr)?;
        let mut second = PlainClient::open(server.addr)?;
        first.expect(&heartbeat("first"))?;
        second.expect(&heartbeat("second"))?;
        for client in [&mut first, &mut second] {
            let told = client.connection.server_request(40, Duration::from_secs(5))?;
            ensure!(matches!(&told, Next::Frame(frame) if frame.ext("consumerGroup") == GROUP), "told {told:?}");
        }
        let members = first.body(&Frame::request(38).with("consumerGroup", GROUP))?;
        ensure!(members["consumerIdList"].as_array().is_some_and(|list| list.len() == 2), "members {members}");
        while let Next::Frame(_) = first.connection.server_request(40, Duration::from_millis(300))? {}
        drop(second);
        let told = first.connection.server_request(40, Duration::from_secs(5))?;
        ensure!(matches!(told, Next::Frame(_)), "nobody told of the member that left");
    }
    Ok(())
}

fn heartbeat(client: &str) -> Frame {
    Frame::request(34).with_body(format!(
        "{{\"clientID\":\"{client}\",\"producerDataSet\":[],\"consumerDataSet\":[{{\"groupName\":\"{GROUP}\",\"consumeType\":\"CONSUME_PASSIVELY\",\
         \"messageModel\":\"CLUSTERING\",\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\"unitMode\":false,\"subscriptionDataSet\":\
         [{{\"classFilterMode\":false,\"topic\":\"{TOPIC}\",\"subString\":\"*\",\"tagsSet\":[],\"codeSet\":[],\"subVersion\":1,\"expressionType\":\"TAG\"}}]}}]}}"
    ))
}

/// The original's own tool, a Java client like any other.
fn tool(arguments: &[&str], namesrv: &str, wanted: &[&str]) -> Result<()> {
    let output = Command::new("java")
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &servers::oracle_classpath("5.5.0")?])
        .arg("org.apache.rocketmq.tools.command.MQAdminStartup")
        .args(arguments)
        .args(["-n", namesrv])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    for word in wanted {
        ensure!(text.contains(word), "mqadmin {arguments:?} says nothing of {word}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// One is the original's, one is ours, one is nobody's: the broker is in the routes of both, at once and after changes.
fn several_name_servers(home: &Path) -> Result<()> {
    let ours = servers::start_namesrv(&Make::Ferrocket, &home.join("ns-ours"), servers::free_port()?, &[])?;
    let original = servers::start_namesrv(&Make::Java("5.5.0"), &home.join("ns-original"), servers::free_port()?, &[])?;
    let down = servers::loopback(servers::free_port()?);
    let member = Member { make: Make::Ferrocket, name: "ours", port: servers::free_port()? };
    let started = Instant::now();
    let broker = member.start(home, &format!("{down};{};{}", original.addr, ours.addr))?;
    ensure!(started.elapsed() < Duration::from_secs(5), "a name server that is down held up the start: {:?}", started.elapsed());
    let mut asking = [PlainClient::open(ours.addr)?, PlainClient::open(original.addr)?];
    for asking in &mut asking {
        both_in_route(asking, "TBW102", &["ours"])?;
    }
    PlainClient::open(broker.addr)?.create_topic(TOPIC, QUEUES)?;
    for asking in &mut asking {
        both_in_route(asking, TOPIC, &["ours"])?;
        send_to_both(asking, 4)?;
    }
    // The one that was down comes up and learns of everything with the next registration.
    let late = servers::start_namesrv(&Make::Ferrocket, &home.join("ns-late"), down.port(), &[])?;
    eventually("the late name server knows the topic", ROUTE_LIMIT, || PlainClient::open(late.addr)?.route(TOPIC))?;
    broker.stop()?;
    for asking in &mut asking {
        eventually("the stopped broker is out of the route", GONE_LIMIT, || Ok(asking.route(TOPIC)?.is_none().then_some(())))?;
    }
    Ok(())
}

/// In every form of registration: a changed topic takes no other out of a route, a changed address takes the place of the old one, and a
/// broker that stops leaves nothing. 4.9.7 does not know 217, and removes an address by its broker id.
fn changes_with_every_name_server(home: &Path) -> Result<()> {
    let deletes = ["deleteTopicWithBrokerRegistration=true".to_owned()];
    let makes: [(Make, &[String]); 4] =
        [(Make::Java("5.5.0"), &deletes), (Make::Java("5.5.0"), &[]), (Make::Java("4.9.7"), &[]), (Make::Ferrocket, &deletes)];
    let mut namesrvs = Vec::new();
    for (at, (make, lines)) in makes.iter().enumerate() {
        namesrvs.push(servers::start_namesrv(make, &home.join(format!("ns-{at}")), servers::free_port()?, lines)?);
    }
    let down = servers::loopback(servers::free_port()?);
    let addresses: Vec<String> =
        std::iter::once(down).chain(namesrvs.iter().map(|server| server.addr)).map(|addr| addr.to_string()).collect();
    let forms: [&[&str]; 4] = [
        &[],
        &["enableSingleTopicRegister=true"],
        &["enableSplitRegistration=true", "splitRegistrationSize=3"],
        &["compressedRegister=true"],
    ];
    for (at, form) in forms.into_iter().enumerate() {
        let lines: Vec<String> = form.iter().map(|line| (*line).to_owned()).collect();
        let settings = BrokerSettings { name: "ours", port: servers::free_port()?, namesrv: Some(addresses.join(";")), lines: &lines };
        let server = servers::start_broker(&Make::Ferrocket, &home.join(format!("ours-{at}")), &settings)?;
        let mut broker = PlainClient::open(server.addr)?;
        let mut asking = namesrvs.iter().map(|namesrv| PlainClient::open(namesrv.addr)).collect::<Result<Vec<_>>>()?;
        broker.create_topic("Old", QUEUES)?;
        all_route(&mut asking, "Old", form)?;
        broker.create_topic("New", QUEUES)?;
        broker.send(&Outgoing::new("Sent", 0, "made by its first message"))?;
        for topic in ["New", "Sent"] {
            all_route(&mut asking, topic, form)?;
        }
        // The next whole registration is half a minute away.
        for (asking, addr) in asking.iter_mut().zip(&addresses[1..]) {
            for topic in ["Old", "TBW102"] {
                ensure!(asking.route(topic)?.is_some(), "{topic} is gone from {addr} after changes of others with {form:?}");
            }
        }
        broker.create_topic("Old", QUEUES * 2)?;
        for asking in &mut asking {
            eventually(&format!("the queues of Old with {form:?}"), GONE_LIMIT, || {
                Ok(asking.route("Old")?.filter(|route| route["queueDatas"][0]["writeQueueNums"] == QUEUES * 2))
            })?;
        }
        broker.expect(&Frame::request(25).with_body("brokerIP1=127.0.0.9\nlistenPort=32768\n"))?;
        for asking in &mut asking {
            eventually(&format!("the new address with {form:?}"), GONE_LIMIT, || {
                let cluster = asking.body(&Frame::request(106))?.to_string();
                let found = cluster.contains("127.0.0.9:32768") && !cluster.contains(&server.addr.to_string());
                Ok((found && asking.route("Old")?.is_some()).then_some(()))
            })?;
        }
        server.stop()?;
        for asking in &mut asking {
            eventually("the stopped broker is out of the route", GONE_LIMIT, || Ok(asking.route("Old")?.is_none().then_some(())))?;
        }
    }
    Ok(())
}

fn all_route(asking: &mut [PlainClient], topic: &str, form: &[&str]) -> Result<()> {
    for asking in asking {
        eventually(&format!("a route of {topic} with {form:?}"), GONE_LIMIT, || asking.route(topic))?;
    }
    Ok(())
}
