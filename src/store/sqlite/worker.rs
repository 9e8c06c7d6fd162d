//! One connection on a thread of its own, for async callers.
//!
//! Promises that no caller's thread is blocked, that a call ends by its deadline, and that work
//! whose caller has given up is not begun.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Calls that may wait for the connection; more wait in their own tasks.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("its thread has ended")]
    Ended,
}

/// The thread and the way to it.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread that owns the connection, and `guard` as long as it runs.
    pub(super) fn start(
        name: &str,
        mut connection: Connection,
        guard: impl Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut connection);
            }
            drop(connection);
            drop(guard);
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` on the connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            if !answer.is_closed() {
                // The caller may have given up in the meantime.
                let _ = answer.send(work(connection));
            }
        });
        let jobs = self.jobs.as_ref().ok_or(Failure::Ended)?;
        let call = async {
            jobs.send(job).await.map_err(|_| Failure::Ended)?;
            answered.await.map_err(|_| Failure::Ended)
        };
        Ok(timeout(deadline, call).await.map_err(|_| Failure::Late(deadline))???)
    }
}

impl Drop for Worker {
    /// Waits for the job at hand, so that the file can be opened again at once.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by its own hook.
            let _ = thread.join();
        }
    }
}
