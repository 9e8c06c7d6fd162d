//! What every store promises. Each function gets a fresh store of its own.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use warren::history::fit::{LABEL_BYTES, LINE_BYTES, STATEMENT_BYTES};
use warren::history::record::{EndCause, Event, Recorded, Sighting, Submission};
use warren::ids::QueryId;
use warren::store::{AFTER_ALL_IDS, HistoryRow, Intent, IntentChange, Store, open_to_read};

use super::bed::{Bed, change, cluster, ending, query, recorded, request, sighting, submission};

pub(super) async fn a_query_has_its_owner_and_its_history(bed: &Bed) {
    let store = bed.open();
    assert_eq!(store.route(&query(1)).await.unwrap(), None);
    assert_eq!(store.history(10).await.unwrap(), []);
    let held_id = QueryId::parse("20200416_160200_000000001_abcde").unwrap();
    let was_held = Submission { held_id: Some(held_id.clone()), ..submission(1, 5) };
    store.apply("g1", &recorded([Event::Submitted(was_held)])).await.unwrap();
    assert_eq!(store.route(&query(1)).await.unwrap(), Some(cluster("bi-blue")));
    assert_eq!(store.route(&query(2)).await.unwrap(), None);
    store.apply("g1", &recorded([Event::Ended(ending(1, 9))])).await.unwrap();
    drop(store);
    let expected = HistoryRow {
        query_id: query(1).to_string(),
        held_id: Some(held_id.to_string()),
        cluster: "bi-blue".to_owned(),
        group: "bi".to_owned(),
        rule: Some("superset".to_owned()),
        user: Some("ada".to_owned()),
        source: Some("Apache Superset".to_owned()),
        tags: Some("a,b".to_owned()),
        request: Some(request()),
        statement: "SELECT 1".to_owned(),
        submitted_ms: Some(5),
        ended_ms: Some(9),
        end_cause: Some("last_page".to_owned()),
        state: Some("FINISHED".to_owned()),
        error: None,
    };
    assert_eq!(bed.open().history(10).await.unwrap(), [expected]);
}

pub(super) async fn an_end_before_its_submit_gives_the_same_row(bed: &Bed) {
    let store = bed.open();
    let (submit, end) = (submission(1, 5), ending(1, 9));
    let (later_submit, later_end) = (submission(2, 5), ending(2, 9));
    store.apply("g1", &recorded([Event::Ended(later_end)])).await.unwrap();
    let half = store.history(1).await.unwrap().remove(0);
    assert_eq!((half.submitted_ms, half.group.as_str()), (None, ""));
    assert_eq!(store.route(&query(2)).await.unwrap(), Some(cluster("bi-blue")));
    store.apply("g1", &recorded([Event::Submitted(later_submit)])).await.unwrap();
    let both = recorded([Event::Submitted(submit), Event::Ended(end)]);
    store.apply("g1", &both).await.unwrap();
    let mut rows = store.history(10).await.unwrap();
    assert_eq!(rows.len(), 2);
    rows[0].query_id = rows[1].query_id.clone();
    assert_eq!(rows[0], rows[1]);
}

/// An event of one of two gateways about one of three queries, before it has its numbers.
#[derive(Debug, Clone)]
struct Told {
    gateway: usize,
    query: u64,
    cluster: String,
    at_ms: u64,
    text: Option<String>,
    kind: usize,
}

fn told() -> impl Strategy<Value = Told> {
    let text = proptest::option::of("[a-zä]{0,3}");
    (0..2usize, 0..3u64, "c[12]", 0..4u64, text, 0..8usize).prop_map(
        |(gateway, query, cluster, at_ms, text, kind)| Told {
            gateway,
            query,
            cluster,
            at_ms,
            text,
            kind,
        },
    )
}

impl Told {
    /// The event, in a range of ids of its own.
    fn event(&self, range: u64) -> Event {
        let number = range * 10 + self.query;
        match self.kind {
            6 => {
                let mut submit = submission(number, self.at_ms);
                submit.cluster = cluster(&self.cluster);
                submit.user.clone_from(&self.text);
                Event::Submitted(submit)
            }
            7 => {
                let name = format!("{}-{range}", self.cluster);
                Event::Coordinator(sighting(&name, "abcde", self.at_ms, self.at_ms + self.query))
            }
            cause => {
                let mut end = ending(number, self.at_ms);
                end.cluster = cluster(&self.cluster);
                end.cause = EndCause::ALL[cause];
                end.error.clone_from(&self.text);
                Event::Ended(end)
            }
        }
    }
}

