// SPDX-License-Identifier: Apache-2.0
//! Images: what goes in, built once and known by the hash of what went in.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::scenario::hash;

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("compat-tests lies in the repository")
}

pub fn work_folder() -> PathBuf {
    repository().join("target/compat")
}

/// Runs a command, its output shown only when it fails.
pub async fn run(what: &str, command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().await.with_context(|| format!("starting: {what}"))?;
    if !output.status.success() {
        bail!("{what} failed ({}):\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// An engine that answers and the base images.
pub async fn engine_up() -> Result<()> {
    run("scripts/docker-up.sh", &mut Command::new(repository().join("scripts/docker-up.sh"))).await?;
    Ok(())
}

async fn base_image(name: &str) -> Result<()> {
    run("scripts/docker-base.sh", Command::new(repository().join("scripts/docker-base.sh")).arg(name)).await?;
    Ok(())
}

async fn exists(image: &str) -> bool {
    run("docker image inspect", Command::new("docker").args(["image", "inspect", image])).await.is_ok()
}

/// A folder's files in a fixed order, as one hash.
fn content_hash(folders: &[&Path]) -> Result<String> {
    fn collect(path: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                collect(&entry?.path(), into)?;
            }
        } else {
            into.push(path.to_owned());
        }
        Ok(())
    }
    let mut files = Vec::new();
    for folder in folders {
        collect(folder, &mut files).with_context(|| format!("reading {}", folder.display()))?;
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend_from_slice(file.to_string_lossy().as_bytes());
        all.extend(std::fs::read(&file)?);
    }
    Ok(hash(&all))
}

async fn build(image: &str, dockerfile: &str, context: &Path) -> Result<()> {
    run(
        &format!("docker build {image}"),
        Command::new("docker")
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "-q", "--force-rm", "-t", image, "-f"])
            .arg(repository().join("compat-tests/docker").join(dockerfile))
            .arg(context),
    )
    .await?;
    Ok(())
}

/// Compiles agents on the host where the tools are there, otherwise in a builder container.
async fn build_agents(language: &str, tools: &[&str], builder: &str, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let script = repository().join("compat-tests/agents/build.sh");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_host = tools.iter().all(|tool| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()));
    if on_host {
        run(&format!("agents/build.sh {language}"), Command::new(script).arg(language).arg(out)).await?;
        return Ok(());
    }
    base_image(builder).await?;
    run(
        &format!("agents/build.sh {language} in {builder}"),
        Command::new("docker")
            .args(["run", "--rm", "-e", "HTTPS_PROXY", "-e", "HTTP_PROXY", "-e", "NO_PROXY"])
            .arg("-v")
            .arg(format!("{}:/source:ro", repository().join("compat-tests/agents").display()))
            .arg("-v")
            .arg(format!("{}:/out", out.display()))
            .args([builder, "sh", "/source/build.sh", language, "/out"]),
    )
    .await?;
    Ok(())
}

/// Java clients, tools and the original's servers.
pub async fn java() -> Result<String> {
    let agents = repository().join("compat-tests/agents");
    let docker = repository().join("compat-tests/docker");
    let parts = [
        agents.join("java"),
        agents.join("build.sh"),
        docker.join("java.Dockerfile"),
        docker.join("oracle.sh"),
        docker.join("logback.xml"),
    ];
    let image = format!("ferrocket-compat-java:{}", content_hash(&parts.each_ref().map(PathBuf::as_path))?);
    if !exists(&image).await {
        base_image("eclipse-temurin:17-jre").await?;
        let out = work_folder().join("java");
        build_agents("java", &["mvn", "javac"], "maven:3-eclipse-temurin-17", &out).await?;
        std::fs::copy(docker.join("oracle.sh"), out.join("oracle.sh"))?;
        let conf = out.join("oracle-home/conf");
        std::fs::create_dir_all(&conf)?;
        // 4.9 does not start without these three.
        for name in ["namesrv", "broker", "tools"] {
            std::fs::copy(docker.join("logback.xml"), conf.join(format!("logback_{name}.xml")))?;
        }
        build(&image, "java.Dockerfile", &out).await?;
    }
    Ok(image)
}

pub async fn go() -> Result<String> {
    let agents = repository().join("compat-tests/agents");
    let docker = repository().join("compat-tests/docker");
    let parts = [agents.join("go"), agents.join("build.sh"), docker.join("go.Dockerfile")];
    let image = format!("ferrocket-compat-go:{}", content_hash(&parts.each_ref().map(PathBuf::as_path))?);
    if !exists(&image).await {
        let out = work_folder().join("go");
        build_agents("go", &["go"], "golang:1-bookworm", &out).await?;
        build(&image, "go.Dockerfile", &out).await?;
    }
    Ok(image)
}

/// The server under test, built on the host with a static libc and copied into an empty image.
pub async fn ferrocket(profile: &str) -> Result<String> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(
        "cargo build of the server",
        Command::new(cargo).current_dir(repository()).env("RUSTFLAGS", "-C target-feature=+crt-static").args([
            "build",
            "-q",
            "--bin",
            "ferrocket",
            "--target",
            TARGET,
            "--profile",
            profile,
        ]),
    )
    .await?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let binary = target.join(TARGET).join(folder).join("ferrocket");
    ensure!(binary.is_file(), "no binary at {}", binary.display());
    let context = work_folder().join("ferrocket");
    for folder in ["conf", "ferrocket-data", "store", "logs", "namesrv"] {
        let folder = context.join("home/rocketmq").join(folder);
        std::fs::create_dir_all(&folder)?;
        // The classic builder copies no empty folder.
        std::fs::write(folder.join(".keep"), "")?;
    }
    std::fs::copy(&binary, context.join("ferrocket"))?;
    let image =
        format!("ferrocket-compat-server:{}", content_hash(&[&context, &repository().join("compat-tests/docker/ferrocket.Dockerfile")])?);
    if !exists(&image).await {
        build(&image, "ferrocket.Dockerfile", &context).await?;
    }
    Ok(image)
}
