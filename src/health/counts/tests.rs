//! What is read of good and of hostile answers.

use super::jmx::Bean;
use super::*;
use crate::cluster::tests::settings;
use crate::config::{LoadWeights, MetricBounds};

const NODES: &str = "trino_metadata_name_DiscoveryNodeManager_ActiveNodeCount";

fn counts(active: Active, tally: Option<(u32, u32)>) -> Counts {
    let tally = tally.map(|(queued, running)| Tally { queued, running });
    Counts { active, tally, signals: Signals::default() }
}

#[test]
fn a_page_of_metrics() {
    let page = "# TYPE trino_metadata_name_DiscoveryNodeManager_ActiveNodeCount gauge\n\
        trino_metadata_name_DiscoveryNodeManager_ActiveNodeCount 4.0\n\
        trino_execution_name_QueryManager_RunningQueries{node=\"a b}\"} 7 1700000000\n\
        trino_execution_name_QueryManager_QueuedQueries_Extra 9.0\n\
        trino_execution_name_QueryManager_QueuedQueries 2.0\n\
        trino_execution_name_QueryManager_RunningDrivers 3.0\n\
        trino_memory_name_ClusterMemoryManager_TotalAvailableProcessors 4.0\n\
        trino_memory_name_ClusterMemoryManager_ClusterTotalMemoryReservation 1.0E9\n\
        trino_memory_name_ClusterMemoryManager_ClusterMemoryBytes 4.0E9\n# EOF\n";
    let told = metrics::read(page).expect("counts");
    let signals = Signals { memory: Some(250), cpu: Some(750) };
    assert_eq!(told, Counts { signals, ..counts(Active::Nodes(4), Some((2, 7))) });
    assert_eq!(told.active.workers(), 3, "the coordinator is no worker");
    let renamed = page.replace("metadata_name_Discovery", "node_name_Coordinator");
    assert_eq!(metrics::read(&renamed), Ok(told), "Trino 477");
}

#[test]
fn only_what_is_needed_is_asked_for() {
    let names = |path: &str| path.matches("name%5B%5D=").count();
    assert_eq!(names(&metrics::path(LoadWeights::EVEN, &[])), 4);
    let all = LoadWeights { memory: 1, cpu: 1, ..LoadWeights::EVEN };
    let bound = MetricBounds { name: "a_b".to_owned(), min: None, max: Some(1.0) };
    let path = metrics::path(all, &[bound]);
    assert_eq!(names(&path), 9);
    assert!(path.ends_with("&name%5B%5D=a_b"), "{path}");
}

#[test]
fn nonsense_in_metrics() {
    for (value, expected) in [
        ("", format!("no `{NODES}` in it")),
        ("many", format!("no `{NODES}` in it")),
        ("-1", format!("`{NODES}` is -1, which is no number of nodes")),
        ("NaN", format!("`{NODES}` is NaN, which is no number of nodes")),
        ("+Inf", format!("`{NODES}` is inf, which is no number of nodes")),
        ("1e300", format!("`{NODES}` is 1e300, which is no number of nodes")),
    ] {
        let told = metrics::read(&format!("{NODES} {value}\n")).expect_err(value);
        assert!(told.starts_with(&expected[..20]) && told.len() < 400, "{value}: {told}");
    }
    for page in ["", "\0\u{ffff}", "<html>", NODES, "# EOF"] {
        assert!(metrics::read(page).is_err(), "{page}");
    }
    for value in ["NaN", "-3", "Inf", "x", "1e99"] {
        let page = format!(
            "{NODES} 1\ntrino_execution_name_QueryManager_RunningQueries {value}\n\
             trino_execution_name_QueryManager_QueuedQueries 0\n\
             trino_memory_name_ClusterMemoryManager_ClusterTotalMemoryReservation {value}\n\
             trino_memory_name_ClusterMemoryManager_ClusterMemoryBytes 0\n"
        );
        let told = metrics::read(&page);
        assert_eq!(told, Ok(counts(Active::Nodes(1), None)), "missing, not 0: {value}");
    }
}

