// SPDX-License-Identifier: Apache-2.0
//! The binary as people and tools meet it: boot lines, ports, directories, sentences of failed starts, commands that change keys, an orderly stop.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on ends")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use ferrocket_protocol::body::{ClusterInfo, TopicRouteData};
use ferrocket_protocol::header::{GetRouteInfoRequestHeader, PutKvConfigRequestHeader, ResetOffsetRequestHeader};
use ferrocket_protocol::{RemotingCommand, fastjson, request_code, response_code};
use support::process::{Server, command, failed_start, with_any_ports, write};
use support::{Client, send_request};

#[tokio::test]
async fn all_in_one_needs_nothing_and_is_ready_when_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &with_any_ports(&["--set", "brokerName=one"]));
    server.line("the store in ./ferrocket-data is empty: a new one begins");
    let (namesrv, broker) = (server.namesrv(), server.broker("one"));
    // A client that is told of the boot finds the route at once, with an address that it can reach.
    let mut client = Client::connect(namesrv).await;
    let header = GetRouteInfoRequestHeader { topic: "TBW102".into(), ..GetRouteInfoRequestHeader::default() };
    let route: TopicRouteData = fastjson::from_slice(&client.call_with(request_code::GET_ROUTEINFO_BY_TOPIC, &header).await.body).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], broker.to_string());
    let cluster: ClusterInfo = fastjson::from_slice(&client.call_with_body(request_code::GET_BROKER_CLUSTER_INFO, "").await.body).unwrap();
    assert_eq!(cluster.broker_addr_table["one"].broker_addrs[&0], broker.to_string());
    // One dispatcher: either port serves the codes of both.
    let sent = client.call(send_request("T", 0, "", "hello")).await;
    assert_eq!(sent.code, response_code::SUCCESS, "{:?}", sent.remark);
    let vip = SocketAddr::new(broker.ip(), broker.port() - 2);
    if let Ok(stream) = tokio::net::TcpStream::connect(vip).await {
        drop(stream);
        let sent = Client::connect(vip).await.call(send_request("T", 0, "", "hello")).await;
        assert_eq!(sent.code, response_code::SUCCESS, "{:?}", sent.remark);
    }
    assert!(folder.path().join("ferrocket-data/commitlog").is_dir());
    assert_eq!(server.stop("-TERM"), Some(0));
    assert!(!folder.path().join("ferrocket-data/abort").exists(), "an orderly stop leaves no abort file");
}

#[tokio::test]
async fn a_split_pair_finds_each_other_and_stops_by_either_signal() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv_conf = write(folder.path().join("namesrv.conf"), "listenPort=0\n");
    let mut namesrv = Server::start(folder.path(), &["namesrv", "-c", &namesrv_conf]);
    let addr = namesrv.namesrv();
    let broker_conf = write(folder.path().join("broker.conf"), "brokerName=broker-a\nlistenPort=0\nbrokerIP1=10.9.8.7\n");
    let mut broker = Server::start(folder.path(), &["broker", "-c", &broker_conf, "-n", &addr.to_string()]);
    let line = broker.line("boot success.");
    assert!(line.starts_with("The broker[broker-a, 10.9.8.7:") && line.ends_with(&format!(" and name server is {addr}")), "{line}");
    let mut client = Client::connect(addr).await;
    let cluster: ClusterInfo = fastjson::from_slice(&client.call_with_body(request_code::GET_BROKER_CLUSTER_INFO, "").await.body).unwrap();
    assert!(cluster.broker_addr_table["broker-a"].broker_addrs[&0].starts_with("10.9.8.7:"), "brokerIP1 is told as it is");
    assert!(folder.path().join("store/commitlog").is_dir(), "as the original: below the home directory");
    assert_eq!(broker.stop("-INT"), Some(0));
    let cluster: ClusterInfo = fastjson::from_slice(&client.call_with_body(request_code::GET_BROKER_CLUSTER_INFO, "").await.body).unwrap();
    assert_eq!(cluster, ClusterInfo::default(), "the broker has left");
    drop(client);
    assert_eq!(namesrv.stop("-TERM"), Some(0));
}

