//! A coordinator of a test's own, which it may freeze and kill.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::gateway::signal;
use super::surroundings::file;

/// The coordinator; killed with the value.
#[derive(Debug)]
pub(crate) struct Coordinator {
    process: Child,
    address: String,
}

impl Coordinator {
    /// Starts it with further arguments for `deploy/local/coordinator.py`; it boots for a while yet.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let folder = file("WARREN_TEST_FOLDER").join(name);
        let mut process = Command::new("python3")
            .arg(file("WARREN_TEST_TRINO_TOOLS"))
            .args(["--name", name, "--folder"])
            .arg(&folder)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut url = String::new();
        let output = process.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut url).expect("a line");
        let address = url.trim().strip_prefix("http://").expect("an address").to_owned();
        Self { process, address }
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.process.id());
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
