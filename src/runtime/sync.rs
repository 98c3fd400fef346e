// SPDX-License-Identifier: Apache-2.0
//! What threads that share something go by. The rooms whose order of steps matters take it from here, so that the model
//! (`races/`), which compiles the same files, can try the orders in which their steps may happen.

pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
pub use std::thread_local;

pub use parking_lot::{Mutex, MutexGuard, RwLock};