#[tokio::test]
async fn keys_changed_by_command_hold_at_once_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let conf = write(folder.path().join("broker.conf"), "# mine\nbrokerName=b\nlistenPort=0\nmaxMessageSize=4194304\n");
    for round in 0..2 {
        let mut server = Server::start(folder.path(), &["-c", &conf, "--namesrv-port", "0"]);
        let (namesrv, broker) = (server.namesrv(), server.broker("b"));
        let mut client = Client::connect(broker).await;
        if round == 0 {
            assert_eq!(client.call(send_request("T", 0, "", &"x".repeat(200))).await.code, response_code::SUCCESS);
            let changed = client.call_with_body(request_code::UPDATE_BROKER_CONFIG, "maxMessageSize=100\n").await;
            assert_eq!(changed.code, response_code::SUCCESS, "{:?}", changed.remark);
            let refused = client.call_with_body(request_code::UPDATE_BROKER_CONFIG, "brokerRole=SLAVE").await;
            assert_ne!(refused.code, response_code::SUCCESS);
            let mut client = Client::connect(namesrv).await;
            let changed = client.call_with_body(request_code::UPDATE_NAMESRV_CONFIG, "enableAllTopicList=false").await;
            assert_eq!(changed.code, response_code::SUCCESS, "{:?}", changed.remark);
            assert_eq!(client.call_with_body(request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, "").await.code, response_code::SYSTEM_ERROR);
            let put = PutKvConfigRequestHeader { namespace: Some("n".into()), key: Some("k".into()), value: Some("v".into()) };
            assert_eq!(client.call_with(request_code::PUT_KV_CONFIG, &put).await.code, response_code::SUCCESS);
        }
        let mut asker = Client::connect(namesrv).await;
        let disabled = asker.call_with_body(request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, "").await;
        assert_eq!(disabled.code, response_code::SYSTEM_ERROR, "round {round}");
        if round == 1 {
            // Beside what an earlier run kept, not in its place.
            assert_eq!(
                asker.call_with_body(request_code::UPDATE_NAMESRV_CONFIG, "enableTopicList=false").await.code,
                response_code::SUCCESS
            );
        }
        let refused = client.call(send_request("T", 0, "", &"x".repeat(200))).await;
        assert_eq!(refused.code, response_code::MESSAGE_ILLEGAL, "round {round}: {:?}", refused.remark);
        assert_eq!(server.stop("-TERM"), Some(0));
    }
    assert_eq!(std::fs::read_to_string(&conf).unwrap(), "# mine\nbrokerName=b\nlistenPort=0\nmaxMessageSize=100\n");
    let kept = std::fs::read_to_string(folder.path().join("ferrocket-data/namesrv/namesrv.properties")).unwrap();
    assert_eq!(kept, "enableAllTopicList=false\nenableTopicList=false\n");
    let kv = std::fs::read_to_string(folder.path().join("ferrocket-data/namesrv/kvConfig.json")).unwrap();
    assert_eq!(kv, r#"{"configTable":{"n":{"k":"v"}}}"#);
}

#[test]
fn a_failed_start_is_one_sentence_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let conf = |text: &str| write(folder.path().join("broker.conf"), text);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let says =
        failed_start(folder.path(), &["--namesrv-port", "0", "--set", "bindAddress=127.0.0.1", "--set", &format!("listenPort={port}")]);
    assert_eq!(
        says,
        format!(
            "command line, --set: cannot listen on 127.0.0.1:{port}: another process listens there; stop it, or choose another port with listenPort"
        )
    );
    let says = failed_start(folder.path(), &["--namesrv-port", &port, "--set", "listenPort=0"]);
    assert!(says.starts_with(&format!("cannot listen on 0.0.0.0:{port}: ")) && says.contains("--namesrv-port"), "{says}");

    assert_eq!(
        failed_start(folder.path(), &["broker", "-c", "nowhere.conf"]),
        "the configuration file nowhere.conf cannot be read: there is no such file; correct -c"
    );
    let file = conf("brokerName=a\nfileReservedTime=long\n");
    assert_eq!(
        failed_start(folder.path(), &["broker", "-c", &file]),
        format!("{file}, line 2: fileReservedTime=long is wrong: it must be a whole number from 0 to 2147483647")
    );
    let file = conf("aclEnable=true\n");
    assert!(failed_start(folder.path(), &["broker", "-c", &file]).contains(", line 1: aclEnable=true cannot be obeyed: "));
    assert!(failed_start(folder.path(), &["--set", "bindAddress=here"]).contains("bindAddress=here is wrong: it must be an IP address"));

    std::fs::create_dir_all(folder.path().join("rocks/config/rdb")).unwrap();
    write(folder.path().join("rocks/config/rdb/CURRENT"), "MANIFEST-000001\n");
    let says = failed_start(folder.path(), &["--data", "rocks"]);
    assert!(says.starts_with("rocks/config/rdb holds topics, groups and offsets in RocksDB (configManagerVersion=v2)"), "{says}");

    for (args, says) in [
        (&["--data", ""][..], "command line, --data: storePathRootDir is empty: name a directory, or leave it out for ./ferrocket-data"),
        (&["broker", "--data", ""], "command line, --data: storePathRootDir is empty: name a directory, or leave it out for $HOME/store"),
        (
            &["--set", "mappedFileSizeCommitLog=10"],
            "command line, --set: mappedFileSizeCommitLog=10 is wrong: it must be a whole number of bytes from 1024 to 2147483647",
        ),
    ] {
        assert_eq!(failed_start(folder.path(), args), says);
    }
    let file = write(folder.path().join("file"), "");
    for args in [vec!["--data", &file], vec!["broker", "--data", &file]] {
        let says = failed_start(folder.path(), &args);
        assert!(says.starts_with(&format!("the store in {file} cannot be opened: ")), "{says}");
        assert!(
            says.ends_with("a file lies where a directory must be: give this broker another directory with --data or storePathRootDir"),
            "{says}"
        );
    }
}

