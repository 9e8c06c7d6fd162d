//! Opens the SQLite file: refuses what cannot work, in words, and migrates.

use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Guard;
use crate::store::place::network_file_system;
use crate::store::schema;

mod embedded {
    refinery::embed_migrations!("src/store/migrations/sqlite");
}

/// How long a statement waits while another program, such as a backup, holds the file.
const BUSY: Duration = Duration::from_secs(3);

/// Why the file cannot be used, and what would be right.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("its folder cannot be used ({0}); create the folder or correct `store.url`")]
    Folder(io::Error),
    #[error(
        "it lies on a network file system (`{0}`), where SQLite loses data; use a local disk or `mysql://…`"
    )]
    Network(String),
    #[error(
        "another gateway uses it; SQLite serves one gateway, use `mysql://…` for more, or stop the other"
    )]
    Taken,
    #[error("its lock file `{path}` cannot be used ({source})")]
    Lock { path: PathBuf, source: io::Error },
    #[error("it is damaged or no SQLite file ({0}); restore it, or move it away to begin anew")]
    Damaged(rusqlite::Error),
    #[error("it cannot be opened ({0})")]
    Open(rusqlite::Error),
    #[error("its tables cannot be brought to this version of Warren ({0})")]
    Migrate(String),
    #[error("no thread for it ({0})")]
    Thread(io::Error),
    #[error("there is no such file; has a gateway run with these settings on this machine?")]
    Absent,
    #[error("{0}")]
    Version(String),
}

/// What an open file consists of.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    /// Keeps other gateways out as long as it lives.
    pub(super) lock: Option<File>,
}

/// Locks the file for one gateway.
pub(super) fn hold(file: &Path) -> Result<File, OpenError> {
    folder_of(file)?;
    lock(file)
}

fn folder_of(file: &Path) -> Result<PathBuf, OpenError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    folder.canonicalize().map_err(OpenError::Folder)
}

/// Opens the file, or makes it.
pub(super) fn open(file: &Path, guard: Guard) -> Result<Opened, OpenError> {
    let folder = folder_of(file)?;
    if let Some(kind) = network_file_system(&folder) {
        return Err(OpenError::Network(kind));
    }
    let lock = (guard == Guard::Own).then(|| lock(file)).transpose()?;
    let mut writer = connect(file, OpenFlags::default()).map_err(classify)?;
    migrate(&mut writer)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = connect(file, flags).map_err(classify)?;
    reader.pragma_update(None, "query_only", true).map_err(classify)?;
    Ok(Opened { writer, reader, lock })
}

/// Opens a file that another process may write, and changes nothing in it.
pub(super) fn open_to_read(file: &Path) -> Result<Connection, OpenError> {
    if let Some(kind) = network_file_system(&folder_of(file)?) {
        return Err(OpenError::Network(kind));
    }
    if !file.is_file() {
        return Err(OpenError::Absent);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(classify)?;
    connection.busy_timeout(BUSY).map_err(classify)?;
    let found = version(&connection).map_err(classify)?;
    let migrations = embedded::migrations::runner();
    let known = migrations.get_migrations().iter().map(|one| i64::from(one.version())).max();
    match schema::complaint(found, known) {
        None => Ok(connection),
        Some(what) => Err(OpenError::Version(what)),
    }
}

/// The version of the tables, if there are any.
fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let made = "SELECT 1 FROM sqlite_master WHERE name = 'refinery_schema_history'";
    if !connection.prepare(made)?.exists([])? {
        return Ok(None);
    }
    let newest = "SELECT max(version) FROM refinery_schema_history";
    connection.query_row(newest, [], |row| row.get(0))
}

fn lock(file: &Path) -> Result<File, OpenError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let opened = File::options().write(true).create(true).truncate(false).open(&path);
    let lock = match opened {
        Ok(lock) => lock,
        Err(source) => return Err(OpenError::Lock { path, source }),
    };
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Taken),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path, source }),
    }
}

fn connect(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags - OpenFlags::SQLITE_OPEN_URI)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What the journal deletes because the store has it must be on the disk, also after a power
    // cut; in WAL mode only FULL syncs at each commit.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    // The library panics when its own table holds what it did not write.
    let run = catch_unwind(AssertUnwindSafe(|| {
        embedded::migrations::runner().set_grouped(true).run(connection)
    }));
    match run {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            Err(damage(&error).unwrap_or_else(|| OpenError::Migrate(crate::store::chain(&error))))
        }
        Err(_) => Err(OpenError::Migrate(
            "the table `refinery_schema_history` holds what Warren did not write".to_owned(),
        )),
    }
}

/// Finds a damaged file among the causes of an error.
fn damage(error: &(dyn std::error::Error + 'static)) -> Option<OpenError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rusqlite::Error::SqliteFailure(code, text)) = error.downcast_ref()
            && is_damage(code.code)
        {
            return Some(OpenError::Damaged(rusqlite::Error::SqliteFailure(*code, text.clone())));
        }
        cause = error.source();
    }
    None
}

fn is_damage(code: rusqlite::ErrorCode) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(code, DatabaseCorrupt | NotADatabase)
}

fn classify(error: rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(code) if is_damage(code) => OpenError::Damaged(error),
        _ => OpenError::Open(error),
    }
}
