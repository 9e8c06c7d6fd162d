//! What every store promises about rollouts, and about queries that are looked at for them.

use std::time::Duration;

use warren::history::record::Event;
use warren::ids::GroupName;
use warren::store::rollout::{EndedQuery, NewRollout, RolloutRow, Wish};

use super::bed::{Bed, cluster, ending, query, recorded, submission};

fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

fn wish(reason: &str) -> Wish {
    Wish { actor: "ada".to_owned(), reason: reason.to_owned(), at_ms: 7 }
}

fn new(name: &str) -> NewRollout {
    NewRollout { group: group(name), document: "{\"a\":\"ä\"}".to_owned(), by: wish("daily") }
}

pub(super) async fn a_group_has_one_rollout_at_a_time(bed: &Bed) {
    let store = bed.open();
    assert_eq!(store.rollouts_under_way().await.unwrap(), []);
    let asked = (0..5).map(|_| store.start_rollout(new("bi")));
    let begun = futures::future::join_all(asked).await;
    let begun: Vec<u64> = begun.into_iter().filter_map(Result::unwrap).collect();
    let [first] = begun[..] else { panic!("{begun:?}") };
    let second = store.start_rollout(new("olap")).await.unwrap().expect("another group is free");
    let rows = store.rollouts_under_way().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [first, second]);
    let fence = store.lease("rollouts", "g1", Duration::from_secs(60)).await.unwrap().unwrap();
    let over = RolloutRow { under_way: false, ..rows[0].clone() };
    assert!(store.keep_rollout(&fence, over).await.unwrap());
    let third = store.start_rollout(new("bi")).await.unwrap().expect("it is free again");
    drop(store);
    let newest = bed.open().newest_rollouts(2).await.unwrap();
    assert_eq!(newest.iter().map(|row| row.id).collect::<Vec<_>>(), [third, second]);
}

pub(super) async fn a_rollout_is_kept_by_who_holds_the_lease_alone(bed: &Bed) {
    let store = bed.open();
    let id = store.start_rollout(new("bi")).await.unwrap().unwrap();
    let old = store.lease("rollouts", "g1", Duration::from_millis(50)).await.unwrap().unwrap();
    let fence = loop {
        if let Some(fence) = store.lease("rollouts", "g2", Duration::from_secs(60)).await.unwrap() {
            break fence;
        }
    };
    let row = store.rollout(id).await.unwrap().expect("it is there");
    let next = RolloutRow { document: "two".to_owned(), ..row.clone() };
    assert!(!store.keep_rollout(&old, next.clone()).await.unwrap(), "an old number");
    assert!(store.keep_rollout(&fence, next.clone()).await.unwrap());
    assert!(!store.keep_rollout(&fence, next).await.unwrap(), "an old revision");
    let row = store.rollout(id).await.unwrap().unwrap();
    assert_eq!((row.revision, row.document.as_str(), row.under_way), (2, "two", true));

    assert!(store.abort_rollout(id, wish(&"slow ".repeat(1000))).await.unwrap());
    assert!(store.abort_rollout(id, wish("slow")).await.unwrap(), "once more");
    assert!(!store.abort_rollout(id + 1, wish("slow")).await.unwrap(), "there is none");
    let row = store.rollout(id).await.unwrap().unwrap();
    assert_eq!(row.abort.as_ref().map(|by| by.reason.as_str()), Some("slow"));
    let over = RolloutRow { under_way: false, ..row };
    assert!(store.keep_rollout(&fence, over).await.unwrap());
    assert!(!store.abort_rollout(id, wish("slow")).await.unwrap(), "it is over");
    assert_eq!(store.rollout(id + 1).await.unwrap(), None);
}

pub(super) async fn open_and_ended_queries_are_told(bed: &Bed) {
    let store = bed.open();
    let mut elsewhere = submission(4, 5);
    elsewhere.cluster = cluster("bi-green");
    let mut failed = ending(3, 9);
    failed.error = Some("SYNTAX_ERROR".to_owned());
    let events = [
        Event::Submitted(submission(1, 5)),
        Event::Submitted(submission(2, 5)),
        Event::Submitted(submission(3, 5)),
        Event::Submitted(elsewhere),
        Event::Ended(ending(2, 8)),
        Event::Ended(failed),
        Event::Ended(ending(5, 9)),
    ];
    store.apply("g1", &recorded(events)).await.unwrap();
    let (blue, since) = (cluster("bi-blue"), query(1).to_string());
    assert_eq!(store.open_queries(&blue, &since).await.unwrap(), [query(1)]);
    assert_eq!(store.open_queries(&blue, query(2).as_str()).await.unwrap(), []);
    let green = store.open_queries(&cluster("bi-green"), &since).await.unwrap();
    assert_eq!(green, [query(4)]);
    let mut ended = store.ended_queries(&group("bi"), &since).await.unwrap();
    ended.sort_by_key(|query| query.took_ms);
    let told = |took_ms, error: Option<&str>| EndedQuery {
        cluster: "bi-blue".to_owned(),
        took_ms,
        error: error.map(str::to_owned),
    };
    assert_eq!(ended, [told(3, None), told(4, Some("SYNTAX_ERROR"))]);
    assert_eq!(store.ended_queries(&group("olap"), &since).await.unwrap(), []);
}
