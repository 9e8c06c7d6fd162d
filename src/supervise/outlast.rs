//! Submits that outlast their worker: what each worker has read and not answered yet, and who gets
//! it when that one ends. They are given on as they came, so that the next worker serves them as
//! requests of an ordinary connection, and goes on with it.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Event;
use crate::outlast::{self, BYTES_MAX, Ear, Heard, SUBMITS_MAX, Word};
use crate::time::{self, Instant};

/// How long a submit waits for a worker that can take it. Its client is not told anything
/// meanwhile, and most give up about then.
const AGE_MAX: Duration = Duration::from_secs(60);

/// How often one submit is given on: it may be what ends the workers.
const PASSES_MAX: u8 = 3;

/// Submits that wait for a worker, of several that ended.
const LEFT_MAX: usize = 2 * SUBMITS_MAX;

/// Connections of which it is known how often they were given on. One whose next worker keeps
/// nothing of it is never taken out, so they are all forgotten at this bound.
const PASSED_MAX: usize = 4 * SUBMITS_MAX;

/// The socket of one worker.
pub(super) type Line = Arc<AsyncFd<OwnedFd>>;

/// Has the runtime watch a file.
#[expect(
    deprecated,
    reason = "its successor asks for `unsafe`, as a type may close its file early; this one does not"
)]
pub(super) fn watched(file: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(file)
}

/// A submit whose worker has ended.
#[derive(Debug)]
pub(super) struct Left {
    client: OwnedFd,
    request: Vec<u8>,
    passes: u8,
    since: Instant,
}

/// How often connections were given on that no worker has said anything of since, by the number
/// that the kernel gave their sockets.
#[derive(Debug, Clone, Default)]
pub(super) struct Passed(Arc<Mutex<HashMap<u64, u8>>>);

impl Passed {
    fn take(&self, client: &OwnedFd) -> u8 {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.is_empty() {
            return 0;
        }
        fstat(client).ok().and_then(|stat| passed.remove(&stat.st_ino)).unwrap_or(0)
    }

    fn note(&self, client: &OwnedFd, passes: u8) {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.len() >= PASSED_MAX {
            passed.clear();
        }
        if let Ok(stat) = fstat(client) {
            passed.insert(stat.st_ino, passes);
        }
    }
}

/// What one worker has not answered yet.
#[derive(Debug, Default)]
struct Books {
    kept: HashMap<u64, (OwnedFd, Vec<u8>, u8)>,
    bytes: usize,
}

impl Books {
    /// Beyond its bounds a submit is not kept: the worker has the same ones and never gets there.
    fn keep(&mut self, id: u64, client: OwnedFd, request: Vec<u8>, passes: u8) {
        let bytes = self.bytes + request.len();
        if self.kept.len() < 2 * SUBMITS_MAX && bytes <= 2 * BYTES_MAX {
            self.bytes = bytes;
            self.kept.insert(id, (client, request, passes));
        }
    }

    fn done(&mut self, id: u64) {
        if let Some((_, request, _)) = self.kept.remove(&id) {
            self.bytes -= request.len();
        }
    }

    /// The worker has ended.
    fn left(self, now: Instant) -> Vec<Left> {
        let left = self.kept.into_values();
        left.map(|(client, request, passes)| Left { client, request, passes, since: now }).collect()
    }
}

/// Listens to a worker until it ends, and tells what it has left.
pub(super) async fn listen(id: u32, line: Line, passed: Passed, events: mpsc::Sender<Event>) {
    let mut listener =
        Listener { line, done: None, ear: Ear::default(), books: Books::default(), passed };
    loop {
        let said = match listener.turn().await {
            Ok(Turn::Again) => continue,
            Ok(Turn::Hello) => Event::Greeted(id),
            Ok(Turn::End) => break,
            Err(error) => {
                warn!(worker = id, %error, "a worker is not understood; what it reads will not outlast it");
                return;
            }
        };
        if events.send(said).await.is_err() {
            return;
        }
    }
    // Nobody listens once the supervisor itself has ended.
    let _told = events.send(Event::Left(id, listener.books.left(time::now()))).await;
}

struct Listener {
    line: Line,
    /// Where the worker says which of its submits are done.
    done: Option<AsyncFd<OwnedFd>>,
    ear: Ear,
    books: Books,
    passed: Passed,
}

enum Turn {
    Again,
    Hello,
    End,
}

impl Listener {
    async fn turn(&mut self) -> std::io::Result<Turn> {
        let said = async {
            match &self.done {
                Some(done) => done.readable().await.map(|mut ready| ready.clear_ready()),
                None => std::future::pending().await,
            }
        };
        // Cleared before all is read: what comes meanwhile is told again.
        tokio::select! {
            ready = self.line.readable() => ready?.clear_ready(),
            said = said => said?,
        }
        self.read()
    }

