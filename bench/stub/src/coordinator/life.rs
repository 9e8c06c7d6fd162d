//! The lives of queries: submitted, admitted, ended, and what happens by itself.

use std::time::Duration;

use super::query::Life;
use super::{Coordinator, ENDED_AGE, ENDED_KEPT, HISTORY_MAX, Moment};
use crate::names;
use crate::plan::{Failure, Statement};
use crate::record::CountsAt;

impl Coordinator {
    /// What the first GET does: the query is submitted to its resource group.
    pub(super) fn execute(&mut self, id: &str, moment: Moment<'_>) {
        self.counts.registered -= 1;
        self.counts.queued += 1;
        self.counters.executed += 1;
        let Some(query) = self.queries.get_mut(id) else { return };
        query.life = Life::Queued;
        let (statement, transaction) =
            (query.plan.statement.clone(), query.posted.transaction.clone());
        let mut told = Vec::new();
        let refused = if moment.behaviour.starting {
            Some(Failure::new("SERVER_STARTING_UP", "Trino server is still initializing"))
        } else if let Some(name) = &moment.behaviour.statements_fail {
            Some(Failure::new(name, &format!("stub: statements fail with {name}")))
        } else if self.waiting.len() >= moment.behaviour.max_queued
            && self.counts.running >= moment.behaviour.max_running
        {
            Some(Failure::new("QUERY_QUEUE_FULL", "Too many queued queries for \"global\""))
        } else {
            self.enact(&statement, transaction, &mut told, moment).err()
        };
        if let Some(query) = self.queries.get_mut(id) {
            query.told = told;
        }
        match refused {
            Some(failure) => self.end(id, Some(failure), moment),
            None => {
                self.waiting.push_back(id.to_owned());
                self.note(moment.now);
                self.admit(moment);
            }
        }
    }

