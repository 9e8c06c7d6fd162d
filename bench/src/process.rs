//! Programs that a run starts: pinned to a CPU, watched, ended with the run.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::quick::BenchError;

/// A program that runs until this is dropped.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
}

impl Program {
    /// Starts a program on one CPU; what it says goes to a file in `folder`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        name: &'static str,
        cpu: usize,
        folder: &Path,
        program: &Path,
        arguments: &[A],
    ) -> Result<Self, BenchError> {
        let failed = |source| BenchError::Start { name, source };
        let log = fs::File::create(folder.join(format!("{name}.log"))).map_err(failed)?;
        let child = Command::new("taskset")
            .args(["-c", &cpu.to_string()])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(failed)?;
        Ok(Self { name, child })
    }

    /// Its process id; `taskset` becomes the program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it takes connections, at most ten seconds.
    pub(crate) fn wait_listening(
        &mut self,
        address: SocketAddr,
        folder: &Path,
    ) -> Result<(), BenchError> {
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            self.check_alive(folder)?;
            thread::sleep(Duration::from_millis(50));
        }
        Err(self.silent(folder))
    }

    /// Says so when it has ended.
    pub(crate) fn check_alive(&mut self, folder: &Path) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.silent(folder)),
        }
    }

    /// The error for a program that does not do its work, with the end of what it said.
    pub(crate) fn silent(&self, folder: &Path) -> BenchError {
        let said =
            fs::read_to_string(folder.join(format!("{}.log", self.name))).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let said = lines[lines.len().saturating_sub(10)..].join("\n");
        BenchError::NotReady { name: self.name, said }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds that all threads of a process were on a CPU.
pub(crate) fn cpu_nanos(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two reads; then it had nothing to tell.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(total)
}

/// Resident memory in MiB.
pub(crate) fn resident_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}
