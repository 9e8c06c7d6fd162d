//! `warren doctor` against whoever has the fault that it is to find: it names the hop, tells what is
//! wrong, and how to mend it.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use warren_stub::{
    Behaviour, Fault, FaultRule, ProcessForwarded, RequestKind, Stub, StubOptions, free_address,
};

use crate::support::authority::Authority;
use crate::support::gateway::{Gateway, Plan};
use crate::support::tell;

/// What the doctor said.
struct Report {
    code: Option<i32>,
    told: Value,
}

impl Report {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        let told = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}"));
        Self { code: output.status.code(), told }
    }

    fn findings(&self) -> &[Value] {
        self.told["findings"].as_array().unwrap()
    }

    /// Whether it found that: the grade, which one, a part of the text and of the fix.
    fn found(&self, grade: &str, subject: &str, text: &str, fix: &str) {
        let has = |finding: &Value, field: &str, part: &str| {
            finding[field].as_str().unwrap_or_default().contains(part)
        };
        let found = self.findings().iter().any(|finding| {
            finding["grade"] == grade
                && finding["subject"] == subject
                && has(finding, "text", text)
                && has(finding, "fix", fix)
        });
        assert!(found, "no {grade} {subject} `{text}`, fix `{fix}`: {:#}", self.told);
        if grade == "problem" {
            assert_eq!(self.code, Some(3), "{:#}", self.told);
            assert_eq!(self.told["ok"], false);
        }
    }

    /// Nothing but what is fine.
    fn all_fine(&self) {
        let wrong = self.findings().iter().any(|finding| finding["grade"] != "fine");
        assert!(!wrong && self.code == Some(0) && self.told["ok"] == true, "{:#}", self.told);
    }
}

fn doctor(gateway: &Gateway, flags: &[&str]) -> Report {
    Report::of(&gateway.run(&[&["doctor", "--json"], flags].concat()))
}

/// A ready gateway in front of one cluster, `blue`.
fn bed() -> (Stub, Gateway) {
    bed_with(|_| {})
}

fn bed_with(change: impl FnOnce(&mut Behaviour)) -> (Stub, Gateway) {
    let blue = Stub::start(StubOptions::default().with(change));
    // A query that no cluster takes waits for so long.
    let plan = Plan::of(&[("blue", "bi", &blue)]).timeout("answer", "2s").timeout("submit", "3s");
    let gateway = plan.start_ready();
    (blue, gateway)
}