#[test]
fn what_the_web_ui_shows() {
    let told = ui::read(
        br#"{"runningQueries":3,"blockedQueries":2,"queuedQueries":1,"activeCoordinators":1,
            "activeWorkers":4,"runningDrivers":5,"totalAvailableProcessors":2,"reservedMemory":9.0}"#,
    );
    let signals = Signals { memory: None, cpu: Some(1000) };
    assert_eq!(told, Ok(Counts { signals, ..counts(Active::Workers(4), Some((1, 5))) }));
    assert_eq!(ui::read(br#"{"activeWorkers":1}"#), Ok(counts(Active::Workers(1), None)));
    for body in [
        &b""[..],
        b"<html>",
        b"{\"activeWorkers\":4,",
        b"{}",
        b"[]",
        b"{\"activeWorkers\":-1}",
        b"{\"activeWorkers\":\"4\"}",
        b"{\"activeWorkers\":NaN}",
        b"{\"activeWorkers\":1e999}",
        b"\xff\xfe",
    ] {
        assert!(ui::read(body).is_err(), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn logins_of_the_web_ui() {
    assert_eq!(
        ui::form("a b", "p&=%\u{e9}"),
        "username=a%20b&password=p%26%3D%25%C3%A9&redirectPath="
    );
    assert_eq!(ui::json("a", "\""), r#"{"password":"\"","username":"a"}"#);
    let set = |lines: &[&str]| ui::cookies(lines.iter().copied());
    assert_eq!(
        set(&["Trino-UI-Token=x.y=;Version=1;Path=/ui"]),
        Some("Trino-UI-Token=x.y=".into())
    );
    assert_eq!(set(&["a=1; Path=/", "b=2", "c=; Max-Age=0", "d=delete"]), Some("a=1; b=2".into()));
    assert_eq!(set(&[]), None);
    assert_eq!(set(&["", ";", "=", "nothing"]), None);
    assert_eq!(set(&["nothing", "a=1"]), Some("a=1".into()));
    assert_eq!(set(&[&format!("a={}", "x".repeat(20_000))]), None, "too much");
}

fn bean(attributes: &str) -> Bean {
    Bean::read(format!("{{\"attributes\":[{attributes}]}}").as_bytes()).expect("a bean")
}

#[test]
fn beans() {
    let manager = bean(r#"{"name":"ActiveNodeCount","type":"int","value":3}"#);
    let queries = bean(
        r#"{"name":"X.P99","value":"NaN"},{"name":"Y"},{"name":"QueuedQueries","value":1},
           {"name":"RunningQueries","value":2},{"name":"RunningDrivers","value":1}"#,
    );
    let memory = bean(
        r#"{"name":"ClusterMemoryBytes","value":1000},{"name":"TotalAvailableProcessors","value":8},
           {"name":"ClusterTotalMemoryReservation","value":10}"#,
    );
    let told = counts(Active::Nodes(3), Some((1, 2)));
    assert_eq!(jmx::read(&manager, &queries, None), Ok(told.clone()));
    let signals = Signals { memory: Some(10), cpu: Some(125) };
    assert_eq!(jmx::read(&manager, &queries, Some(&memory)), Ok(Counts { signals, ..told }));
    assert_eq!(
        jmx::read(&manager, &memory, None),
        Ok(counts(Active::Nodes(3), None)),
        "queries that are not told are missing"
    );
    for attributes in
        ["", r#"{"name":"ActiveNodeCount"}"#, r#"{"name":"ActiveNodeCount","value":-1}"#]
    {
        assert!(jmx::read(&bean(attributes), &queries, None).is_err(), "{attributes}");
    }
    for body in ["", "{", "{}", "<html>", r#"{"attributes":[{}]}"#, r#"{"attributes":7}"#] {
        assert!(Bean::read(body.as_bytes()).is_err(), "{body}");
    }
}

/// The cases of the Java gateway's monitors, tier for tier: what is healthy there lacks nothing here.
#[test]
fn what_the_java_gateways_monitors_call_healthy() {
    let settings = settings("blue", 1);
    let lacking = |active| counts(active, None).lacking(&settings);
    for (monitor, active, healthy) in [
        ("JMX", Active::Nodes(1), true),
        ("JMX", Active::Nodes(0), false),
        ("UI_API", Active::Workers(2), true),
        ("UI_API", Active::Workers(0), false),
    ] {
        assert_eq!(lacking(active).is_none(), healthy, "{monitor} {active:?}");
    }
    for (min, max, healthy) in [
        (Some(1.0), None, true),
        (Some(100.0), None, false),
        (None, Some(0.5), false),
        (Some(0.5), None, true),
        (None, Some(100.0), true),
    ] {
        let bounds = [MetricBounds { name: NODES.to_owned(), min, max }];
        let outside = metrics::outside(&format!("{NODES} 1.0\n"), &bounds);
        assert_eq!(outside.is_none(), healthy, "METRICS {min:?} {max:?}: {outside:?}");
        assert!(metrics::outside("# EOF\n", &bounds).is_some(), "absent from the page");
        assert!(metrics::outside(&format!("{NODES} NaN\n"), &bounds).is_some());
    }
}

#[test]
fn workers_that_are_wanted() {
    let mut settings = settings("blue", 1);
    (settings.expected_workers, settings.workers_percent) = (10, 50);
    let lacking = |settings: &_, active| counts(active, None).lacking(settings);
    assert_eq!(lacking(&settings, Active::Nodes(6)), None);
    let told = lacking(&settings, Active::Nodes(5));
    assert_eq!(told.as_deref(), Some("4 active workers, 5 wanted"));
    assert_eq!(lacking(&settings, Active::Workers(5)), None);
    (settings.expected_workers, settings.min_workers) = (0, 0);
    assert_eq!(lacking(&settings, Active::Nodes(0)), None, "none is asked for");
}
