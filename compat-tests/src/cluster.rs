// SPDX-License-Identifier: Apache-2.0
//! Containers: one network, the agents, and the servers under test, be it Ferrocket or the original (the oracle).
//!
//! All clients are containers of the same network and no broker port is published, so that nothing collides on the host.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::images;

const LABEL: &str = "ferrocket.compat";
const AGENT_PORT: u16 = 7070;
const START_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ferrocket,
    Oracle,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ferrocket => "ferrocket",
            Kind::Oracle => "oracle",
        }
    }
}

pub struct Cluster {
    pub java_image: String,
    pub go_image: Option<String>,
    pub ferrocket_image: Option<String>,
    pub oracle_version: String,
    pub network: String,
    containers: AtomicUsize,
}

/// A started agent and the container that it lives in; dropping it ends both.
pub struct AgentContainer {
    pub agent: std::sync::Arc<Agent>,
    container: ContainerAsync<GenericImage>,
}

impl AgentContainer {
    pub async fn output(&self) -> String {
        output(&self.container).await
    }
}

impl Cluster {
    pub fn new(java_image: String, go_image: Option<String>, ferrocket_image: Option<String>, oracle_version: String) -> Cluster {
        let network = format!("ferrocket-compat-{}", std::process::id());
        Cluster { java_image, go_image, ferrocket_image, oracle_version, network, containers: AtomicUsize::new(0) }
    }

    fn request(&self, image: &str, ready: Option<&str>, agent: bool) -> ContainerRequest<GenericImage> {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let mut generic = GenericImage::new(name, tag);
        if let Some(message) = ready {
            generic = generic.with_wait_for(WaitFor::message_on_stdout(message));
        }
        if agent {
            generic = generic.with_exposed_port(AGENT_PORT.tcp());
        }
        generic.with_startup_timeout(START_TIMEOUT).with_label(LABEL, std::process::id().to_string())
    }

