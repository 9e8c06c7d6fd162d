//! The way to a coordinator: addresses, connections, and a whole exchange of a small request for a
//! small answer. Pages are streamed by the proxy itself; it shares only [`peer`].

pub mod exchange;
pub mod trust;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use crate::cluster::Cluster;
use crate::config::{Scheme, Timeouts};

/// How long an idle connection is kept. Trino's web server closes them after five minutes.
const IDLE: Duration = Duration::from_secs(60);

/// How long a whole connect may take beside TCP's own part.
const TLS_ALLOWANCE: Duration = Duration::from_secs(3);

/// How to reach another gateway.
pub fn gateway_peer(address: SocketAddr, timeouts: &Timeouts) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.page_read);
    options.write_timeout = Some(timeouts.page_read);
    options.idle_timeout = Some(IDLE);
    options.set_http_version(1, 1);
    peer
}

/// How to reach `cluster` at one of its addresses.
pub fn peer(cluster: &Arc<Cluster>, address: SocketAddr, timeouts: &Timeouts) -> HttpPeer {
    let settings = cluster.settings();
    let tls = cluster.url().scheme == Scheme::Https;
    // An empty server name switches verification off, so it is never empty.
    let name = settings.server_name.clone().unwrap_or_else(|| cluster.url().host.clone());
    let mut peer = HttpPeer::new(address, tls, if tls { name } else { String::new() });
    peer.group_key = cluster.key();
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect + TLS_ALLOWANCE);
    options.read_timeout = Some(timeouts.page_read);
    options.write_timeout = Some(timeouts.page_read);
    options.idle_timeout = Some(IDLE);
    options.set_http_version(1, 1);
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    if tls && let Some(ca) = &settings.ca {
        options.ca = Some(trust::authorities(ca));
    }
    peer
}