/// Settings in front of which no Warren runs, with one cluster.
fn settings(url: &str, more: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("warren.toml");
    let (client, admin) = (free_address(), free_address());
    let mut text = format!("[listen]\nclient = \"{client}\"\nadmin = \"{admin}\"\n");
    text += "[rules]\nfile = \"route.lua\"\ndefault_group = \"bi\"\n[[groups]]\nname = \"bi\"\n";
    write!(text, "[[clusters]]\nname = \"blue\"\ngroup = \"bi\"\nurl = \"{url}\"\n{more}").unwrap();
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

#[test]
fn all_is_well() {
    let (blue, green) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let gateway = Plan::of(&[("blue", "bi", &blue), ("green", "bi", &green)]).start_ready();
    let report = doctor(&gateway, &[]);
    report.all_fine();
    report.found("fine", "listen.admin", "2 of 2 clusters take new queries", "");
    report.found("fine", "listen.client", "a statement ran on ", "");
    for (name, stub) in [("blue", &blue), ("green", &green)] {
        let text = format!("Trino 476, coordinator {}", stub.coordinator_id());
        report.found("fine", name, &text, "");
        report.found("fine", name, "forwarded headers are honoured", "");
        report.found("fine", name, "warren sees queries of others", "");
        assert_eq!(stub.counts().running, 0, "nothing is left running");
    }
    let words = gateway.run(&["doctor"]);
    let text = String::from_utf8(words.stdout).unwrap();
    assert!(text.contains("problems: 0, warnings: 0"), "{text}");
    assert!(text.contains("not seen from here: what a proxy between"), "{text}");
    tell(&text);
}

#[test]
fn forwarded_headers_are_refused_or_ignored() {
    let (blue, gateway) = bed_with(|b| b.process_forwarded = ProcessForwarded::Reject);
    let fix = "http-server.process-forwarded=true";
    let report = doctor(&gateway, &[]);
    report.found("warning", "blue", "refuses forwarded headers (406)", fix);
    assert_eq!(report.code, Some(0), "it works all the same");
    blue.change(|behaviour| behaviour.process_forwarded = ProcessForwarded::Ignore);
    doctor(&gateway, &[]).found("warning", "blue", "ignores forwarded headers", fix);
}

#[test]
fn http_and_https_are_mixed() {
    let blue = Stub::start(StubOptions::default());
    let plan = Plan::of(&[("blue", "bi", &blue)]);
    let gateway = plan.setting("listen", "public_url = \"https://trino.invalid\"").start_ready();
    let url = format!("http://{}", gateway.address());
    let report = doctor(&gateway, &["--url", &url]);
    report.found("problem", "--url", "http and https are mixed", "listen.trusted_proxies");
    report.found("problem", "--url", "sent on to https://trino.invalid", "listen.public_url");
    // Without the flag both doors are tried: the port leads where it was told to lead.
    let report = doctor(&gateway, &[]);
    report.found("problem", "listen.public_url", "trino.invalid has no address", "DNS");
    report.found("fine", "listen.client", "a statement ran on blue", "");
    assert_eq!(report.findings().iter().filter(|f| f["grade"] != "fine").count(), 1);
}

#[test]
fn clients_are_sent_to_another_host() {
    let blue = Stub::start(StubOptions::default());
    let plan = Plan::of(&[("blue", "bi", &blue)]);
    let gateway = plan.setting("listen", "public_url = \"http://trino.invalid\"").start_ready();
    let url = format!("http://{}", gateway.address());
    let report = doctor(&gateway, &["--url", &url]);
    report.found("problem", "--url", "sent on to http://trino.invalid", "listen.public_url");
}

#[test]
fn clocks_differ() {
    let (blue, gateway) = bed_with(|behaviour| behaviour.clock_ahead_seconds = 120);
    let report = doctor(&gateway, &[]);
    report.found("problem", "blue", "s ahead of that of this machine", "NTP");
    blue.change(|behaviour| behaviour.clock_ahead_seconds = -120);
    doctor(&gateway, &[]).found("problem", "blue", "s behind that of this machine", "NTP");
    blue.change(|behaviour| behaviour.clock_ahead_seconds = 0);
    doctor(&gateway, &[]).all_fine();
}

/// The cluster behind TLS is another Warren, which has a port with TLS.
#[test]
fn names_and_authorities_of_certificates() {
    let (blue, authority, address) =
        (Stub::start(StubOptions::default()), Authority::new(), free_address());
    authority.sign("own", &["trino.test"]);
    let plan = Plan::of(&[("blue", "bi", &blue)]);
    let behind = plan.sections(&authority.listener(address, &["own"], "")).start_ready();
    let url = format!("https://{address}");
    let ca = format!("[clusters.tls]\nca = \"{}\"\n", authority.path("ca.pem").display());
    let named = format!("{ca}server_name = \"trino.test\"\n");
    let seen = |url: &str, more: &str| {
        let (_folder, file) = settings(url, more);
        Report::of(&behind.run_with(&file, &["doctor", "--json"]))
    };
    seen(&url, "").found(
        "problem",
        "blue",
        "authority of its certificate is not trusted",
        "tls.ca",
    );
    seen(&url, &ca).found("problem", "blue", "certificate is for another name", "tls.server_name");
    seen(&url, &named).found("fine", "blue", "Trino 476", "");
    let plain = format!("https://{}", blue.addr());
    seen(&plain, &ca).found("problem", "blue", "speaks no TLS", "http://");

    // The same at the clients' door.
    let own = authority.path("ca.pem").display().to_string();
    let report = doctor(&behind, &["--url", &url]);
    report.found("problem", "--url", "authority of its certificate is not trusted", "--ca");
    let report = doctor(&behind, &["--url", &url, "--ca", &own]);
    report.found(
        "problem",
        "--url",
        "certificate is for another name",
        "a name in its certificate",
    );
}

#[test]
fn workers_are_missing() {
    let blue = Stub::start(StubOptions::default());
    let plan = Plan::of(&[("blue", "bi", &blue)]);
    let gateway = plan.sections("min_workers = 3\n").start();
    let report = doctor(&gateway, &[]);
    report.found("problem", "blue", "1 active workers, 3 wanted", "min_workers");
    blue.change(|behaviour| behaviour.workers = 3);
    gateway.wait_until_ready();
    doctor(&gateway, &[]).all_fine();
}

#[test]
fn credentials_are_refused() {
    let (blue, gateway) = bed();
    let refusal = Fault::Status { code: 401, retry_after: None };
    blue.fault(FaultRule::every(RequestKind::Submit, refusal));
    let report = doctor(&gateway, &[]);
    report.found("problem", "blue", "refuses the user warren (401)", "probe.password");
    report.found("problem", "listen.client", "refuses the user warren-doctor (401)", "--user");
    let report = doctor(&gateway, &["--user", "alice"]);
    report.found("problem", "listen.client", "refuses the user alice (401)", "--password-file");
}

/// Gives each connection to the next of some addresses, as a load balancer does.
fn take_turns(addresses: Vec<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (client, to) in listener.incoming().zip(addresses.iter().cycle()) {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { continue };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to));
            }
        }
    });
    own
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count) = from.read(&mut bytes)
        && count > 0
        && to.write_all(&bytes[..count]).is_ok()
    {}
    // The other one hears that nothing more comes; it may be gone already.
    let _gone = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn two_coordinators_are_behind_one_address() {
    let (blue, green) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let both = take_turns(vec![blue.addr(), green.addr()]);
    let (_folder, file) = settings(&format!("http://{both}"), "");
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start();
    let report = Report::of(&gateway.run_with(&file, &["doctor", "--json"]));
    let fix = "an address of its own";
    report.found("problem", "blue", "2 coordinators answer at this address", fix);
    report.found("problem", "blue", &blue.coordinator_id(), fix);
    report.found("problem", "blue", &green.coordinator_id(), fix);

    let one = take_turns(vec![blue.addr()]);
    let (_folder, file) = settings(&format!("http://{one}"), "");
    let report = Report::of(&gateway.run_with(&file, &["doctor", "--json"]));
    report.found("fine", "blue", "a statement ran", "");
}

