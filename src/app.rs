//! The wiring room, behind `warren serve`: settings become parts, parts start in order, and end in
//! order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora_proxy::ProxyServiceBuilder;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::cluster::registry::Registry;
use crate::config::Config;
use crate::control::intents::Start;
use crate::gateway::{Gateway, Parts};
use crate::history::{self, History, JournalError};
use crate::proxy::service::Service;
use crate::route::reload::RuleBook;
use crate::route::rules::RulesError;
use crate::sticky::Sticky;
use crate::store::{self, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::{admin, control};

/// Read buffer of a client connection: 3,000 idle ones cost 53 KiB each with it, 98 KiB without.
const READ_BUFFER: usize = 16 << 10;

/// Requests on one client connection, after which it ends: memory that grew goes back.
const KEEPALIVE_REQUESTS: u32 = 100_000;

/// Idle connections to coordinators for each worker.
const UPSTREAM_POOL: usize = 1024;

/// How often one request may be connected again within `page_hold`.
const CONNECTS: usize = 64;

/// What the store may take at the end, for what it was not told yet.
const STORE_GRACE: Duration = Duration::from_secs(2);

/// Why a gateway does not start.
#[derive(Debug, Error)]
pub enum AppError {
    /// The runtime of the control side.
    #[error("start the control side")]
    Runtime(#[source] std::io::Error),
    /// The state folder.
    #[error("make the state folder `{0}`")]
    StateFolder(String, #[source] std::io::Error),
    /// The store.
    #[error("open the store")]
    Store(#[source] StoreError),
    /// The journal.
    #[error("open the journal")]
    Journal(#[source] JournalError),
    /// The rules.
    #[error("load the rules")]
    Rules(#[source] RulesError),
    /// A port.
    #[error("listen on {0}")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
}

/// Serves until a signal ends it.
pub fn serve(config: Config) -> Result<(), AppError> {
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(AppError::Runtime)?;
    // Pingora binds when its runtime runs, and ends the process if it cannot; better to say so now.
    probe_bind(config.listen.client)?;
    let (stop, stopped) = watch::channel(false);
    let (gateway, history) = control.block_on(start(config, stopped, control.handle().clone()))?;
    run_data_path(&gateway, &control, stop, history);
    control.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

fn probe_bind(address: std::net::SocketAddr) -> Result<(), AppError> {
    std::net::TcpListener::bind(address).map(drop).map_err(|error| AppError::Listen(address, error))
}

async fn start(
    config: Config,
    stopped: watch::Receiver<bool>,
    handle: tokio::runtime::Handle,
) -> Result<(Arc<Gateway>, History), AppError> {
    let config = Arc::new(config);
    std::fs::create_dir_all(&config.state_folder)
        .map_err(|error| AppError::StateFolder(config.state_folder.display().to_string(), error))?;
    let store = store::open(&config.store).map_err(AppError::Store)?;
    let history = history::start(&config.state_folder, config.limits.journal, store.clone())
        .map_err(AppError::Journal)?;
    let groups: Vec<_> = config.groups.iter().map(|group| group.name.clone()).collect();
    let rules = RuleBook::start(&config.rules, &groups).map_err(AppError::Rules)?;
    let metrics = Arc::new(Metrics::default());
    let intents = Start::load(&config, store.as_ref()).await;
    let registry = Registry::new(config.clone(), |cluster| intents.of(cluster));
    let sticky = Sticky::new(
        config.limits.hot_routes,
        config.health.statement_period * 2,
        history.recorder().clone(),
        metrics.clone(),
    );
    let gateway = Gateway::new(Parts {
        registry,
        rules,
        sticky,
        recorder: history.recorder().clone(),
        metrics,
        store,
        name: history.gateway().to_owned(),
        control: handle,
    });
    control::start(&gateway, intents, &stopped);
    admin::start(gateway.clone(), stopped)
        .await
        .map_err(|(at, error)| AppError::Listen(at, error))?;
    Ok((gateway, history))
}

fn run_data_path(
    gateway: &Arc<Gateway>,
    control: &Runtime,
    stop: watch::Sender<bool>,
    history: History,
) {
    let config = gateway.registry.fleet().config.clone();
    let conf = ServerConf {
        threads: config.listen.workers,
        work_stealing: config.listen.work_stealing,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        max_retries: CONNECTS,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.keepalive_request_limit = Some(KEEPALIVE_REQUESTS);
    options.h2_idle_timeout = Some(Duration::from_secs(60));
    let mut service =
        ProxyServiceBuilder::new(&server.configuration, Service::new(gateway.clone()))
            .name("clients")
            .server_options(options)
            .build();
    let buffer = L4BufferSettings::default().read(READ_BUFFER);
    service.add_listener(ListenerConfig::tcp(config.listen.client.to_string()).l4_buffer(buffer));
    server.add_service(service);
    info!(
        client = %config.listen.client, admin = %config.listen.admin, gateway = gateway.name,
        "warren serves"
    );
    let ending = Ending { gateway: gateway.clone(), cap: config.timeouts.shutdown };
    server.run(RunArgs { shutdown_signal: Box::new(ending) });
    stop.send_replace(true);
    control.block_on(history.stop(STORE_GRACE));
    info!("warren has ended");
}

/// Ends the data path: readiness fails, requests in flight end, then it is over.
struct Ending {
    gateway: Arc<Gateway>,
    cap: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        wait_for_signal().await;
        let in_flight = &self.gateway.in_flight;
        in_flight.drain();
        info!(in_flight = in_flight.count(), "ending: requests in flight may finish");
        tokio::select! {
            () = in_flight.none() => info!("no request is in flight"),
            () = tokio::time::sleep(self.cap) => {
                warn!(in_flight = in_flight.count(), "requests in flight are cut off");
            }
            () = wait_for_signal() => warn!("ending at once"),
        }
        // The fast one tells the accepting tasks nothing: one that shares a thread with no other
        // then meets its closed runtime in a loop, and the process never ends.
        ShutdownSignal::GracefulTerminate
    }
}

async fn wait_for_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        error!("signals cannot be received; end this process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
