// SPDX-License-Identifier: Apache-2.0
//! The runner's end of an agent's control socket: JSON lines, many requests at once, told apart by id.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

/// Longer than any operation of an agent may honestly take; then the agent counts as hanging.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

pub struct Agent {
    name: String,
    writer: AsyncMutex<OwnedWriteHalf>,
    waiting: Waiting,
    next_id: AtomicU64,
}

/// An operation failed inside the client: its error as the agent told it.
pub type Failure = Value;

impl Agent {
    pub async fn connect(name: &str, address: &str) -> Result<Agent> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to agent {name} at {address}"))?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let waiting: Waiting = Arc::default();
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
                let id = answer.get("id").and_then(Value::as_u64).unwrap_or(0);
                if let Some(waiter) = answers.lock().expect("no holder panics").remove(&id) {
                    let _gone = waiter.send(answer);
                }
            }
            // Whoever still waits sees the closed channel.
            answers.lock().expect("no holder panics").clear();
        });
        Ok(Agent { name: name.to_owned(), writer: AsyncMutex::new(writer), waiting, next_id: AtomicU64::new(1) })
    }

    /// Runs one operation. The outer error is ours (no answer), the inner one the client's.
    pub async fn call(&self, op: &str, args: &Value) -> Result<Result<Value, Failure>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().expect("no holder panics").insert(id, sender);
        let mut line = json!({"id": id, "op": op, "args": args}).to_string();
        line.push('\n');
        self.writer.lock().await.write_all(line.as_bytes()).await.with_context(|| format!("agent {} is gone", self.name))?;
        let mut answer = tokio::time::timeout(ANSWER_TIMEOUT, receiver)
            .await
            .map_err(|_| anyhow!("agent {} did not answer {op} within {} s", self.name, ANSWER_TIMEOUT.as_secs()))?
            .map_err(|_| anyhow!("agent {} closed its connection during {op}", self.name))?;
        match answer.get_mut("error") {
            Some(error) => Ok(Err(error.take())),
            None => Ok(Ok(answer.get_mut("ok").map_or(Value::Null, Value::take))),
        }
    }
}
