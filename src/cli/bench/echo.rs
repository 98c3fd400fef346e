// SPDX-License-Identifier: Apache-2.0
//! `bench echo`: the limit of the day. The load of `bench send` on a server that only copies each frame into a log in memory and answers.
//!
//! One thread, one epoll, one read and one write per wake-up: what the kernel and the generator leave to a broker on this machine.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};

use bytes::BytesMut;
use clap::Args;
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::{RemotingCommand, SerializeType, response_code};
use rustix::event::epoll;

use super::frames::command_numbers;
use super::send::{Load, LoadArgs};
use super::{BenchError, CommonArgs, say};
use crate::runtime::Runtime;

#[derive(Debug, Args)]
pub(in crate::cli) struct EchoArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Be the server, until standard input ends
    #[arg(long, hide = true)]
    serve: bool,
}

/// Written over in a circle; touched before the first connection, as a broker's log is.
const LOG_BYTES: usize = 256 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 256;
const LISTENER: u64 = 0;
const STANDARD_INPUT: u64 = 1;

pub(super) async fn run(args: &EchoArgs, runtime: &Runtime) -> Result<(), BenchError> {
    if args.serve {
        let addr = args.common.addr;
        return runtime.spawn_blocking("echo", move || serve(addr)).join().await.ok_or(BenchError::Worker)?;
    }
    if args.load.oneway {
        return Err(BenchError::Refusal("bench echo answers every request: without --oneway".to_owned()));
    }
    let mut server = EchoServer::start()?;
    let mut common = args.common.clone();
    common.addr = server.addr;
    common.server_pids = vec![server.child.id()];
    let load = Load::new(&common, &args.load);
    let (report, acknowledged, _) = load.run("echo", &common, runtime).await?;
    let echoed = server.end()?;
    let sent = acknowledged / u64::from(args.load.batch);
    if echoed != sent {
        return Err(BenchError::NotProven(format!("{sent} requests were answered, {echoed} came")));
    }
    report.print(common.json)
}

/// This binary once more, so that its CPU is told apart from the generator's.
struct EchoServer {
    child: Child,
    addr: SocketAddr,
}

impl EchoServer {
    fn start() -> Result<Self, BenchError> {
        let io = |error| BenchError::Io { what: "start the echo server", error };
        let binary = std::env::current_exe().map_err(io)?;
        let mut command = Command::new(binary);
        command.args(["bench", "echo", "--serve", "--addr", "127.0.0.1:0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(io)?;
        let mut line = Vec::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        let mut byte = [0];
        while stdout.read(&mut byte).map_err(io)? == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&line);
        let addr = line.parse().map_err(|_| BenchError::NotProven(format!("the echo server said {line}")))?;
        Ok(Self { child, addr })
    }

    /// How many requests came.
    fn end(&mut self) -> Result<u64, BenchError> {
        let io = |error| BenchError::Io { what: "end the echo server", error };
        drop::<Option<ChildStdin>>(self.child.stdin.take());
        let mut said = String::new();
        self.child.stdout.as_mut().expect("it is piped").read_to_string(&mut said).map_err(io)?;
        said.trim().parse().map_err(|_| BenchError::NotProven(format!("the echo server said {said}")))
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        // Ends by itself when its input does; this is for the run that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Echo {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    out: BytesMut,
}

fn serve(addr: SocketAddr) -> Result<(), BenchError> {
    let listener = TcpListener::bind(addr).map_err(io)?;
    listener.set_nonblocking(true).map_err(io)?;
    say(&listener.local_addr().map_err(io)?.to_string())?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| io(error.into()))?;
    let watch = |source: std::os::fd::BorrowedFd<'_>, token, flags| {
        epoll::add(&poll, source, epoll::EventData::new_u64(token), flags).map_err(|error| io(error.into()))
    };
    use std::os::fd::AsFd;
    watch(listener.as_fd(), LISTENER, epoll::EventFlags::IN)?;
    let stdin = std::io::stdin();
    watch(stdin.as_fd(), STANDARD_INPUT, epoll::EventFlags::IN)?;

