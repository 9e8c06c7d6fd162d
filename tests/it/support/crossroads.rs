//! One address with several coordinators behind it: each new connection goes to one of them by chance,
//! and stays there, as behind a balancer of connections.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rand::seq::IndexedRandom as _;

/// The address. Its threads end with the test.
#[derive(Debug)]
pub(crate) struct Crossroads {
    address: SocketAddr,
    ways: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Crossroads {
    /// Opens one to these.
    pub(crate) fn to(ways: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ways = Arc::new(Mutex::new(ways.to_vec()));
        let known = ways.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let way = *known.lock().unwrap().choose(&mut rand::rng()).unwrap();
                // A client whose coordinator cannot be reached hears that its connection ends.
                let _ended = client.and_then(|client| join(client, way));
            }
        });
        Self { address, ways }
    }

    /// As the URL of a cluster.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// New connections go to these alone.
    pub(crate) fn lead_to(&self, ways: &[SocketAddr]) {
        *self.ways.lock().unwrap() = ways.to_vec();
    }
}

fn join(client: TcpStream, way: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(way)?;
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        std::thread::spawn(move || pass(from, to));
    }
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    // Either side may go at any time.
    let _ended = io::copy(&mut from, &mut to);
    let _gone = to.shutdown(Shutdown::Write);
}
