//! Tests of the journal as a whole: writer, segments, reader, and what a crash leaves.

use std::fs::OpenOptions;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::history::record::{Recorded, Sighting};
use crate::ids::{ClusterName, CoordinatorId, QueryId};
use crate::time;

const LIMIT: u64 = 64 << 20;

fn event(number: u64) -> Event {
    Event::Coordinator(Sighting {
        peer: None,
        coordinator: CoordinatorId::parse("abcde").unwrap(),
        cluster: ClusterName::parse("bi-blue").unwrap(),
        first_seen_ms: number,
        last_seen_ms: number,
    })
}

fn long_event(bytes: usize) -> Event {
    Event::Submitted(crate::history::record::Submission {
        held_id: None,
        query_id: QueryId::parse("20200416_160256_03078_6b4yt").unwrap(),
        cluster: ClusterName::parse("bi-blue").unwrap(),
        group: crate::ids::GroupName::parse("bi").unwrap(),
        rule: None,
        user: None,
        source: None,
        tags: None,
        request: None,
        statement: "x".repeat(bytes),
        at_ms: 1,
    })
}

fn number(recorded: &Recorded) -> u64 {
    match &recorded.event {
        Event::Coordinator(sighting) => sighting.first_seen_ms,
        other => panic!("not recorded by these tests: {other:?}"),
    }
}

