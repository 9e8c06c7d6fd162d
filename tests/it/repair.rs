//! Trouble of a coordinator, or on the way to it, that its clients do not notice; and what they are
//! told when it cannot be mended.

use std::time::Duration;

use warren::time;
use warren_stub::client::Client;
use warren_stub::{Fault, FaultRule, QueryRecord, RequestKind, Stub, StubOptions};

use crate::support::clients::{Load, Query, in_parallel};
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};

fn two() -> [Stub; 2] {
    [(); 2].map(|()| Stub::start(StubOptions::default()))
}

fn plan([blue, green]: &[Stub; 2]) -> Plan {
    Plan::of(&[("blue", "bi", blue), ("green", "bi", green)])
}

fn status(code: u16) -> Fault {
    Fault::Status { code, retry_after: None }
}

/// How often a statement with this mark in it began to run, on all stubs together.
fn runs(stubs: &[Stub], mark: &str) -> usize {
    let ran = |query: &QueryRecord| query.executed && query.sql.contains(mark);
    stubs.iter().flat_map(Stub::queries).filter(ran).count()
}

/// A statement of which `runs` finds every run.
fn marked(number: usize) -> (String, String) {
    let mark = format!("mark{number:05}");
    (format!("SELECT n /* stub: rows=4 pages=2 */ -- {mark}"), mark)
}

/// Runs one marked statement after another; each must end well and run exactly once.
fn all_run_once(client: &Client, stubs: &[Stub], numbers: std::ops::Range<usize>) {
    let statements: Vec<_> = numbers.map(marked).collect();
    let texts = statements.iter().map(|(text, _)| text.clone()).collect();
    let ends = in_parallel(texts, |text: String| Query::run(client, &text));
    let failed: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
    for (_, mark) in &statements {
        assert_eq!(runs(stubs, mark), 1, "{mark}");
    }
}

#[test]
fn a_submit_that_one_cluster_spoils_goes_to_another_and_runs_once() {
    let stubs = two();
    let gateway = plan(&stubs).timeout("answer", "300ms").start_ready();
    let client = gateway.client();
    let faults = [
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::CloseBefore,
        Fault::CloseAfter,
        Fault::CutBody,
        Fault::Hang,
        Fault::Html,
        status(500),
        status(502),
        status(503),
        status(504),
        status(204),
    ];
    for (place, fault) in faults.into_iter().enumerate() {
        for number in 0..8 {
            // Its probe fails too, and a cluster that is not ready would get no submit.
            eventually("blue is ready", || gateway.is_ready("blue").then_some(()));
            stubs[0].fault(FaultRule::every(RequestKind::Submit, fault.clone()));
            let (text, mark) = marked(place * 100 + number);
            let end = Query::run(&client, &text);
            assert!(end.is_ok(), "{fault:?}: {end:?}");
            assert_eq!(runs(&stubs, &mark), 1, "{fault:?}");
            stubs[0].clear_faults();
        }
    }
    let spoilt = gateway.metric("warren_upstream_retries_total{kind=\"submit\"}");
    assert!(spoilt >= Some(22), "{spoilt:?}");
}

#[test]
fn a_lonely_cluster_is_asked_again() {
    let blue = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let client = gateway.client();
    for (place, fault) in [status(503), Fault::ResetAfter].into_iter().enumerate() {
        blue.fault(FaultRule::next(2, RequestKind::Submit, fault));
        all_run_once(&client, std::slice::from_ref(&blue), place..place + 1);
    }
    // Its own words are passed on when all tries are used up.
    blue.fault(FaultRule::every(RequestKind::Submit, status(500)));
    assert_eq!(client.submit("SELECT 5").unwrap().status, 500);
}