#[test]
fn queries_of_others_are_hidden() {
    let (blue, gateway) = bed();
    let refusal = Fault::Status { code: 403, retry_after: None };
    blue.fault(FaultRule::every(RequestKind::QueryList, refusal));
    let report = doctor(&gateway, &[]);
    let fix = "\"allow\": [\"view\"]";
    report.found("warning", "blue", "does not show its list of queries to warren (403)", fix);
    blue.change(|behaviour| behaviour.shows_queries_of_others = false);
    doctor(&gateway, &[]).found("problem", "blue", "warren sees no queries of others", fix);
    blue.clear_faults();
    doctor(&gateway, &[]).found("problem", "blue", "warren sees no queries of others", fix);
    // Nobody else is there to be looked for.
    let report = doctor(&gateway, &["--user", "warren"]);
    report.found("fine", "blue", "queries of others not looked for", "");
}

#[test]
fn a_coordinator_is_starting() {
    let (blue, gateway) = bed();
    blue.change(|behaviour| behaviour.starting = true);
    gateway.wait_until("blue", "starting");
    let report = doctor(&gateway, &[]);
    report.found("warning", "blue", "says that it is starting", "wait");
    report.found("warning", "blue", "active, and gets no query: starting", "below");
    report.found("problem", "bi", "none of its clusters is ready", "below");
}

