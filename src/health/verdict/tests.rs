//! What a row of looks amounts to.

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::*;

const LIMITS: Thresholds = Thresholds {
    rise: 2,
    fall: 3,
    min_workers: 2,
    statement_period: Duration::from_secs(30),
    settle: Duration::ZERO,
    ramp: Duration::from_secs(60),
    source: Source::Statement,
};

fn info(uptime: u64) -> Evidence {
    Evidence::Info { starting: false, uptime: Duration::from_secs(uptime) }
}

fn booting(uptime: u64) -> Evidence {
    Evidence::Info { starting: true, uptime: Duration::from_secs(uptime) }
}

fn done(workers: Option<u32>) -> Evidence {
    let coordinator = CoordinatorId::parse("abcde").expect("a good mark");
    Evidence::StatementDone { coordinator, workers }
}

fn busy(others_run: bool) -> Evidence {
    let coordinator = CoordinatorId::parse("abcde").expect("a good mark");
    Evidence::StatementBusy { coordinator, others_run }
}

fn refused() -> Evidence {
    Evidence::CannotConnect("connection refused".to_owned())
}

fn check(looks: &[Evidence], expect: &Expect) {
    let start = crate::time::now();
    let mut verdict = Verdict::default();
    let mut told = String::new();
    for (seconds, look) in (0u64..).step_by(2).zip(looks) {
        let now = start + Duration::from_secs(seconds);
        verdict = verdict.observe(look.clone(), &LIMITS, now);
        let health = verdict.health().as_str();
        let next = if verdict.wants_statement(&LIMITS, now) { " +statement" } else { "" };
        writeln!(told, "{health}{next}: {}", verdict.reason).expect("to memory");
    }
    expect.assert_eq(&told);
}

