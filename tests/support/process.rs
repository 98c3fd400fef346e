// SPDX-License-Identifier: Apache-2.0
//! The binary as a process: its lines, its addresses, its end.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process in a folder of its own; killed when a story fails.
pub struct Server {
    pub child: Child,
    stdout: Box<dyn BufRead + Send>,
    pub lines: Vec<String>,
}

/// The binary of this package. Another package that has these files as its own starts none.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(option_env!("CARGO_BIN_EXE_ferrocket").unwrap_or("ferrocket"));
    command.args(args).current_dir(folder).env("HOME", folder).env_remove("NAMESRV_ADDR").env("RUST_LOG", "warn");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Server {
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        Self::of(command(folder, args))
    }

    /// On a machine that lets it open only so many files.
    pub fn start_with_open_files(folder: &Path, open_files: u64, args: &[&str]) -> Self {
        let server = command(folder, args);
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {open_files} && exec \"$0\" \"$@\"")]).arg(server.get_program()).args(server.get_args());
        limited.current_dir(folder).env("HOME", folder).env_remove("NAMESRV_ADDR").env("RUST_LOG", "error");
        limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::of(limited)
    }

    /// Its stdout is a terminal.
    pub fn start_on_a_terminal(folder: &Path, args: &[&str]) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let theirs = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut command = command(folder, args);
        command.stdout(theirs);
        let child = command.spawn().unwrap();
        Self { child, stdout: Box::new(BufReader::new(std::fs::File::from(terminal))), lines: Vec::new() }
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout: Box::new(stdout), lines: Vec::new() }
    }

    /// Reads up to the line that holds `text`.
    pub fn line(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line).unwrap() == 0 {
                let mut why = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
                panic!("it ended before it said {text}: {:?} {why}", self.lines);
            }
            self.lines.push(line.trim_end().to_owned());
            if line.contains(text) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// The address at the end of a name server's boot line.
    pub fn namesrv(&mut self) -> SocketAddr {
        let line = self.line("The Name Server boot success.");
        assert!(line.starts_with("The Name Server boot success. serializeType=JSON, address 0.0.0.0:"), "{line}");
        SocketAddr::from((Ipv4Addr::LOCALHOST, line.rsplit_once(':').unwrap().1.parse().unwrap()))
    }

    /// The port in a broker's boot line, which must name this broker.
    pub fn broker(&mut self, name: &str) -> SocketAddr {
        let line = self.line("boot success. serializeType=JSON");
        let rest = line.strip_prefix(&format!("The broker[{name}, ")).unwrap_or_else(|| panic!("{line}"));
        let address = rest.split(']').next().unwrap();
        SocketAddr::from((Ipv4Addr::LOCALHOST, address.rsplit_once(':').unwrap().1.parse().unwrap()))
    }

    /// SIGTERM or SIGINT, then the exit code.
    pub fn stop(self, signal: &str) -> Option<i32> {
        let (code, warnings) = self.stop_and_hear(signal);
        assert_eq!(warnings, "", "nothing to warn of in an orderly life");
        code
    }

    /// As `stop`, of a server that had to warn of something: with what it wrote on stderr.
    pub fn stop_and_hear(mut self, signal: &str) -> (Option<i32>, String) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let mut warnings = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut warnings).unwrap();
        (code, warnings)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an orderly stop there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one sentence of a start that fails, and its exit code.
pub fn failed_start(folder: &Path, args: &[&str]) -> String {
    let mut child = command(folder, args).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("it started: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{sentence}");
    let lines: Vec<&str> = sentence.lines().filter(|line| line.starts_with("ferrocket: ")).collect();
    assert_eq!(lines.len(), 1, "{sentence}");
    lines[0]["ferrocket: ".len()..].to_owned()
}

#[expect(clippy::disallowed_methods, reason = "what a person writes before the start")]
pub fn write(path: PathBuf, text: &str) -> String {
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

pub const ANY_PORTS: [&str; 4] = ["--namesrv-port", "0", "--set", "listenPort=0"];

pub fn with_any_ports<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ANY_PORTS.into_iter().chain(more.iter().copied()).collect()
}
