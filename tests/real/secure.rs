//! A Trino that takes passwords over TLS only, without TLS of its own, behind Warren's TLS port: the
//! clients verify Warren's certificate and log in, and so do Warren's own probes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use warren_stub::free_address;

use crate::support::authority::Authority;
use crate::support::clients::{Client, Way};
use crate::support::coordinator;
use crate::support::gateway::{Extra, Gateway};
use crate::support::own::Coordinator;
use crate::support::surroundings::file;
use crate::support::wire::{self, Kind, Message};

/// Those that are told passwords and authorities here.
const CLIENTS: [Client; 4] = [Client::Cli, Client::Jdbc, Client::Dbapi, Client::SqlAlchemy];

const PASSWORD: &str = "let me in";
/// The same as Trino's file authenticator keeps it.
const BCRYPT: &str = "$2a$08$5jWQIjxWmw7y3ZHsrlsh9ON3RbdvY.e/J9VZn7CibXUlF202x6IYS";
/// `real-test:let me out`.
const WRONG: &str = "Basic cmVhbC10ZXN0OmxldCBtZSBvdXQ=";
const REFUSED: &str = "Access Denied: Invalid credentials";
const WHO: &str = "SELECT current_user, name FROM tpch.tiny.nation WHERE nationkey = 7";

/// A Trino that asks for passwords.
fn coordinator() -> Coordinator {
    let users = file("WARREN_TEST_FOLDER").join("password.db");
    std::fs::write(&users, format!("real-test:{BCRYPT}\nwarren:{BCRYPT}\n")).expect("a folder");
    let authenticator = "password-authenticator.properties";
    let users = format!("file.password-file={}", users.display());
    Coordinator::start(
        "passwords",
        &[
            "--plugin=password-authenticators",
            "--property=http-server.authentication.type=PASSWORD",
            "--property=internal-communication.shared-secret=between the nodes of one cluster",
            "--file-property",
            authenticator,
            "password-authenticator.name=file",
            "--file-property",
            authenticator,
            &users,
        ],
    )
}

/// Posts a statement with a wrong password over TLS.
fn post_wrong(authority: &Authority, address: &str) -> Message {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let socket = TcpStream::connect(address).expect("it listens");
    let mut stream = StreamOwned::new(session, socket);
    let headers = [("Authorization", WRONG), ("Connection", "close")];
    let request = wire::request(address, "POST", "/v1/statement", &headers, WHO);
    stream.write_all(request.as_bytes()).expect("a certificate that we believe");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a whole answer");
    wire::parse(&bytes, Kind::AnswerTo("POST"), true).expect("an answer").0
}

/// What a client sees of an answer, but for its date.
fn seen(answer: &Message) -> (u16, Vec<String>, String) {
    let lines = answer.end_to_end_lines().into_iter().filter(|line| !line.starts_with("Date:"));
    (answer.status(), lines.collect(), String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_log_in_with_passwords_over_tls() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let port = free_address();
    let extra = Extra {
        password: Some(PASSWORD.to_owned()),
        sections: authority.listener(port, &["own"], ""),
        booting: true,
        ..Extra::default()
    };
    let trino = coordinator();
    let gateway = Gateway::start_with_extra(&[("passwords", trino.address())], &extra).await;
    let (address, ca) = (format!("localhost:{}", port.port()), authority.path("ca.pem"));
    let way = |password| Way {
        address: &address,
        authority: Some(&ca),
        password: Some(password),
        ..Way::default()
    };
    for client in CLIENTS {
        let told = client.rows(way(PASSWORD), WHO).await;
        assert_eq!(told, "real-test\tGERMANY", "{client:?}");
        let told = client.refusal(way("let me out"), WHO).await;
        assert!(told.contains(REFUSED) && !told.contains("GERMANY"), "{client:?}: {told}");
    }
    assert_probes_log_in(&gateway).await;
    assert_trino_refuses(&authority, &address, &trino, &gateway).await;
    assert_certificates_are_verified(&address, way(PASSWORD)).await;
}

/// A wrong password gets the very answer of Trino; without TLS none is taken.
async fn assert_trino_refuses(
    authority: &Authority,
    address: &str,
    trino: &Coordinator,
    gateway: &Gateway,
) {
    let through = post_wrong(authority, address);
    let headers = [("Authorization", WRONG), ("X-Forwarded-Proto", "https")];
    let direct = wire::ask(trino.address(), "POST", "/v1/statement", &headers, WHO).await;
    let direct = direct.expect("an answer");
    assert_eq!(seen(&through), seen(&direct));
    assert_eq!((through.status(), &*through.body), (401, REFUSED.as_bytes()));
    let plain = Way { password: None, ..gateway.client().into() };
    let told = Client::Dbapi.refusal(plain, WHO).await;
    assert!(told.contains("403") && !told.contains("GERMANY"), "{told}");
}

/// The probe's statements and the list of queries are let in.
async fn assert_probes_log_in(gateway: &Gateway) {
    let cluster = gateway.cluster("passwords").await;
    assert_eq!((&cluster["health"], &cluster["addresses"]), (&"ready".into(), &"honoured".into()));
    let waiting = async {
        while gateway.cluster("passwords").await["running"].is_null() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let told = tokio::time::timeout(coordinator::SOON, waiting).await;
    assert!(told.is_ok(), "its queries were never listed");
    let by_list = ["warren_probes_total", r#"probe="load""#, r#"outcome="failed""#];
    assert!(gateway.figure(&by_list).await < 0.5, "some lists were refused");
}

/// A client that believes another authority does not send its password.
async fn assert_certificates_are_verified(address: &str, way: Way<'_>) {
    let strange = Authority::new();
    let strange = strange.path("ca.pem");
    let way = Way { address, authority: Some(&strange), ..way };
    for client in [Client::Cli, Client::Jdbc, Client::Dbapi] {
        let told = client.refusal(way, WHO).await;
        assert!(!told.contains("GERMANY") && told.contains("ertificate"), "{client:?}: {told}");
    }
}