/// A program that another test starts has all files of this process until it runs, and with them the
/// lock of a journal that was closed meanwhile.
fn opened(folder: &TempDir) -> Journal {
    let end = time::now() + Duration::from_secs(10);
    loop {
        match open(folder.path(), LIMIT) {
            Err(JournalError::Taken { .. }) if time::now() < end => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

fn close(journal: Journal) {
    let queue = journal.recorder.queue();
    journal.writer.stop(&queue);
}

/// Records, waits for the file, closes: what a process that ends well leaves.
async fn record_all(folder: &TempDir, events: impl IntoIterator<Item = Event>) {
    let journal = opened(folder);
    events.into_iter().for_each(|event| journal.recorder.record(event));
    journal.recorder.flush().await.unwrap();
    close(journal);
}

/// What a new process finds in a journal folder, without a writer. Also the counters.
fn found(folder: &Path) -> (Vec<Recorded>, Arc<JournalStats>) {
    let stats = Arc::new(JournalStats::default());
    let segments = Arc::new(Segments::open(folder, LIMIT, Arc::clone(&stats)).unwrap());
    let mut reader = Reader::new(segments, Arc::clone(&stats));
    let mut all = Vec::new();
    loop {
        let chunk = reader.next(3).unwrap();
        if chunk.events.is_empty() {
            return (all, stats);
        }
        all.extend(chunk.events);
    }
}

fn numbers(recorded: &[Recorded]) -> Vec<u64> {
    recorded.iter().map(number).collect()
}

fn only_segment(folder: &TempDir) -> PathBuf {
    folder.path().join("journal").join(format!("{:020}.log", 1))
}

#[tokio::test]
async fn events_come_back_in_order_and_the_sequence_rises_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    record_all(&folder, (1..=5).map(event)).await;
    record_all(&folder, (6..=9).map(event)).await;
    let (all, stats) = found(&folder.path().join("journal"));
    assert_eq!(numbers(&all), (1..=9).collect::<Vec<_>>());
    assert_eq!(all.iter().map(|one| one.sequence).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    assert_eq!((stats.pending(), stats.corrupt(), stats.torn()), (9, 0, 0));
}

#[tokio::test]
async fn a_cut_at_any_byte_costs_only_the_torn_event() {
    let folder = tempfile::tempdir().unwrap();
    record_all(&folder, (1..=3).map(event)).await;
    let whole = fs::read(only_segment(&folder)).unwrap();
    let frame = whole.len() / 3;
    for end in 0..whole.len() {
        fs::write(only_segment(&folder), &whole[..end]).unwrap();
        let (all, stats) = found(&folder.path().join("journal"));
        assert_eq!(numbers(&all), (1..=(end / frame) as u64).collect::<Vec<_>>(), "{end}");
        assert_eq!(stats.torn(), u64::from(end % frame != 0), "{end}");
        assert_eq!(stats.corrupt(), 0, "{end}");
    }
}

#[tokio::test]
async fn after_a_cut_new_events_follow_the_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    record_all(&folder, (1..=3).map(event)).await;
    let whole = fs::read(only_segment(&folder)).unwrap();
    for end in [whole.len() - 1, whole.len() / 2, 1, 0] {
        fs::write(only_segment(&folder), &whole[..end]).unwrap();
        record_all(&folder, [event(77)]).await;
        let (all, stats) = found(&folder.path().join("journal"));
        assert_eq!(numbers(&all).last(), Some(&77), "{end}");
        assert_eq!(all.len(), end / (whole.len() / 3) + 1, "{end}");
        assert_eq!((stats.torn(), stats.corrupt()), (0, 0), "{end}");
    }
}

#[tokio::test]
async fn damage_in_the_middle_costs_only_the_damaged_event() {
    let folder = tempfile::tempdir().unwrap();
    record_all(&folder, (1..=3).map(event)).await;
    let whole = fs::read(only_segment(&folder)).unwrap();
    let frame = whole.len() / 3;
    for at in frame..2 * frame {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xA5;
        fs::write(only_segment(&folder), &damaged).unwrap();
        let (all, stats) = found(&folder.path().join("journal"));
        assert_eq!(numbers(&all), [1, 3], "{at}");
        assert_eq!((stats.corrupt(), stats.torn()), (1, 0), "{at}");
    }
}

#[tokio::test]
async fn an_event_of_a_later_version_is_stepped_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    let payload = serde_json::to_vec(&event(2)).unwrap();
    crate::history::frame::encode(1, br#"{"event":"from_the_future"}"#, &mut bytes);
    crate::history::frame::encode(2, &payload, &mut bytes);
    fs::create_dir_all(folder.path().join("journal")).unwrap();
    fs::write(only_segment(&folder), bytes).unwrap();
    let (all, stats) = found(&folder.path().join("journal"));
    assert_eq!((numbers(&all), stats.corrupt()), (vec![2], 1));
}

#[tokio::test]
async fn at_the_limit_new_events_are_dropped_and_counted_until_the_store_has_some() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path(), LIMIT_MIN).unwrap();
    let stats = Arc::clone(journal.recorder.stats());
    for _ in 0..100 {
        journal.recorder.record(long_event(60_000));
    }
    journal.recorder.flush().await.unwrap();
    let kept = 100 - stats.dropped_no_room();
    assert!((60..=70).contains(&kept), "{kept}");
    assert!(stats.bytes() <= LIMIT_MIN);
    assert_eq!((stats.recorded(), stats.pending()), (100, kept));

    let mut read = 0;
    while read < kept {
        let chunk = journal.reader.next(500).unwrap();
        read += chunk.events.len() as u64;
        journal.segments.acknowledge(chunk.upto).unwrap();
    }
    assert!(stats.bytes() < LIMIT_MIN / 4, "segments that the store has are deleted");
    journal.recorder.record(event(1));
    journal.recorder.flush().await.unwrap();
    assert_eq!(stats.dropped_no_room(), 100 - kept);
    close(journal);
}

#[tokio::test]
async fn what_the_store_has_is_not_read_again_and_a_damaged_note_means_all_again() {
    let folder = tempfile::tempdir().unwrap();
    record_all(&folder, (1..=5).map(event)).await;
    let journal_folder = folder.path().join("journal");
    let stats = Arc::new(JournalStats::default());
    Segments::open(&journal_folder, LIMIT, stats).unwrap().acknowledge(3).unwrap();
    assert_eq!(numbers(&found(&journal_folder).0), [4, 5]);
    for text in ["", "3x", "-1", "99999999999999999999999"] {
        fs::write(journal_folder.join("acknowledged"), text).unwrap();
        let (all, stats) = found(&journal_folder);
        assert_eq!((all.len(), stats.corrupt()), (5, 1), "{text}");
    }
}

#[tokio::test]
async fn a_note_beyond_a_lost_tail_never_lets_the_sequence_fall() {
    let folder = tempfile::tempdir().unwrap();
    record_all(&folder, (1..=2).map(event)).await;
    fs::write(folder.path().join("journal").join("acknowledged"), "90\n").unwrap();
    record_all(&folder, [event(3)]).await;
    let (all, _) = found(&folder.path().join("journal"));
    assert_eq!(all.iter().map(|one| one.sequence).collect::<Vec<_>>(), [91]);
}