    /// The effect of a statement on the coordinator itself.
    fn enact(
        &mut self,
        statement: &Statement,
        transaction: Option<String>,
        told: &mut Vec<(&'static str, String)>,
        moment: Moment<'_>,
    ) -> Result<(), Failure> {
        if let Some(id) = &transaction
            && !self.transactions.contains(id)
        {
            let text = format!("Unknown transaction ID: {id}. Possibly expired?");
            return Err(Failure::new("UNKNOWN_TRANSACTION", &text));
        }
        match statement {
            Statement::Session(lines) => told.extend(lines.iter().cloned()),
            Statement::Begin => {
                self.begun += 1;
                let mixed = names::mix(self.secret ^ names::mix(self.begun) ^ 0x7a);
                let id =
                    format!("{:08x}-0000-4000-8000-{:012x}", mixed >> 32, mixed & 0xffff_ffff_ffff);
                self.transactions.insert(id.clone());
                told.push(("X-Trino-Started-Transaction-Id", id));
            }
            Statement::End => {
                if let Some(id) = &transaction {
                    self.transactions.remove(id);
                }
                told.push(("X-Trino-Clear-Transaction-Id", "true".to_owned()));
            }
            Statement::Kill(id) => {
                if !self.kill(id, moment) {
                    return Err(Failure::new(
                        "NOT_FOUND",
                        &format!("Target query not found: {id}"),
                    ));
                }
            }
            Statement::Rows | Statement::One | Statement::Workers | Statement::Queries(_) => {}
        }
        Ok(())
    }

    /// Ends a query that an administrator does not want; tells whether it was alive.
    pub(crate) fn kill(&mut self, id: &str, moment: Moment<'_>) -> bool {
        let failure = Failure::new("ADMINISTRATIVELY_KILLED", "Query killed.");
        self.end_alive(id, failure, moment)
    }

    /// Ends a query that its client does not want; tells whether it was alive.
    pub(crate) fn cancel(&mut self, id: &str, moment: Moment<'_>) -> bool {
        self.end_alive(id, Failure::new("USER_CANCELED", "Query was canceled"), moment)
    }

    fn end_alive(&mut self, id: &str, failure: Failure, moment: Moment<'_>) -> bool {
        self.advance(moment);
        let alive =
            self.queries.get(id).is_some_and(|query| !matches!(query.life, Life::Ended { .. }));
        if alive {
            self.end(id, Some(failure), moment);
        }
        alive
    }

    pub(super) fn end(&mut self, id: &str, failure: Option<Failure>, moment: Moment<'_>) {
        let Some(query) = self.queries.get_mut(id) else { return };
        let at = moment.now;
        match &query.life {
            Life::Registered => self.counts.registered -= 1,
            Life::Queued => {
                self.counts.queued -= 1;
                self.waiting.retain(|waiting| waiting != id);
            }
            Life::Running { .. } => self.counts.running -= 1,
            Life::Ended { .. } => return,
        }
        self.counters.ended(failure.as_ref().map(|failure| failure.name.as_str()));
        query.life = Life::Ended { at, failure };
        query.bell.notify_waiters();
        self.ended.push_back((at, id.to_owned()));
        self.note(at);
        self.admit(moment);
    }

    fn admit(&mut self, moment: Moment<'_>) {
        while self.counts.running < moment.behaviour.max_running {
            let Some(id) = self.waiting.pop_front() else { return };
            let Some(query) = self.queries.get_mut(&id) else { continue };
            query.life = Life::Running { since: moment.now };
            query.bell.notify_waiters();
            self.counts.queued -= 1;
            self.counts.running += 1;
            let fails = query.plan.fail.is_some();
            self.note(moment.now);
            if fails {
                self.wake(&id, moment);
            }
        }
    }

    /// Lets happen what happens by itself up to now.
    pub(crate) fn advance(&mut self, moment: Moment<'_>) {
        while let Some((at, _)) = self.wakeups.first()
            && *at <= moment.now
            && let Some((at, id)) = self.wakeups.pop_first()
        {
            self.happen(&id, Moment { now: at, ..moment });
        }
        self.admit(moment);
        while let Some((at, id)) = self.ended.front()
            && self.ended.len() > ENDED_KEPT
            && *at + ENDED_AGE < moment.now
        {
            self.queries.remove(id);
            self.ended.pop_front();
        }
    }

    fn happen(&mut self, id: &str, moment: Moment<'_>) {
        let timeout = Duration::from_secs(moment.behaviour.client_timeout_seconds);
        let Some(query) = self.queries.get(id) else { return };
        let abandoned = query.touched + timeout <= moment.now;
        match &query.life {
            Life::Ended { .. } => {}
            Life::Registered if abandoned => {
                self.queries.remove(id);
                self.counts.registered -= 1;
                self.counters.dropped += 1;
                self.note(moment.now);
            }
            Life::Running { since }
                if query.plan.fail.is_some() && *since + query.plan.run <= moment.now =>
            {
                let failure = query.plan.fail.clone();
                self.end(id, failure, moment);
            }
            Life::Queued | Life::Running { .. } if abandoned => {
                let text = format!("Query {id} has not been accessed since the client timeout");
                self.end(id, Some(Failure::new("ABANDONED_QUERY", &text)), moment);
            }
            Life::Registered | Life::Queued | Life::Running { .. } => self.wake(id, moment),
        }
    }

    /// Makes all live queries follow a changed client timeout.
    pub(crate) fn rewake(&mut self, moment: Moment<'_>) {
        let ids: Vec<String> = self.queries.keys().cloned().collect();
        for id in ids {
            self.wake(&id, moment);
        }
    }

    pub(super) fn wake(&mut self, id: &str, moment: Moment<'_>) {
        let timeout = Duration::from_secs(moment.behaviour.client_timeout_seconds);
        if let Some(due) = self.queries.get(id).and_then(|query| query.due(timeout)) {
            self.wakeups.insert((due.max(moment.now), id.to_owned()));
        }
    }

    pub(super) fn note(&mut self, at: Duration) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(CountsAt { at, counts: self.counts });
    }
}
