//! Clients that forgive nothing: any status but 200, any error of a query and any cut answer is a
//! failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use warren_stub::client::{Answer, Client};

/// A query that was submitted.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// Its id.
    pub(crate) id: String,
    /// Where its next page is; `None`: it ended.
    pub(crate) next: Option<String>,
    /// How many pages were asked for.
    pub(crate) pages: u64,
}

impl Query {
    /// Submits a statement.
    pub(crate) fn submit(client: &Client, sql: &str) -> Result<Self, String> {
        let answer = client.submit(sql).map_err(|error| format!("submit: {error}"))?;
        let answer = good(answer)?;
        let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
        Ok(Self { id, next: answer.next(), pages: 0 })
    }

    /// The mark of its coordinator.
    pub(crate) fn mark(&self) -> &str {
        self.id.rsplit('_').next().unwrap_or_default()
    }

    /// Asks for its next page.
    pub(crate) fn page(&mut self, client: &Client) -> Result<(), String> {
        let next = self.next.clone().ok_or_else(|| format!("{} ended", self.id))?;
        self.pages += 1;
        let answer = client.get(&next).map_err(|error| format!("page of {}: {error}", self.id))?;
        let answer = good(answer)?;
        self.next = answer.next();
        Ok(())
    }

    /// Asks for at most `count` pages.
    pub(crate) fn pages(&mut self, client: &Client, count: u64) -> Result<(), String> {
        for _ in 0..count {
            if self.next.is_some() {
                self.page(client)?;
            }
        }
        Ok(())
    }

    /// Reads it to its end.
    pub(crate) fn finish(&mut self, client: &Client) -> Result<(), String> {
        while self.next.is_some() {
            self.page(client)?;
        }
        Ok(())
    }

    /// Submits a statement and reads it to its end.
    pub(crate) fn run(client: &Client, sql: &str) -> Result<Self, String> {
        let mut query = Self::submit(client, sql)?;
        query.finish(client)?;
        Ok(query)
    }
}

fn good(answer: Answer) -> Result<Answer, String> {
    let json = answer.json();
    if answer.status != 200 || !json["error"].is_null() || json["id"].is_null() {
        let body = String::from_utf8_lossy(&answer.body);
        return Err(format!("{} {}", answer.status, body.chars().take(400).collect::<String>()));
    }
    Ok(answer)
}

/// Runs `work` for each item on eight threads and gives what it made, in the order of the items.
pub(crate) fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    let size = items.len().div_ceil(8).max(1);
    let mut chunks: Vec<Vec<T>> = Vec::new();
    for (place, item) in items.into_iter().enumerate() {
        if place % size == 0 {
            chunks.push(Vec::with_capacity(size));
        }
        chunks.last_mut().unwrap().push(item);
    }
    std::thread::scope(|scope| {
        let spawn =
            |chunk: Vec<T>| scope.spawn(move || chunk.into_iter().map(work).collect::<Vec<R>>());
        let threads: Vec<_> = chunks.into_iter().map(spawn).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Clients that run one query after another until they are told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<Result<Query, String>>>>,
}

impl Load {
    /// Starts `clients` threads with this statement.
    pub(crate) fn start(clients: usize, client: &Client, sql: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let one = |_| {
            let (stop, done) = (stop.clone(), done.clone());
            let (client, sql) = (client.clone(), sql.to_owned());
            std::thread::spawn(move || {
                let mut results = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    results.push(Query::run(&client, &sql));
                    done.fetch_add(1, Ordering::Relaxed);
                }
                results
            })
        };
        let threads = (0..clients).map(one).collect();
        Self { stop, done, threads }
    }

    /// How many queries ended so far, well or not.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until `count` more queries ended.
    pub(crate) fn more(&self, count: u64) {
        let goal = self.done() + count;
        super::eventually("the load goes on", || (self.done() >= goal).then_some(()));
    }

    /// Stops it; all queries, of which none may have failed.
    pub(crate) fn all_good(self) -> Vec<Query> {
        self.stop.store(true, Ordering::Relaxed);
        let results = self.threads.into_iter().flat_map(|thread| thread.join().unwrap());
        let (good, bad): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
        let first = bad.first().and_then(|bad| bad.as_ref().err());
        assert!(bad.is_empty(), "{} of {} failed: {first:?}", bad.len(), good.len() + bad.len());
        good.into_iter().flatten().collect()
    }
}