/// Applies the events in this order, cut into batches at the places that `cuts` says.
async fn tell(store: &dyn Store, events: &[Told], range: u64, order: &[usize], cuts: &[bool]) {
    let mut batches: [Vec<Recorded>; 2] = [Vec::new(), Vec::new()];
    for (&at, cut) in order.iter().zip(cuts.iter().cycle()) {
        let told = &events[at];
        batches[told.gateway].push(Recorded { sequence: at as u64, event: told.event(range) });
        if *cut {
            flush(store, &mut batches).await;
        }
    }
    flush(store, &mut batches).await;
}

async fn flush(store: &dyn Store, batches: &mut [Vec<Recorded>; 2]) {
    for (gateway, batch) in ["g0", "g1"].into_iter().zip(batches) {
        store.apply(gateway, batch).await.unwrap();
        batch.clear();
    }
}

/// Everything that the store shows of a range of ids, without the range.
async fn shown(store: &dyn Store, range: u64) -> String {
    let mut lines = Vec::new();
    for mut row in store.history(10_000).await.unwrap() {
        let own = (0..3).find(|number| query(range * 10 + number).as_str() == row.query_id);
        if let Some(number) = own {
            let route = store.route(&query(range * 10 + number)).await.unwrap();
            row.query_id = query(number).to_string();
            lines.push(format!("{row:?} {route:?}"));
        }
    }
    for seen in store.coordinators().await.unwrap() {
        if let Some(name) = seen.cluster.as_str().strip_suffix(&format!("-{range}")) {
            lines.push(format!("{name} {} {}", seen.first_seen_ms, seen.last_seen_ms));
        }
    }
    lines.join("\n")
}

pub(super) async fn any_order_repetition_and_partition_gives_the_same_rows(bed: &Bed) {
    let store = bed.open();
    let cases = match bed {
        Bed::Sqlite(_) => 100,
        Bed::Mariadb { .. } => 20,
    };
    let strategy = proptest::collection::vec(told(), 1..12).prop_flat_map(|events| {
        let twice: Vec<usize> = (0..events.len()).chain(0..events.len()).collect();
        let cuts = proptest::collection::vec(any::<bool>(), 1..24);
        (Just(events), Just(twice).prop_shuffle(), cuts)
    });
    let range = std::cell::Cell::new(1);
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let result = tokio::task::block_in_place(|| {
        runner.run(&strategy, |(events, order, cuts)| {
            let (one, other) = (range.get(), range.get() + 1);
            range.set(range.get() + 2);
            let plain: Vec<usize> = (0..events.len()).collect();
            let (expected, found) = tokio::runtime::Handle::current().block_on(async {
                tell(&*store, &events, one, &plain, &[false]).await;
                tell(&*store, &events, other, &order, &cuts).await;
                (shown(&*store, one).await, shown(&*store, other).await)
            });
            prop_assert!(!expected.is_empty());
            prop_assert_eq!(expected, found);
            Ok(())
        })
    });
    result.unwrap();
}

pub(super) async fn coordinators_have_the_widest_times(bed: &Bed) {
    let store = bed.open();
    let batch = [("blue", "abcde", 5, 9), ("blue", "abcde", 3, 4), ("green", "abcde", 1, 1)];
    let batch = batch
        .map(|(name, mark, first, last)| Event::Coordinator(sighting(name, mark, first, last)));
    store.apply("g1", &recorded(batch)).await.unwrap();
    let later = [Event::Coordinator(sighting("blue", "abcde", 4, 20))];
    store.apply("g2", &recorded(later)).await.unwrap();
    // The process of a gateway says where it is reached, also again.
    let peer = Some("10.0.0.7:8081".to_owned());
    let gateway =
        |first, last| Sighting { peer: peer.clone(), ..sighting("g1", "zzzzz", first, last) };
    for at in [7, 8] {
        store.apply("g1", &recorded([Event::Coordinator(gateway(7, at))])).await.unwrap();
    }
    let expected =
        [sighting("blue", "abcde", 3, 20), sighting("green", "abcde", 1, 1), gateway(7, 8)];
    assert_eq!(store.coordinators().await.unwrap(), expected);
}

