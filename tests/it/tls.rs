//! TLS on the clients' ports: versions, names, certificates that change under load, clients that
//! must show one, and who speaks no TLS at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};
use warren_stub::{RequestKind, Stub, StubOptions, free_address};

use crate::support::authority::Authority;
use crate::support::clients::Query;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};
use crate::support::raw;

/// Says stop when it is dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection that has shaken hands.
pub(crate) fn connect(
    config: &ClientConfig,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<Tls> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
    session.complete_io(&mut socket)?;
    Ok(StreamOwned::new(session, socket))
}

/// One request and its answer, which leaves the connection open.
fn ask(stream: &mut Tls, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    let mut chunk = [0; 8192];
    loop {
        let read = stream.read(&mut chunk)?;
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            length.is_some_and(|length| length.parse() == Ok(body.len()))
        });
        if whole || read == 0 {
            return Ok(text);
        }
    }
}

const SUBMIT: &str = "POST /v1/statement HTTP/1.1\r\nHost: localhost:8443\r\nX-Trino-User: tls\r\n\
                      Authorization: Basic dGxzOng=\r\nCookie: a=1\r\nContent-Length: 8\r\n\r\nSELECT 2";
const INFO: &str = "GET /v1/info HTTP/1.1\r\nHost: localhost:8443\r\n\r\n";

fn both() -> [&'static SupportedProtocolVersion; 2] {
    [&rustls::version::TLS12, &rustls::version::TLS13]
}

fn start(blue: &Stub, sections: &str) -> Gateway {
    Plan::of(&[("blue", "bi", blue)]).sections(sections).start_ready()
}

#[test]
fn clients_are_served_and_sent_back_over_tls() {
    let (blue, authority, address) =
        (Stub::start(StubOptions::default()), Authority::new(), free_address());
    authority.sign("own", &["localhost"]);
    let gateway = start(&blue, &authority.listener(address, &["own"], ""));
    for version in both() {
        let config = authority.client(&[version]);
        let mut stream = connect(&config, address, "localhost").unwrap();
        let answer = ask(&mut stream, SUBMIT).unwrap();
        assert!(answer.contains("\"nextUri\":\"https://localhost:8443/v1/"), "{answer}");
        assert!(ask(&mut stream, INFO).unwrap().starts_with("HTTP/1.1 200"), "kept alive");
    }
    let seen = blue.requests_of(RequestKind::Submit);
    let seen = seen.iter().find(|request| request.header("x-trino-user") == Some("tls")).unwrap();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-port"), Some("8443"));
    assert_eq!(seen.header("authorization"), Some("Basic dGxzOng="));
    assert_eq!(seen.header("cookie"), Some("a=1"));
    for (offered, taken) in [(vec!["h2", "http/1.1"], "h2"), (vec!["http/1.1"], "http/1.1")] {
        let mut config = authority.client(&both());
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = connect(&config, address, "localhost").unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(taken.as_bytes()));
    }
    // The port without TLS serves as before.
    Query::run(&gateway.client(), "SELECT 1").unwrap();
}

#[test]
fn the_certificate_is_the_one_for_the_name() {
    let (blue, authority, address) =
        (Stub::start(StubOptions::default()), Authority::new(), free_address());
    let first = authority.sign("first", &["a.example"]);
    let second = authority.sign("second", &["*.b.example"]);
    let _gateway = start(&blue, &authority.listener(address, &["first", "second"], ""));
    let config = authority.client(&both());
    for (name, expected) in [("a.example", &first), ("x.b.example", &second)] {
        let stream = connect(&config, address, name).unwrap();
        assert_eq!(stream.conn.peer_certificates().unwrap()[0], *expected, "{name}");
    }
    assert!(connect(&config, address, "c.example").is_err(), "the first is not for that name");
}