/// What only the machine can say no to, found after the file was read.
#[test]
fn a_late_refusal_names_file_and_line_too_and_nothing_is_called_honoured_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (text, line, says) in [
        ("messageDelayLevel=1x\n".to_owned(), 1, "messageDelayLevel=1x is wrong: "),
        ("brokerName=b\nbrokerIP1=no such name\n".to_owned(), 2, "brokerIP1=no such name is wrong: "),
        ("listenPort=0\nbindAddress=203.0.113.9\n".to_owned(), 2, "cannot listen on 203.0.113.9:0: "),
        (format!("bindAddress=127.0.0.1\n\nlistenPort={port}\n"), 3, "cannot listen on 127.0.0.1:"),
    ] {
        let conf = write(folder.path().join("broker.conf"), &text);
        let said = failed_start(folder.path(), &["broker", "-c", &conf]);
        assert!(said.starts_with(&format!("{conf}, line {line}: {says}")), "{said}");
    }
    let conf = write(folder.path().join("broker.conf"), "messageDelayLevel=1x\n");
    let output = command(folder.path(), &["broker", "-c", &conf]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
}

#[test]
fn a_log_level_that_is_none_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let says = failed_start(folder.path(), &with_any_ports(&["--log", "inof"]));
    assert!(says.starts_with("--log inof is wrong: inof is no level (did you mean info?)"), "{says}");
    let output = command(folder.path(), &["namesrv", "--set", "listenPort=0"]).env("RUST_LOG", "wran").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("RUST_LOG wran is wrong: wran is no level (did you mean warn?)"));
}

/// The original passes over keys that it does not know; so do we, but not in silence where one was meant.
#[tokio::test]
async fn a_key_that_is_not_obeyed_is_warned_of_in_file_and_command() {
    let folder = tempfile::tempdir().unwrap();
    let conf = write(folder.path().join("broker.conf"), "brokerName=m\nlistenPort=0\nflushDiskTyp=SYNC_FLUSH\nours.own.key=1\n");
    let mut server = Server::start(folder.path(), &["-c", &conf, "--namesrv-port", "0"]);
    server.line("flushDiskTyp=SYNC_FLUSH    (did you mean flushDiskType?)");
    let (namesrv, broker) = (server.namesrv(), server.broker("m"));
    let mut client = Client::connect(broker).await;
    assert_eq!(
        client
            .call_with_body(
                request_code::UPDATE_BROKER_CONFIG,
                "lisenPort=1\nother.key=1\nadminBrokerThreadPoolNums=3\ntraceTopicEnable=true\n"
            )
            .await
            .code,
        response_code::SUCCESS
    );
    let mut client = Client::connect(namesrv).await;
    assert_eq!(client.call_with_body(request_code::UPDATE_NAMESRV_CONFIG, "enableTopicLst=false").await.code, response_code::SUCCESS);
    drop(client);
    let (code, said) = server.stop_and_hear("-TERM");
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(lines[0].contains(&format!("{conf}, line 3: flushDiskTyp is no key of this server")), "{said}");
    assert!(lines[0].ends_with("did you mean flushDiskType?"), "{said}");
    for words in [
        ["lisenPort is no key of this server", "did you mean listenPort?"],
        ["adminBrokerThreadPoolNums has no effect", "requests run where they arrive"],
        ["traceTopicEnable", "changed and kept; it is obeyed after the next start"],
        ["enableTopicLst is no key of this server", "did you mean enableTopicList?"],
    ] {
        assert_eq!(lines[1..].iter().filter(|line| words.iter().all(|word| line.contains(word))).count(), 1, "{words:?}: {said}");
    }
}

/// Java's Properties takes the last of two lines without a word, and takes a byte order mark for letters of the first key.
#[test]
fn a_key_that_stands_twice_is_warned_of_and_a_byte_order_mark_hides_none() {
    let folder = tempfile::tempdir().unwrap();
    let conf = write(folder.path().join("broker.conf"), "\u{feff}brokerName=bom\nlistenPort=1\nlistenPort=0\n");
    let mut server = Server::start(folder.path(), &["-c", &conf, "--namesrv-port", "0"]);
    server.namesrv();
    server.broker("bom");
    let (code, said) = server.stop_and_hear("-TERM");
    assert_eq!(code, Some(0));
    let warning = format!("{conf}, line 2: listenPort stands again in line 3, and the last line of a key counts");
    assert!(said.lines().count() == 1 && said.contains("WARN") && said.contains(&warning), "{said}");
}

