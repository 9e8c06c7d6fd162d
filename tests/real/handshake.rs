//! Logins by OAuth2 through Warren: the real CLI with a real browser, which share nothing, in front
//! of three stub coordinators, each of which knows the hand-shakes that it began and no others.

use std::path::Path;
use std::process::Stdio;

use futures::future::join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use warren_stub::{Stub, StubOptions, free_address};

use crate::support::authority::Authority;
use crate::support::coordinator::{SOON, USER};
use crate::support::gateway::{Extra, Gateway};
use crate::support::surroundings::file;
use crate::support::wire;

const INITIATE: &str = "/oauth2/token/initiate/";

/// What the login shows: it knows everybody and sends them back at once, by a script.
const LOGIN: &str = "<!DOCTYPE html><title>login</title><script>\
     const told = new URLSearchParams(location.search);\
     const back = new URL(told.get('redirect_uri'));\
     back.search = new URLSearchParams({code: 'of-the-login', state: told.get('state')});\
     location.replace(back);</script>";

/// Somebody who can tell who people are; its address.
async fn login() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
                let length = LOGIN.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{LOGIN}"
                );
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    format!("http://{address}/login")
}

/// The CLI without a token, and the address that it asks its user to go to.
async fn cli(
    address: &str,
    authority: &Path,
) -> (Child, BufReader<tokio::process::ChildStdout>, String) {
    let mut child = Command::new(file("WARREN_TEST_JAVA"))
        .args(["--enable-native-access=ALL-UNNAMED", "-jar"])
        .arg(file("WARREN_TEST_CLI_JAR"))
        .arg(format!("https://{address}"))
        .arg("--truststore-path")
        .arg(authority)
        .args(["--user", USER, "--external-authentication"])
        .args(["--external-authentication-redirect-handler", "PRINT"])
        .args(["--output-format", "TSV", "--execute", "SELECT n /* stub: rows=3 */"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("the CLI starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    loop {
        let mut line = String::new();
        let read = out.read_line(&mut line).await.expect("the pipe can be read");
        assert!(read > 0, "the CLI asked nobody to log in");
        if line.contains(INITIATE) {
            let url = line.split_whitespace().find(|word| word.contains(INITIATE));
            return (child, out, url.expect("it was there").to_owned());
        }
    }
}

/// Visits a page with a browser that was never used before; what it shows in the end.
async fn browse(url: &str) -> String {
    let profile = tempfile::tempdir().expect("a temporary folder");
    let visit = Command::new(file("WARREN_TEST_CHROMIUM"))
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--ignore-certificate-errors"])
        .args(["--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = visit.await.expect("the browser starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One login from its beginning to the rows; the address that the user went to.
async fn log_in(address: &str, authority: &Path) -> String {
    let (mut child, mut out, url) = cli(address, authority).await;
    let page = browse(&url).await;
    assert!(page.contains("logged in") && !page.contains("not logged in"), "{page}");
    let mut rows = String::new();
    out.read_to_string(&mut rows).await.expect("the pipe can be read");
    assert!(child.wait().await.expect("our own child").success());
    assert_eq!(rows.lines().count(), 3, "{rows}");
    url
}

#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
#[tokio::test(flavor = "multi_thread")]
async fn the_cli_logs_in_with_a_browser() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let (port, login) = (free_address(), login().await);
    let options = || StubOptions::default().with(|told| told.oauth = Some(login.clone()));
    let stubs = [(); 3].map(|()| Stub::start(options()));
    let addresses = stubs.each_ref().map(|stub| stub.addr().to_string());
    let names = ["blue", "green", "red"];
    let clusters: Vec<(&str, &str)> =
        names.into_iter().zip(addresses.iter().map(String::as_str)).collect();
    let extra = Extra {
        password: Some("the stubs believe every one".to_owned()),
        sections: authority.listener(port, &["own"], ""),
        ..Extra::default()
    };
    let gateway = Gateway::start_with_extra(&clusters, &extra).await;
    let (address, ca) = (format!("localhost:{}", port.port()), authority.path("ca.pem"));

    let began = warren::time::now();
    let mut urls = Vec::new();
    for _ in 0..6 {
        let both = [(); 2].map(|()| log_in(&address, &ca));
        let both = tokio::time::timeout(SOON * 2, join_all(both)).await;
        urls.extend(both.expect("logins that end"));
    }
    let each = stubs.each_ref().map(|stub| visits(stub, INITIATE));
    let polls: usize = stubs.iter().map(|stub| visits(stub, "/oauth2/token/")).sum();
    println!(
        "{} logins, begun by three coordinators {each:?}, {polls} requests about tokens, in {:?}",
        urls.len(),
        began.elapsed()
    );
    assert_eq!(each.iter().sum::<usize>(), urls.len());
    assert!(each.iter().filter(|count| **count > 0).count() >= 2, "{each:?}");
    for stub in &stubs {
        assert_eq!(stub.foreign_ids(), (0, Vec::new()), "asked about a login of another");
    }
    drop(gateway);
    assert_strays_are_counted(&stubs, &urls[0]).await;
}

/// How many requests of a stub are about that.
fn visits(stub: &Stub, part: &str) -> usize {
    stub.requests().iter().filter(|request| request.target.contains(part)).count()
}

/// A browser that meets another coordinator is turned away, and the stub says so.
async fn assert_strays_are_counted(stubs: &[Stub; 3], url: &str) {
    let path = &url[url.find("/oauth2/").expect("a path of Trino's")..];
    let mut statuses = Vec::new();
    for stub in stubs {
        let answer = wire::ask(&stub.addr().to_string(), "GET", path, &[], "").await;
        statuses.push(answer.expect("an answer").status());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 404, 404]);
    assert_eq!(stubs.iter().map(|stub| stub.foreign_ids().0).sum::<u64>(), 2);
}
