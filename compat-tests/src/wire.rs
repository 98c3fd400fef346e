// SPDX-License-Identifier: Apache-2.0
//! One remoting connection as a client sees it: frames out, frames in, both serialisations. Blocking, because every user of it
//! speaks in turns. Knows nothing of what a code means.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Java's frame limit; a server that sends more is wrong.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One command, either direction. `ext` is `None` when the header carries no `extFields` at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub code: i32,
    pub language: String,
    pub version: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<String>,
    pub ext: Option<BTreeMap<String, String>>,
    pub body: Vec<u8>,
    pub binary: bool,
}

impl Frame {
    #[must_use]
    pub fn request(code: i32) -> Self {
        Self { code, language: "JAVA".to_owned(), version: 513, ext: Some(BTreeMap::new()), ..Self::default() }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.ext.get_or_insert_default().insert(key.to_owned(), value.to_string());
        self
    }

    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flag & 1 == 1
    }

    /// An ext field of an answer; empty when absent.
    #[must_use]
    pub fn ext(&self, key: &str) -> &str {
        self.ext.as_ref().and_then(|ext| ext.get(key)).map_or("", String::as_str)
    }

    pub fn ext_i64(&self, key: &str) -> Result<i64> {
        self.ext(key).parse().with_context(|| format!("ext field {key} of {self:?} is not a number"))
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let header = if self.binary { self.binary_header() } else { self.json_header() };
        let mut out = Vec::with_capacity(8 + header.len() + self.body.len());
        out.extend_from_slice(&((4 + header.len() + self.body.len()) as u32).to_be_bytes());
        out.extend_from_slice(&(header.len() as u32 | u32::from(self.binary) << 24).to_be_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&self.body);
        out
    }

    fn json_header(&self) -> Vec<u8> {
        let mut header = json!({
            "code": self.code, "flag": self.flag, "language": self.language, "opaque": self.opaque,
            "serializeTypeCurrentRPC": "JSON", "version": self.version,
        });
        if let Some(ext) = &self.ext {
            header["extFields"] = json!(ext);
        }
        if let Some(remark) = &self.remark {
            header["remark"] = json!(remark);
        }
        header.to_string().into_bytes()
    }

    fn binary_header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&(self.code as i16).to_be_bytes());
        out.push(language_byte(&self.language));
        out.extend_from_slice(&(self.version as i16).to_be_bytes());
        out.extend_from_slice(&self.opaque.to_be_bytes());
        out.extend_from_slice(&self.flag.to_be_bytes());
        let remark = self.remark.as_deref().unwrap_or("");
        out.extend_from_slice(&(remark.len() as u32).to_be_bytes());
        out.extend_from_slice(remark.as_bytes());
        let mut entries = Vec::new();
        for (key, value) in self.ext.iter().flatten() {
            entries.extend_from_slice(&(key.len() as u16).to_be_bytes());
            entries.extend_from_slice(key.as_bytes());
            entries.extend_from_slice(&(value.len() as u32).to_be_bytes());
            entries.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
        out.extend_from_slice(&entries);
        out
    }

    /// `frame` without its length word.
    pub fn decode(frame: &[u8]) -> Result<Self> {
        let word = u32::from_be_bytes(frame.get(..4).context("frame of under 4 bytes")?.try_into()?);
        let header_bytes = (word & 0x00ff_ffff) as usize;
        let header = frame.get(4..4 + header_bytes).context("header longer than its frame")?;
        let body = frame[4 + header_bytes..].to_vec();
        match word >> 24 {
            0 => Self::decode_json(header, body),
            1 => Self::decode_binary(header, body),
            other => bail!("unknown serialize type {other}"),
        }
    }

    fn decode_json(header: &[u8], body: Vec<u8>) -> Result<Self> {
        let header: Value = serde_json::from_slice(header).context("header is not JSON")?;
        let number = |key: &str| header.get(key).and_then(Value::as_i64).unwrap_or(0) as i32;
        let ext = match header.get("extFields") {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => {
                let mut ext = BTreeMap::new();
                for (key, value) in fields {
                    let Value::String(text) = value else { bail!("ext field {key} is not a string: {value}") };
                    ext.insert(key.clone(), text.clone());
                }
                Some(ext)
            }
            Some(other) => bail!("extFields is {other}"),
        };
        Ok(Self {
            code: number("code"),
            language: header.get("language").and_then(Value::as_str).unwrap_or("").to_owned(),
            version: number("version"),
            opaque: number("opaque"),
            flag: number("flag"),
            remark: header.get("remark").and_then(Value::as_str).map(str::to_owned),
            ext,
            body,
            binary: false,
        })
    }

    fn decode_binary(header: &[u8], body: Vec<u8>) -> Result<Self> {
        let mut at = Cursor { bytes: header, position: 0 };
        let code = i32::from(i16::from_be_bytes(at.take(2)?.try_into()?));
        let language = language_name(at.take(1)?[0]).to_owned();
        let version = i32::from(i16::from_be_bytes(at.take(2)?.try_into()?));
        let opaque = at.int()?;
        let flag = at.int()?;
        let remark_bytes = at.int()? as usize;
        let remark = (remark_bytes > 0).then(|| at.text(remark_bytes)).transpose()?;
        let ext_bytes = at.int()? as usize;
        let end = at.position + ext_bytes;
        let mut ext = (ext_bytes > 0).then(BTreeMap::new);
        while at.position < end {
            let key_bytes = u16::from_be_bytes(at.take(2)?.try_into()?) as usize;
            let key = at.text(key_bytes)?;
            let value_bytes = at.int()? as usize;
            let value = at.text(value_bytes)?;
            ext.get_or_insert_default().insert(key, value);
        }
        Ok(Self { code, language, version, opaque, flag, remark, ext, body, binary: true })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.position.checked_add(count).context("length overflow")?;
        let taken = self.bytes.get(self.position..end).context("binary header ends early")?;
        self.position = end;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn text(&mut self, count: usize) -> Result<String> {
        Ok(String::from_utf8(self.take(count)?.to_vec())?)
    }
}