/// A secret in a file is no secret once it stands in the log of a container.
#[test]
fn the_table_of_keys_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let conf = write(folder.path().join("broker.conf"), "listenPort=0\nobjectStoreSecretKey=s3cret\n");
    let mut server = Server::start(folder.path(), &["-c", &conf, "--namesrv-port", "0"]);
    server.line("objectStoreSecretKey=(hidden)");
    server.line("The broker[");
    assert!(!server.lines.join("\n").contains("s3cret"), "{:?}", server.lines);
    assert_eq!(server.stop("-TERM"), Some(0));
}

#[test]
fn a_directory_in_use_refuses_a_second_broker() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Server::start(folder.path(), &with_any_ports(&[]));
    first.namesrv();
    let says = failed_start(folder.path(), &with_any_ports(&[]));
    assert!(says.contains("in use by another broker: stop it, or choose another storePathRootDir"), "{says}");
    first.line("boot success");
    assert_eq!(first.stop("-TERM"), Some(0));
}

#[tokio::test]
async fn a_rule_tells_clients_of_a_network_another_address() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &with_any_ports(&["--set", "advertise=127.0.0.0/8=broker.example.org"]));
    let namesrv = server.namesrv();
    let broker = server.line("The broker[");
    let port = broker.split(']').next().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let mut client = Client::connect(namesrv).await;
    let cluster: ClusterInfo = fastjson::from_slice(&client.call_with_body(request_code::GET_BROKER_CLUSTER_INFO, "").await.body).unwrap();
    let addrs = cluster.broker_addr_table.into_values().next().unwrap().broker_addrs;
    assert_eq!(addrs[&0], format!("broker.example.org:{port}"));
    assert_eq!(server.stop("-TERM"), Some(0));
}

#[test]
fn health_says_whether_anybody_serves() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &with_any_ports(&["--set", "brokerName=h"]));
    let (namesrv, broker) = (server.namesrv().to_string(), server.broker("h").to_string());
    let output = command(folder.path(), &["health", "--namesrv", &namesrv, "--broker", &broker]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), said), (Some(0), format!("name server at {namesrv} serves, broker h at {broker} serves\n")));
    assert_eq!(server.stop("-TERM"), Some(0));
    // A name server alone is no broker, nor the other way round.
    let mut server = Server::start(folder.path(), &["namesrv", "--set", "listenPort=0"]);
    let alone = server.namesrv().to_string();
    assert_eq!(
        failed_start(folder.path(), &["health", "--broker", &alone]),
        format!("the broker at {alone} does not serve: it is no broker")
    );
    assert_eq!(server.stop("-TERM"), Some(0));
    assert_eq!(failed_start(folder.path(), &["health", "--broker", &broker]), format!("no broker listens on {broker}"));
    // Something that accepts and never answers is not healthy.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = mute.local_addr().unwrap().to_string();
    let says = failed_start(folder.path(), &["health", "--namesrv", &addr]);
    assert!(says.starts_with(&format!("the name server at {addr} does not serve: it gives no answer within 2 s: it hangs")), "{says}");
    for wrong in ["nowhere", ":10911", "host:port", ""] {
        let says = failed_start(folder.path(), &["health", "--broker", wrong]);
        assert_eq!(says, format!("--broker {wrong} is wrong: it must be HOST:PORT, like 127.0.0.1:10911"));
    }
}

#[test]
fn health_tells_a_server_of_another_protocol() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    for (answer, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "a web server listens there, and no server of RocketMQ: correct the address"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "what answers there speaks another protocol than RocketMQ's: correct the address"),
        (b"", "it closed the connection without an answer: look at its log, or correct the address if another programme listens there"),
    ] {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = other.local_addr().unwrap().to_string();
        let serving = std::thread::Builder::new().spawn(move || {
            let (mut stream, _) = other.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(answer).unwrap();
        });
        let says = failed_start(folder.path(), &["health", "--broker", &addr]);
        assert_eq!(says, format!("the broker at {addr} does not serve: {why}"));
        serving.unwrap().join().unwrap();
    }
}

/// A broker that nobody finds must not look as if all were well, and a directory with tables is not empty.
#[test]
fn a_broker_without_a_name_server_says_so_and_tells_tables_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["broker", "--data", "d", "--set", "listenPort=0"];
    for begins in
        ["the store in d is empty: a new one begins", "the store in d has no messages; the tables in its config directory are read"]
    {
        let mut server = Server::start(folder.path(), &args);
        assert_eq!(server.line("the store in d"), begins);
        server.line("boot success.");
        let remedy = "name one with -n, NAMESRV_ADDR or namesrvAddr";
        assert_eq!(server.line(""), format!("registered with no name server: clients do not find this broker; {remedy}"));
        assert_eq!(server.stop("-TERM"), Some(0));
    }
}

