//! A worker: `warren serve` as a child, with the clients' sockets.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, Command};
use tracing::{info, warn};

use super::sockets;
use crate::app::doors::SOCKETS;
use crate::app::notify::SUPERVISOR;

/// A child that runs, or has just ended.
#[derive(Debug)]
pub(super) struct Worker {
    id: Pid,
    /// Whether it said so.
    pub(super) ready: bool,
    /// Its end tells the worker that its supervisor is gone.
    _alive: Option<ChildStdin>,
}

impl Worker {
    /// Starts `program` with these settings and sockets; gives the child to wait for.
    pub(super) fn spawn(
        program: &Path,
        file: &Path,
        sockets: &[TcpListener],
        control: &Path,
    ) -> Result<(Self, Child), String> {
        let spawned = Command::new(program)
            .args(["serve", "--config"])
            .arg(file)
            .env(SOCKETS, sockets::numbers(sockets))
            .env(SUPERVISOR, control)
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|error| format!("`{}`: {error}", program.display()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).ok_or("it has no process id")?;
        info!(worker = id, "a worker starts");
        let worker = Self { id: Pid::from_raw(id), ready: false, _alive: child.stdin.take() };
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