    fn unique(&self, what: &str) -> String {
        format!("ferrocket-compat-{}-{what}-{}", std::process::id(), self.containers.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts the agent of one column of the matrix, e.g. `java-4.5.2-vip`.
    pub async fn agent(&self, client: &str) -> Result<AgentContainer> {
        let (family, version) = client.split_once('-').context("a client's name is family-version")?;
        let request = if family == "go" {
            let image = self.go_image.as_deref().context("no Go image was built")?;
            self.request(image, Some("agent ready"), true)
        } else {
            let vip = version.ends_with("-vip");
            let version = version.trim_end_matches("-vip");
            let home = if family == "java" { format!("/opt/client-{version}") } else { format!("/opt/server-{version}") };
            let mut command: Vec<String> =
                ["java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Duser.home=/tmp/home"].map(String::from).into();
            command.push("--add-opens=java.base/java.nio=ALL-UNNAMED".into());
            if vip {
                command.push("-Dcom.rocketmq.sendMessageWithVIPChannel=true".into());
            }
            command.extend(["-cp".into(), format!("{home}/classes:{home}/lib/*"), "ferrocket.agent.Agent".into()]);
            let parts: &[&str] = match (family, version) {
                ("java", "4.5.2") => &["Producers", "PushConsumers", "PullConsumers"],
                ("java", _) => &["Producers", "PushConsumers", "PullConsumers", "LiteConsumers", "Requests"],
                (_, "4.9.7") => &["MqAdmin"],
                _ => &["MqAdmin", "Admin"],
            };
            command.extend(parts.iter().map(|part| (*part).to_owned()));
            self.request(&self.java_image, Some("agent ready"), true).with_env_var("ROCKETMQ_HOME", "/opt/oracle-home").with_cmd(command)
        };
        let container = request
            .with_network(&self.network)
            .with_container_name(self.unique(client))
            .start()
            .await
            .with_context(|| format!("starting the agent of {client}"))?;
        let port = container.get_host_port_ipv4(AGENT_PORT).await?;
        let agent = Agent::connect(client, &format!("127.0.0.1:{port}")).await?;
        Ok(AgentContainer { agent: std::sync::Arc::new(agent), container })
    }

    /// Starts a server with the common settings and `extra` lines.
    ///
    /// `restartable` puts it into the network namespace of a container that does nothing, so that its address outlives a restart.
    pub async fn server(&self, kind: Kind, extra: &[String], restartable: bool) -> Result<ServerUnderTest> {
        let mut conf = std::fs::read_to_string(images::repository().join("compat-tests/docker/broker.conf"))?;
        for line in extra {
            conf.push_str(line);
            conf.push('\n');
        }
        let mut address_keeper = None;
        if restartable {
            let keeper = self
                .request(&self.java_image, None, false)
                .with_network(&self.network)
                .with_container_name(self.unique("address"))
                .with_cmd(["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"])
                .start()
                .await
                .context("starting the address keeper")?;
            address_keeper = Some(keeper);
        }
        let request = match kind {
            Kind::Oracle => self
                .request(&self.java_image, Some("The broker["), false)
                .with_cmd(["/opt/oracle.sh".to_owned(), self.oracle_version.clone()]),
            Kind::Ferrocket => {
                let image = self.ferrocket_image.as_deref().context("no Ferrocket image was built")?;
                self.request(image, Some("The broker["), false).with_cmd(["-c", "/home/rocketmq/conf/broker.conf"])
            }
        };
        let name = self.unique(kind.name());
        let conf_path = if kind == Kind::Oracle { "/conf/broker.conf" } else { "/home/rocketmq/conf/broker.conf" };
        let request = request.with_copy_to(conf_path, conf.into_bytes()).with_container_name(&name);
        let request = match &address_keeper {
            // Not `with_network("container:..")`, which makes a network of that name.
            Some(keeper) => {
                let namespace = format!("container:{}", keeper.id());
                request.with_host_config_modifier(move |host| {
                    host.network_mode = Some(namespace.clone());
                    host.publish_all_ports = None;
                    host.port_bindings = None;
                })
            }
            None => request.with_network(&self.network),
        };
        let container = request.start().await.with_context(|| format!("starting {}", kind.name()))?;
        let address = match &address_keeper {
            Some(keeper) => keeper.get_bridge_ip_address().await?,
            None => container.get_bridge_ip_address().await?,
        };
        Ok(ServerUnderTest {
            kind,
            name,
            address: address.to_string(),
            container,
            started: Mutex::new(Instant::now()),
            _address_keeper: address_keeper,
            slave: None,
        })
    }

    /// A master that may be killed, and its slave, in whose container the name server of both is.
    pub async fn pair(&self, kind: Kind, extra: &[String]) -> Result<ServerUnderTest> {
        let with = |lines: &[&str]| extra.iter().cloned().chain(lines.iter().map(|line| (*line).to_owned())).collect::<Vec<_>>();
        let slave = self.server(kind, &with(&["brokerRole=SLAVE", "brokerId=1", "slaveReadEnable=true"]), false).await?;
        let mut master = self.server(kind, &with(&[&format!("namesrvAddr={}", slave.namesrv())]), true).await?;
        master.slave = Some(Box::new(slave));
        Ok(master)
    }
}

pub struct ServerUnderTest {
    pub kind: Kind,
    name: String,
    address: String,
    container: ContainerAsync<GenericImage>,
    started: Mutex<Instant>,
    _address_keeper: Option<ContainerAsync<GenericImage>>,
    /// Of a pair.
    slave: Option<Box<ServerUnderTest>>,
}

impl ServerUnderTest {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An IP address, because rocketmq-client-go refuses names here.
    pub fn namesrv(&self) -> String {
        format!("{}:9876", self.slave.as_ref().map_or(&self.address, |slave| &slave.address))
    }

    pub fn broker_addr(&self) -> String {
        format!("{}:10911", self.address)
    }

    pub async fn age(&self) -> Duration {
        self.started.lock().await.elapsed()
    }

    /// Ends the server's processes: SIGKILL at once, or SIGTERM and its own orderly stop.
    pub async fn stop(&self, kill: bool) -> Result<()> {
        let signal = if kill { "KILL" } else { "TERM" };
        images::run("docker kill", Command::new("docker").args(["kill", "-s", signal, self.container.id()])).await?;
        let exit = images::run("docker wait", Command::new("timeout").args(["60", "docker", "wait", self.container.id()])).await?;
        anyhow::ensure!(kill || ["0", "143"].contains(&exit.as_str()), "the server ended with {exit} after SIGTERM");
        Ok(())
    }

    pub async fn start_again(&self) -> Result<()> {
        images::run("docker start", Command::new("docker").args(["start", self.container.id()])).await?;
        *self.started.lock().await = Instant::now();
        Ok(())
    }

    pub async fn output(&self) -> String {
        let mut text = output(&self.container).await;
        if let Some(slave) = &self.slave {
            text.push_str("\nits slave:\n");
            text.push_str(&output(&slave.container).await);
        }
        text
    }
}

async fn output(container: &ContainerAsync<GenericImage>) -> String {
    let out = container.stdout_to_vec().await.unwrap_or_default();
    let err = container.stderr_to_vec().await.unwrap_or_default();
    format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err))
}

/// Removes what runs that were killed left behind. A run is known by its process id.
pub async fn sweep() -> Result<()> {
    let listed = images::run(
        "docker ps",
        Command::new("docker").args([
            "ps",
            "-a",
            "--filter",
            &format!("label={LABEL}"),
            "--format",
            &format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}"),
        ]),
    )
    .await?;
    let alive = |pid: &str| std::path::Path::new("/proc").join(pid).exists();
    for (id, pid) in listed.lines().filter_map(|line| line.split_once(' ')) {
        if !alive(pid) {
            images::run("docker rm", Command::new("docker").args(["rm", "-f", "-v", id])).await?;
        }
    }
    let networks = images::run(
        "docker network ls",
        Command::new("docker").args(["network", "ls", "--filter", "name=ferrocket-compat-", "--format", "{{.Name}}"]),
    )
    .await?;
    for network in networks.lines() {
        if network.strip_prefix("ferrocket-compat-").is_some_and(|pid| !alive(pid)) {
            // The engine may believe for as long as it lives that somebody is still in it, which harms nobody.
            if let Err(error) = images::run("docker network rm", Command::new("docker").args(["network", "rm", network])).await {
                println!("left behind: {network}: {error}");
            }
        }
    }
    Ok(())
}
