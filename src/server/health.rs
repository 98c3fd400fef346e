// SPDX-License-Identifier: Apache-2.0
//! Is there a server, is it the one that was meant, and does it take messages? A request or two, with a deadline; no runtime, no
//! pool, no retry.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::BytesMut;
use ferrocket_protocol::body::KvTable;
use ferrocket_protocol::{RemotingCommand, fastjson, request_code, response_code, split_frame};

use super::StartError;
use crate::broker::figures::{BrokerFigures, Condition};
use crate::config::{BrokerConfig, Keys, Properties};
use crate::processor::runtime_info_figures;

const PATIENCE: Duration = Duration::from_secs(2);

/// As a server of another protocol does, one behind TLS for example.
const NO_ROCKETMQ: &str =
    "it closed the connection without an answer: look at its log, or correct the address if another programme listens there";

/// What answered, for people; `Err` when nothing did, or something is there and does not answer.
pub fn ask(namesrv: Option<&str>, broker: Option<&str>) -> Result<String, StartError> {
    let given = namesrv.is_some() || broker.is_some();
    let asked: [(&str, Option<&str>, &str, Ask); 2] =
        [("name server", namesrv, "127.0.0.1:9876", ask_namesrv), ("broker", broker, "127.0.0.1:10911", ask_broker)];
    let mut answered = Vec::new();
    for (name, addr, default, ask) in asked {
        let Some(addr) = addr.or((!given).then_some(default)) else { continue };
        let is_address = addr.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !is_address {
            let flag = if name == "broker" { "--broker" } else { "--namesrv" };
            return Err(StartError::Sentence(format!("{flag} {addr} is wrong: it must be HOST:PORT, like {default}")));
        }
        let outcome = connect(addr).and_then(|stream| stream.map(|mut stream| ask(&mut stream, addr)).transpose());
        match outcome {
            Ok(Some(serves)) => answered.push(serves),
            // Nobody there: a mistake only if it was asked for.
            Ok(None) if !given => {}
            Ok(None) => return Err(StartError::Sentence(format!("no {name} listens on {addr}"))),
            Err(why) => return Err(StartError::Sentence(format!("the {name} at {addr} does not serve: {why}"))),
        }
    }
    if answered.is_empty() {
        return Err(StartError::Sentence(
            "neither 127.0.0.1:9876 nor 127.0.0.1:10911 is listened on; name the ports with --namesrv and --broker".to_owned(),
        ));
    }
    Ok(answered.join(", "))
}

/// What a server that serves says of itself, for people.
type Ask = fn(&mut TcpStream, &str) -> Result<String, String>;

/// `None`: nobody listens.
fn connect(addr: &str) -> Result<Option<TcpStream>, String> {
    let target = addr.to_socket_addrs().map_err(|error| format!("its name has no address ({error}); correct it"))?;
    let target = target.into_iter().next().ok_or("its name has no address; correct it")?;
    match TcpStream::connect_timeout(&target, PATIENCE) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(no_answer(&error)),
    }
}

/// A socket that has waited for too long says "would block".
fn no_answer(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("it gives no answer within {} s: it hangs or is overloaded, or another programme listens there", PATIENCE.as_secs())
        }
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => NO_ROCKETMQ.to_owned(),
        _ => error.to_string(),
    }
}

fn ask_namesrv(stream: &mut TcpStream, addr: &str) -> Result<String, String> {
    succeed(stream, request_code::GET_BROKER_CLUSTER_INFO, "name server")?;
    Ok(format!("name server at {addr} serves"))
}

/// How a broker stands, and the sentence for it.
fn ask_broker(stream: &mut TcpStream, addr: &str) -> Result<String, String> {
    let figures = figures_of_broker(stream)?;
    let serves =
        format!("broker {} at {addr} serves", if figures.broker_name.is_empty() { "without a name" } else { &figures.broker_name });
    match figures.condition() {
        Condition::Serves => Ok(serves),
        Condition::KeepsMessagesAway => Ok(format!("{serves}, but brokerPermission keeps messages away")),
        Condition::TakesNoMessages(why) => Err(format!("it takes no messages: {why}")),
    }
}

fn figures_of_broker(stream: &mut TcpStream) -> Result<BrokerFigures, String> {
    let no_broker = || "what it answers is not what a broker would".to_owned();
    let answer = succeed(stream, request_code::GET_BROKER_RUNTIME_INFO, "broker")?;
    let answer: KvTable = fastjson::from_slice(&answer.body).map_err(|_| no_broker())?;
    let figures = runtime_info_figures(&answer.table).ok_or_else(no_broker)?;
    let config = succeed(stream, request_code::GET_BROKER_CONFIG, "broker")?;
    let mut said = BrokerConfig::default();
    for entry in Properties::parse(&config.body).map_err(|error| error.to_string())?.iter() {
        // Another release may have values that this one does not take: they say nothing about its health.
        let _ = said.set(&entry.key, &entry.value);
    }
    Ok(BrokerFigures { broker_name: said.broker_name, broker_permission: said.broker_permission, ..figures })
}

fn succeed(stream: &mut TcpStream, code: i32, name: &str) -> Result<RemotingCommand, String> {
    let response = exchange(stream, code)?;
    match response.code {
        response_code::SUCCESS => Ok(response),
        response_code::REQUEST_CODE_NOT_SUPPORTED => Err(format!("it is no {name}")),
        code => Err(format!("it answers code {code}")),
    }
}

fn exchange(stream: &mut TcpStream, code: i32) -> Result<RemotingCommand, String> {
    let mut out = BytesMut::new();
    RemotingCommand::request(code).encode(&mut out);
    let patient = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    patient.and_then(|()| stream.write_all(&out)).map_err(|error| no_answer(&error))?;
    let (mut received, mut chunk) = (BytesMut::new(), [0; 8192]);
    loop {
        match stream.read(&mut chunk).map_err(|error| no_answer(&error))? {
            0 => return Err(NO_ROCKETMQ.to_owned()),
            count => received.extend_from_slice(&chunk[..count]),
        }
        if received.starts_with(b"HTTP/") {
            return Err("a web server listens there, and no server of RocketMQ: correct the address".to_owned());
        }
        let answer = split_frame(&mut received).and_then(|frame| frame.map(RemotingCommand::decode).transpose());
        if let Some(answer) =
            answer.map_err(|_| "what answers there speaks another protocol than RocketMQ's: correct the address".to_owned())?
        {
            return Ok(answer);
        }
    }
}