pub(super) async fn intents_have_versions_and_survive_a_restart(bed: &Bed) {
    let store = bed.open();
    assert_eq!(store.intents_version().await.unwrap(), 0);
    assert_eq!(store.intents().await.unwrap().rows, []);
    let blue = store.set_intent(change("blue", Intent::Active, 5)).await.unwrap();
    let green = store.set_intent(change("green", Intent::Standby, 6)).await.unwrap();
    let again = store.set_intent(change("blue", Intent::Draining, 7)).await.unwrap();
    assert_eq!((blue.version, green.version, again.version), (1, 2, 3));
    assert_eq!((again.intent, again.at_ms, again.actor.as_str()), (Intent::Draining, 7, "ada"));
    drop(store);
    let store = bed.open();
    assert_eq!(store.intents_version().await.unwrap(), 3);
    let intents = store.intents().await.unwrap();
    assert_eq!((intents.version, intents.rows), (3, vec![again, green]));
}

pub(super) async fn seeds_leave_what_is_known(bed: &Bed) {
    let store = bed.open();
    store.set_intent(change("blue", Intent::Draining, 5)).await.unwrap();
    let seeds = || {
        vec![
            change("blue", Intent::Active, 6),
            change("green", Intent::Standby, 6),
            change("green", Intent::Active, 6),
        ]
    };
    store.seed_intents(seeds()).await.unwrap();
    store.seed_intents(seeds()).await.unwrap();
    store.seed_intents(Vec::new()).await.unwrap();
    let intents = store.intents().await.unwrap();
    let told: Vec<_> = intents.rows.iter().map(|row| (row.cluster.as_str(), row.intent)).collect();
    assert_eq!(told, [("blue", Intent::Draining), ("green", Intent::Standby)]);
    assert_eq!(intents.version, 2);
}

pub(super) async fn texts_are_cut_to_their_columns(bed: &Bed) {
    let store = bed.open();
    let long = "😀".repeat(40_000);
    let mut submit = submission(1, 5);
    for text in [&mut submit.rule, &mut submit.user, &mut submit.source, &mut submit.tags] {
        *text = Some(long.clone());
    }
    submit.statement.clone_from(&long);
    let sent = submit.request.as_mut().unwrap();
    sent.headers.insert("x-trino-schema".to_owned(), vec![long.clone()]);
    let mut end = ending(1, 9);
    (end.state, end.error) = (Some(long.clone()), Some(long.clone()));
    store.apply("g1", &recorded([Event::Submitted(submit), Event::Ended(end)])).await.unwrap();
    let row = store.history(1).await.unwrap().remove(0);
    assert_eq!(row.statement, long[..STATEMENT_BYTES - STATEMENT_BYTES % 4]);
    assert_eq!(row.user.as_deref(), Some(&long[..LABEL_BYTES - LABEL_BYTES % 4]));
    assert_eq!(row.tags.as_deref(), Some(&long[..LINE_BYTES]));
    assert_eq!(row.state.as_deref(), Some(&long[..32]));
    let kept = row.request.unwrap();
    assert_eq!(kept.headers, request().headers);
    assert!(kept.left_out.contains("x-trino-schema"), "{kept:?}");
    let change = IntentChange {
        actor: long.clone(),
        reason: long.clone(),
        ..change("blue", Intent::Active, u64::MAX)
    };
    let set = store.set_intent(change).await.unwrap();
    assert_eq!(store.intents().await.unwrap().rows, [set]);
}

pub(super) async fn odd_texts_come_back_as_they_were(bed: &Bed) {
    let store = bed.open();
    let odd = ["", " ", "a ", "\0x\0", "'; DROP TABLE intents; --", "\\", "\u{FFFF}\u{10FFFF}"];
    let submits = (1..).zip(odd).map(|(number, text)| {
        let mut submit = submission(number, 5);
        submit.user = Some(text.to_owned());
        text.clone_into(&mut submit.statement);
        Event::Submitted(submit)
    });
    store.apply("g1", &recorded(submits)).await.unwrap();
    let mut rows = store.history(100).await.unwrap();
    rows.reverse();
    let texts: Vec<_> =
        rows.iter().map(|row| (row.user.as_deref().unwrap(), row.statement.as_str())).collect();
    assert_eq!(texts, odd.map(|text| (text, text)));
}