#[tokio::test]
async fn a_second_gateway_is_refused_and_the_id_stays() {
    let folder = tempfile::tempdir().unwrap();
    let journal = opened(&folder);
    let id = journal.gateway.clone();
    assert!(matches!(open(folder.path(), LIMIT), Err(JournalError::Taken { .. })));
    close(journal);
    let again = opened(&folder);
    assert_eq!(again.gateway, id);
    close(again);
    fs::write(folder.path().join("gateway-id"), "\0\u{1}").unwrap();
    assert!(matches!(open(folder.path(), LIMIT), Err(JournalError::GatewayId { .. })));
}

#[tokio::test]
async fn a_segment_that_vanished_or_shrank_is_counted_and_stepped_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(&folder);
    journal.recorder.record(event(1));
    journal.recorder.flush().await.unwrap();
    OpenOptions::new().write(true).open(only_segment(&folder)).unwrap().set_len(3).unwrap();
    let chunk = journal.reader.next(10).unwrap();
    assert_eq!((chunk.events.len(), chunk.upto), (0, 1));
    assert!(journal.recorder.stats().corrupt() > 0);
    close(journal);
}

#[tokio::test]
async fn what_the_disk_refuses_is_dropped_and_counted_and_later_events_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(&folder);
    fs::remove_dir_all(folder.path().join("journal")).unwrap();
    journal.recorder.record(event(1));
    journal.recorder.flush().await.unwrap();
    assert_eq!(journal.recorder.stats().dropped_disk_error(), 1);
    assert_eq!(journal.recorder.stats().pending(), 0);
    fs::create_dir(folder.path().join("journal")).unwrap();
    journal.recorder.record(event(2));
    journal.recorder.flush().await.unwrap();
    assert_eq!(numbers(&journal.reader.next(9).unwrap().events), [2]);
    close(journal);
}

#[tokio::test]
async fn a_closed_journal_drops_and_counts_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = opened(&folder);
    let recorder = journal.recorder.clone();
    close(journal);
    recorder.record(event(1));
    assert_eq!((recorder.stats().recorded(), recorder.stats().dropped()), (0, 1));
}

#[derive(Debug, Clone)]
enum Step {
    Record(u8),
    Read(u8),
    Acknowledge,
    Reopen,
    Kill(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6u8).prop_map(Step::Record),
        4 => (1..9u8).prop_map(Step::Read),
        2 => Just(Step::Acknowledge),
        1 => Just(Step::Reopen),
        1 => (1..40u8).prop_map(Step::Kill),
    ]
}

/// Runs the steps against a list of what must come.
async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(&folder);
    let (mut recorded, mut read, mut acknowledged, mut upto) = (Vec::new(), 0, 0, 0);
    for step in steps {
        match step {
            Step::Record(count) => {
                for _ in 0..count {
                    recorded.push(recorded.len() as u64 + 1);
                    journal.recorder.record(event(recorded.len() as u64));
                }
                journal.recorder.flush().await.unwrap();
            }
            Step::Read(most) => {
                let chunk = journal.reader.next(usize::from(most)).unwrap();
                let expected = &recorded[read..recorded.len().min(read + usize::from(most))];
                assert_eq!(numbers(&chunk.events), expected);
                read += chunk.events.len();
                upto = chunk.upto;
            }
            Step::Acknowledge => {
                journal.segments.acknowledge(upto).unwrap();
                acknowledged = acknowledged.max(read);
            }
            Step::Reopen | Step::Kill(_) => {
                close(journal);
                if let Step::Kill(torn) = step {
                    let garbage = vec![0xFF; usize::from(torn)];
                    let path = only_segment(&folder);
                    let mut bytes = fs::read(&path).unwrap();
                    bytes.extend(garbage);
                    fs::write(&path, bytes).unwrap();
                }
                journal = opened(&folder);
                (read, upto) = (acknowledged, 0);
            }
        }
    }
    close(journal);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_of_a_journal_gives_each_event_once_in_order(
        steps in proptest::collection::vec(step(), 1..16)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }

    #[test]
    fn any_file_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{:020}.log", 1)), bytes).unwrap();
        fs::write(folder.path().join("x.log"), "not a segment").unwrap();
        found(folder.path());
    }
}
