// SPDX-License-Identifier: Apache-2.0
//! What the original takes from the machine when a key is unset: the host's name, its address, the home directory, the environment.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::remoting::CONNECTIONS_MAX;

/// The machine and the environment of this process, read once.
#[derive(Clone, Debug)]
pub struct Machine {
    pub host_name: String,
    pub address: IpAddr,
    /// Below it lie the files that no key places.
    pub home: Option<String>,
    pub namesrv_addr: Option<String>,
    pub rocketmq_home: Option<String>,
    pub tls_server_mode: Option<String>,
}

impl Machine {
    pub fn read() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            host_name: host_name(),
            address: address(),
            home: variable("HOME").or_else(|| home_of(&std::fs::read_to_string("/etc/passwd").ok()?, rustix::process::getuid().as_raw())),
            namesrv_addr: variable("NAMESRV_ADDR"),
            rocketmq_home: variable("ROCKETMQ_HOME"),
            tls_server_mode: variable("TLS_SERVER_MODE").or_else(|| variable("tls.server.mode")),
        }
    }
}

/// The home directory of a user by the text of /etc/passwd: what the original's `user.home` is.
fn home_of(passwd: &str, uid: u32) -> Option<String> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid))?;
    user.get(5).filter(|home| home.starts_with('/')).map(|home| (*home).to_owned())
}

/// Descriptors that connections leave to files: a store that cannot open a ConsumeQueue refuses messages. The store opens at most 192
/// files of ConsumeQueues however many queues there are, and keeps one descriptor for each file of the log: 700 files of 1 GiB.
const FILES_RESERVE: u64 = 1_024;

/// Lets this process open as many files as the machine allows: each connection is one, and shells give 1,024 by default.
/// How many connections there may be at the same time.
pub(crate) fn raise_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
    connections_beside_files(getrlimit(Resource::Nofile).current)
}

/// `open_files`: the limit of this process, `None` without one. Half of it where the reserve would leave less.
fn connections_beside_files(open_files: Option<u64>) -> usize {
    let Some(open_files) = open_files else { return CONNECTIONS_MAX };
    let left = open_files.saturating_sub(FILES_RESERVE).max(open_files / 2);
    usize::try_from(left).map_or(CONNECTIONS_MAX, |left| left.min(CONNECTIONS_MAX))
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "DEFAULT_BROKER".to_owned() } else { name }
}

/// The first address that the world can reach, else the first of a private network; bridges and loopback are passed over.
fn address() -> IpAddr {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.retain(|interface| {
        let is_bridge = Path::new("/sys/class/net").join(&interface.name).join("bridge").exists();
        !interface.is_loopback() && !interface.is_link_local() && !is_bridge
    });
    interfaces.sort_by_key(|interface| interface.index);
    pick(&interfaces.iter().map(|interface| interface.ip()).collect::<Vec<_>>())
}

fn pick(addresses: &[IpAddr]) -> IpAddr {
    let first = |wanted: &dyn Fn(&IpAddr) -> bool| addresses.iter().copied().find(|address| wanted(address));
    first(&|address| matches!(address, IpAddr::V4(v4) if !v4.is_private()))
        .or_else(|| first(&IpAddr::is_ipv4))
        .or_else(|| first(&|_| true))
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_files() {
        for (open_files, connections) in
            [(None, 65_536), (Some(1 << 20), 65_536), (Some(11_024), 10_000), (Some(1_024), 512), (Some(256), 128)]
        {
            assert_eq!(connections_beside_files(open_files), connections, "{open_files:?}");
        }
    }

    #[test]
    fn a_user_without_home_variable_is_looked_up() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nrocket:x:3000:3000::/home/rocket:/bin/sh\nnone:x:7:7::";
        assert_eq!(home_of(passwd, 3_000).as_deref(), Some("/home/rocket"));
        assert_eq!((home_of(passwd, 1), home_of(passwd, 7)), (None, None));
    }

    /// NetworkUtil.java#getLocalInetAddress.
    #[test]
    fn an_outside_ipv4_address_goes_before_a_private_one_and_that_before_ipv6() {
        let picked = |texts: &[&str]| pick(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>()).to_string();
        assert_eq!(picked(&["10.0.0.5", "fd00::1", "8.8.4.4"]), "8.8.4.4");
        assert_eq!(picked(&["fd00::1", "10.0.0.5", "192.168.1.2"]), "10.0.0.5");
        assert_eq!(picked(&["fd00::1"]), "fd00::1");
        assert_eq!(picked(&[]), "127.0.0.1");
    }
}
