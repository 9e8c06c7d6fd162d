//! What is measured: the origin itself, and each proxy in front of it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use warren_stub::client::Client;
use warren_stub::free_address;

use crate::load::Kind;
use crate::origin::{self, MARKS};
use crate::process::Program;
use crate::quick::{BenchError, Options};

/// The name of the bare proxy in reports; others are compared to it.
pub(crate) const BARE: &str = "bare pingora";
/// The name of nginx in reports.
pub(crate) const NGINX: &str = "nginx";

/// One thing to measure.
pub(crate) struct Target {
    /// Its name in reports.
    pub name: &'static str,
    /// Where load goes.
    pub address: SocketAddr,
    /// Whose CPU time is counted.
    pub pid: u32,
    /// The page that is asked for: of a query that was submitted through this target.
    pub page: String,
}

impl Target {
    /// The path of a kind of load.
    pub(crate) fn path(&self, kind: Kind) -> &str {
        match kind {
            Kind::Page => &self.page,
            Kind::Submit => "/v1/statement",
        }
    }
}

/// All programs of a run; they end when this is dropped.
pub(crate) struct Stage {
    /// What is measured, in the order of the report.
    pub targets: Vec<Target>,
    _programs: Vec<Program>,
}

/// Starts the origin and every proxy.
pub(crate) fn set(options: &Options, folder: &Path) -> Result<Stage, BenchError> {
    let ports = [free_address(), free_address()];
    let nginx = Path::new("nginx");
    let mut programs = vec![];
    let conf = written(folder, "origin.conf", &origin::origin_conf(folder, ports))?;
    let mut origin =
        Program::start("origin", options.load_cpu, folder, nginx, &nginx_arguments(folder, &conf))?;
    origin.wait_listening(ports[1], folder)?;
    let mut targets = vec![target("direct", ports[0], &mut origin, folder)?];
    programs.push(origin);

    let listen = free_address();
    let conf = written(folder, "proxy.conf", &origin::proxy_conf(folder, listen, ports))?;
    let mut proxy =
        Program::start("nginx", options.proxy_cpu, folder, nginx, &nginx_arguments(folder, &conf))?;
    targets.push(target(NGINX, listen, &mut proxy, folder)?);
    programs.push(proxy);

    let listen = free_address();
    let this = std::env::current_exe().map_err(BenchError::Folder)?;
    let mut arguments = vec!["bare-proxy".to_owned(), format!("--listen={listen}")];
    arguments.extend(ports.map(|port| format!("--upstream={port}")));
    let mut bare = Program::start("bare-proxy", options.proxy_cpu, folder, &this, &arguments)?;
    targets.push(target(BARE, listen, &mut bare, folder)?);
    programs.push(bare);

    if let Some(program) = options.warren() {
        let (listen, admin) = (free_address(), free_address());
        let text = warren_conf(listen, admin, ports, &options.warren_log);
        let conf = written(folder, "warren.toml", &text)?;
        written(folder, "route.lua", "function route(request)\n  return \"bench\"\nend\n")?;
        let program = program
            .canonicalize()
            .map_err(|source| BenchError::Program { path: program.clone(), source })?;
        let arguments = ["serve".into(), "--config".into(), conf.into_os_string()];
        let mut warren = Program::start("warren", options.proxy_cpu, folder, &program, &arguments)?;
        targets.push(target("warren", listen, &mut warren, folder)?);
        programs.push(warren);
    }
    Ok(Stage { targets, _programs: programs })
}

/// Waits until statements pass, and takes the page of one of them.
fn target(
    name: &'static str,
    address: SocketAddr,
    program: &mut Program,
    folder: &Path,
) -> Result<Target, BenchError> {
    program.wait_listening(address, folder)?;
    let client = Client::new(address);
    // 30 s: Warren probes its clusters `rise` times before the first statement passes.
    for _ in 0..300 {
        if let Ok(answer) = client.submit("SELECT 'learn an id'")
            && let Some(id) = answer.json()["id"].as_str()
            && MARKS.iter().any(|mark| id.ends_with(mark))
        {
            let slug = "y0123456789012345678901234567890123456789";
            let page = format!("/v1/statement/executing/{id}/{slug}/1");
            return Ok(Target { name, address, pid: program.pid(), page });
        }
        program.check_alive(folder)?;
        thread::sleep(Duration::from_millis(100));
    }
    Err(program.silent(folder))
}

fn nginx_arguments(folder: &Path, conf: &Path) -> [String; 6] {
    let (folder, conf) = (folder.display().to_string(), conf.display().to_string());
    ["-p".to_owned(), folder, "-c".to_owned(), conf, "-e".to_owned(), "stderr".to_owned()]
}

fn warren_conf(listen: SocketAddr, admin: SocketAddr, ports: [SocketAddr; 2], log: &str) -> String {
    let clusters = MARKS
        .iter()
        .zip(ports)
        .map(|(mark, port)| {
            format!(
                "[[clusters]]\nname = \"{mark}\"\ngroup = \"bench\"\nurl = \"http://{port}\"\n\n"
            )
        })
        .collect::<String>();
    format!(
        "[listen]\nclient = \"{listen}\"\nadmin = \"{admin}\"\nworkers = 1\n\n\
         [store]\nurl = \"sqlite:warren.db\"\n\n\
         [rules]\nfile = \"route.lua\"\ndefault_group = \"bench\"\n\n\
         [health]\nsettle = \"0s\"\nramp = \"0s\"\n\n\
         [log]\nlevel = \"{log}\"\n\n[[groups]]\nname = \"bench\"\n\n{clusters}"
    )
}

fn written(folder: &Path, name: &str, text: &str) -> Result<PathBuf, BenchError> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(BenchError::Folder)?;
    Ok(path)
}
