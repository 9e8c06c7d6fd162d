//! The operators' port: is it alive and ready, its figures, its API. Nothing of it is reachable on
//! the clients' port.
//!
//! Without a token it serves `/livez`, `/readyz` and `/metrics` alone, unless it is bound to
//! loopback.

pub mod clusters;
pub mod explain;
pub mod figures;
pub mod guard;
pub mod problem;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::error;

use crate::gateway::Gateway;
use crate::health::verdict::Health;
use crate::time::{self, Instant};
use problem::Problem;

/// A gateway that knows nothing of its clusters after this time is as ready as it gets.
const PROBED_BY: Duration = Duration::from_secs(5);

/// What handlers share.
#[derive(Clone)]
struct Shared {
    gateway: Arc<Gateway>,
    began: Instant,
    /// The address that is bound, whatever settings say later.
    bound: SocketAddr,
}

/// Binds the port and serves it until `stopped` says so.
pub async fn start(
    gateway: Arc<Gateway>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), (SocketAddr, std::io::Error)> {
    let address = gateway.registry.fleet().config.listen.admin;
    let listener = TcpListener::bind(address).await.map_err(|error| (address, error))?;
    let bound = listener.local_addr().map_err(|error| (address, error))?;
    let router = router(Shared { gateway, began: time::now(), bound });
    tokio::spawn(async move {
        let until = async move {
            let _stopped = stopped.wait_for(|stop| *stop).await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
            error!(%error, "the operators' port has ended");
        }
    });
    Ok(())
}

fn router(shared: Shared) -> Router {
    let api = Router::new()
        .route("/api/v1/clusters", get(clusters::list))
        .route("/api/v1/clusters/{name}/intent", put(clusters::set_intent))
        .route("/api/v1/explain", post(explain::explain))
        .layer(from_fn_with_state(shared.clone(), guard::authorize));
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures::metrics))
        .merge(api)
        .fallback(|| async {
            Problem::new(
                StatusCode::NOT_FOUND,
                "nothing is here; see /livez, /readyz, /metrics, /api/v1/clusters",
            )
        })
        .with_state(shared)
}

/// Ready: rules and clusters are loaded, every cluster was looked at, and no shutdown has begun.
/// Neither the death of a cluster nor that of the store makes a gateway unready.
async fn readyz(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    if shared.gateway.in_flight.is_draining() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this gateway is ending"));
    }
    let fleet = shared.gateway.registry.fleet();
    let unknown = fleet.clusters.iter().find(|c| c.verdict().health() == Health::Unknown);
    match unknown {
        Some(cluster) if time::now() < shared.began + PROBED_BY => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the cluster '{}' was not looked at yet", cluster.name()),
        )),
        _ => Ok("ready\n"),
    }
}
