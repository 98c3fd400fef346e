// SPDX-License-Identifier: Apache-2.0
//! What a person sees first on a terminal: what serves, where clients connect, where the data is, what an acknowledgement means, how to stop.
//!
//! The boot lines, which tools wait for, stand before it and are always said.

use std::net::{IpAddr, SocketAddr};

use super::broker::Broker;
use super::namesrv::Namesrv;
use crate::config::{BrokerConfig, FlushDiskType};

/// Who reads stdout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    /// A person.
    pub is_terminal: bool,
    /// Who wants to know everything.
    pub is_verbose: bool,
}

/// One line each, without what does not apply.
pub(super) fn lines(namesrv: Option<&Namesrv>, broker: Option<&Broker>, machine_address: &str) -> Vec<String> {
    let names: Vec<String> =
        namesrv.map(|_| "name server".to_owned()).into_iter().chain(broker.map(|broker| format!("broker {}", broker.name()))).collect();
    let mut lines = vec![format!("serving     {}", names.join(" and "))];
    lines.extend(clients(namesrv, broker, machine_address).map(|clients| format!("clients     {clients}")));
    if let Some(broker) = broker {
        let config = broker.config();
        let root = std::path::absolute(&config.store_path_root_dir);
        let root = root.map_or_else(|_| config.store_path_root_dir.clone(), |root| root.display().to_string());
        lines.push(format!("data        {root}"));
        lines.push(format!("an ack      {}", ack(&config)));
    }
    lines.push(format!("stop        Ctrl-C, or kill {}", std::process::id()));
    lines
}

/// As clients are told: on this machine and elsewhere the addresses differ, unless an operator has set one.
fn clients(namesrv: Option<&Namesrv>, broker: Option<&Broker>, machine_address: &str) -> Option<String> {
    let bind_address =
        namesrv.map(|namesrv| namesrv.bind_address.clone()).or_else(|| broker.map(|broker| broker.config().bind_address.clone()));
    let bound = bind_address.and_then(|address| address.parse().ok());
    let reach = |port: u16| reach(port, bound, machine_address);
    let told = broker.and_then(|broker| broker.told_to_everyone());
    let broker_port = broker.and_then(Broker::port);
    match (namesrv.and_then(Namesrv::port), broker_port) {
        (Some(namesrv_port), Some(broker_port)) => {
            let broker = told.unwrap_or_else(|| format!("port {broker_port} of the address that a client came to"));
            Some(format!("{}; they are told of the broker at {broker}", reach(namesrv_port)))
        }
        (Some(namesrv_port), None) => Some(reach(namesrv_port)),
        (None, Some(broker_port)) => {
            let name_servers = broker.map(|broker| broker.config().namesrv_addr.clone()).filter(|addrs| !addrs.is_empty());
            Some(match name_servers {
                Some(addrs) => {
                    let registered = broker?.registered();
                    let closed = match bound {
                        Some(address) if address.is_loopback() => ", but bindAddress lets in this machine only",
                        _ => "",
                    };
                    format!("by the name server {addrs}; they are told of the broker at {registered}{closed}")
                }
                None => format!("no name server tells them of this broker; {}", reach(broker_port)),
            })
        }
        (None, None) => None,
    }
}

/// Where a port that listens on `bound` is found: nobody is sent to an address that is closed.
fn reach(port: u16, bound: Option<IpAddr>, machine_address: &str) -> String {
    match bound {
        Some(address) if address.is_loopback() => format!("{} on this machine only (bindAddress)", SocketAddr::new(address, port)),
        Some(address) if !address.is_unspecified() => format!("{} (bindAddress)", SocketAddr::new(address, port)),
        _ => format!("127.0.0.1:{port} on this machine, {machine_address}:{port} from elsewhere"),
    }
}

fn ack(config: &BrokerConfig) -> String {
    match config.flush_disk_type {
        FlushDiskType::SyncFlush => "the message is on the disk (flushDiskType=SYNC_FLUSH)".to_owned(),
        FlushDiskType::AsyncFlush => format!(
            "the message outlives this process; a power cut may take the last {} ms (flushDiskType=ASYNC_FLUSH)",
            config.flush_interval_commit_log
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::reach;

    #[test]
    fn nobody_is_sent_to_an_address_that_is_closed() {
        let at = |bound: &str| reach(9876, bound.parse().ok(), "10.1.2.3");
        assert_eq!(at("0.0.0.0"), "127.0.0.1:9876 on this machine, 10.1.2.3:9876 from elsewhere");
        assert_eq!(at("::"), at("0.0.0.0"));
        assert_eq!(at("127.0.0.1"), "127.0.0.1:9876 on this machine only (bindAddress)");
        assert_eq!(at("::1"), "[::1]:9876 on this machine only (bindAddress)");
        assert_eq!(at("10.1.2.3"), "10.1.2.3:9876 (bindAddress)");
    }
}
