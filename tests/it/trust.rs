//! Which certificate of a cluster is believed. The cluster with the certificate is another Warren,
//! which speaks TLS in front of a stub.

use std::net::SocketAddr;

use rcgen::{CertificateParams, date_time_ymd};
use warren_stub::{RequestKind, Stub, StubOptions, free_address};

use crate::support::authority::Authority;
use crate::support::clients::Query;
use crate::support::gateway::{Gateway, Plan};
use crate::support::{eventually, tell};

/// A stub that speaks TLS.
struct Far {
    stub: Stub,
    address: SocketAddr,
    _warren: Gateway,
}

impl Far {
    /// With the certificate `own` of the authority.
    fn start(authority: &Authority) -> Self {
        Self::start_with(authority, "")
    }

    /// The same with these further settings of its port.
    fn start_with(authority: &Authority, rest: &str) -> Self {
        let (stub, address) = (Stub::start(StubOptions::default()), free_address());
        let listener = authority.listener(address, &["own"], rest);
        let warren = Plan::of(&[("stub", "bi", &stub)]).sections(&listener).start_ready();
        Self { stub, address, _warren: warren }
    }

    /// The settings of the cluster `far`, which believes this authority.
    fn cluster(&self, authority: &Authority, rest: &str) -> String {
        format!(
            "[[clusters]]\nname = \"far\"\ngroup = \"bi\"\nurl = \"https://localhost:{}\"\n\
             [clusters.tls]\nca = \"{}\"\n{rest}",
            self.address.port(),
            authority.path("ca.pem").display()
        )
    }

    /// How many statements came by its TLS port; those of its own probes come from behind it.
    fn statements(&self) -> usize {
        let seen = self.stub.requests_of(RequestKind::Submit).into_iter();
        seen.filter(|request| request.header("via").is_some()).count()
    }
}

/// A Warren with a cluster without TLS, and with `far`.
fn gateway(near: &Stub, far: &str) -> Gateway {
    Plan::of(&[("near", "bi", near)]).sections(far).start()
}

/// Checks that `far` is never believed, and that Warren tells why.
fn assert_refused(authority: &Authority, believed: &Authority, why: &str) {
    let (near, far) = (Stub::start(StubOptions::default()), Far::start(authority));
    let gateway = gateway(&near, &far.cluster(believed, ""));
    gateway.wait_until("near", "ready");
    gateway.wait_until("far", "unhealthy");
    for _ in 0..20 {
        Query::run(&gateway.client(), "SELECT 1").unwrap();
    }
    let far_now = gateway.cluster("far").unwrap();
    let reason = far_now["health_reason"].as_str().unwrap_or_default();
    tell(&format!("refused: {reason}"));
    assert!(far_now["health"] == "unhealthy" && reason.contains(why), "{far_now}");
    assert!(gateway.log().contains(why), "{}", gateway.log());
    assert_eq!(far.statements(), 0);
}

#[test]
fn a_good_certificate_is_believed() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let (near, far) = (Stub::start(StubOptions::default()), Far::start(&authority));
    let gateway = gateway(&near, &far.cluster(&authority, ""));
    gateway.wait_until("far", "ready");
    eventually("it gets queries", || {
        let query = Query::run(&gateway.client(), "SELECT 1").unwrap();
        (query.mark() == far.stub.coordinator_id()).then_some(())
    });
}

#[test]
fn probes_show_their_certificate_where_one_is_asked_for() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    authority.sign("probe", &["warren"]);
    let ca = format!("client_ca = \"{}\"\n", authority.path("ca.pem").display());
    let (near, far) = (Stub::start(StubOptions::default()), Far::start_with(&authority, &ca));
    let without = gateway(&near, &far.cluster(&authority, ""));
    without.wait_until("near", "ready");
    without.wait_until("far", "unhealthy");
    assert_eq!(far.statements(), 0);
    let path = |file: &str| authority.path(file).display().to_string();
    let shown = format!(
        "[clusters.probe]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        path("probe.pem"),
        path("probe.key")
    );
    gateway(&near, &far.cluster(&authority, &shown)).wait_until("far", "ready");
    // Another authority's is refused as none is.
    let other = Authority::new();
    other.sign("probe", &["warren"]);
    let strange = shown.replace(&path(""), &other.path("").display().to_string());
    assert_ne!(strange, shown);
    let refused = gateway(&near, &far.cluster(&authority, &strange));
    refused.wait_until("near", "ready");
    refused.wait_until("far", "unhealthy");
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    authority.issue("own", &params);
    assert_refused(&authority, &authority, "expired");
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    authority.sign("own", &["other.example"]);
    assert_refused(&authority, &authority, "not valid for name");
    // It is the name that was wrong, and nothing else.
    let (near, far) = (Stub::start(StubOptions::default()), Far::start(&authority));
    let named = far.cluster(&authority, "server_name = \"other.example\"\n");
    gateway(&near, &named).wait_until("far", "ready");
}

#[test]
fn a_certificate_of_a_strange_authority_is_refused() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    assert_refused(&authority, &Authority::new(), "UnknownIssuer");
}
