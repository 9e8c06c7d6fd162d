//! A worker: `warren serve` as a child, with the clients' sockets, and a line to it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tracing::{info, warn};

use super::outlast::{Line, watched};
use super::sockets;
use crate::app::doors::SOCKETS;
use crate::app::notify::SUPERVISOR;
use crate::outlast;

/// A child that runs, or has just ended.
#[derive(Debug)]
pub(super) struct Worker {
    id: Pid,
    /// Whether it said so.
    pub(super) ready: bool,
    /// Whether it takes submits that others left.
    pub(super) takes: bool,
    /// Where it is spoken to. Its end tells the worker that its supervisor is gone.
    pub(super) line: Line,
}

impl Worker {
    /// Starts `program` with these settings and sockets; gives the child to wait for.
    pub(super) fn spawn(
        program: &Path,
        file: &Path,
        sockets: &[TcpListener],
        control: &Path,
    ) -> Result<(Self, Child), String> {
        let failed = |error| format!("make a socket for a worker: {error}");
        let (ours, theirs) = outlast::pair().map_err(failed)?;
        let line = Arc::new(watched(ours).map_err(failed)?);
        let spawned = Command::new(program)
            .args(["serve", "--config"])
            .arg(file)
            .env(SOCKETS, sockets::numbers(sockets))
            .env(SUPERVISOR, control)
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::from(theirs))
            .spawn();
        let child = spawned.map_err(|error| format!("`{}`: {error}", program.display()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).ok_or("it has no process id")?;
        info!(worker = id, "a worker starts");
        let worker = Self { id: Pid::from_raw(id), ready: false, takes: false, line };
        Ok((worker, child))
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        u32::try_from(self.id.as_raw()).unwrap_or(0)
    }

    /// Sends it a signal. One that has ended hears nothing; its end is told by itself.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill(self.id, signal) {
            warn!(worker = %self.id, %signal, %error, "a worker could not be told");
        }
    }
}
