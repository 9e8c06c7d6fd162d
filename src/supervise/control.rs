//! The supervisor's own socket, in the state folder: a worker says `ready <id>` there, `warren upgrade`
//! says `upgrade` and reads how it went. Who may write to the state folder may do both.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{Event, READY_WITHIN, SuperviseError};

/// The longest line.
const LINE_MAX: u64 = 256;

/// Beyond what an upgrade may take.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Where the socket is.
pub(super) fn path(state_folder: &Path) -> PathBuf {
    state_folder.join("supervisor.sock")
}

/// Keeps other supervisors from the state folder as long as what it gives lives.
pub(super) fn alone(state_folder: &Path) -> Result<File, SuperviseError> {
    let path = state_folder.join("supervisor.lock");
    let failed = |error| SuperviseError::Control(path.clone(), error);
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SuperviseError::Taken(state_folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Serves the socket for as long as the process lives.
pub(super) fn serve(path: &Path, events: mpsc::Sender<Event>) -> io::Result<()> {
    // Left by one that was killed: the lock says that none lives.
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(path)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let events = events.clone();
                    tokio::spawn(hear(stream, events));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(())
}

async fn hear(stream: tokio::net::UnixStream, events: mpsc::Sender<Event>) {
    if let Err(error) = take(stream, events).await {
        warn!(%error, "a word to the supervisor was not understood");
    }
}

async fn take(mut stream: tokio::net::UnixStream, events: mpsc::Sender<Event>) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(LINE_MAX)).read_line(&mut line).await?;
    let ended = |_| io::Error::other("the supervisor ends");
    match line.trim_end().split_once(' ').unwrap_or_else(|| (line.trim_end(), "")) {
        ("ready", id) => {
            let id = id.parse().map_err(|_| io::Error::other("no process id"))?;
            events.send(Event::Ready(id)).await.map_err(ended)
        }
        ("upgrade", "") => {
            let (asked, answer) = oneshot::channel();
            events.send(Event::Upgrade(Some(asked))).await.map_err(ended)?;
            let text = match answer.await {
                Ok(Ok(id)) => format!("done {id}\n"),
                Ok(Err(why)) => format!("failed {why}\n"),
                Err(_) => "failed the supervisor ends\n".to_owned(),
            };
            write.write_all(text.as_bytes()).await
        }
        _ => write.write_all(b"failed not understood\n").await,
    }
}

/// Why an upgrade did not happen.
#[derive(Debug, Error)]
pub enum UpgradeError {
    /// Nobody listens.
    #[error("reach a supervisor at `{}`; is `warren supervise` running with these settings?", .0.display())]
    Away(PathBuf, #[source] io::Error),
    /// It said no.
    #[error("upgrade: {0}; the old worker goes on")]
    Failed(String),
}

/// Asks the supervisor for a new worker, and waits until it serves; gives its process id.
pub fn upgrade(state_folder: &Path) -> Result<u32, UpgradeError> {
    let path = path(state_folder);
    let answer = ask(&path).map_err(|error| UpgradeError::Away(path, error))?;
    match answer.trim_end().split_once(' ') {
        Some(("done", id)) if id.parse::<u32>().is_ok() => Ok(id.parse().unwrap_or_default()),
        Some(("failed", why)) => Err(UpgradeError::Failed(why.to_owned())),
        _ => Err(UpgradeError::Failed("the supervisor went away".to_owned())),
    }
}

fn ask(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(READY_WITHIN + ANSWER_GRACE))?;
    writeln!(stream, "upgrade")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}