/// A client whose feature is not served is refused, and an operator sees in the log why it does not work: once, whatever it tries.
#[tokio::test]
async fn a_client_whose_feature_is_not_served_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &with_any_ports(&["--set", "brokerName=u"]));
    let (namesrv, broker) = (server.namesrv(), server.broker("u"));
    for _ in 0..3 {
        let mut client = Client::connect(broker).await;
        for code in [request_code::POP_MESSAGE, request_code::QUERY_ASSIGNMENT, 27, 303, 315] {
            assert_eq!(client.call(RemotingCommand::request(code)).await.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
        }
        let mut timed = support::send_header("T", 0, &[("TIMER_DELAY_SEC", "5")]);
        timed.default_topic = "TBW102".into();
        let answer = client.call(RemotingCommand::request_with(request_code::SEND_MESSAGE, &timed).with_body("x")).await;
        let why = "accurate timer message is not served yet, though timerWheelEnable is true";
        assert_eq!((answer.code, support::remark(&answer)), (response_code::SYSTEM_ERROR, why));
        for port in [namesrv, broker] {
            let hellos: [&[u8]; 6] = [
                &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"PROXY TCP4 10.0.0.1 10.0.0.2 40000 10911\r\n",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C",
                b"GET / HTTP/1.1\r\n\r\n",
                b"POST /metrics HTTP/1.1\r\n\r\n",
            ];
            for hello in hellos {
                let mut stream = tokio::net::TcpStream::connect(port).await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut stream, hello).await.unwrap();
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
            }
        }
    }
    let (code, said) = server.stop_and_hear("-TERM");
    assert_eq!(code, Some(0));
    // The rarer questions of tools are told apart.
    let questions = ["QUERY_CONSUME_TIME_SPAN", "VIEW_BROKER_STATS_DATA"];
    let first_bytes = ["TLS", "gRPC", "the PROXY protocol", "HTTP"];
    for feature in ["POP consumption", "timed messages"].into_iter().chain(first_bytes).chain(questions) {
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(&format!("a client asks for {feature}, "))).collect();
        assert!(lines.len() == 1 && lines[0].contains("WARN") && lines[0].contains("127.0.0.1:"), "{feature}: {said}");
    }
    assert_eq!(said.lines().count(), 8, "{said}");
    for code in [request_code::POP_MESSAGE, 303, 315] {
        assert_eq!(said.matches(&format!(" code={code}")).count(), 1, "{code}: {said}");
    }
}

/// The first files expire while a server runs, never while it is stopped; the last one never.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "somebody takes files away from a server that is stopped")]
async fn what_is_missing_of_the_log_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let place = format!("storePathRootDir={}", root.display());
    let args = with_any_ports(&["--set", "brokerName=m", "--set", "mappedFileSizeCommitLog=1048576", "--set", &place]);
    let said_by_a_life = async |sends: usize| {
        let mut server = Server::start(folder.path(), &args);
        server.namesrv();
        let mut client = Client::connect(server.broker("m")).await;
        for _ in 0..sends {
            assert_eq!(client.call(send_request("T", 0, "", &"x".repeat(100_000))).await.code, response_code::SUCCESS);
        }
        drop(client);
        let (code, said) = server.stop_and_hear("-TERM");
        assert_eq!(code, Some(0));
        said
    };
    assert_eq!(said_by_a_life(35).await, "");
    std::fs::remove_file(root.join("commitlog/00000000000000000000")).unwrap();
    let said = said_by_a_life(1).await;
    assert!(said.contains("WARN") && said.contains("the log begins later") && said.contains("from=0 to=1048576"), "{said}");
    assert_eq!(said_by_a_life(1).await, "", "once");
    std::fs::remove_file(root.join("commitlog/00000000000003145728")).unwrap();
    let said = said_by_a_life(1).await;
    assert!(said.contains("ERROR") && said.contains("the log's end is missing") && said.contains("to=38"), "{said}");
    std::fs::remove_dir_all(root.join("commitlog")).unwrap();
    let said = said_by_a_life(1).await;
    assert!(said.contains("the log's end is missing: it was on the disk up to there from=0"), "{said}");
}