    /// Reads all that there is. A submit is kept before it is said to be done; so all that was said
    /// in the pipe until now is about what can be read from the socket by now.
    fn read(&mut self) -> std::io::Result<Turn> {
        let mut done = Vec::new();
        self.read_done(&mut done)?;
        let mut turn = Turn::Again;
        loop {
            match self.ear.look(self.line.get_ref())? {
                Heard::Word(Word::Keep { id, client, request }) => {
                    let passes = self.passed.take(&client);
                    self.books.keep(id, client, request, passes);
                }
                Heard::Word(Word::Hello(pipe)) => {
                    self.done = Some(watched(pipe)?);
                    turn = Turn::Hello;
                }
                Heard::Word(Word::Take { .. } | Word::Unknown) => {}
                Heard::Nothing => break,
                Heard::End => {
                    // It writes nothing more.
                    self.read_done(&mut done)?;
                    turn = Turn::End;
                    break;
                }
            }
        }
        done.iter().for_each(|id| self.books.done(*id));
        Ok(turn)
    }

    fn read_done(&self, done: &mut Vec<u64>) -> std::io::Result<()> {
        let Some(pipe) = &self.done else { return Ok(()) };
        let mut bytes = [0; 4096];
        loop {
            match nix::unistd::read(pipe.get_ref().as_fd(), &mut bytes) {
                // What is written in eights is read in eights.
                Ok(count @ 1..) => {
                    let (ids, _) = bytes[..count].as_chunks();
                    done.extend(ids.iter().map(|id| u64::from_le_bytes(*id)));
                }
                Ok(0) | Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Submits that wait for a worker.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    left: Vec<Left>,
    /// Those that no longer do.
    pub(super) passed: Passed,
}

impl Waiting {
    /// More of them; those that were given on too often, or are too many, end here: their clients
    /// see their connections close.
    pub(super) fn add(&mut self, left: Vec<Left>) {
        let (may, often): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|left| left.passes < PASSES_MAX);
        if !often.is_empty() {
            warn!(
                submits = often.len(),
                "submits end with their worker: {PASSES_MAX} others ended with them before"
            );
        }
        self.left.extend(may);
        if self.left.len() > LEFT_MAX {
            warn!(
                submits = self.left.len() - LEFT_MAX,
                "too many submits have outlasted their worker"
            );
            self.left.truncate(LEFT_MAX);
        }
    }

    /// When the next one has waited for too long.
    pub(super) fn until(&self) -> Option<Instant> {
        self.left.iter().map(|left| left.since + AGE_MAX).min()
    }

    /// Those that have waited for too long end.
    pub(super) fn forget(&mut self, now: Instant) {
        let before = self.left.len();
        self.left.retain(|left| left.since + AGE_MAX > now);
        let submits = before - self.left.len();
        if submits > 0 {
            warn!(submits, "no worker could take these submits in time; their connections end");
        }
    }

    /// All, to be given to a worker.
    pub(super) fn take(&mut self) -> Vec<Left> {
        std::mem::take(&mut self.left)
    }
}

/// Gives submits to the worker `id`; what it does not take any more comes back.
pub(super) async fn pass(
    id: u32,
    line: Line,
    left: Vec<Left>,
    passed: Passed,
    events: mpsc::Sender<Event>,
) {
    info!(worker = id, submits = left.len(), "submits that outlasted their worker are given on");
    let mut left = left.into_iter();
    while let Some(one) = left.next() {
        // Noted first: the worker may say `Keep` of it at once.
        passed.note(&one.client, one.passes + 1);
        if let Err(error) = give(&line, &one).await {
            warn!(worker = id, %error, "a worker takes no submits");
            passed.take(&one.client);
            let rest = std::iter::once(one).chain(left).collect();
            let _told = events.send(Event::Left(id, rest)).await;
            return;
        }
    }
}

async fn give(line: &Line, left: &Left) -> std::io::Result<()> {
    loop {
        let mut ready = line.writable().await?;
        match outlast::take(line.get_ref(), &left.client, &left.request) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => ready.clear_ready(),
            told => return told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use crate::gateway::outlast::Outlast;

    /// A client, and the server's end of its connection.
    fn connection() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it accepts");
        let server = listener.accept().expect("one waits").0.into();
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        (client, server)
    }

    fn is_closed(client: &mut TcpStream) -> bool {
        client.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    fn left(passes: u8, since: Instant) -> (TcpStream, Left) {
        let (client, server) = connection();
        (client, Left { client: server, request: b"a".to_vec(), passes, since })
    }

    struct Bed {
        outlast: Outlast,
        events: mpsc::Receiver<Event>,
        passed: Passed,
    }

    /// A worker, and who listens to it as its supervisor does.
    async fn bed() -> Bed {
        let (ours, theirs) = outlast::pair().expect("a pair");
        let (telling, mut events) = mpsc::channel(8);
        let line = Arc::new(watched(ours).expect("a runtime"));
        let passed = Passed::default();
        tokio::spawn(listen(7, line, passed.clone(), telling));
        let outlast = Outlast::new(Arc::new(theirs), Arc::default()).expect("it is greeted");
        assert!(matches!(events.recv().await, Some(Event::Greeted(7))));
        Bed { outlast, events, passed }
    }

    impl Bed {
        /// The worker ends as one that is killed.
        async fn end(mut self) -> Vec<Left> {
            drop(self.outlast);
            match self.events.recv().await {
                Some(Event::Left(7, left)) => left,
                _ => panic!("it is told when a worker has ended"),
            }
        }
    }

    /// It waits for clients, so who listens to the worker has a thread of its own.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_was_not_done_is_left_and_what_was_is_closed() {
        let bed = bed().await;
        let (mut done, done_server) = connection();
        let (mut open, open_server) = connection();
        let kept = bed.outlast.keep(done_server.as_raw_fd(), b"", b"done").expect("room");
        let never = bed.outlast.keep(open_server.as_raw_fd(), b"head ", b"body").expect("room");
        drop((kept, done_server, open_server));
        assert!(is_closed(&mut done), "nobody holds it any more");
        // A killed worker says nothing more.
        std::mem::forget(never);
        let left = bed.end().await;
        let requests: Vec<_> = left.iter().map(|left| left.request.as_slice()).collect();
        assert_eq!(requests, [b"head body"]);
        assert_eq!(left[0].passes, 0);
        drop(left);
        assert!(is_closed(&mut open));
    }

    #[tokio::test]
    async fn a_word_that_is_read_with_the_end_counts() {
        let bed = bed().await;
        let (_client, server) = connection();
        // The runtime has one thread, so nothing of this is read before it has ended.
        let kept: Vec<_> =
            (0..100).filter_map(|_| bed.outlast.keep(server.as_raw_fd(), b"", b"a")).collect();
        assert_eq!(kept.len(), 100);
        drop(kept);
        assert!(bed.end().await.is_empty());
    }

    #[tokio::test]
    async fn how_often_a_connection_was_given_on_is_known_until_it_is_done() {
        let (ours, theirs) = outlast::pair().expect("a pair");
        let bed = bed().await;
        let (telling, _events) = mpsc::channel(8);
        let (_client, one) = left(1, time::now());
        let server = one.client.try_clone().expect("a copy");
        let line = Arc::new(watched(ours).expect("a runtime"));
        pass(8, line, vec![one], bed.passed.clone(), telling).await;
        let heard = Ear::default().look(&theirs).expect("heard");
        assert!(matches!(heard, Heard::Word(Word::Take { request, .. }) if request == b"a"));
        // The next worker has it kept, and does it; then it has something else kept.
        let kept = bed.outlast.keep(server.as_raw_fd(), b"", b"b").expect("room");
        std::mem::forget(kept);
        let passed = bed.passed.clone();
        let left = bed.end().await;
        assert_eq!(left[0].passes, 2);
        assert_eq!(passed.take(&server), 0, "it was taken out");
    }

    #[tokio::test]
    async fn what_a_worker_does_not_take_comes_back() {
        let (ours, theirs) = outlast::pair().expect("a pair");
        drop(theirs);
        let (telling, mut events) = mpsc::channel(8);
        let (_clients, all): (Vec<_>, Vec<_>) = (0..3).map(|_| left(0, time::now())).unzip();
        let line = Arc::new(watched(ours).expect("a runtime"));
        pass(9, line, all, Passed::default(), telling).await;
        let Some(Event::Left(9, back)) = events.recv().await else { panic!("it comes back") };
        assert_eq!(back.iter().map(|left| left.passes).collect::<Vec<_>>(), [0, 0, 0]);
    }

    #[test]
    fn submits_wait_so_many_so_often_and_so_long() {
        let now = time::now();
        let mut waiting = Waiting::default();
        assert_eq!(waiting.until(), None);
        let (_client, fine) = left(PASSES_MAX - 1, now);
        let (mut often, too_often) = left(PASSES_MAX, now);
        waiting.add(vec![fine, too_often]);
        assert!(is_closed(&mut often));
        assert_eq!(waiting.until(), Some(now + AGE_MAX));
        waiting.forget(now + AGE_MAX - Duration::from_millis(1));
        let (_client, young) = left(0, now + AGE_MAX);
        waiting.add(vec![young]);
        waiting.forget(now + AGE_MAX);
        assert_eq!(waiting.take().len(), 1);
        let (_client, one) = left(0, now);
        let copy = || Left {
            client: one.client.try_clone().expect("a copy"),
            request: Vec::new(),
            passes: 0,
            since: now,
        };
        waiting.add((0..10).map(|_| copy()).collect());
        assert_eq!(waiting.take().len(), 10);
        assert_eq!(waiting.until(), None);
    }
}
