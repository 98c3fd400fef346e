// SPDX-License-Identifier: Apache-2.0
//! The binary: everything is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for no huge pages, which would hold 2 MiB for each few kB in use. Doing so it forbade them to the whole
    // process, and the mapped log lives by them.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(false) {
        eprintln!("ferrocket: huge pages stay forbidden: {error}");
    }
    ferrocket::cli::main()
}