/// An operator who finds a broker changed sees in the log by whom, and to what.
#[tokio::test]
async fn every_change_by_command_is_a_line_with_who_asked() {
    use ferrocket_protocol::header::{CloneGroupOffsetRequestHeader, DeleteSubscriptionGroupRequestHeader};
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &with_any_ports(&["--set", "brokerName=r", "--log", "info"]));
    let namesrv = server.namesrv();
    let mut client = Client::connect(server.broker("r")).await;
    let by = client.local_addr();
    for body in
        ["fileReservedTime=48\nmaxMessageSize=4194304\ninnerClientAuthenticationCredentials={\"secretKey\":\"s3cret\"}", "listenPort=1"]
    {
        assert_eq!(client.call_with_body(request_code::UPDATE_BROKER_CONFIG, body).await.code, response_code::SUCCESS);
    }
    let topic = ferrocket_protocol::header::admin::topic::CreateTopicRequestHeader {
        topic: "Made".into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 3,
        write_queue_nums: 2,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        ..Default::default()
    };
    assert_eq!(client.call_with(request_code::UPDATE_AND_CREATE_TOPIC, &topic).await.code, response_code::SUCCESS);
    let group = r#"{"groupName":"G","consumeEnable":false}"#;
    assert_eq!(client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, group).await.code, response_code::SUCCESS);
    let mut reset = ResetOffsetRequestHeader { topic: "Made".into(), group: "G".into(), ..Default::default() };
    (reset.queue_id, reset.offset) = (0, Some(0));
    assert_eq!(client.call_with(request_code::INVOKE_BROKER_TO_RESET_OFFSET, &reset).await.code, response_code::SUCCESS);
    let clone = CloneGroupOffsetRequestHeader { src_group: "G".into(), dest_group: "H".into(), ..Default::default() };
    assert_eq!(client.call_with(request_code::CLONE_GROUP_OFFSET, &clone).await.code, response_code::SUCCESS);
    let delete = DeleteSubscriptionGroupRequestHeader { group_name: "G".into(), ..Default::default() };
    assert_eq!(client.call_with(request_code::DELETE_SUBSCRIPTIONGROUP, &delete).await.code, response_code::SUCCESS);
    for topic in ["Made", "Nowhere"] {
        let delete = ferrocket_protocol::header::admin::topic::DeleteTopicRequestHeader { topic: topic.into(), ..Default::default() };
        assert_eq!(client.call_with(request_code::DELETE_TOPIC_IN_BROKER, &delete).await.code, response_code::SUCCESS);
    }
    let clone = CloneGroupOffsetRequestHeader { src_group: "Nowhere".into(), dest_group: "H".into(), ..Default::default() };
    assert_eq!(client.call_with(request_code::CLONE_GROUP_OFFSET, &clone).await.code, response_code::SUCCESS);
    drop(client);
    let mut client = Client::connect(namesrv).await;
    let at_namesrv = client.local_addr();
    assert_eq!(client.call_with_body(request_code::UPDATE_NAMESRV_CONFIG, "enableTopicList=false").await.code, response_code::SUCCESS);
    let put = PutKvConfigRequestHeader { namespace: Some("n".into()), key: Some("k".into()), value: Some("v".into()) };
    assert_eq!(client.call_with(request_code::PUT_KV_CONFIG, &put).await.code, response_code::SUCCESS);
    for (code, fields) in [
        (request_code::DELETE_KV_CONFIG, &[("namespace", "n"), ("key", "Nowhere")][..]),
        (request_code::DELETE_TOPIC_IN_NAMESRV, &[("topic", "Nowhere")]),
        (request_code::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "Nowhere")]),
        (request_code::ADD_WRITE_PERM_OF_BROKER, &[("brokerName", "Nowhere")]),
    ] {
        let mut request = RemotingCommand::request(code);
        fields.iter().for_each(|(name, value)| request.ext_fields.insert(name, value));
        assert_eq!(client.call(request).await.code, response_code::SUCCESS, "{code}");
    }
    for change in ["listenPort=1", "bindAddress=127.0.0.1", "memoryBudgetBytes=16777216"] {
        let refused = client.call_with_body(request_code::UPDATE_NAMESRV_CONFIG, change).await;
        assert!(support::remark(&refused).contains("this name server runs in the process of a broker"), "{change}: {refused:?}");
    }
    drop(client);
    let (code, said) = server.stop_and_hear("-TERM");
    assert_eq!(code, Some(0));
    for (peer, words) in [
        (by, &["configuration changed by command", "fileReservedTime", "from=\"72\"", "to=\"48\""][..]),
        (by, &["configuration changed by command", "innerClientAuthenticationCredentials", "(hidden)"]),
        (by, &["configuration changed by command", "listenPort", "to=\"1\""]),
        (by, &["a topic was made or changed by command", "topicName=Made, readQueueNums=3, writeQueueNums=2"]),
        (by, &["a subscription group was made or changed by command", "consumeEnable"]),
        (by, &["offsets were reset by command", "group=\"G\"", "topic=\"Made\"", "offset=0 "]),
        (by, &["offsets of a group were given to another one by command", "to=\"H\""]),
        (by, &["a subscription group was deleted by command", "group=\"G\""]),
        (by, &["a topic was deleted by command", "topic=\"Made\""]),
        (at_namesrv, &["configuration changed by command", "enableTopicList", "to=\"false\""]),
        (at_namesrv, &["a setting of the KV table was put by command", "namespace=\"n\"", "value=\"v\""]),
    ] {
        let peer = format!("peer={peer}");
        let is_it = |line: &&str| line.contains("INFO") && line.contains(&peer) && words.iter().all(|word| line.contains(word));
        assert_eq!(said.lines().filter(is_it).count(), 1, "{words:?} {peer}: {said}");
    }
    assert!(!said.contains("s3cret") && !said.contains("maxMessageSize"), "no secret, and nothing that is as before: {said}");
    assert!(said.contains("clients are told the new listenPort from now on"), "{said}");
    assert!(
        !said.contains("Nowhere") && !said.contains("Some("),
        "what has not happened is not told, and no word is of the program: {said}"
    );
}