pub(super) async fn numbers_beyond_the_columns_are_cut(bed: &Bed) {
    let store = bed.open();
    let events = [
        Event::Submitted(submission(1, u64::MAX)),
        Event::Coordinator(sighting("blue", "abcde", u64::MAX, u64::MAX)),
    ];
    let batch: Vec<_> =
        events.map(|event| Recorded { sequence: u64::MAX, event }).into_iter().collect();
    store.apply("g1", &batch).await.unwrap();
    store.apply("g1", &batch).await.unwrap();
    let most = i64::MAX.cast_unsigned();
    assert_eq!(store.history(1).await.unwrap()[0].submitted_ms, Some(most));
    assert_eq!(store.coordinators().await.unwrap()[0].last_seen_ms, most);
}

pub(super) async fn the_history_is_newest_first_and_bounded(bed: &Bed) {
    let store = bed.open();
    let submits = [3, 1, 4, 2].map(|number| Event::Submitted(submission(number, 5)));
    store.apply("g1", &recorded(submits)).await.unwrap();
    let ids = |rows: Vec<HistoryRow>| rows.into_iter().map(|row| row.query_id).collect::<Vec<_>>();
    let newest: Vec<_> = [4, 3].map(|number| query(number).to_string()).into();
    assert_eq!(ids(store.history(2).await.unwrap()), newest);
    assert_eq!(store.history(u32::MAX).await.unwrap().len(), 4);
    assert_eq!(store.history(0).await.unwrap(), []);
    let page = store.history_between(query(2).as_str(), query(4).as_str(), 10).await.unwrap();
    assert_eq!(ids(page), [3, 2].map(|number| query(number).to_string()));
    let page = store.history_between("20200416", AFTER_ALL_IDS, 1).await.unwrap();
    assert_eq!(ids(page), [query(4).to_string()]);
}

pub(super) async fn who_only_reads_changes_nothing(bed: &Bed) {
    assert!(open_to_read(&bed.url()).await.is_err(), "there are no tables yet");
    let store = bed.open();
    store.apply("g1", &recorded([Event::Submitted(submission(1, 5))])).await.unwrap();
    let beside = open_to_read(&bed.url()).await.unwrap();
    let rows = beside.history(10).await.unwrap();
    assert_eq!((rows.len(), rows[0].request.clone()), (1, Some(request())));
    // What is written meanwhile is read.
    store.apply("g1", &recorded([Event::Submitted(submission(2, 5))])).await.unwrap();
    assert_eq!(beside.history(10).await.unwrap().len(), 2);
    drop(beside);
    store.apply("g1", &recorded([Event::Submitted(submission(3, 5))])).await.unwrap();
    drop(store);
    assert_eq!(open_to_read(&bed.url()).await.unwrap().history(10).await.unwrap().len(), 3);
    assert_eq!(bed.open().history(10).await.unwrap().len(), 3);
}

pub(super) async fn a_full_batch_of_long_statements_fits(bed: &Bed) {
    let store = bed.open();
    let submits = (0..500).map(|number| {
        let mut submit = submission(number, 5);
        submit.statement = "x".repeat(STATEMENT_BYTES);
        Event::Submitted(submit)
    });
    store.apply("g1", &recorded(submits)).await.unwrap();
    for number in [0, 250, 499] {
        assert_eq!(store.route(&query(number)).await.unwrap(), Some(cluster("bi-blue")));
    }
    assert_eq!(store.route(&query(500)).await.unwrap(), None);
}

