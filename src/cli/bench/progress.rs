// SPDX-License-Identifier: Apache-2.0
//! One line on the terminal that says how far a run is: a few lines here instead of a crate for one bar.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::{Runtime, Task};

const REDRAW_EVERY: Duration = Duration::from_millis(250);
const BAR_COLUMNS: usize = 30;

/// Counted up by the workers of a run; drawn only when standard error is a terminal. Ends when it is dropped.
pub(super) struct Progress {
    done: Arc<AtomicU64>,
    drawing: Option<Task<()>>,
}

/// Where the end of a run is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    Messages(u64),
    Seconds(f64),
}

impl Progress {
    pub(super) fn start(what: &str, goal: Goal, runtime: &Runtime) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let drawing = std::io::stderr().is_terminal().then(|| {
            let (what, done, clock) = (what.to_owned(), Arc::clone(&done), runtime.clock().clone());
            runtime.spawn("progress", async move {
                let started = clock.nanos();
                loop {
                    clock.sleep(REDRAW_EVERY).await;
                    let seconds = (clock.nanos() - started) as f64 / 1e9;
                    draw(&line(&what, goal, done.load(Ordering::Relaxed), seconds));
                }
            })
        });
        Self { done, drawing }
    }

    /// The counter of one worker.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(drawing) = self.drawing.take() {
            drawing.abort();
            draw("");
        }
    }
}

/// Over the line that stands there; a terminal that went away is nobody's loss.
fn draw(line: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = write!(terminal, "\r\u{1b}[K{line}").and_then(|()| terminal.flush());
}

fn line(what: &str, goal: Goal, done: u64, seconds: f64) -> String {
    let share = match goal {
        Goal::Messages(messages) => done as f64 / messages.max(1) as f64,
        Goal::Seconds(all) => seconds / all.max(1e-9),
    }
    .clamp(0.0, 1.0);
    let filled = (share * BAR_COLUMNS as f64) as usize;
    let bar = "#".repeat(filled) + &"-".repeat(BAR_COLUMNS - filled);
    format!("{what} [{bar}] {:3.0} %  {done} messages  {:.0}/s", share * 100.0, done as f64 / seconds.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let half = line("send", Goal::Seconds(10.0), 500, 5.0);
        assert_eq!(half, format!("send [{}{}]  50 %  500 messages  100/s", "#".repeat(15), "-".repeat(15)));
        assert!(line("pull", Goal::Messages(10), 20, 1.0).contains("100 %"), "never past the end");
    }
}