#[test]
fn a_page_that_is_cut_off_or_lost_on_the_way_is_asked_for_again() {
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let faults = [
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::CloseBefore,
        Fault::CloseAfter,
        Fault::Html,
        status(502),
        status(503),
        status(504),
    ];
    for (place, fault) in faults.into_iter().enumerate() {
        for stub in &stubs {
            let rule = FaultRule::every(RequestKind::Page, fault.clone());
            stub.fault(rule.sometimes(0.4));
        }
        all_run_once(&client, &stubs, place * 100..place * 100 + 40);
        stubs.iter().for_each(Stub::clear_faults);
    }
    for fault in [Fault::ResetBefore, status(503)] {
        for stub in &stubs {
            stub.fault(FaultRule::every(RequestKind::Cancel, fault.clone()).sometimes(0.6));
        }
        for _ in 0..10 {
            let query = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
            let cancelled = client.send("DELETE", &query.next.unwrap(), "").unwrap();
            assert_eq!(cancelled.status, 204);
        }
        stubs.iter().for_each(Stub::clear_faults);
    }
}

#[test]
fn a_page_that_cannot_be_mended_is_told_in_time() {
    let stubs = two();
    let gateway = plan(&stubs).timeout("page_hold", "2s").start_ready();
    let client = gateway.client();
    let mut query = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
    query.page(&client).unwrap();
    for stub in &stubs {
        stub.fault(FaultRule::every(RequestKind::Page, status(503)));
    }
    let began = time::now();
    let answer = client.get(query.next.as_deref().unwrap()).unwrap();
    let took = began.elapsed();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_frozen_cluster_fails_nobody() {
    let stubs = two();
    let gateway = plan(&stubs).timeout("answer", "1s").start_ready();
    let client = gateway.client();
    let load = Load::start(6, &client, "SELECT n /* stub: run=50ms rows=4 pages=2 */");
    load.more(50);
    stubs[0].freeze();
    eventually("it is taken out", || (!gateway.is_ready("blue")).then_some(()));
    load.more(20);
    stubs[0].thaw();
    load.more(50);
    load.all_good();
}

/// Both stubs go away, as when a process is killed.
fn vanish(stubs: &[Stub]) {
    for stub in stubs {
        stub.refuse();
        stub.disconnect();
    }
}

#[test]
fn submits_wait_for_a_group_that_comes_back() {
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    vanish(&stubs);
    let waiting = std::thread::spawn({
        let (client, stubs) = (client.clone(), stubs.clone());
        move || all_run_once(&client, &stubs, 0..40)
    });
    let held = "warren_held_requests{kind=\"submit\"}";
    eventually("eight wait", || (gateway.metric(held) == Some(8)).then_some(()));
    stubs[1].accept();
    waiting.join().unwrap();
    assert_eq!(gateway.metric(held), Some(0));
}

#[test]
fn a_group_that_stays_away_is_told_as_the_error_of_a_query() {
    let stubs = two();
    let plan = plan(&stubs).timeout("submit", "1s").timeout("answer", "1s");
    let gateway = plan.timeout("connect", "1s").setting("limits", "held = 4").start_ready();
    let client = gateway.client();
    vanish(&stubs);
    let answers = in_parallel((0..8).collect(), |_| client.submit("SELECT 1").unwrap());
    let (told, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert!(
        !told.is_empty()
            && told.iter().all(|answer| {
                answer.json()["error"]["errorName"] == "GENERIC_INSUFFICIENT_RESOURCES"
            })
    );
    // Beyond the bound nobody waits.
    assert!(!refused.is_empty() && refused.iter().all(|answer| answer.status == 503));
}

/// The error that a page of `query` tells.
fn error_of(client: &Client, query: &Query) -> Option<String> {
    let answer = client.get(query.next.as_deref()?).ok()?;
    let error = answer.json()["error"].clone();
    (answer.status == 200).then_some(error["message"].as_str()?.to_owned())
}

#[test]
fn queries_of_a_coordinator_that_was_restarted_end_with_a_clear_error() {
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let mut query = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
    query.page(&client).unwrap();
    let owner = stubs.iter().position(|stub| stub.coordinator_id() == query.mark()).unwrap();
    stubs[owner].restart();
    // Who is there now says 404. Nobody believes it before it was seen who it is.
    let told = error_of(&client, &query).expect("the first answer tells it");
    assert!(told.contains("was restarted") && told.contains(&query.id), "{told}");
    let cancel = client.send("DELETE", query.next.as_deref().unwrap(), "").unwrap();
    assert_eq!(cancel.status, 204);
    let name = ["blue", "green"][owner];
    eventually("its end is noted", || (gateway.owned(name) == 0).then_some(()));
}

#[test]
fn queries_of_a_coordinator_that_is_silent_end_with_a_clear_error_until_it_is_back() {
    let stubs = two();
    let plan = plan(&stubs).setting("health", "lost_after = \"2s\"");
    let gateway = plan.timeout("page_hold", "1s").timeout("ask", "1s").start_ready();
    let client = gateway.client();
    let mut query = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
    query.page(&client).unwrap();
    let owner = stubs.iter().find(|stub| stub.coordinator_id() == query.mark()).unwrap();
    owner.refuse();
    owner.disconnect();
    let waits = client.get(query.next.as_deref().unwrap()).unwrap();
    assert_eq!(waits.status, 503, "not lost yet");
    let told = eventually("the error is told", || error_of(&client, &query));
    assert!(told.contains("cannot be reached any more"), "{told}");
    owner.accept();
    eventually("it goes on", || query.page(&client).ok());
    assert!(query.next.is_some());
}

#[test]
fn a_page_that_waits_is_told_when_its_coordinator_counts_as_lost() {
    let stubs = two();
    let gateway = plan(&stubs).setting("health", "lost_after = \"2s\"").start_ready();
    let client = gateway.client();
    let mut query = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
    query.page(&client).unwrap();
    vanish(&stubs);
    let began = time::now();
    let told = error_of(&client, &query).expect("the first answer tells it");
    assert!(told.contains("cannot be reached any more"), "{told}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "it waited for all of `page_hold`: {took:?}");
}

/// A coordinator may say 404 of a query of its own that it has forgotten.
#[test]
fn a_denial_is_believed_once_its_coordinator_has_shown_who_it_is() {
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let mut query = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
    query.page(&client).unwrap();
    let (path, _token) = query.next.as_deref().unwrap().rsplit_once('/').unwrap();
    let wrong = format!("{path}/999");
    let began = time::now();
    assert_eq!(client.get(&wrong).unwrap().status, 404);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    query.page(&client).unwrap();
}

#[test]
fn operators_can_give_a_coordinator_up() {
    let stubs = two();
    let gateway = plan(&stubs).timeout("page_hold", "1s").timeout("ask", "1s").start_ready();
    let client = gateway.client();
    let mut query = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
    query.page(&client).unwrap();
    let owner = stubs.iter().position(|stub| stub.coordinator_id() == query.mark()).unwrap();
    stubs[owner].refuse();
    stubs[owner].disconnect();
    assert_eq!(client.get(query.next.as_deref().unwrap()).unwrap().status, 503);
    let lost = format!("/api/v1/clusters/{}/lost", ["blue", "green"][owner]);
    assert_eq!(gateway.operator().send("POST", &lost, "").unwrap().status, 200);
    let told = error_of(&client, &query).unwrap();
    assert!(told.contains("cannot be reached any more"), "{told}");
    stubs[owner].accept();
    eventually("it lives after all", || query.page(&client).ok());
    let nobody = gateway.operator().send("POST", "/api/v1/clusters/nobody/lost", "").unwrap();
    assert_eq!(nobody.status, 404);
}

/// A query that is on `stubs[0]`, submitted and not asked for; a statement of `text`.
fn submitted_on_the_first(gateway: &Gateway, stubs: &[Stub; 2], text: &str) -> Query {
    eventually("one falls on it", || {
        let query = Query::submit(&gateway.client(), text).unwrap();
        (query.mark() == stubs[0].coordinator_id()).then_some(query)
    })
}

#[test]
fn a_read_that_has_not_begun_moves_when_its_cluster_is_gone() {
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let (text, mark) = marked(1);
    let mut query = submitted_on_the_first(&gateway, &stubs, &text);
    let (old, old_page) = (query.id.clone(), query.next.clone().unwrap());
    stubs[0].refuse();
    stubs[0].disconnect();
    let moved = client.get(&old_page).unwrap();
    assert_eq!(moved.status, 200);
    let new = moved.json()["id"].as_str().unwrap().to_owned();
    assert!(new.ends_with(&stubs[1].coordinator_id()), "{new}");
    let again = client.get(&old_page).unwrap();
    assert_eq!(again.json(), moved.json(), "who did not hear it is told again");
    query.next = moved.next();
    query.page(&client).unwrap();
    let told = client.get(&format!("/v1/query/{old}")).unwrap();
    assert_eq!((told.status, told.json()["queryId"].as_str()), (200, Some(new.as_str())));
    query.finish(&client).unwrap();
    assert_eq!(runs(&stubs, &mark), 1);
    assert_eq!(gateway.owned("blue"), 0);
    assert_eq!(gateway.metric("warren_query_ends_total{cause=\"moved\"}"), Some(1));
}

#[test]
fn the_old_id_of_a_query_that_moved_cancels_it() {
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let text = "SELECT n /* stub: run=1h */";
    for target in ["page", "bare"] {
        gateway.wait_until_ready();
        let mut query = submitted_on_the_first(&gateway, &stubs, text);
        let old_page = query.next.clone().unwrap();
        stubs[0].refuse();
        stubs[0].disconnect();
        query.next = client.get(&old_page).unwrap().next();
        query.page(&client).unwrap();
        let bare = format!("/v1/query/{}", query.id);
        let target = if target == "bare" { bare } else { old_page };
        assert_eq!(client.send("DELETE", &target, "").unwrap().status, 204);
        eventually("it is cancelled", || {
            let lives = |q: &QueryRecord| q.sql == text && matches!(q.state, "QUEUED" | "RUNNING");
            let alive = stubs[1].queries().iter().filter(|q| q.executed && lives(q)).count();
            (alive == 0).then_some(())
        });
        stubs[0].accept();
    }
}

#[test]
fn what_writes_or_has_begun_stays_where_it_is() {
    let stubs = two();
    let gateway = plan(&stubs).timeout("page_hold", "1s").timeout("ask", "1s").start_ready();
    let client = gateway.client();
    let in_transaction = eventually("one falls on it", || {
        let client = client.clone().with("X-Trino-Transaction-Id", "abc");
        let query = Query::submit(&client, "SELECT 8").unwrap();
        (query.mark() == stubs[0].coordinator_id()).then_some(query)
    });
    let insert = submitted_on_the_first(&gateway, &stubs, "INSERT INTO t SELECT 1");
    let mut begun = submitted_on_the_first(&gateway, &stubs, "SELECT n /* stub: run=1h */");
    begun.page(&client).unwrap();
    // The page was written to its coordinator and not read.
    let unread = submitted_on_the_first(&gateway, &stubs, "SELECT 7");
    stubs[0].fault(FaultRule::every(RequestKind::Page, Fault::Hang));
    let asked = std::thread::spawn({
        let (client, next) = (client.clone(), unread.next.clone().unwrap());
        move || client.get(&next).unwrap().status
    });
    eventually("it has arrived", || {
        let pages = stubs[0].requests_of(RequestKind::Page);
        pages.iter().any(|page| page.target.contains(&unread.id)).then_some(())
    });
    stubs[0].refuse();
    stubs[0].disconnect();
    assert_eq!(asked.join().unwrap(), 503);
    for query in [insert, begun, unread, in_transaction] {
        let answer = client.get(query.next.as_deref().unwrap()).unwrap();
        assert_eq!(answer.status, 503, "{}", query.id);
    }
}

#[test]
fn late_binding_can_be_switched_off() {
    let stubs = two();
    let plan = plan(&stubs).setting("queries", "rebind = \"off\"").timeout("page_hold", "1s");
    let gateway = plan.timeout("ask", "1s").start_ready();
    let query = submitted_on_the_first(&gateway, &stubs, "SELECT 1");
    stubs[0].refuse();
    stubs[0].disconnect();
    assert_eq!(gateway.client().get(query.next.as_deref().unwrap()).unwrap().status, 503);
}
