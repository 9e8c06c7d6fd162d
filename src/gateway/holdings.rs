//! What is open at clusters beside queries, by the word of all gateways: each says through the store
//! what it knows. No request waits for any of this.

use std::time::Duration;

use super::Gateway;
use crate::ids::ClusterName;
use crate::sticky::holdings::{self, Holdings, Told};
use crate::sticky::unfinished::Lifetimes;
use crate::store::StoreError;
use crate::store::holdings::{HoldingsRow, HoldingsWord};
use crate::time;

/// How long others are waited for who have not said yet what they know now; more than it takes them.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two looks at what they said.
const LOOK: Duration = Duration::from_millis(100);

/// What was said longer ago than the longest lifetime and this counts no more.
const KEPT: Duration = Duration::from_secs(60);

/// What is open at a cluster beside queries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    /// Open transactions.
    pub transactions: u32,
    /// Segments that nobody acknowledged.
    pub segments: u32,
    /// Processes of other gateways that have not said what they know.
    pub untold: u32,
}

impl Gateway {
    /// How long what is open is waited for.
    pub fn lifetimes(&self) -> Lifetimes {
        let timeouts = &self.registry.fleet().config.timeouts;
        Lifetimes { transaction: timeouts.transaction, segment: timeouts.segment }
    }

    /// What all other processes said last.
    pub async fn told_by_others(&self) -> Result<Vec<Told>, StoreError> {
        let rows = self.store.holdings().await?.into_iter();
        let others =
            rows.filter(|row| (&row.word.gateway, row.word.process) != (&self.name, self.process));
        others.map(|row| self.read(row)).collect()
    }

    fn read(&self, HoldingsRow { word, age }: HoldingsRow) -> Result<Told, StoreError> {
        let HoldingsWord { gateway, process, document } = word;
        let holdings = serde_json::from_str(&document).map_err(|error| StoreError::Unusable {
            store: self.store.place().to_owned(),
            what: format!("what the gateway '{gateway}' holds open: {error}"),
        })?;
        Ok(Told { gateway, process, age, holdings })
    }

    /// Says what this process knows to be open.
    pub async fn tell(&self, holdings: &Holdings) -> Result<(), StoreError> {
        let document = serde_json::to_string(holdings).unwrap_or_default();
        let word = HoldingsWord { gateway: self.name.clone(), process: self.process, document };
        let lifetimes = self.lifetimes();
        let forget = lifetimes.transaction.max(lifetimes.segment) + KEPT;
        self.store.tell_holdings(word, forget).await
    }

    /// Says that this process ends, and what it leaves open.
    pub async fn tell_end(&self) -> Result<(), StoreError> {
        let holdings = self.sticky.unfinished.holdings(time::now(), self.lifetimes(), &[]);
        self.tell(&Holdings { over: true, ..holdings }).await
    }

    /// What is open at `cluster`. With `settled`, others are waited for until they have said what they
    /// know since this call.
    pub async fn open_beside(
        &self,
        cluster: &ClusterName,
        settled: bool,
    ) -> Result<Beside, StoreError> {
        let began = time::now();
        loop {
            let waited = began.elapsed();
            let others = self.told_by_others().await?;
            let untold = holdings::untold(&others, (&self.name, self.process), waited);
            if settled && untold > 0 && waited < PATIENCE {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let unfinished = &self.sticky.unfinished;
            let own = unfinished.open(cluster.as_str(), time::now(), self.lifetimes());
            let has_ended = |held: &_| unfinished.has_ended(held);
            let (transactions, segments) =
                holdings::count(cluster.as_str(), own, &others, has_ended);
            let untold = if settled { u32::try_from(untold).unwrap_or(u32::MAX) } else { 0 };
            return Ok(Beside { transactions, segments, untold });
        }
    }
}
