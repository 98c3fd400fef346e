// SPDX-License-Identifier: Apache-2.0
//! How far the copy of a log is: a bar that stays in its line on a terminal, and a line now and then elsewhere.

const BAR_CELLS: i64 = 30;
/// Between two lines where nobody watches.
const PLAIN_NANOS: u64 = 10_000_000_000;

pub(super) struct CopyBar {
    is_terminal: bool,
    /// Bytes here and the moment, when it began and when it was last said.
    first: Option<(i64, u64)>,
    said_nanos: Option<u64>,
}

impl CopyBar {
    pub(super) fn new(is_terminal: bool) -> Self {
        Self { is_terminal, first: None, said_nanos: None }
    }

    /// What is to be said now, if anything.
    pub(super) fn line(&mut self, end: i64, here: i64, now_nanos: u64) -> Option<String> {
        let (began_at, began_nanos) = *self.first.get_or_insert((here, now_nanos));
        let is_whole = here >= end;
        if !self.is_terminal && !is_whole && self.said_nanos.is_some_and(|said| now_nanos - said < PLAIN_NANOS) {
            return None;
        }
        // A terminal's last line is written over.
        let over = if self.is_terminal && self.said_nanos.is_some() { "\x1b[1A\x1b[2K" } else { "" };
        self.said_nanos = Some(now_nanos);
        let behind = (end - here).max(0);
        let seconds = (now_nanos - began_nanos) as f64 / 1e9;
        let rate = if seconds > 0.0 { (here - began_at) as f64 / seconds } else { 0.0 };
        let left = if rate > 0.0 { format!("{:.0} s", behind as f64 / rate) } else { "unknown".to_owned() };
        let cells = if end > 0 { here.clamp(0, end) * BAR_CELLS / end } else { BAR_CELLS } as usize;
        let bar = if self.is_terminal { format!("[{:<1$}] ", "#".repeat(cells), BAR_CELLS as usize) } else { String::new() };
        Some(format!("{over}{bar}{behind} bytes behind, {:.1} MB/s, time left: {left}", rate / 1e6))
    }
}
