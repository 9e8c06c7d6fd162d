//! The contact with a MySQL or MariaDB server.
//!
//! Promises: nothing happens before the first call; migrations run once, at first contact, one
//! gateway at a time, and again when they failed; each call ends by its deadline; connections live
//! on a runtime of their own, so that no runtime of a caller can end under them.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, UrlError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

mod embedded {
    refinery::embed_migrations!("src/store/migrations/mysql");
}

/// Connections of one gateway: the shipper's, the poll's, and a few for lookups.
const CONNECTIONS: usize = 6;
/// How long a connection is kept that nobody uses. Without this the pool keeps none.
const IDLE: Duration = Duration::from_secs(60);
/// The longest that migrations may take, with waiting for another gateway's.
const MIGRATE: Duration = Duration::from_secs(600);
/// How long to wait in one call of the server for another gateway's migrations, in seconds.
const LOCK_WAIT: u32 = 60;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sql(#[from] mysql_async::Error),
    #[error("{0}")]
    Damaged(String),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("its thread has ended")]
    Ended,
    #[error("migrate: {0}")]
    Migrate(Arc<str>),
}

/// Why a URL is none, without what it holds.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadUrl {
    #[error("the URL cannot be read ({0}); expected `mysql://user:password@host:3306/database`")]
    Url(#[from] UrlError),
    #[error("the URL names no database; expected `mysql://user:password@host:3306/database`")]
    NoDatabase,
    #[error("no thread for it ({0})")]
    Thread(std::io::Error),
}

type Attempt = Shared<BoxFuture<'static, Result<(), Arc<str>>>>;

/// A server, its connections and the thread that drives them.
pub(super) struct Contact {
    pool: Pool,
    runtime: Handle,
    migration: Mutex<Option<Attempt>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Contact {
    /// Reads the URL; does not connect. Returns the contact and the place without credentials.
    pub(super) fn new(url: &str) -> Result<(Self, String), BadUrl> {
        let opts = Opts::from_url(url)?;
        let database = opts.db_name().filter(|name| !name.is_empty()).ok_or(BadUrl::NoDatabase)?;
        let place = format!("mysql://{}:{}/{database}", opts.ip_or_hostname(), opts.tcp_port());
        let constraints = PoolConstraints::new(0, CONNECTIONS).expect("0 is less than the most");
        // A reset would drop the prepared statements and the settings of the session.
        let pool_opts = PoolOpts::default()
            .with_constraints(constraints)
            .with_reset_connection(false)
            .with_inactive_connection_ttl(IDLE);
        let opts = OptsBuilder::from_opts(opts)
            .pool_opts(pool_opts)
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_secs(15)))
            .setup(vec![
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
                "SET SESSION innodb_lock_wait_timeout = 3",
            ]);
        let (runtime, end, thread) = drive().map_err(BadUrl::Thread)?;
        let pool = Pool::new(opts);
        let (end, thread) = (Some(end), Some(thread));
        Ok((Self { pool, runtime, migration: Mutex::default(), end, thread }, place))
    }

    /// From now on the tables are used as they are.
    pub(super) fn leave_tables(&mut self) {
        let migration = self.migration.get_mut().unwrap_or_else(PoisonError::into_inner);
        let done = std::future::ready(Ok::<(), Arc<str>>(()));
        *migration = Some(done.boxed().shared());
    }

    /// Runs `work` with a connection to a migrated database.
    pub(super) async fn run<T, F>(
        &self,
        deadline: Duration,
        work: impl FnOnce(Pool) -> F + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let (migrated, pool) = (self.migrated(), self.pool.clone());
        let call = async move {
            migrated.await.map_err(Failure::Migrate)?;
            work(pool).await
        };
        let call = timeout(deadline, call);
        let mut task = AbortOnDrop(self.runtime.spawn(call));
        match (&mut task.0).await {
            Ok(in_time) => in_time.map_err(|_| Failure::Late(deadline))?,
            Err(_) => Err(Failure::Ended),
        }
    }

    /// The migration that runs or has succeeded, or else a new one. It goes on when all who wait
    /// for it have given up.
    fn migrated(&self) -> Attempt {
        let mut migration = self.migration.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attempt) = &*migration
            && !matches!(attempt.peek(), Some(Err(_)))
        {
            return attempt.clone();
        }
        let task = self.runtime.spawn(migrate(self.pool.clone()));
        let attempt = async move {
            match task.await {
                Ok(result) => result,
                Err(_) => Err(Arc::from(
                    "the table `refinery_schema_history` holds what Warren did not write",
                )),
            }
        };
        let attempt = attempt.boxed().shared();
        *migration = Some(attempt.clone());
        attempt
    }
}

impl Drop for Contact {
    fn drop(&mut self) {
        // The thread may have ended already.
        let _ = self.end.take().map(|end| end.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Cancels the work of a caller who has given up. A cancelled connection is not used again.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The version of the tables that this program makes.
pub(super) fn newest_version() -> Option<i64> {
    let migrations = embedded::migrations::runner();
    migrations.get_migrations().iter().map(|one| i64::from(one.version())).max()
}

/// Starts a runtime on a thread of its own.
fn drive() -> std::io::Result<(Handle, oneshot::Sender<()>, JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (end, ended) = oneshot::channel::<()>();
    let thread = thread::Builder::new().name("warren-store".to_owned()).spawn(move || {
        // Ends when the contact says so or is gone.
        let _ = runtime.block_on(ended);
        runtime.shutdown_background();
    })?;
    Ok((handle, end, thread))
}

async fn migrate(pool: Pool) -> Result<(), Arc<str>> {
    let work = async {
        let mut conn = pool.get_conn().await.map_err(|error| text(&error))?;
        lock(&mut conn).await?;
        let run = embedded::migrations::runner().run_async(&mut pool.clone()).await;
        // Closing the connection gives the lock back, also when this statement is lost.
        let freed = conn.query_drop("DO RELEASE_LOCK(CONCAT('warren.', MD5(DATABASE())))").await;
        let closed = conn.disconnect().await;
        run.map_err(|error| text(&error))?;
        freed.and(closed).map_err(|error| text(&error))
    };
    timeout(MIGRATE, work).await.unwrap_or_else(|_| Err(Arc::from("not done within 10 min")))
}

/// Waits until no other gateway migrates this database.
async fn lock(conn: &mut Conn) -> Result<(), Arc<str>> {
    loop {
        let got: Option<Option<u8>> = conn
            .exec_first("SELECT GET_LOCK(CONCAT('warren.', MD5(DATABASE())), ?)", (LOCK_WAIT,))
            .await
            .map_err(|error| text(&error))?;
        match got.flatten() {
            Some(1) => return Ok(()),
            Some(_) => {}
            None => return Err(Arc::from("the server refused the lock for migrations")),
        }
    }
}

fn text(error: &dyn std::error::Error) -> Arc<str> {
    Arc::from(crate::store::chain(error))
}