pub(super) async fn batches_that_cross_each_other_all_arrive(bed: &Bed) {
    let stores: Vec<Arc<dyn Store>> = match bed {
        Bed::Sqlite(_) => vec![bed.open(); 4],
        Bed::Mariadb { .. } => (0..4).map(|_| bed.open()).collect(),
    };
    let tasks = (0u64..4).zip(stores.clone()).map(|(gateway, store)| {
        tokio::spawn(async move {
            for round in 0..10u64 {
                let mut events: Vec<Event> = (0..60)
                    .map(|number| match (number + gateway + round) % 2 {
                        0 => Event::Submitted(submission(number, 100 + gateway)),
                        _ => Event::Ended(ending(number, 200 + gateway)),
                    })
                    .collect();
                if gateway % 2 == 1 {
                    events.reverse();
                }
                events.push(Event::Coordinator(sighting(
                    "blue",
                    "abcde",
                    50 - gateway,
                    60 + round,
                )));
                store.apply(&format!("g{gateway}"), &recorded(events)).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let rows = stores[0].history(100).await.unwrap();
    assert_eq!(rows.len(), 60);
    for row in rows {
        assert_eq!((row.submitted_ms, row.ended_ms), (Some(100), Some(200)), "{}", row.query_id);
    }
    assert_eq!(stores[0].coordinators().await.unwrap(), [sighting("blue", "abcde", 47, 69)]);
}

pub(super) async fn intents_that_are_set_at_once_all_count(bed: &Bed) {
    let stores: Vec<Arc<dyn Store>> = match bed {
        Bed::Sqlite(_) => vec![bed.open(); 4],
        Bed::Mariadb { .. } => (0..4).map(|_| bed.open()).collect(),
    };
    let tasks = (0u64..4).zip(stores.clone()).map(|(number, store)| {
        tokio::spawn(async move {
            let seed = vec![change("seeded", Intent::ALL[usize::try_from(number).unwrap()], 1)];
            store.seed_intents(seed).await.unwrap();
            for round in 0..5 {
                let name = format!("c{}", (number + round) % 3);
                store.set_intent(change(&name, Intent::Active, round)).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let intents = stores[0].intents().await.unwrap();
    assert_eq!((intents.version, intents.rows.len()), (21, 4));
    let newest = intents.rows.iter().map(|row| row.version).max();
    assert_eq!(newest, Some(21));
}

pub(super) async fn a_caller_that_gives_up_harms_nobody(bed: &Bed) {
    let store = bed.open();
    store.apply("g1", &recorded([Event::Submitted(submission(1, 5))])).await.unwrap();
    for micros in (0..3000).step_by(60) {
        let deadline = Duration::from_micros(micros);
        // Whether it ended in time is not the question.
        let _ = tokio::time::timeout(deadline, store.route(&query(1))).await;
        let batch = recorded([Event::Submitted(submission(2, 5))]);
        let _ = tokio::time::timeout(deadline, store.apply("g1", &batch)).await;
    }
    assert_eq!(store.route(&query(1)).await.unwrap(), Some(cluster("bi-blue")));
    store.apply("g1", &recorded([Event::Ended(ending(1, 9))])).await.unwrap();
    assert_eq!(store.history(10).await.unwrap().last().unwrap().ended_ms, Some(9));
}

pub(super) async fn a_lease_has_one_holder_and_its_number_guards_what_is_done(bed: &Bed) {
    let store = bed.open();
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(200));
    let first = store.lease("x", "g1", short).await.unwrap().expect("nobody had it");
    assert_eq!(store.lease("x", "g2", long).await.unwrap(), None, "it is taken");
    assert!(store.lease("y", "g2", long).await.unwrap().is_some(), "another one is free");
    let second = loop {
        if let Some(fence) = store.lease("x", "g2", long).await.unwrap() {
            break fence;
        }
    };
    assert!(second.number > first.number, "{first:?} {second:?}");
    assert_eq!(store.lease("x", "g2", long).await.unwrap(), Some(second.clone()), "held on");
    assert_eq!(store.lease("x", "g1", long).await.unwrap(), None);

    let events: Vec<Event> = (1..=5).map(|n| Event::Submitted(submission(n, 5))).collect();
    store.apply("g1", &recorded(events)).await.unwrap();
    let oldest = query(4).to_string();
    assert_eq!(store.forget_history(&first, &oldest, 10).await.unwrap(), 0, "an old number");
    assert_eq!(store.history(10).await.unwrap().len(), 5);
    assert_eq!(store.forget_history(&second, &oldest, 2).await.unwrap(), 2);
    assert_eq!(store.forget_history(&second, &oldest, 2).await.unwrap(), 1);
    assert_eq!(store.forget_history(&second, &oldest, 2).await.unwrap(), 0);
    assert_eq!(store.route(&query(3)).await.unwrap(), None);
    assert!(store.route(&query(4)).await.unwrap().is_some());
}

pub(super) async fn many_who_want_a_lease_at_once_leave_it_to_one(bed: &Bed) {
    let store = bed.open();
    let names: Vec<String> = (0..12).map(|number| format!("g{number}")).collect();
    let asked = names.iter().map(|name| store.lease("x", name, Duration::from_secs(60)));
    let held = futures::future::join_all(asked).await;
    let held: Vec<_> = held.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(held.len(), 1, "{held:?}");
}
