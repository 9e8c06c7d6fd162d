//! What an SQLite file promises beside the contract: it refuses what cannot work, in words.

use std::fs;

use warren::config::StoreUrl;
use warren::store::{Intent, StoreError, open, open_to_read};

use super::bed::{Bed, change, query};

/// The text of the refusal.
fn refused(bed: &Bed) -> String {
    match open(&bed.url()) {
        Ok(_) => panic!("opened"),
        Err(error @ StoreError::Unusable { .. }) => error.to_string(),
        Err(error) => panic!("not refused: {error}"),
    }
}

#[tokio::test]
async fn a_second_gateway_on_the_same_file_is_refused() {
    let bed = Bed::sqlite();
    let store = bed.open();
    assert_eq!(store.place(), format!("sqlite:{}", bed.file().display()));
    assert!(refused(&bed).contains("another gateway uses it"));
    drop(store);
    bed.open();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_with_words() {
    let bed = Bed::sqlite();
    for bytes in
        [&b"this is no database, and it is long enough to be read as one"[..], &[0xFF; 8192]]
    {
        fs::write(bed.file(), bytes).unwrap();
        let text = refused(&bed);
        assert!(text.contains("damaged or no SQLite file"), "{text}");
    }
}

#[tokio::test]
async fn a_damaged_store_never_panics() {
    let bed = Bed::sqlite();
    let store = bed.open();
    store.set_intent(change("blue", Intent::Active, 5)).await.unwrap();
    drop(store);
    let whole = fs::read(bed.file()).unwrap();
    for at in (0..whole.len()).step_by(509) {
        let mut damaged = whole.clone();
        let end = (at + 300).min(damaged.len());
        damaged[at..end].fill(0xA5);
        fs::write(bed.file(), damaged).unwrap();
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(bed.file().with_extension(format!("db{beside}")));
        }
        // Refused, or usable as far as its pages are whole: both are fine, a panic is not.
        if let Ok(store) = open(&bed.url()) {
            let _ = store.intents().await;
            let _ = store.route(&query(1)).await;
            let _ = store.set_intent(change("green", Intent::Active, 5)).await;
        }
    }
    for length in (0..whole.len()).step_by(1021) {
        fs::write(bed.file(), &whole[..length]).unwrap();
        if let Ok(store) = open(&bed.url()) {
            let _ = store.intents().await;
        }
    }
}

#[tokio::test]
async fn a_folder_that_is_missing_or_a_file_that_is_a_folder_is_refused() {
    let bed = Bed::sqlite();
    let url = StoreUrl::Sqlite(bed.file().join("missing").join("warren.db"));
    let Err(error) = open(&url) else { panic!("opened") };
    assert!(error.to_string().contains("create the folder"), "{error}");
    fs::create_dir(bed.file()).unwrap();
    assert!(refused(&bed).contains("cannot be opened"));
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused() {
    let bed = Bed::sqlite();
    drop(bed.open());
    let connection = rusqlite::Connection::open(bed.file()).unwrap();
    let later = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
        VALUES (99, 'later', '2026-01-01T00:00:00Z', '1')";
    connection.execute(later, ()).unwrap();
    assert!(refused(&bed).contains("version of Warren"));
    let Err(error) = open_to_read(&bed.url()).await else { panic!("opened") };
    assert!(error.to_string().contains("those of a later version of Warren"), "{error}");
    connection.execute("DELETE FROM refinery_schema_history WHERE version > 6", ()).unwrap();
    let Err(error) = open_to_read(&bed.url()).await else { panic!("opened") };
    assert!(error.to_string().contains("those of an earlier version of Warren"), "{error}");
    let foreign = "UPDATE refinery_schema_history SET applied_on = 'yesterday'";
    connection.execute(foreign, ()).unwrap();
    assert!(refused(&bed).contains("refinery_schema_history"));
}
