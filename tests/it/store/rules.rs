//! What every store promises about versions of the rules.

use warren::store::Store;
use warren::store::rules::{Activation, ActiveRules, FileText, NewRules};

use super::bed::Bed;

fn new(script: &str, at_ms: u64) -> NewRules {
    NewRules {
        hash: "5f0c1a9e1234".to_owned(),
        author: "ada".to_owned(),
        comment: "etl goes to olap".to_owned(),
        at_ms,
        in_force: false,
        script: script.to_owned(),
        files: vec![FileText { name: "tests/a.lua".to_owned(), text: "case 'ä' {}\0".to_owned() }],
    }
}

fn activation(number: u64, instead_of: u64, at_ms: u64) -> Activation {
    let (actor, comment) = ("ada".to_owned(), "the new ones".to_owned());
    Activation { number, instead_of, actor, comment, at_ms }
}

async fn numbers(store: &dyn Store) -> Vec<u64> {
    let rows = store.newest_rules(10_000).await.unwrap();
    rows.into_iter().map(|row| row.number).collect()
}

async fn last_used(store: &dyn Store) -> Option<u64> {
    store.last_used_rules().await.unwrap().map(|texts| texts.row.number)
}

pub(super) async fn the_same_texts_are_one_version(bed: &Bed) {
    let store = bed.open();
    assert_eq!(store.newest_rules(10).await.unwrap(), []);
    assert_eq!(store.rules(1).await.unwrap(), None);
    assert_eq!(last_used(&*store).await, None);
    let first = store.put_rules(new("one ", 5)).await.unwrap();
    let again = store.put_rules(NewRules { author: "ben".to_owned(), ..new("one ", 6) }).await;
    let again = again.unwrap();
    assert!(first.is_new && !again.is_new);
    assert_eq!(again.row, first.row);
    let other = store.put_rules(new("one", 7)).await.unwrap();
    let untested = store.put_rules(NewRules { files: Vec::new(), ..new("one", 8) }).await.unwrap();
    assert!(other.is_new && untested.is_new);
    drop(store);

    let store = bed.open();
    let rows = store.newest_rules(2).await.unwrap();
    assert_eq!(rows, [untested.row, other.row]);
    let found = store.rules(first.row.number).await.unwrap().expect("it is there");
    let expected = new("one ", 5);
    assert_eq!((found.script, found.files), (expected.script, expected.files));
    assert_eq!((found.row.author.as_str(), found.row.at_ms, found.row.used_ms), ("ada", 5, None));
}

pub(super) async fn an_activation_names_what_was_active(bed: &Bed) {
    let store = bed.open();
    assert_eq!(store.active_rules().await.unwrap(), ActiveRules::default());
    let mut versions = Vec::new();
    for script in ["one", "two"] {
        versions.push(store.put_rules(new(script, 5)).await.unwrap().row.number);
    }
    let (one, two) = (versions[0], versions[1]);
    assert_eq!(store.activate_rules(activation(99, 0, 6)).await.unwrap(), None, "no such version");
    assert_eq!(store.activate_rules(activation(two, one, 6)).await.unwrap(), None, "one is not");
    assert_eq!(store.active_rules().await.unwrap().change, 0);

    let active = |change, number, before| Some(ActiveRules { change, number, before });
    let now = store.activate_rules(activation(one, 0, 6)).await.unwrap();
    assert_eq!(now, active(1, one, 0));
    assert_eq!(last_used(&*store).await, Some(one));
    let now = store.activate_rules(activation(two, one, 7)).await.unwrap();
    assert_eq!(now, active(2, two, one));
    assert_eq!(last_used(&*store).await, Some(two));
    drop(store);

    let store = bed.open();
    assert_eq!(Some(store.active_rules().await.unwrap()), active(2, two, one));
    let now = store.activate_rules(activation(0, two, 8)).await.unwrap();
    assert_eq!(now, active(3, 0, two), "the file");
    assert_eq!(last_used(&*store).await, Some(two), "what a file holds is told by its gateway");
    store.put_rules(NewRules { in_force: true, ..new("one", 9) }).await.unwrap();
    assert_eq!(last_used(&*store).await, Some(one), "and it was known already");
    let used = store.rules(one).await.unwrap().unwrap().row.used_ms;
    assert_eq!(used, Some(9));
}

pub(super) async fn of_many_who_activate_at_once_one_does(bed: &Bed) {
    let store = bed.open();
    let puts = (0..6).map(|n| store.put_rules(new(if n < 3 { "one" } else { "two" }, n)));
    let puts = futures::future::join_all(puts).await;
    let mut known: Vec<u64> = puts.into_iter().map(|put| put.unwrap().row.number).collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), 2, "{known:?}");
    let asked = (0..12).map(|n| store.activate_rules(activation(known[n % 2], 0, 5)));
    let done = futures::future::join_all(asked).await;
    let done: Vec<_> = done.into_iter().filter_map(Result::unwrap).collect();
    let [now] = done[..] else { panic!("{done:?}") };
    assert_eq!((now.change, store.active_rules().await.unwrap()), (1, now));
}

pub(super) async fn old_versions_go_but_for_those_that_may_be_needed(bed: &Bed) {
    let store = bed.open();
    let long = "😀".repeat(2000);
    let cut = NewRules { author: long.clone(), comment: long, ..new("active", u64::MAX) };
    let active = store.put_rules(cut).await.unwrap().row;
    assert_eq!((active.author.len(), active.comment.len()), (252, 1024));
    let before = store.put_rules(new("before", 5)).await.unwrap().row.number;
    let used = store.put_rules(NewRules { in_force: true, ..new("used", 90) }).await.unwrap();
    let old = store.put_rules(new("old", 5)).await.unwrap().row.number;
    store.activate_rules(activation(before, 0, 6)).await.unwrap().expect("it is there");
    store.activate_rules(activation(active.number, before, 7)).await.unwrap().expect("so is this");
    for number in 0..501 {
        store.put_rules(new(&format!("filler {number}"), 5)).await.unwrap();
    }
    let kept = numbers(&*store).await;
    for needed in [active.number, before, used.row.number] {
        assert!(kept.contains(&needed), "{needed}");
    }
    assert!(!kept.contains(&old));
    assert!(kept.len() <= 503, "{}", kept.len());
    assert_eq!(last_used(&*store).await, Some(used.row.number));
}
