//! `warren doctor` before two real Trinos with which all is well.

use std::process::Command;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::surroundings::{blue, green};

#[expect(clippy::print_stdout, reason = "the report is part of the output")]
#[tokio::test(flavor = "multi_thread")]
async fn real_coordinators_are_well() {
    let gateway = Gateway::start(&[("blue", &blue()), ("green", &green())]).await;
    let run = |flags: &[&str]| {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_warren"));
        doctor.arg("doctor").args(flags).arg("--config").arg(gateway.settings());
        doctor.output().expect("warren starts")
    };
    let told = run(&["--json"]);
    let text = String::from_utf8_lossy(&told.stdout);
    let report: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|finding| finding["grade"] == "fine"), "{text}");
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert_eq!(findings.len(), 4, "operators' port, clients' port, two clusters: {text}");
    for part in ["Trino 476", "forwarded headers are honoured", "warren sees queries of others"] {
        assert_eq!(text.matches(part).count(), 2, "{part}: {text}");
    }
    println!("{}", String::from_utf8_lossy(&run(&[]).stdout));
}
