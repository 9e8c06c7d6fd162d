//! A cluster whose name moves to another address: nothing is sent there before it has proven itself.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};
use warren::cluster::Cluster;
use warren::cluster::registry::Registry;
use warren::config;
use warren::gateway::{Gateway, Parts};
use warren::health::ask::Asker;
use warren::health::verdict::Health;
use warren::health::{probe, resolve};
use warren::history::{self, History};
use warren::ids::GroupName;
use warren::route::reload::RuleBook;
use warren::sticky::Sticky;
use warren::store;
use warren::telemetry::metrics::Metrics;
use warren::upstream::exchange::Upstream;
use warren_stub::{RequestKind, Stub, StubOptions};

use crate::support::eventually;

/// A gateway inside the test, with one cluster that has a name, without ports.
struct Bed {
    gateway: Arc<Gateway>,
    cluster: Arc<Cluster>,
    _history: History,
    _folder: TempDir,
}

impl Bed {
    fn new(port: u16, control: Handle) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("route.lua"), "function route(r) return nil end")
            .unwrap();
        let text = format!(
            "[rules]\nfile = \"route.lua\"\ndefault_group = \"bi\"\n[health]\n\
             info_period = \"50ms\"\nsettle = \"0s\"\ntimeout = \"1s\"\n\
             [[groups]]\nname = \"bi\"\n[[clusters]]\nname = \"green\"\ngroup = \"bi\"\n\
             url = \"http://green.example:{port}\"\n"
        );
        let config = Arc::new(config::parse(&text, &folder.path().join("warren.toml")).unwrap());
        let store = store::open(&config.store).unwrap();
        let history = history::start(folder.path(), 1 << 20, store.clone()).unwrap();
        let metrics = Arc::new(Metrics::default());
        let groups: Vec<GroupName> = config.groups.iter().map(|g| g.name.clone()).collect();
        let recorder = history.recorder().clone();
        let period = Duration::from_secs(60);
        let gateway = Gateway::new(Parts {
            registry: Registry::new(config.clone(), |cluster| cluster.initial_intent),
            rules: RuleBook::start(&config.rules, &groups).unwrap(),
            sticky: Sticky::new(1000, period, recorder.clone(), metrics.clone()),
            recorder,
            metrics,
            store,
            name: "bed".to_owned(),
            cookie_key: vec![1; 32],
            outlast: None,
            control,
        });
        let cluster = gateway.registry.fleet().clusters[0].clone();
        Self { gateway, cluster, _history: history, _folder: folder }
    }

    /// Whether a new query would be sent there.
    fn takes_new(&self) -> bool {
        let fleet = self.gateway.registry.fleet();
        fleet.choose(&fleet.default_group().name().clone().into(), &[]).is_some()
    }

    fn wait_until(&self, health: Health) {
        eventually(health.as_str(), || (self.cluster.verdict().health() == health).then_some(()));
    }
}

#[test]
fn a_name_that_moves_gets_no_query_before_a_statement_ran_there() {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let old = Stub::start(StubOptions::default());
    // The same port at another address: only the name changes where it leads.
    let place = SocketAddr::from(([127, 0, 0, 2], old.addr().port()));
    let starting = StubOptions::default().with(|behaviour| behaviour.starting = true);
    let new = Stub::start(StubOptions { listen: place, ..starting });
    let bed = Bed::new(old.addr().port(), runtime.handle().clone());
    let found = Arc::new(Mutex::new(vec![old.addr()]));
    let known = found.clone();
    let resolver = move |_host: String, _port: u16| {
        let told = known.lock().unwrap().clone();
        async move { Ok(told) }
    };
    let upstream = Arc::new(Upstream::with_pool(4));
    let asker = Asker { cluster: bed.cluster.clone(), upstream };
    runtime.spawn(resolve::watch_by(bed.gateway.clone(), bed.cluster.clone(), resolver));
    runtime.spawn(probe::watch(bed.gateway.clone(), asker));
    bed.wait_until(Health::Ready);
    assert!(bed.takes_new());
    *found.lock().unwrap() = vec![new.addr()];
    bed.wait_until(Health::Starting);
    eventually("the new one is looked at", || {
        (new.request_count(RequestKind::Info) >= 5).then_some(())
    });
    assert!(!bed.takes_new(), "it says that it starts");
    assert_eq!(*bed.cluster.addresses(), [new.addr()]);
    new.change(|behaviour| behaviour.starting = false);
    bed.wait_until(Health::Ready);
    assert!(bed.takes_new() && new.request_count(RequestKind::Submit) > 0);
    assert_eq!(bed.cluster.coordinator().map(|mark| mark.to_string()), Some(new.coordinator_id()));
    // One of several that it had: nothing to prove.
    *found.lock().unwrap() = vec![new.addr(), old.addr()];
    eventually("both are known", || (bed.cluster.addresses().len() == 2).then_some(()));
    assert!(bed.takes_new());
}