/// The log spoke of an offset that is not there, and named the same number twice.
#[tokio::test]
async fn a_reset_offset_is_not_called_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &with_any_ports(&["--set", "brokerName=r", "--log", "info"]));
    server.namesrv();
    let mut client = Client::connect(server.broker("r")).await;
    client.call(send_request("T", 0, "", "x")).await;
    client.consume("G", "c@1", &[("T", "*")]).await;
    let mut reset = ResetOffsetRequestHeader { topic: "T".into(), group: "G".into(), ..Default::default() };
    (reset.queue_id, reset.offset) = (0, Some(1));
    assert_eq!(client.call_with(request_code::INVOKE_BROKER_TO_RESET_OFFSET, &reset).await.code, response_code::SUCCESS);
    let answer = client.call(support::pull_request(&support::pull_header("G", "T", 0, 1))).await;
    assert_eq!(answer.code, response_code::PULL_OFFSET_MOVED);
    let answer = client.call(support::pull_request(&support::pull_header("G", "T", 0, 9))).await;
    assert_eq!(answer.code, response_code::PULL_OFFSET_MOVED);
    drop(client);
    let (code, said) = server.stop_and_hear("-TERM");
    assert_eq!(code, Some(0));
    let resets: Vec<&str> = said.lines().filter(|line| line.contains("a consumer is told of its reset offset")).collect();
    assert!(resets.len() == 1 && resets[0].contains("reset_to=1"), "{said}");
    let missing: Vec<&str> = said.lines().filter(|line| line.contains("an offset that is not there")).collect();
    assert!(missing.len() == 1 && missing[0].contains("asked=9"), "{said}");
}

#[test]
fn a_held_pull_does_not_hold_up_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &with_any_ports(&["--set", "brokerName=p"]));
    server.namesrv();
    let broker = server.broker("p");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _client = runtime.block_on(async {
        let mut client = Client::connect(broker).await;
        client.call(send_request("T", 0, "", "hello")).await;
        client.consume("g", "c@1", &[("T", "*")]).await;
        let mut header = support::pull_header("g", "T", 0, 1);
        header.suspend_timeout_millis = 30_000;
        client.begin(support::pull_request(&header)).await;
        // In the order of one connection: when this is answered, the pull is held.
        client.call(RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO)).await;
        client
    });
    let (done, ended) = std::sync::mpsc::channel();
    let stopper = move || done.send(server.stop("-TERM")).unwrap();
    let stopping = std::thread::Builder::new().spawn(stopper).unwrap();
    // Without an answer the pull would be held for half a minute.
    assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Ok(Some(0)), "long before the pull's own end");
    stopping.join().unwrap();
}

