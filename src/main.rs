//! The `warren` command: hands its arguments to `warren::cli`.

use std::process::ExitCode;

/// Faster than the system's for many small requests on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One provider for every TLS user in the process, before the first of them picks its own.
    // It can only be refused when one is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    warren::cli::main()
}
