//! Addresses on loopback for programs that tests and benches start.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// The ports that are given; all are below those that Linux gives to connections by itself
/// (`ip_local_port_range`, from 32768), so that no connection takes one before the program that it is for.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// An address where nobody listens; a process gets each only once in 12,000.
///
/// # Panics
/// When all ports are in use.
pub fn free_address() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let first = u16::try_from(process::id() % u32::from(count)).unwrap_or_default();
    for _ in 0..count {
        let place = GIVEN.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (first + place) % count;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port of {}–{} is free", PORTS.start, PORTS.end - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_given_twice_and_none_that_is_in_use() {
        let taken = free_address();
        let _listener = TcpListener::bind(taken).unwrap();
        let next: Vec<SocketAddr> = (0..100).map(|_| free_address()).collect();
        assert!(next.iter().all(|address| *address != taken && PORTS.contains(&address.port())));
        assert!(next.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