/// Connections that nobody uses take every descriptor that they get: files must not be what is left over.
#[tokio::test]
async fn idle_connections_leave_descriptors_to_the_store() {
    const OPEN_FILES: u64 = 600;
    let folder = tempfile::tempdir().unwrap();
    let small = ["--set", "brokerName=c", "--set", "mappedFileSizeConsumeQueue=2000", "--set", "flushConsumeQueueThoroughInterval=100"];
    let mut server = Server::start_with_open_files(folder.path(), OPEN_FILES, &with_any_ports(&small));
    server.namesrv();
    let broker = server.broker("c");
    let mut client = Client::connect(broker).await;
    assert_eq!(client.call(send_request("T0", 0, "", "x")).await.code, response_code::SUCCESS);
    // More than there are descriptors: those that are not accepted wait in the backlog.
    let mut idle = Vec::new();
    for _ in 0..OPEN_FILES {
        match tokio::time::timeout(Duration::from_secs(3), tokio::net::TcpStream::connect(broker)).await {
            Ok(connected) => idle.push(connected.unwrap()),
            Err(_) => break,
        }
    }
    assert!(idle.len() > OPEN_FILES as usize / 2, "{}", idle.len());
    for topic in 1..200 {
        let sent = client.call(send_request(&format!("T{topic}"), 0, "", "x")).await;
        assert_eq!(sent.code, response_code::SUCCESS, "T{topic}: {:?}", sent.remark);
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count();
    assert!(files < OPEN_FILES as usize, "{files}: there is one left when it is needed");
    drop((idle, client));
    assert_eq!(server.stop("-TERM"), Some(0));
}

/// What a person on a terminal reads: the original's lines, then five of ours; and no more of it unless asked for.
#[tokio::test]
async fn a_terminal_shows_what_a_person_needs_first() {
    let folder = tempfile::tempdir().unwrap();
    let conf = write(folder.path().join("broker.conf"), "brokerName=t\nlistenPort=0\nnobody=1\n");
    let args = ["-c", &conf, "--namesrv-port", "0"];
    let mut server = Server::start_on_a_terminal(folder.path(), &args);
    let last = server.line("stop        ");
    let pid = server.child.id();
    assert_eq!(last, format!("stop        Ctrl-C, or kill {pid}"));
    let lines = server.lines.clone();
    let boot = lines.iter().position(|line| line.starts_with("The broker[t, ")).unwrap();
    assert!(lines[boot - 1].starts_with("The Name Server boot success."), "{lines:?}");
    let said: Vec<&str> = lines[boot + 1..].iter().map(String::as_str).collect();
    assert_eq!(said.len(), 5, "{lines:?}");
    assert_eq!(said[0], "serving     name server and broker t");
    assert!(said[1].starts_with("clients     127.0.0.1:") && said[1].contains("they are told of the broker at port "), "{lines:?}");
    assert_eq!(said[2], format!("data        {}", folder.path().join("ferrocket-data").display()));
    assert!(said[3].starts_with("an ack      the message outlives this process; a power cut may take the last 500 ms"), "{lines:?}");
    assert!(lines[..boot].iter().any(|line| line.contains("nobody=1")), "what has no effect is said: {lines:?}");
    let is_quiet = |line: &String| !line.contains("differs from the original") && !line.contains("brokerName=t");
    assert!(lines.iter().all(is_quiet), "{lines:?}");
    assert_eq!(server.stop("-TERM"), Some(0));

    let mut server = Server::start_on_a_terminal(folder.path(), &["-v", "-c", &conf, "--namesrv-port", "0"]);
    server.line("stop        ");
    let said = server.lines.join("\n");
    assert!(said.contains("differs from the original: storePathRootDir=") && said.contains("honoured:\n    brokerName=t"), "{said}");
    assert_eq!(server.stop("-TERM"), Some(0));
}

#[test]
fn a_name_server_that_was_never_reached_is_named_after_the_boot_line() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let mut server = Server::start(folder.path(), &["broker", "--set", "listenPort=0", "-n", &addr]);
    assert!(server.line("boot success.").ends_with(&format!("and name server is {addr}")));
    let next = server.line("");
    assert_eq!(next, format!("not reached yet, and tried again: the name server {addr}; clients do not find this broker there"));
    let (code, warned) = server.stop_and_hear("-TERM");
    assert_eq!(code, Some(0));
    assert!(warned.contains("could not register; trying again"), "{warned}");
}

#[test]
fn printed_configuration_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["-p"][..], &["broker", "-p"], &["broker", "-m"], &["namesrv", "-p"]] {
        let output = command(folder.path(), args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains("rocketmqHome=") || args.contains(&"-m"));
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "no directory was made");
    // As `-p | head` closes it.
    let mut child = command(folder.path(), &["-p"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
    // Two servers have keys of the same names.
    let output = command(folder.path(), &["-p"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (broker, namesrv) = printed.strip_prefix("# broker\n").unwrap().split_once("# name server\n").unwrap();
    assert!(broker.contains("\nlistenPort=10911\n") && namesrv.contains("\nlistenPort=9876\n"), "{printed}");
    // It doubts and refuses what a start would.
    let conf = write(folder.path().join("broker.conf"), "flushDiskTyp=SYNC_FLUSH\nbrokerName=a\nbrokerName=b\n");
    let output = command(folder.path(), &["broker", "-m", "-c", &conf]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(said.contains("did you mean flushDiskType?") && said.contains("line 2: brokerName stands again in line 3"), "{said}");
    let late = write(folder.path().join("late.conf"), "brokerName=a\nmessageDelayLevel=1x\n");
    assert!(
        failed_start(folder.path(), &["broker", "-p", "-c", &late])
            .starts_with(&format!("{late}, line 2: messageDelayLevel=1x is wrong: "))
    );
    let elsewhere = ["-p", "--set", "bindAddress=203.0.113.9"];
    assert!(failed_start(folder.path(), &elsewhere).ends_with("this machine has no such address; correct bindAddress"));
    let output = command(folder.path(), &["broker", "--data", "there", "-m"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("\nstorePathRootDir=there\n") && !printed.contains('#'), "{printed}");
}