    let mut log = Log { bytes: vec![1; LOG_BYTES], at: 0 };
    let answers = [Answer::new(SerializeType::Json), Answer::new(SerializeType::RocketMq)];
    let mut connections: HashMap<u64, Echo> = HashMap::new();
    let mut next_token = STANDARD_INPUT + 1;
    let mut input = vec![0; READ_BYTES];
    let mut echoed = 0;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(|error| io(error.into()))?,
        };
        for event in &events {
            match event.data.u64() {
                LISTENER => {
                    let (stream, _) = listener.accept().map_err(io)?;
                    stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).map_err(io)?;
                    watch(stream.as_fd(), next_token, epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET)?;
                    connections.insert(next_token, Echo { stream, rest: Vec::new(), out: BytesMut::new() });
                    next_token += 1;
                }
                STANDARD_INPUT => return say(&echoed.to_string()),
                token => {
                    let connection = connections.get_mut(&token).expect("watched until it is closed");
                    if !connection.serve(&mut input, &mut log, &answers, &mut echoed)? {
                        connections.remove(&token);
                    }
                }
            }
        }
    }
}

fn io(error: std::io::Error) -> BenchError {
    BenchError::Io { what: "echo", error }
}

impl Echo {
    /// Edge triggered: reads until nothing is left. False when the other side has gone.
    fn serve(&mut self, input: &mut [u8], log: &mut Log, answers: &[Answer; 2], echoed: &mut u64) -> Result<bool, BenchError> {
        loop {
            let kept = self.rest.len();
            input[..kept].copy_from_slice(&self.rest);
            self.rest.clear();
            let (read, drained) = match self.stream.read(&mut input[kept..]) {
                Ok(0) => return Ok(false),
                Ok(read) => (read, read < input.len() - kept),
                Err(error) if error.kind() == ErrorKind::WouldBlock => (0, true),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(io(error)),
            };
            let mut bytes = &input[..kept + read];
            while let Some(word) = bytes.first_chunk::<4>() {
                let whole = 4 + u32::from_be_bytes(*word) as usize;
                if whole > READ_BYTES {
                    return Err(BenchError::Refusal(format!("bench echo takes frames of {READ_BYTES} bytes at most, not {whole}")));
                }
                if bytes.len() < whole {
                    break;
                }
                let (frame, rest) = bytes.split_at(whole);
                log.append(frame);
                let (_, opaque) = command_numbers(&frame[4..]).ok_or_else(|| BenchError::NotProven("a frame without opaque".to_owned()))?;
                answers[usize::from(frame[4] != 0)].stamp(opaque, &mut self.out);
                *echoed += 1;
                bytes = rest;
            }
            self.rest.extend_from_slice(bytes);
            while !self.out.is_empty() {
                match self.stream.write(&self.out) {
                    Ok(written) => drop(self.out.split_to(written)),
                    // The edge that says there is room again leads here.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => return Ok(false),
                    Err(error) => return Err(io(error)),
                }
            }
            if drained {
                return Ok(true);
            }
        }
    }
}

struct Log {
    bytes: Vec<u8>,
    at: usize,
}

impl Log {
    fn append(&mut self, frame: &[u8]) {
        if self.at + frame.len() > self.bytes.len() {
            self.at = 0;
        }
        self.bytes[self.at..self.at + frame.len()].copy_from_slice(frame);
        self.at += frame.len();
    }
}

/// An answer as long as a broker's, encoded once.
struct Answer {
    frame: Vec<u8>,
    opaque_at: usize,
    binary: bool,
}

/// Stands in the frame only where the opaque is patched.
const OPAQUE_MARK: i32 = 1_987_654_321;

impl Answer {
    fn new(form: SerializeType) -> Self {
        let header = SendMessageResponseHeader {
            msg_id: "7F00000100002A9F0000000000012345".into(),
            queue_id: 0,
            queue_offset: 1_234_567,
            ..SendMessageResponseHeader::default()
        };
        let mut request = RemotingCommand::request(0);
        request.serialize_type = form;
        request.opaque = OPAQUE_MARK;
        let mut out = BytesMut::new();
        RemotingCommand::response(response_code::SUCCESS).answering(&request).with_header(&header).encode(&mut out);
        let binary = form == SerializeType::RocketMq;
        let mark = if binary { OPAQUE_MARK.to_be_bytes().to_vec() } else { OPAQUE_MARK.to_string().into_bytes() };
        let opaque_at = out.windows(mark.len()).position(|window| window == mark).expect("it was encoded");
        Self { frame: out.to_vec(), opaque_at, binary }
    }

    /// The generator's opaques have ten digits, as the mark has.
    fn stamp(&self, opaque: i32, out: &mut BytesMut) {
        let start = out.len() + self.opaque_at;
        out.extend_from_slice(&self.frame);
        if self.binary {
            out[start..start + 4].copy_from_slice(&opaque.to_be_bytes());
        } else {
            super::frames::write_digits(&mut out[start..start + 10], opaque as u64);
        }
    }
}
