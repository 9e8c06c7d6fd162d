//! The operators' port: is it alive and ready, its figures, its API. Nothing of it is reachable on
//! the clients' port.
//!
//! Without a token it serves `/livez`, `/readyz` and `/metrics` alone, unless it is bound to
//! loopback.

pub mod backends;
pub mod clusters;
pub mod explain;
pub mod figures;
pub mod guard;
mod peers;
pub mod problem;
mod rollouts;
mod rules;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tracing::error;

use crate::gateway::Gateway;
use crate::gateway::peers::Holder;
use crate::upstream::exchange::Upstream;
use problem::Problem;

/// Connections of operators and scrapers that wait to be accepted.
const BACKLOG: u32 = 128;

/// Idle connections to coordinators.
const POOL: usize = 8;

/// What handlers share.
#[derive(Clone)]
struct Shared {
    gateway: Arc<Gateway>,
    /// Connections for questions about what is left at a cluster.
    upstream: Arc<Upstream>,
    /// Answers for the queries that this process holds.
    holder: Arc<dyn Holder>,
    /// The address that is bound, whatever settings say later.
    bound: SocketAddr,
}

/// Binds the port and serves it until `stopped` says so; if two processes of one supervisor may
/// live `side_by_side`, only until this one hands over.
pub fn start(
    gateway: Arc<Gateway>,
    holder: Arc<dyn Holder>,
    mut stopped: watch::Receiver<bool>,
    side_by_side: bool,
) -> Result<(), (SocketAddr, std::io::Error)> {
    let address = gateway.registry.fleet().config.listen.admin;
    let listener = bind(address, side_by_side).map_err(|error| (address, error))?;
    let bound = listener.local_addr().map_err(|error| (address, error))?;
    let in_flight = gateway.in_flight.clone();
    let upstream = Arc::new(Upstream::with_pool(POOL));
    let router = router(Shared { gateway, upstream, holder, bound });
    tokio::spawn(async move {
        let until = async move {
            tokio::select! {
                _stopped = stopped.wait_for(|stop| *stop) => {}
                () = in_flight.until_draining(), if side_by_side => {}
            }
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
            error!(%error, "the operators' port has ended");
        }
    });
    Ok(())
}

fn bind(address: SocketAddr, side_by_side: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Only then: without it, a second gateway that was started by mistake is told.
    socket.set_reuseport(side_by_side)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn router(shared: Shared) -> Router {
    let api = Router::new()
        .route("/api/v1/clusters", get(clusters::list))
        .route("/api/v1/clusters/{name}/intent", put(clusters::set_intent))
        .route("/api/v1/clusters/{name}/left", get(clusters::left))
        .route("/api/v1/clusters/{name}/lost", post(clusters::give_up))
        .route("/api/v1/rollouts", get(rollouts::list).post(rollouts::start))
        .route("/api/v1/rollouts/{id}", get(rollouts::show))
        .route("/api/v1/rollouts/{id}/abort", post(rollouts::abort))
        .route("/api/v1/explain", post(explain::explain))
        .merge(backends::router())
        .merge(rules::router())
        .layer(from_fn_with_state(shared.clone(), guard::authorize));
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures::metrics))
        .route("/peer/v1/held", post(peers::held))
        .route("/trino-gateway/livez", get(|| async { "ok" }))
        .route("/trino-gateway/readyz", get(backends::readyz))
        .merge(api)
        .fallback(|| async {
            Problem::new(
                StatusCode::NOT_FOUND,
                "nothing is here; see /livez, /readyz, /metrics, /api/v1/clusters",
            )
        })
        .with_state(shared)
}

async fn readyz(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    match shared.gateway.not_ready_because() {
        None => Ok("ready\n"),
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}
