//! The bare Pingora proxy: what Pingora costs before Warren does anything.
//!
//! Settings are Warren's own: one worker, no work stealing, mimalloc, no downstream modules.
//! Addresses are resolved beforehand and peers cloned, as Warren does.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use clap::Args;
use pingora::modules::http::HttpModules;
use pingora::prelude::{HttpPeer, Result as PingoraResult};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// Arguments of `bare-proxy`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where to pass requests on; several are taken by turns.
    #[arg(long, required = true)]
    upstream: Vec<SocketAddr>,
}

struct Bare {
    peers: Vec<HttpPeer>,
    turn: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> PingoraResult<Box<HttpPeer>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.peers.len();
        Ok(Box::new(self.peers[turn].clone()))
    }
}

/// Serves until it is killed.
pub(crate) fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let peers = options
        .upstream
        .iter()
        .map(|address| HttpPeer::new(address, false, String::new()))
        .collect();
    let bare = Bare { peers, turn: AtomicUsize::new(0) };
    let mut service = http_proxy_service(&server.configuration, bare);
    service.add_tcp(&options.listen.to_string());
    server.add_service(service);
    server.run_forever()
}