#[test]
fn a_booting_coordinator_is_not_ready_before_a_statement_ran() {
    check(
        &[booting(1), booting(3), info(5), info(7), done(None), info(9)],
        &expect![[r#"
            starting: the coordinator says that it is starting
            starting: the coordinator says that it is starting
            starting +statement: waiting for a statement to run
            starting +statement: waiting for a statement to run
            starting: 1 of 2 good looks in a row
            ready: ready
        "#]],
    );
}

#[test]
fn one_that_was_seen_to_start_settles_before_it_is_ready() {
    let limits = Thresholds { settle: Duration::from_secs(10), ..LIMITS };
    let start = crate::time::now();
    let health_after = |looks: &[(u64, Evidence)]| {
        let fresh = Verdict::default();
        let verdict = looks.iter().fold(fresh, |verdict, (second, look)| {
            verdict.observe(look.clone(), &limits, start + Duration::from_secs(*second))
        });
        (verdict.health().as_str(), verdict.reason)
    };
    let mut looks = vec![(0, booting(20)), (2, info(22)), (3, done(None)), (4, info(24))];
    let settling = "it has started, and settles for 8s".to_owned();
    assert_eq!(health_after(&looks), ("starting", settling));
    looks.push((11, info(31)));
    assert_eq!(health_after(&looks).0, "starting");
    looks.push((12, info(32)));
    assert_eq!(health_after(&looks).0, "ready");
    // A gateway that has just started does not know when an old one did.
    let old = [(0, info(3600)), (1, done(None)), (2, info(3602))];
    assert_eq!(health_after(&old).0, "ready");
    let young = [(0, info(30)), (1, done(None)), (2, info(32)), (9, info(39))];
    assert_eq!(health_after(&young).0, "starting");
    let restarted = [&old[..], &[(3, info(1)), (4, done(None)), (5, info(3))]].concat();
    assert_eq!(health_after(&restarted).0, "starting");
}

#[test]
fn one_that_ran_long_before_it_was_seen_is_looked_at_in_haste() {
    let start = crate::time::now();
    let hurries = |looks: &[Evidence]| {
        let fresh = Verdict::default();
        let seen =
            looks.iter().fold(fresh, |verdict, look| verdict.observe(look.clone(), &LIMITS, start));
        seen.may_hurry()
    };
    let proven = [info(3600), done(None)];
    assert!(!hurries(&proven[..1]), "no statement ran there yet");
    assert!(hurries(&proven));
    assert!(!hurries(&[&proven[..], &[info(3602)]].concat()), "it is ready");
    assert!(!hurries(&[info(30), done(None)]), "it is young");
    assert!(!hurries(&[&proven[..], &[silent()]].concat()), "a look failed");
    let fallen = [&proven[..], &[info(3602), refused(), info(3604), done(None)]].concat();
    assert!(!hurries(&fallen), "it fell");
}

fn failed() -> Evidence {
    Evidence::StatementFailed("a probe statement failed".to_owned())
}

fn silent() -> Evidence {
    Evidence::InfoFailed("no answer".to_owned())
}

#[test]
fn a_coordinator_that_cannot_run_statements_is_not_ready() {
    check(
        &[info(5), failed(), info(7), failed(), info(9), failed(), info(11)],
        &expect![[r#"
        starting +statement: waiting for a statement to run
        starting +statement: a probe statement failed
        starting +statement: a probe statement failed
        starting +statement: a probe statement failed
        starting +statement: a probe statement failed
        unhealthy +statement: a probe statement failed
        unhealthy +statement: a probe statement failed
    "#]],
    );
}

#[test]
fn a_ready_one_falls_after_failures_in_a_row_and_rises_by_a_statement() {
    check(
        &[info(1), done(None), info(3), silent(), info(4), silent(), silent(), silent(), info(9)],
        &expect![[r#"
            starting +statement: waiting for a statement to run
            starting: 1 of 2 good looks in a row
            ready: ready
            ready +statement: ready, though 1 of 3 looks failed: no answer
            ready +statement: ready, though 1 of 3 looks failed: no answer
            ready +statement: ready, though 2 of 3 looks failed: no answer
            unhealthy +statement: no answer
            unhealthy +statement: no answer
            unhealthy +statement: no answer
        "#]],
    );
    check(
        &[info(1), done(None), info(3), refused(), info(5), done(None), info(7)],
        &expect![[r#"
            starting +statement: waiting for a statement to run
            starting: 1 of 2 good looks in a row
            ready: ready
            unhealthy +statement: connection refused
            unhealthy +statement: connection refused
            unhealthy: 1 of 2 good looks in a row
            ready: ready
        "#]],
    );
}

#[test]
fn a_restart_shows_by_its_uptime() {
    check(
        &[info(100), done(None), info(102), info(1), done(None), info(3)],
        &expect![[r#"
        starting +statement: waiting for a statement to run
        starting: 1 of 2 good looks in a row
        ready: ready
        starting +statement: the coordinator restarted; waiting for a statement to run
        starting: 1 of 2 good looks in a row
        ready: ready
    "#]],
    );
}

#[test]
fn a_full_coordinator_is_busy_and_not_failed() {
    check(
        &[info(1), busy(false), info(3), busy(true), info(5), busy(true)],
        &expect![[r#"
        starting +statement: waiting for a statement to run
        starting +statement: a probe statement waits and nothing runs
        starting +statement: a probe statement waits and nothing runs
        starting: 1 of 2 good looks in a row
        ready: ready
        ready: ready
    "#]],
    );
}

#[test]
fn too_few_workers() {
    check(
        &[info(1), done(Some(1)), info(3), done(Some(2)), info(5)],
        &expect![[r#"
        starting +statement: waiting for a statement to run
        starting +statement: 1 active workers, 2 wanted
        starting +statement: 1 active workers, 2 wanted
        starting: 1 of 2 good looks in a row
        ready: ready
    "#]],
    );
}

/// What its looks amount to, by the second at which they are made.
fn after(looks: &[(u64, Evidence)]) -> (Verdict, Instant) {
    let start = crate::time::now();
    let at = |second| start + Duration::from_secs(second);
    let seen = looks.iter().fold(Verdict::default(), |verdict, (second, look)| {
        verdict.observe(look.clone(), &LIMITS, at(*second))
    });
    (seen, at(looks.last().map_or(0, |(second, _)| *second)))
}

fn failing_traffic() -> Evidence {
    Evidence::TrafficFailed("20 of the last 20 submits failed".to_owned())
}

fn by(mark: &str) -> Evidence {
    let coordinator = CoordinatorId::parse(mark).expect("a good mark");
    Evidence::StatementDone { coordinator, workers: None }
}

#[test]
fn traffic_that_fails_takes_a_ready_one_out_until_it_is_proven() {
    let traffic = failing_traffic;
    check(
        &[traffic(), info(1), done(None), info(3), traffic(), info(5), done(None), info(7)],
        &expect![[r#"
            unknown: not probed yet
            starting +statement: waiting for a statement to run
            starting: 1 of 2 good looks in a row
            ready: ready
            unhealthy +statement: 20 of the last 20 submits failed
            unhealthy +statement: 20 of the last 20 submits failed
            unhealthy: 1 of 2 good looks in a row
            ready: ready
        "#]],
    );
}

#[test]
fn one_that_flaps_each_second_soon_stays_out() {
    let mut looks = Vec::new();
    for second in 0..60 {
        // Good for a second, in which three looks fit, and refused in the next one.
        let good = [info(100 + second), done(None), info(100 + second)];
        looks.extend(if second % 2 == 0 { good } else { [refused(), refused(), refused()] });
    }
    let start = crate::time::now();
    let mut verdict = Verdict::default();
    let mut changes = Vec::new();
    for (place, look) in (0_u32..).zip(looks) {
        let before = verdict.health();
        verdict = verdict.observe(look, &LIMITS, start + Duration::from_millis(333) * place);
        if verdict.health() != before {
            changes.push((place / 3, verdict.health().as_str()));
        }
    }
    let expected =
        [(0, "starting"), (0, "ready"), (1, "unhealthy"), (2, "ready"), (3, "unhealthy")];
    assert_eq!(changes, expected, "second and health");
    assert!(verdict.reason.contains("refused"), "{}", verdict.reason);
}

#[test]
fn two_coordinators_behind_one_address_get_nothing() {
    let shared = vec![
        (0, info(100)),
        (0, by("aaaaa")),
        (2, info(102)),
        (30, by("bbbbb")),
        (32, info(132)),
        (60, by("aaaaa")),
    ];
    let (verdict, now) = after(&shared[..5]);
    assert_eq!(verdict.health(), Health::Ready, "another mark alone is a restart");
    let (verdict, later) = after(&shared);
    assert_eq!(verdict.health(), Health::Unhealthy);
    assert!(verdict.reason.starts_with("two coordinators behind one address: aaaaa and bbbbb"));
    assert!(verdict.wants_statement(&LIMITS, later) && !verdict.may_be_tried(later));
    let mut alone = shared.clone();
    alone.extend([(62, info(162)), (62, by("aaaaa")), (118, by("aaaaa")), (119, info(219))]);
    assert_eq!(after(&alone).0.health(), Health::Unhealthy, "not for long enough");
    alone.extend([(120, by("aaaaa")), (122, info(222))]);
    assert_eq!(after(&alone).0.health(), Health::Ready);
    // What clients hear tells the same.
    let mark = |mark: &str| CoordinatorId::parse(mark).expect("a good mark");
    let heard = |name: &str| Evidence::Answered(mark(name));
    let mut told = shared[..3].to_vec();
    told.extend([(3, heard("bbbbb")), (4, heard("aaaaa"))]);
    assert_eq!(after(&told).0.health(), Health::Unhealthy);
    assert_eq!(after(&told[..4]).0.health(), Health::Ready);
    assert!(now < later + Duration::from_secs(60));
}

#[test]
fn a_name_that_moved_proves_itself_anew() {
    check(
        &[info(100), done(None), info(102), Evidence::Moved, info(300), done(None), info(302)],
        &expect![[r#"
            starting +statement: waiting for a statement to run
            starting: 1 of 2 good looks in a row
            ready: ready
            starting +statement: its name leads to other addresses; waiting for a statement to run
            starting +statement: its name leads to other addresses; waiting for a statement to run
            starting: 1 of 2 good looks in a row
            ready: ready
        "#]],
    );
}

#[test]
fn an_unhealthy_one_may_be_tried_if_it_was_ready_and_answers() {
    let ready = [(0, info(100)), (0, done(Some(2))), (2, info(102))];
    let tried = |then: &[Evidence]| {
        let then = then.iter().map(|look| (3, look.clone()));
        let (verdict, now) = after(&ready.iter().cloned().chain(then).collect::<Vec<_>>());
        (verdict.health().as_str(), verdict.may_be_tried(now))
    };
    assert_eq!(tried(&[]), ("ready", false));
    assert_eq!(tried(&[failed(), failed(), failed()]), ("unhealthy", true));
    assert_eq!(tried(&[failing_traffic()]), ("unhealthy", true));
    assert_eq!(tried(&[refused()]), ("unhealthy", false));
    assert_eq!(tried(&[refused(), info(103)]), ("unhealthy", true), "it answers again");
    assert_eq!(tried(&[silent(), silent(), silent()]), ("unhealthy", false));
    assert_eq!(tried(&[booting(1)]), ("starting", false));
    let too_few = [done(Some(1)), done(Some(1)), done(Some(1))];
    assert_eq!(tried(&too_few), ("unhealthy", false), "its queries would fail");
    let another_life = [refused(), info(1), failed(), failed(), failed()];
    assert_eq!(tried(&another_life), ("unhealthy", false), "it restarted, and ran nothing yet");
    let never = [(0, info(100)), (1, failed()), (2, failed()), (3, failed())];
    let (verdict, now) = after(&never);
    assert_eq!((verdict.health(), verdict.may_be_tried(now)), (Health::Unhealthy, false));
}

#[test]
fn one_that_started_or_fell_warms_up() {
    let ready = |uptime| vec![(0, info(uptime)), (0, done(None)), (2, info(uptime + 2))];
    let warmth = |looks: &[(u64, Evidence)], seconds| {
        let (verdict, now) = after(looks);
        assert_eq!(verdict.health(), Health::Ready);
        verdict.warmth(now + Duration::from_secs(seconds))
    };
    assert_eq!(warmth(&ready(3600), 0), WARM, "it was up long before us");
    let young = ready(5);
    assert_eq!(
        [0, 5, 30, 59, 60, 6000].map(|at| warmth(&young, at)),
        [100, 100, 500, 983, 1000, 1000]
    );
    let mut fallen = ready(3600);
    fallen.extend([(3, refused()), (5, info(3605)), (5, done(None)), (7, info(3607))]);
    assert_eq!([0, 30].map(|at| warmth(&fallen, at)), [100, 500]);
    let mut moved = ready(3600);
    moved.extend([(3, Evidence::Moved), (5, info(7200)), (5, done(None)), (7, info(7202))]);
    assert_eq!(warmth(&moved, 0), 100);
}

#[test]
fn one_whose_only_source_is_info_needs_no_statement() {
    let limits = Thresholds { source: Source::Info, ..LIMITS };
    let start = crate::time::now();
    let mut verdict = Verdict::default();
    let mut told = Vec::new();
    for look in [info(500), info(502), silent(), info(506), refused(), info(508), info(510)] {
        verdict = verdict.observe(look, &limits, start);
        assert!(!verdict.wants_statement(&limits, start));
        told.push(verdict.health().as_str());
    }
    let ready = "ready";
    let unhealthy = "unhealthy";
    assert_eq!(told, ["starting", ready, ready, ready, unhealthy, unhealthy, ready]);
}

#[test]
fn counts_are_the_proof_where_they_are_the_source() {
    let limits = Thresholds { source: Source::Metrics, ..LIMITS };
    let start = crate::time::now();
    let (good, lacking) = (Evidence::Counted(None), Evidence::Counted(Some("1 of 2".to_owned())));
    let failed = Evidence::CountFailed("/metrics answered 500".to_owned());
    let mut told = Vec::new();
    let mut verdict = Verdict::default();
    for (seconds, look) in (0u64..).zip([
        booting(1),
        info(5),
        lacking.clone(),
        info(6),
        good.clone(),
        info(7),
        failed.clone(),
        failed.clone(),
        good.clone(),
        lacking.clone(),
        lacking.clone(),
        lacking,
        good.clone(),
        info(8),
        refused(),
        info(9),
        good,
        info(10),
        info(1),
    ]) {
        let now = start + Duration::from_secs(seconds);
        verdict = verdict.observe(look, &limits, now);
        told.push((verdict.health().as_str(), verdict.wants_statement(&limits, now)));
    }
    let (starting, ready, unhealthy) = ("starting", "ready", "unhealthy");
    assert_eq!(
        told[..6],
        [
            (starting, false),
            (starting, true),
            (starting, true),
            (starting, true),
            (starting, true),
            (ready, true)
        ]
    );
    assert_eq!(
        told[6..12],
        [
            (ready, true),
            (ready, true),
            (ready, true),
            (ready, true),
            (ready, true),
            (unhealthy, true)
        ]
    );
    assert_eq!(told[12..15], [(unhealthy, true), (ready, true), (unhealthy, true)]);
    assert_eq!(told[15..17], [(unhealthy, true), (unhealthy, true)]);
    assert_eq!(told[18], (starting, true), "a restart");
    assert_eq!(verdict.coordinator(), None);
}
