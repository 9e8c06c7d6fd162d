//! The clients' sockets: bound once, inherited by each worker.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{Backlog, listen};

use super::SuperviseError;

/// How many connections may wait while no worker accepts. The kernel's own bound
/// (`net.core.somaxconn`, 4096 by default) counts too.
const BACKLOG: i32 = 4096;

/// Binds all addresses; what is bound is inherited by children.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, SuperviseError> {
    let bound = addresses
        .iter()
        .map(|address| bind_one(*address).map_err(|error| SuperviseError::Listen(*address, error)));
    bound.collect()
}

fn bind_one(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(socket)
}

/// The descriptors, as workers are told them.
pub(super) fn numbers(sockets: &[TcpListener]) -> String {
    let numbers: Vec<String> = sockets.iter().map(|s| s.as_raw_fd().to_string()).collect();
    numbers.join(",")
}

/// Where they listen.
pub(super) fn addresses(sockets: &[TcpListener]) -> Vec<SocketAddr> {
    sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
}
