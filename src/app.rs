//! The wiring room, behind `warren serve`: settings become parts, parts start in order, and end in
//! order.

mod adopt;
pub mod doors;
mod ending;
pub mod notify;
pub mod open_files;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora_proxy::http_proxy;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cluster::registry::Registry;
use crate::config::Config;
use crate::control::intents::Start;
use crate::gateway::outlast::Outlast;
use crate::gateway::{Gateway, Parts};
use crate::history::{self, History, JournalError};
use crate::proxy::peers::Here;
use crate::proxy::service::Service;
use crate::route::rules::RulesError;
use crate::state;
use crate::sticky::Sticky;
use crate::store::{self, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::{admin, control, rollout};
use adopt::Supervisor;
use doors::{Accepting, Doors, Inherited};
use ending::Ending;
use tls::{Certificates, TlsError};

/// Read buffer of a client connection: 3,000 idle ones cost 53 KiB each with it, 98 KiB without.
const READ_BUFFER: usize = 16 << 10;

/// Requests on one client connection, after which it ends: memory that grew goes back.
const KEEPALIVE_REQUESTS: u32 = 100_000;

/// Idle connections to coordinators for each worker.
const UPSTREAM_POOL: usize = 1024;

/// How often one request may be connected again within `page_hold`.
const CONNECTS: usize = 64;

/// Between two looks whether this gateway is ready.
const READY_LOOK: Duration = Duration::from_millis(20);

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
    /// Certificates of a port.
    #[error("use the certificates of the listener `{0}`")]
    Tls(String, #[source] TlsError),
    /// A port.
    #[error("listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
}

/// Serves until a signal ends it.
pub fn serve(config: Config) -> Result<(), AppError> {
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(AppError::Runtime)?;
    let sockets = our_sockets(&config)?;
    let listeners = listeners(&config)?;
    let (stop, stopped) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let supervisor = Supervisor::meet(notify::is_supervised(environment), &metrics);
    let outlast = supervisor.outlast(&metrics);
    let parts = start(config, (metrics, outlast), stopped, control.handle().clone());
    let (gateway, history) = control.block_on(parts)?;
    control.spawn(tell_when_ready(gateway.clone()));
    let listeners: Vec<ListenerConfig> = listeners
        .into_iter()
        .map(|(listener, secure)| {
            let Some((certificates, settings)) = secure else { return listener };
            control.spawn(certificates.watch(gateway.metrics.clone()));
            listener.tls(settings)
        })
        .collect();
    run_data_path(&gateway, &control, (stop, history), (sockets, listeners, supervisor));
    control.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// The inherited sockets that the settings ask for. What is not among them must be free to bind.
fn our_sockets(config: &Config) -> Result<Vec<Inherited>, AppError> {
    let wanted: Vec<SocketAddr> =
        config.listen.listeners().iter().map(|listener| listener.address).collect();
    let (ours, others): (Vec<_>, Vec<_>) =
        doors::inherited(environment).into_iter().partition(|s| wanted.contains(&s.address));
    for socket in others {
        warn!(address = %socket.address, "no setting asks for this inherited socket; nobody accepts there");
    }
    // Pingora binds when its runtime runs, and ends the process if it cannot; better to say so now.
    for address in wanted {
        if !ours.iter().any(|socket| socket.address == address) {
            let bound = std::net::TcpListener::bind(address);
            bound.map(drop).map_err(|error| AppError::Listen(address, error))?;
        }
    }
    Ok(ours)
}

type Secure = (Arc<Certificates>, TlsSettings);

/// The ports for clients, with their certificates where they have some.
fn listeners(config: &Config) -> Result<Vec<(ListenerConfig, Option<Secure>)>, AppError> {
    let all = config.listen.listeners().into_iter().map(|listener| {
        let buffer = L4BufferSettings::default().read(READ_BUFFER);
        let accepts = ListenerConfig::tcp(listener.address.to_string()).l4_buffer(buffer);
        let failed = |error| AppError::Tls(listener.name.clone(), error);
        let secure = listener.tls.as_ref().map(|settings| {
            let certificates = Certificates::load(settings).map_err(failed)?;
            let settings = tls::settings(&certificates).map_err(failed)?;
            Ok((certificates, settings))
        });
        Ok((accepts, secure.transpose()?))
    });
    all.collect()
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Tells whoever waits for it that this process is ready.
async fn tell_when_ready(gateway: Arc<Gateway>) {
    while gateway.not_ready_because().is_some() {
        tokio::time::sleep(READY_LOOK).await;
    }
    info!("ready");
    notify::ready(environment);
}

async fn start(
    config: Config,
    (metrics, outlast): (Arc<Metrics>, Option<Outlast>),
    stopped: watch::Receiver<bool>,
    handle: tokio::runtime::Handle,
) -> Result<(Arc<Gateway>, History), AppError> {
    let config = Arc::new(config);
    std::fs::create_dir_all(&config.state_folder)
        .map_err(|error| AppError::StateFolder(config.state_folder.display().to_string(), error))?;
    let supervised = notify::is_supervised(environment);
    // The supervisor keeps other gateways from both; its own processes share them for a while.
    let open = if supervised { store::open_held } else { store::open };
    let store = open(&config.store).map_err(AppError::Store)?;
    let journal = config.limits.journal;
    let (history, slot) = history::start_beside(&config.state_folder, supervised, journal, &store)
        .map_err(AppError::Journal)?;
    if supervised {
        let leftovers =
            history::ship_leftovers(config.state_folder.clone(), slot, journal, store.clone());
        handle.spawn(leftovers);
    }
    let known = &*store;
    let (rules, intents) =
        tokio::join!(control::rules::begin(&config, known), Start::load(&config, known));
    let rules = rules.map_err(AppError::Rules)?;
    let cookie_key = match &config.listen.cookie_key {
        Some(secret) => secret.reveal().as_bytes().to_vec(),
        None => state::kept_random(&config.state_folder.join("cookie-key"))
            .map_err(|error| AppError::StateFolder("cookie-key in it".to_owned(), error))?,
    };
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
        cookie_key,
        outlast,
        control: handle,
    });
    control::start(&gateway, intents, &stopped);
    control::run("rollouts", rollout::execute::keep(gateway.clone()), &stopped);
    let holder = Arc::new(Here(gateway.clone()));
    admin::start(gateway.clone(), holder, stopped, supervised)
        .map_err(|(at, error)| AppError::Listen(at, error))?;
    Ok((gateway, history))
}

fn run_data_path(
    gateway: &Arc<Gateway>,
    control: &Runtime,
    (stop, history): (watch::Sender<bool>, History),
    (sockets, listeners, supervisor): (Vec<Inherited>, Vec<ListenerConfig>, Supervisor),
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
    let mut proxy = http_proxy(&server.configuration, Service::new(gateway.clone()));
    proxy.server_options = Some(options);
    let doors = Doors::new();
    let connections = (sockets, supervisor.orphans);
    server.add_service(Accepting::new(proxy, &doors, connections, |service| {
        listeners.into_iter().for_each(|listener| service.add_listener(listener));
    }));
    info!(
        client = %config.listen.client, admin = %config.listen.admin, gateway = gateway.name,
        "warren serves"
    );
    let ending = Ending {
        gateway: gateway.clone(),
        doors,
        cap: config.timeouts.shutdown,
        orphaned: supervisor.gone,
    };
    server.run(RunArgs { shutdown_signal: Box::new(ending) });
    stop.send_replace(true);
    // Without it, others wait for a word of this process for a while.
    let told = async { tokio::time::timeout(STORE_GRACE, gateway.tell_end()).await };
    if !matches!(control.block_on(told), Ok(Ok(()))) {
        warn!("other gateways do not hear that this process has ended");
    }
    control.block_on(history.stop(STORE_GRACE));
    info!("warren has ended");
}
