//! Tells whoever started this process that it is ready: the supervisor, or systemd.

use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use tracing::warn;

/// Where the supervisor says how it can be told.
pub const SUPERVISOR: &str = "WARREN_SUPERVISOR";

/// How long the other side may take to listen.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells that this process is ready.
pub fn ready(environment: impl Fn(&str) -> Option<String>) {
    let told = match (environment(SUPERVISOR), environment("NOTIFY_SOCKET")) {
        (Some(path), _) => tell_supervisor(Path::new(&path)),
        (None, Some(path)) => tell_systemd(&path),
        (None, None) => Ok(()),
    };
    if let Err(error) = told {
        warn!(%error, "who started this process was not told that it is ready");
    }
}

fn tell_supervisor(path: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "ready {}", std::process::id())
}

/// By the protocol of `sd_notify(3)`.
pub fn tell_systemd(path: &str) -> io::Result<()> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(b"READY=1", &address).map(drop)
}

/// Whether this process has a supervisor.
pub fn is_supervised(environment: impl Fn(&str) -> Option<String>) -> bool {
    environment(SUPERVISOR).is_some()
}
