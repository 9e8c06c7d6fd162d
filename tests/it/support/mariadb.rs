//! A MariaDB server of the test's own, which it may kill and start again on the same port.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tempfile::TempDir;
use warren_stub::free_address;

use super::eventually;

/// A server with an empty database `warren`.
#[derive(Debug)]
pub(crate) struct Server {
    folder: TempDir,
    address: SocketAddr,
    process: Option<Child>,
}

impl Server {
    /// Makes and starts it.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let made = Command::new(program("mariadb-install-db"))
            .args(["--no-defaults", "--user=root", "--skip-test-db"])
            .arg("--auth-root-authentication-method=normal")
            .arg(format!("--datadir={}", folder.path().join("data").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        assert!(made.success(), "mariadb-install-db: {made}");
        let mut server = Self { folder, address: free_address(), process: None };
        server.start_again();
        server.ask("mysql", "CREATE DATABASE warren");
        server
    }

    /// Where Warren keeps its tables.
    pub(crate) fn url(&self) -> String {
        format!("mysql://root@{}/warren", self.address)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts it after a kill and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        let folder = self.folder.path();
        let log = File::options().append(true).open(folder.join("log")).unwrap();
        let process = Command::new(program("mariadbd"))
            .args(["--no-defaults", "--user=root", "--skip-name-resolve"])
            .args(["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M"])
            .arg(format!("--datadir={}", folder.join("data").display()))
            .arg(format!("--socket={}", folder.join("socket").display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .arg(format!("--port={}", self.address.port()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        eventually("MariaDB answers", || self.try_ask("mysql", "SELECT 1"));
    }

    /// The number that a statement of one row gives.
    pub(crate) fn ask(&self, database: &str, statement: &str) -> u64 {
        self.try_ask(database, statement).expect("the server answers")
    }

    fn try_ask(&self, database: &str, statement: &str) -> Option<u64> {
        let opts = Opts::from_url(&format!("mysql://root@{}/{database}", self.address)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut conn = Conn::new(opts).await.ok()?;
            let told: Result<Option<u64>, _> = conn.query_first(statement).await;
            conn.disconnect().await.ok()?;
            Some(told.ok()?.unwrap_or_default())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Servers lie in folders that are not always in `PATH`.
fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/usr/bin"]);
    let found = folders.map(|folder| Path::new(folder).join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not here; install MariaDB's server"))
}