#[test]
fn a_coordinator_is_away_or_hangs_or_is_none() {
    let (blue, gateway) = bed();
    blue.fault(FaultRule::every(RequestKind::Info, Fault::Html));
    doctor(&gateway, &[]).found("problem", "blue", "not as Trino does", "login page");
    blue.clear_faults();
    blue.change(|behaviour| behaviour.coordinator = false);
    doctor(&gateway, &[]).found("problem", "blue", "a worker, not a coordinator", "url");
    blue.change(|behaviour| behaviour.coordinator = true);
    blue.change(|behaviour| behaviour.statements_fail = Some("NO_NODES_AVAILABLE".to_owned()));
    doctor(&gateway, &[]).found("problem", "blue", "NO_NODES_AVAILABLE", "by hand");
    blue.stop();
    let report = doctor(&gateway, &[]);
    report.found("problem", "blue", "cannot connect: ", "coordinator runs");
    let (_folder, file) = settings("http://trino.invalid:8080", "");
    let report = Report::of(&gateway.run_with(&file, &["doctor", "--json"]));
    report.found("problem", "blue", "trino.invalid has no address", "DNS");
}

#[test]
fn a_coordinator_does_not_answer() {
    let blue = Stub::start(StubOptions::default());
    let plan = Plan::of(&[("blue", "bi", &blue)]).timeout("answer", "1s");
    let gateway = plan.timeout("submit", "2s").timeout("page_hold", "2s").start_ready();
    blue.fault(FaultRule::every(RequestKind::Submit, Fault::Hang));
    let report = doctor(&gateway, &[]);
    report.found("problem", "blue", "does not answer within 1s", "hangs");
    blue.clear_faults();
    blue.fault(FaultRule::every(RequestKind::Submit, Fault::CloseBefore));
    doctor(&gateway, &[]).found("problem", "blue", "breaks the connection", "proxy");
}

#[test]
fn the_operators_port_cannot_be_reached_or_says_no() {
    let (_blue, gateway) = bed();
    let nobody = format!("http://{}", free_address());
    let report = doctor(&gateway, &["--admin", &nobody]);
    report.found("problem", "listen.admin", "cannot be reached", "port-forward");
    report.found("fine", "listen.client", "a statement ran on blue", "");
    let (blue, folder) = (Stub::start(StubOptions::default()), tempfile::tempdir().unwrap());
    let (secret, wrong) = (folder.path().join("secret"), folder.path().join("wrong"));
    std::fs::write(&secret, "the right one\n").unwrap();
    std::fs::write(&wrong, "another\n").unwrap();
    let token = format!("[admin]\ntoken = {{ file = \"{}\" }}\n", secret.display());
    let guarded = Plan::of(&[("blue", "bi", &blue)]).sections(&token).start();
    let wrong = wrong.display().to_string();
    let report = doctor(&guarded, &["--token-file", &wrong]);
    report.found("problem", "listen.admin", "401", "--token-file");
    let text = String::from_utf8(guarded.run(&["doctor"]).stdout).unwrap();
    assert!(!text.contains("the right one"), "{text}");
    doctor(&guarded, &[]).found("fine", "listen.admin", "answers", "");
}

#[test]
fn nobody_takes_new_queries() {
    let (_blue, gateway) = bed();
    assert_eq!(gateway.set_intent("blue", "draining"), 200);
    let report = doctor(&gateway, &[]);
    report.found("problem", "bi", "none of its clusters is active", "warren clusters intent");
}

#[test]
fn the_port_for_clients_is_that_of_another() {
    let (blue, green) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let report = doctor(&gateway, &["--url", &green.url()]);
    report.found("warning", "--url", "is none of the clusters in the settings", "this address");
}

#[test]
fn what_is_wrong_with_the_command_or_the_settings() {
    let (_blue, gateway) = bed();
    let output = gateway.run(&["doctor", "--url", "trino"]);
    assert_eq!(output.status.code(), Some(2));
    let (_folder, file) = settings("trino", "");
    let report = Report::of(&gateway.run_with(&file, &["doctor", "--json"]));
    assert_eq!(report.code, Some(3));
    assert_eq!(report.findings()[0]["area"], "settings");
}