#[test]
fn certificates_change_under_load_and_bad_ones_do_not_count() {
    let (blue, authority, address) =
        (Stub::start(StubOptions::default()), Authority::new(), free_address());
    let old = authority.sign("own", &["localhost"]);
    let gateway = start(&blue, &authority.listener(address, &["own"], ""));
    let config = authority.client(&both());
    let mut standing = connect(&config, address, "localhost").unwrap();
    ask(&mut standing, INFO).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Also when the test fails: the scope waits for the load.
        let _stopping = Stopping(&stop);
        let load = || {
            while !stop.load(Ordering::Relaxed) {
                let mut stream = connect(&config, address, "localhost").unwrap();
                assert!(ask(&mut stream, INFO).unwrap().starts_with("HTTP/1.1 200"));
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let threads = [scope.spawn(load), scope.spawn(load)];
        let shown = || {
            let stream = connect(&config, address, "localhost").unwrap();
            stream.conn.peer_certificates().unwrap()[0].clone()
        };
        eventually("there is load", || (done.load(Ordering::Relaxed) > 20).then_some(()));
        let new = authority.sign("own", &["localhost"]);
        assert_ne!(old, new);
        eventually("the new one counts", || (shown() == new).then_some(()));
        std::fs::write(authority.path("own.pem"), "junk").unwrap();
        let rejected = || gateway.figure("certificates_rejected") == 1;
        eventually("junk is told", || rejected().then_some(()));
        assert_eq!(shown(), new, "and does not count");
        let last = authority.sign("own", &["localhost"]);
        eventually("a good one counts again", || (shown() == last).then_some(()));
        let before = done.load(Ordering::Relaxed);
        eventually("the load goes on", || {
            (done.load(Ordering::Relaxed) > before + 20).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(ask(&mut standing, INFO).unwrap().starts_with("HTTP/1.1 200"), "it was not cut");
    let log = gateway.log();
    assert!(log.contains("bad certificates: the old ones stay in force"), "{log}");
}

#[test]
fn clients_may_have_to_show_a_certificate() {
    let (blue, authority, other) =
        (Stub::start(StubOptions::default()), Authority::new(), Authority::new());
    let address = free_address();
    authority.sign("own", &["localhost"]);
    authority.sign("client", &["client"]);
    let ca = format!("client_ca = \"{}\"\n", authority.path("ca.pem").display());
    let _gateway = start(&blue, &authority.listener(address, &["own"], &ca));
    let served = |config: &ClientConfig| {
        let mut stream = connect(config, address, "localhost").ok()?;
        ask(&mut stream, INFO).ok().filter(|answer| answer.starts_with("HTTP/1.1 200"))
    };
    assert!(served(&authority.client_showing(&both(), Some("client"))).is_some());
    assert!(served(&authority.client(&both())).is_none(), "it shows none");
    other.sign("client", &["client"]);
    for file in ["client.pem", "client.key"] {
        std::fs::copy(other.path(file), authority.path(&format!("other-{file}"))).unwrap();
    }
    let strange = authority.client_showing(&both(), Some("other-client"));
    assert!(served(&strange).is_none(), "it shows one of somebody else");
}

#[test]
fn who_speaks_no_tls_harms_nobody() {
    let (blue, authority, address) =
        (Stub::start(StubOptions::default()), Authority::new(), free_address());
    authority.sign("own", &["localhost"]);
    let gateway = start(&blue, &authority.listener(address, &["own"], ""));
    let answer = raw::exchange(address, INFO.as_bytes());
    assert!(!answer.contains("200 OK"), "{answer}");
    // Handshakes that never end hold nothing up.
    let _silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(&[0x16, 3, 1, 2]).unwrap();
    let config = authority.client(&both());
    for _ in 0..5 {
        let mut stream = connect(&config, address, "localhost").unwrap();
        assert!(ask(&mut stream, INFO).unwrap().starts_with("HTTP/1.1 200"));
    }
    Query::run(&gateway.client(), "SELECT 1").unwrap();
}

#[test]
fn certificates_that_cannot_be_used_are_told_at_the_start() {
    let (blue, authority, address) =
        (Stub::start(StubOptions::default()), Authority::new(), free_address());
    authority.sign("own", &["localhost"]);
    authority.sign("other", &["localhost"]);
    let gateway = start(&blue, "");
    let settings = std::fs::read_to_string(gateway.settings_file()).unwrap();
    let told = |text: &str| {
        let file: &Path = &gateway.settings_file().with_file_name("tls.toml");
        let fresh = settings.replace(&gateway.address().to_string(), &free_address().to_string());
        let fresh = fresh.replace("warren.db", "tls.db").replace("\"state\"", "\"tls-state\"");
        std::fs::write(file, fresh + text).unwrap();
        let ended = gateway.run_with(file, &["serve"]);
        assert!(!ended.status.success());
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };
    let listener = authority.listener(address, &["own"], "");
    let text = told(&listener.replace("own.key", "other.key"));
    assert!(text.contains("is not the key of the certificate in"), "{text}");
    let text = told(&listener.replace("own.pem", "nowhere.pem"));
    assert!(text.contains("nowhere.pem") && text.contains("no certificate in PEM"), "{text}");
    let text = told(&listener.replace("own.pem", "own.key"));
    assert!(text.contains("no certificate in it"), "{text}");
}
