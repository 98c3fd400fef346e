// SPDX-License-Identifier: Apache-2.0
//! Work that must not end by a panic: what it would leave half done cannot be mended while the process runs, so the process ends, and
//! the next start recovers.

use tracing::error;

/// Runs `work`; a panic in it ends the process. Costs nothing as long as there is none.
#[inline]
pub fn or_abort<T>(what: &str, work: impl FnOnce() -> T) -> T {
    struct Unwinding<'a>(&'a str);
    impl Drop for Unwinding<'_> {
        #[cold]
        fn drop(&mut self) {
            // The panic itself has been told on stderr, with its place.
            error!(what = self.0, "a panic where none may be: the process ends, the next start recovers");
            std::process::abort();
        }
    }
    let unwinding = Unwinding(what);
    let result = work();
    std::mem::forget(unwinding);
    result
}
