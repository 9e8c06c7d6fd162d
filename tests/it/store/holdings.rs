//! What a store promises about what gateways hold open.

use std::time::Duration;

use warren::store::holdings::{HoldingsRow, HoldingsWord};

use super::bed::Bed;

fn word(gateway: &str, process: u64, document: &str) -> HoldingsWord {
    let (gateway, document) = (gateway.to_owned(), document.to_owned());
    HoldingsWord { gateway, process, document }
}

pub(super) async fn a_process_says_one_thing_at_a_time_and_old_words_go(bed: &Bed) {
    let (store, hour) = (bed.open(), Duration::from_secs(3600));
    assert_eq!(store.holdings().await.unwrap(), []);
    let (first, second) = (word("g1", 1, "a"), word("g1", 2, "b"));
    let other = word("g2", u64::MAX >> 1, &"ä".repeat(100_000));
    for said in [&first, &second, &other, &word("g1", 1, "c")] {
        store.tell_holdings(said.clone(), hour).await.unwrap();
    }
    let words = |rows: Vec<HoldingsRow>| {
        let mut words: Vec<HoldingsWord> = rows.into_iter().map(|row| row.word).collect();
        words.sort_by_key(|word| word.process);
        words
    };
    let rows = store.holdings().await.unwrap();
    assert!(rows.iter().all(|row| row.age < hour), "{rows:?}");
    assert_eq!(words(rows), [word("g1", 1, "c"), second.clone(), other]);

    // Told longer ago than nothing.
    loop {
        store.tell_holdings(second.clone(), Duration::ZERO).await.unwrap();
        let rows = store.holdings().await.unwrap();
        if rows.len() == 1 {
            assert_eq!(words(rows), [second]);
            return;
        }
    }
}
