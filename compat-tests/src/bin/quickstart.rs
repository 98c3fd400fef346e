// SPDX-License-Identifier: Apache-2.0
//! The README's promise, kept: its Java and Go snippets, cut out as they stand, against `docker compose up` of the stock file.
//!
//! Each snippet runs twice, on the host's network and in a second container of the compose network; both must send and
//! receive, and `queryMsgByUniqueKey` must report the message as CONSUMED, asked from the same place.
#![allow(clippy::print_stdout, reason = "a command line tool")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own tasks, plain files")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compat_tests::images::{self, repository, run, work_folder};
use tokio::process::Command;

/// Own names, so that a user's running composition is left alone.
const PROJECT: &str = "ferrocket-quickstart";
/// As the compose file and the `Dockerfile` name the image.
const IMAGE: &str = "ferrocket:latest";
/// From the start of a snippet to its last "received", JVM start and first rebalance included.
const SNIPPET_WAIT: Duration = Duration::from_secs(90);
/// The client commits its offsets every 5 s; until then the message is not CONSUMED.
const CONSUMED_WAIT: Duration = Duration::from_secs(60);
const MESSAGES: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = quickstart().await;
    if let Err(error) = down().await {
        println!("quickstart: could not clean up: {error:#}");
    }
    match outcome {
        Ok(()) => {
            println!("quickstart: the README's snippets work on the host and in a container");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("quickstart: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn quickstart() -> Result<()> {
    images::engine_up().await?;
    let java_image = images::java().await?;
    let readme = std::fs::read_to_string(repository().join("README.md")).context("reading README.md")?;
    let folder = work_folder().join("quickstart");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("Quickstart.java"), snippet(&readme, "java")?)?;
    std::fs::write(folder.join("main.go"), snippet(&readme, "go")?)?;
    compile_java(&folder, &java_image).await?;
    compile_go(&folder).await?;

    down().await?;
    build_image().await?;
    compose(&["up", "--detach", "--wait", "--no-build"]).await?;
    let network = format!("{PROJECT}_default");
    let places = [("host", "host", "127.0.0.1:9876"), ("second container", network.as_str(), "ferrocket:9876")];
    for (place, network, name_server) in places {
        for language in ["java", "go"] {
            let started = Instant::now();
            try_snippet(language, network, name_server, &folder, &java_image)
                .await
                .with_context(|| format!("{language} snippet on the {place}"))?;
            println!("quickstart: {language:<4} on the {place}: sent, received, CONSUMED ({:.1} s)", started.elapsed().as_secs_f32());
        }
    }
    Ok(())
}

/// The first fenced block of a language, exactly as it stands.
fn snippet(readme: &str, language: &str) -> Result<String> {
    let fence = format!("```{language}\n");
    let start = readme.find(&fence).with_context(|| format!("README.md has no {language} snippet"))? + fence.len();
    let length = readme[start..].find("\n```").with_context(|| format!("the {language} snippet of README.md does not end"))?;
    Ok(readme[start..start + length + 1].to_owned())
}

fn on_host(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

async fn builder(image: &str, folder: &Path, volumes: &[String], script: &str) -> Result<()> {
    run("scripts/docker-base.sh", Command::new(repository().join("scripts/docker-base.sh")).arg(image)).await?;
    let mut command = Command::new("docker");
    command
        .args(["run", "--rm", "-e", "HTTPS_PROXY", "-e", "HTTP_PROXY", "-e", "NO_PROXY", "-v"])
        .arg(format!("{}:/work", folder.display()));
    for volume in volumes {
        command.args(["-v", volume]);
    }
    run(script, command.args(["-w", "/work", image, "sh", "-c", script])).await?;
    Ok(())
}

async fn compile_java(folder: &Path, java_image: &str) -> Result<()> {
    // The jars come out of the image, so that the host needs no Maven.
    let jars = folder.join("lib");
    if !jars.is_dir() {
        let id = run("docker create", Command::new("docker").args(["create", java_image])).await?;
        let copied = run("docker cp", Command::new("docker").args(["cp", &format!("{id}:/opt/client-5.5.0/lib")]).arg(&jars)).await;
        run("docker rm", Command::new("docker").args(["rm", &id])).await?;
        copied?;
    }
    let script = "javac -nowarn -d classes -cp 'lib/*' Quickstart.java";
    if on_host("javac") {
        run(script, Command::new("sh").current_dir(folder).args(["-c", script])).await?;
        return Ok(());
    }
    builder("maven:3-eclipse-temurin-17", folder, &[], script).await
}

async fn compile_go(folder: &Path) -> Result<()> {
    let agents = repository().join("compat-tests/agents/go");
    let module = std::fs::read_to_string(agents.join("go.mod")).context("reading the Go agent's go.mod")?;
    std::fs::write(folder.join("go.mod"), module)?;
    std::fs::copy(agents.join("go.sum"), folder.join("go.sum"))?;
    let script = "CGO_ENABLED=0 go build -mod=mod -buildvcs=false -o quickstart .";
    if on_host("go") {
        run(script, Command::new("sh").current_dir(folder).args(["-c", script])).await?;
        return Ok(());
    }
    builder("golang:1-bookworm", folder, &[], script).await
}

async fn compose(arguments: &[&str]) -> Result<String> {
    let script: PathBuf = repository().join("scripts/docker-compose.sh");
    run(
        &format!("docker compose {}", arguments.join(" ")),
        Command::new(script).current_dir(repository()).args(["-p", PROJECT]).args(arguments),
    )
    .await
}

async fn down() -> Result<()> {
    run("removing snippets", Command::new("sh").args(["-c", &format!("docker ps -aq --filter label={PROJECT} | xargs -r docker rm -f")]))
        .await?;
    compose(&["down", "--volumes", "--timeout", "10"]).await?;
    Ok(())
}

/// The Dockerfile that users build, with the classic builder, which also finds stand-ins of the base image.
async fn build_image() -> Result<()> {
    run("scripts/docker-base.sh", Command::new(repository().join("scripts/docker-base.sh")).arg("rust:1-bookworm")).await?;
    run(
        "docker build",
        Command::new("docker").env("DOCKER_BUILDKIT", "0").args(["build", "-q", "--force-rm", "-t", IMAGE]).arg(repository()),
    )
    .await?;
    Ok(())
}

/// Starts the snippet, waits for its messages, asks mqadmin for each of them, ends it.
async fn try_snippet(language: &str, network: &str, name_server: &str, folder: &Path, java_image: &str) -> Result<()> {
    let mut start = Command::new("docker");
    start.args(["run", "--detach", "--label", PROJECT, "--network", network, "-e", &format!("NAMESRV_ADDR={name_server}"), "-v"]);
    start.arg(format!("{}:/quickstart:ro", folder.display())).args(["--workdir", "/tmp", java_image]);
    match language {
        "java" => start.args(["java", "-cp", "/quickstart/classes:/quickstart/lib/*", "Quickstart"]),
        _ => start.arg("/quickstart/quickstart"),
    };
    let container = run("starting the snippet", &mut start).await?;
    let outcome = watch(&container, network, name_server, java_image).await;
    let logs = logs(&container).await;
    run("ending the snippet", Command::new("docker").args(["rm", "--force", &container])).await?;
    outcome.with_context(|| format!("the snippet printed:\n{}", logs.unwrap_or_default()))
}

async fn logs(container: &str) -> Result<String> {
    run("docker logs", Command::new("sh").args(["-c", &format!("docker logs {container} 2>&1")])).await
}

async fn watch(container: &str, network: &str, name_server: &str, java_image: &str) -> Result<()> {
    let deadline = Instant::now() + SNIPPET_WAIT;
    let keys = loop {
        let text = logs(container).await?;
        let after = |word: &str| -> Vec<String> {
            let mut keys: Vec<String> =
                text.lines().filter_map(|line| line.trim().strip_prefix(word)).map(|key| key.trim().to_owned()).collect();
            keys.sort();
            keys.dedup();
            keys
        };
        let (sent, received) = (after("sent "), after("received "));
        if sent.len() == MESSAGES && sent.iter().all(|key| received.contains(key)) {
            break sent;
        }
        if Instant::now() > deadline {
            bail!("{} of {MESSAGES} sent, {} received", sent.len(), received.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let topic = logs(container)
        .await?
        .lines()
        .find_map(|line| line.trim().strip_prefix("topic ").map(str::to_owned))
        .unwrap_or_else(|| "Quickstart".to_owned());
    let deadline = Instant::now() + CONSUMED_WAIT;
    for key in keys {
        loop {
            let answer = run(
                "mqadmin queryMsgByUniqueKey",
                Command::new("docker").args(["run", "--rm", "--label", PROJECT, "--network", network, java_image]).args([
                    "java",
                    "-Xmx128m",
                    "-XX:TieredStopAtLevel=1",
                    "-cp",
                    "/opt/server-5.5.0/lib/*",
                    "org.apache.rocketmq.tools.command.MQAdminStartup",
                    "queryMsgByUniqueKey",
                    "-n",
                    name_server,
                    "-t",
                    &topic,
                    "-i",
                    &key,
                ]),
            )
            .await?;
            ensure!(answer.contains(&key), "queryMsgByUniqueKey does not find {key}:\n{answer}");
            if answer.contains("CONSUMED") && !answer.contains("NOT_CONSUME") {
                break;
            }
            if Instant::now() > deadline {
                bail!("{key} is not reported as CONSUMED:\n{answer}");
            }
        }
    }
    Ok(())
}
