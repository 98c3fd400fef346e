// SPDX-License-Identifier: Apache-2.0
//! A disk that does not answer: operations on chosen files wait until it does.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Where operations wait while the disk does not answer.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    opened: Condvar,
}

#[derive(Default)]
struct GateState {
    /// Files whose path contains one of these do not answer.
    stalled: Vec<(String, Stalled)>,
    waiting: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stalled {
    Everything,
    Syncs,
}

impl Gate {
    pub(super) fn pass(&self, path: &Path) {
        self.pass_for(path, Stalled::Everything);
    }

    pub(super) fn pass_for(&self, path: &Path, what: Stalled) {
        let mut state = self.state.lock();
        while state.is_closed(path, what) {
            state.waiting += 1;
            self.opened.wait(&mut state);
            state.waiting -= 1;
        }
    }

    pub(super) fn would_block(&self, path: &Path) -> bool {
        self.state.lock().is_closed(path, Stalled::Everything)
    }

    pub(super) fn close(&self, path_part: &str, to: Stalled) {
        self.state.lock().stalled.push((path_part.to_owned(), to));
    }

    /// For everything.
    pub(super) fn open(&self) {
        self.state.lock().stalled.clear();
        self.opened.notify_all();
    }
}

impl GateState {
    fn is_closed(&self, path: &Path, what: Stalled) -> bool {
        let path = path.to_string_lossy();
        self.stalled.iter().any(|(part, stalled)| (*stalled == Stalled::Everything || *stalled == what) && path.contains(part))
    }
}

/// While it lives, the disk does not answer for some files: whoever reads or writes them waits.
#[must_use = "the disk answers again when this is dropped"]
pub struct Stall {
    gate: Arc<Gate>,
    path_part: String,
}

impl Stall {
    pub(super) fn new(gate: Arc<Gate>, path_part: &str) -> Self {
        gate.close(path_part, Stalled::Everything);
        Self { gate, path_part: path_part.to_owned() }
    }

    /// Operations that wait now.
    pub fn waiting_count(&self) -> usize {
        self.gate.state.lock().waiting
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        if let Some(at) = state.stalled.iter().position(|stalled| *stalled == (self.path_part.clone(), Stalled::Everything)) {
            state.stalled.swap_remove(at);
        }
        self.gate.opened.notify_all();
    }
}
