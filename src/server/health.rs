// SPDX-License-Identifier: Apache-2.0
//! Is there a server, and does it answer? One request to each, with a deadline; no runtime, no pool, no retry.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::BytesMut;
use ferrocket_protocol::{RemotingCommand, request_code, response_code, split_frame};

use super::StartError;

const PATIENCE: Duration = Duration::from_secs(2);

/// What answered, for people; `Err` when nothing did, or something is there and does not answer.
pub fn ask(namesrv: Option<&str>, broker: Option<&str>) -> Result<String, StartError> {
    let given = namesrv.is_some() || broker.is_some();
    let asked = [
        ("name server", namesrv, "127.0.0.1:9876", request_code::GET_BROKER_CLUSTER_INFO),
        ("broker", broker, "127.0.0.1:10911", request_code::GET_BROKER_RUNTIME_INFO),
    ];
    let mut answered = Vec::new();
    for (name, addr, default, code) in asked {
        let Some(addr) = addr.or((!given).then_some(default)) else { continue };
        match ask_one(addr, code) {
            Ok(true) => answered.push(format!("{name} at {addr} serves")),
            // Nobody there: a mistake only if it was asked for.
            Ok(false) if !given => {}
            Ok(false) => return Err(StartError::Sentence(format!("no {name} listens on {addr}"))),
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

/// `Ok(false)`: nobody listens.
fn ask_one(addr: &str, code: i32) -> Result<bool, String> {
    let target = addr.to_socket_addrs().map_err(|error| error.to_string())?.next().ok_or("the name has no address")?;
    let mut stream = match TcpStream::connect_timeout(&target, PATIENCE) {
        Ok(stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(false),
        Err(error) => return Err(error.to_string()),
    };
    let response = exchange(&mut stream, code).map_err(|error| error.to_string())?;
    if response.code == response_code::SUCCESS { Ok(true) } else { Err(format!("it answers code {}", response.code)) }
}

fn exchange(stream: &mut TcpStream, code: i32) -> Result<RemotingCommand, Box<dyn std::error::Error>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut out = BytesMut::new();
    RemotingCommand::request(code).encode(&mut out);
    stream.write_all(&out)?;
    let (mut received, mut chunk) = (BytesMut::new(), [0; 8192]);
    loop {
        if let Some(frame) = split_frame(&mut received)? {
            return Ok(RemotingCommand::decode(frame)?);
        }
        match stream.read(&mut chunk)? {
            0 => return Err("it closed the connection".into()),
            count => received.extend_from_slice(&chunk[..count]),
        }
    }
}