const LANGUAGES: [&str; 14] =
    ["JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS"];

fn language_byte(name: &str) -> u8 {
    LANGUAGES.iter().position(|known| *known == name).unwrap_or(7) as u8
}

fn language_name(byte: u8) -> &'static str {
    LANGUAGES.get(byte as usize).copied().unwrap_or("?")
}

/// What came next on a connection.
#[derive(Debug)]
pub enum Next {
    Frame(Frame),
    Closed,
    Nothing,
    /// Bytes that are no frame: a TLS alert, an HTTP answer.
    Foreign,
}

/// A connection with the frames that were read while waiting for another one.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    pending: Vec<Frame>,
    closed: bool,
    foreign: bool,
    next_opaque: i32,
}

impl Connection {
    pub fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(3)).with_context(|| format!("connect {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, buffer: Vec::new(), pending: Vec::new(), closed: false, foreign: false, next_opaque: 1 })
    }

    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.stream.local_addr()?)
    }

    /// Sends a request under a fresh opaque and returns that.
    pub fn send(&mut self, frame: &Frame) -> Result<i32> {
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        self.write_raw(&Frame { opaque, ..frame.clone() }.encode())?;
        Ok(opaque)
    }

    pub fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("write to the server")
    }

    /// Request and answer.
    pub fn call(&mut self, frame: &Frame, timeout: Duration) -> Result<Frame> {
        let opaque = self.send(frame)?;
        match self.answer(opaque, timeout)? {
            Next::Frame(answer) => Ok(answer),
            Next::Closed => bail!("the server closed the connection on request {}", frame.code),
            Next::Foreign => bail!("the answer to request {} is no frame", frame.code),
            Next::Nothing => bail!("no answer to request {} within {timeout:?}", frame.code),
        }
    }

    /// The answer with this opaque.
    pub fn answer(&mut self, opaque: i32, timeout: Duration) -> Result<Next> {
        self.wait(timeout, |frame| frame.is_response() && frame.opaque == opaque)
    }

    /// The next request that the server itself sends with this code.
    pub fn server_request(&mut self, code: i32, timeout: Duration) -> Result<Next> {
        self.wait(timeout, |frame| !frame.is_response() && frame.code == code)
    }

    /// Whatever comes next.
    pub fn anything(&mut self, timeout: Duration) -> Result<Next> {
        self.wait(timeout, |_| true)
    }

    fn wait(&mut self, timeout: Duration, wanted: impl Fn(&Frame) -> bool) -> Result<Next> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(index) = self.pending.iter().position(&wanted) {
                return Ok(Next::Frame(self.pending.remove(index)));
            }
            if self.foreign {
                return Ok(Next::Foreign);
            }
            if self.closed {
                return Ok(Next::Closed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::Nothing);
            }
            self.fill(left)?;
        }
    }

    fn fill(&mut self, timeout: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let mut chunk = [0_u8; 65536];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.closed = true,
            Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => self.closed = true,
            Err(error) => return Err(error).context("read from the server"),
        }
        let mut at = 0;
        while self.buffer.len() >= at + 4 {
            let length = u32::from_be_bytes(self.buffer[at..at + 4].try_into()?) as usize;
            if length > FRAME_BYTES_MAX {
                self.foreign = true;
                break;
            }
            if self.buffer.len() < at + 4 + length {
                break;
            }
            self.pending.push(Frame::decode(&self.buffer[at + 4..at + 4 + length])?);
            at += 4 + length;
        }
        self.buffer.drain(..at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_serialisations_read_back() {
        for binary in [false, true] {
            let frame =
                Frame { opaque: 7, remark: Some("r\u{1}".to_owned()), binary, ..Frame::request(310).with("a", "group").with_body("hello") };
            assert_eq!(Frame::decode(&frame.encode()[4..]).expect("decodes"), frame);
        }
    }
}
