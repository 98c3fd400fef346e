// SPDX-License-Identifier: Apache-2.0
//! The original's jars out of one of its images. They run on this machine's own JVM, as those of a directory do: what is measured is
//! a process like any other, and its files are where ours are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::BenchError;
use super::original::BROKER_JAR;

/// Where the official images have their `rocketmq-VERSION/lib`.
const HOME: &str = "/home/rocketmq";

/// The directory of the jars, copied below `dir` when they are not there yet; the image is pulled when the machine does not have it.
pub(super) fn jars(image: &str, dir: &Path) -> Result<PathBuf, BenchError> {
    let to = dir.join("images").join(image.replace(['/', ':', '@'], "_"));
    if let Some(lib) = lib_below(&to) {
        return Ok(lib);
    }
    let images = to.parent().unwrap_or(dir);
    std::fs::create_dir_all(images).map_err(|error| BenchError::Process { file: images.to_owned(), error: error.to_string() })?;
    let container = docker(image, &["create", image])?;
    let copied = docker(image, &["cp", &format!("{container}:{HOME}"), &to.display().to_string()]);
    docker(image, &["rm", &container])?;
    copied?;
    lib_below(&to).ok_or_else(|| BenchError::Refusal(format!("{image} holds no {HOME}/*/lib/{BROKER_JAR}*.jar")))
}

fn lib_below(to: &Path) -> Option<PathBuf> {
    let libs = std::fs::read_dir(to).ok()?.flatten().map(|home| home.path().join("lib"));
    libs.into_iter().find(|lib| super::original::version_in(lib).is_some())
}

/// What docker prints, without the end of the line.
fn docker(image: &str, words: &[&str]) -> Result<String, BenchError> {
    let refusal = |why: &str| BenchError::Refusal(format!("{image} is no directory of jars, and as an image it cannot be had: {why}"));
    let ran = Command::new("docker").args(words).stdin(Stdio::null()).output();
    let output = ran.map_err(|error| refusal(&format!("docker: {error}")))?;
    if !output.status.success() {
        return Err(refusal(&format!("docker {}: {}", words[0], String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
