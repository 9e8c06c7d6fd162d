//! Requests about a held query. Its page waits here for a second, as Trino's would, and is told that
//! the query is QUEUED and where it stands. When its turn has come and a cluster can take it, the
//! statement is submitted, and the page is answered with what that cluster says first: a new id and a
//! new `nextUri`. The old id stays an alias.
//!
//! Nothing runs twice by this: Trino starts a query when its first page is asked for, and until the
//! client has heard of the new one nobody asks.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use pingora::http::RequestHeader;
use ring::digest;
use tokio::time::{sleep_until, timeout_at};

use crate::classify::RequestKind;
use crate::cluster::registry::Fleet;
use crate::cluster::wish::Open;
use crate::config::PublicUrl;
use crate::gateway::Gateway;
use crate::gateway::held::{Attendance, End, Going, Over, Turn, Who};
use crate::gateway::kept::Order;
use crate::gateway::peers::{Ask, Wish};
use crate::ids::QueryId;
use crate::listener::Client;
use crate::proxy::place::{ANSWER_MAX, Placing, Sent};
use crate::proxy::rescue::OwnAnswer;
use crate::proxy::statement::header_text;
use crate::proxy::submit::Outcome;
use crate::time::{self, Instant};
use crate::upstream::exchange::Bounds;

/// How long a page waits: as long as Trino's own.
const PAGE: Duration = Duration::from_secs(1);

/// How often one that may go looks for a cluster. What makes room there is told to nobody.
const LOOK: Duration = Duration::from_millis(100);

/// What comes of a request about a held query.
pub enum Reply {
    /// The client hears this.
    Answer(Outcome),
    /// The query became this one, and the request is about that.
    Became(QueryId),
}

/// A client's request, as far as it counts here. `None`: it is about no query.
pub fn ask_of(head: &RequestHeader, kind: &RequestKind, client: &Client) -> Option<Ask> {
    let (id, wish) = match kind {
        RequestKind::Page(id) => (id, Wish::Page),
        RequestKind::Cancel(id) => (id, Wish::Cancel),
        RequestKind::Query(id) => (id, Wish::Look),
        _ => return None,
    };
    Some(Ask {
        id: id.clone(),
        wish,
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        origin: client.origin.to_string(),
        user: user(&head.headers, client),
    })
}

/// By what a user is known here: the name that it gives, else a hash of its credentials, else its
/// address. Shown to nobody.
pub fn user(headers: &HeaderMap, client: &Client) -> String {
    if let Some(name) = header_text(headers, "x-trino-user") {
        return name;
    }
    match headers.get(http::header::AUTHORIZATION) {
        Some(credentials) => {
            let hash = digest::digest(&digest::SHA256, credentials.as_bytes());
            hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        }
        None => client.address.to_string(),
    }
}

/// Answers a request about a query that this process gave its id.
pub async fn reply(gateway: &Gateway, ask: &Ask) -> Reply {
    let id = &ask.id;
    match (ask.wish, page_of(&ask.path)) {
        (Wish::Page, Some((slug, token))) => match gateway.held.attend(id, slug) {
            Some(attendance) => {
                let page = Page { gateway, ask, id, token };
                Reply::Answer(page.answer(attendance).await)
            }
            None => Reply::Answer(Outcome::Own(OwnAnswer::unknown_query(404, id))),
        },
        (Wish::Page, None) => Reply::Answer(Outcome::Own(OwnAnswer::unknown_query(404, id))),
        (Wish::Cancel, Some((slug, _))) => cancel(gateway, id, Who::Slug(slug)).await,
        (Wish::Cancel, None) => cancel(gateway, id, Who::User(&ask.user)).await,
        (Wish::Look, _) => show(gateway, id, ask),
    }
}

/// The slug and the token in the path of a page: its last two segments, behind the id.
fn page_of(path: &str) -> Option<(&str, u64)> {
    let mut segments = path.rsplit('/');
    let (token, slug, id) = (segments.next()?, segments.next()?, segments.next()?);
    QueryId::parse(id).ok()?;
    Some((slug, token.parse().ok()?))
}

/// Cancelled while it is being submitted, it is cancelled where it went.
async fn cancel(gateway: &Gateway, id: &QueryId, who: Who<'_>) -> Reply {
    let timeouts = &gateway.registry.fleet().config.timeouts;
    let deadline = time::now() + timeouts.connect + timeouts.answer;
    loop {
        let unknown = || Outcome::Own(OwnAnswer::unknown_query(404, id));
        match gateway.held.cancel(id, who) {
            Some(Turn::Over(Over::Answered { query: Some(query), .. })) => {
                return Reply::Became(query.id().clone());
            }
            Some(Turn::Over(_)) => return Reply::Answer(Outcome::Own(OwnAnswer::cancelled())),
            Some(Turn::Going) if time::now() < deadline => tokio::time::sleep(LOOK / 10).await,
            Some(Turn::Going) => return Reply::Answer(Outcome::Own(OwnAnswer::owner_away(id))),
            Some(Turn::Wait { .. } | Turn::Go(_) | Turn::Unknown) | None => {
                return Reply::Answer(unknown());
            }
        }
    }
}

/// What `/v1/query/{id}` and the page behind `infoUri` say.
fn show(gateway: &Gateway, id: &QueryId, ask: &Ask) -> Reply {
    let answer = match gateway.held.look(id) {
        Turn::Over(Over::Answered { query: Some(query), .. }) => {
            return Reply::Became(query.id().clone());
        }
        _ if !matches!(ask.method.as_str(), "GET" | "HEAD") => OwnAnswer::owner_away(id),
        Turn::Wait { ticket, .. } => {
            OwnAnswer::held_query(&ticket, &ask.origin, ask.path.starts_with("/v1/"))
        }
        Turn::Going | Turn::Go(_) => OwnAnswer::owner_away(id),
        Turn::Over(_) | Turn::Unknown => OwnAnswer::unknown_query(410, id),
    };
    Reply::Answer(Outcome::Own(answer))
}

struct Page<'a> {
    gateway: &'a Gateway,
    ask: &'a Ask,
    id: &'a QueryId,
    token: u64,
}

impl Page<'_> {
    async fn answer(&self, mut attendance: Attendance<'_>) -> Outcome {
        // A sign of life by HEAD wants no news.
        let patience = if self.ask.method == "GET" { PAGE } else { Duration::ZERO };
        let end = time::now() + patience;
        let limit = self.gateway.registry.fleet().config.limits.held;
        // Without room to wait it is answered at once, which is right at any time.
        let waits = self.gateway.metrics.waiting.hold("held", limit);
        let end = if waits.is_some() { end } else { time::now() };
        let mut changes = self.gateway.registry.changes();
        loop {
            changes.mark_unchanged();
            let fleet = self.gateway.registry.fleet();
            let choose = |order: &Order, open: &Open| {
                self.gateway.choose_open(&fleet, &order.wish, open, &[])
            };
            let look = match attendance.turn(choose) {
                Turn::Over(over) => return self.over(over),
                Turn::Unknown => return Outcome::Own(OwnAnswer::unknown_query(404, self.id)),
                Turn::Go(going) => {
                    if let Some(answer) = self.hand_over(&fleet, going).await {
                        return answer;
                    }
                    continue;
                }
                Turn::Wait { ticket, .. } if time::now() >= end => {
                    let origin = self.ask.origin.to_string();
                    return Outcome::Own(OwnAnswer::held(
                        &ticket,
                        &origin,
                        self.token.saturating_add(1),
                    ));
                }
                Turn::Wait { open, .. } if open.is_none() => end,
                Turn::Wait { .. } => end.min(time::now() + LOOK),
                // Its answer is the answer here, however long that takes.
                Turn::Going => time::now() + PAGE,
            };
            wait(&mut attendance, &mut changes, look).await;
        }
    }

    /// Submits the statement. `None`: the cluster could not take it, and the query is held on.
    async fn hand_over(&self, fleet: &Arc<Fleet>, mut going: Going<'_>) -> Option<Outcome> {
        let reservation = going.reservation.take()?;
        let cluster = reservation.cluster().clone();
        // Its client may come by another address by now.
        let origin = PublicUrl::parse(&self.ask.origin);
        let origin = origin.unwrap_or_else(|| going.order.client.origin.clone());
        let client = Client { origin, ..going.order.client.clone() };
        let order = Arc::new(Order {
            client,
            held_id: Some(self.id.clone()),
            ..Order::clone(&going.order)
        });
        let placing = Placing { gateway: self.gateway, fleet, order: &order, whole: true };
        let bounds = Bounds { answer: fleet.config.timeouts.answer, body: ANSWER_MAX };
        let answer = match placing.send(&cluster, bounds).await {
            Sent::Answer(answer) => answer,
            Sent::Unsent(_) => return None,
            Sent::Failed(_) | Sent::Silent(_) => {
                going.failed();
                return None;
            }
        };
        let placed = placing.accepted(reservation, answer).ok()?;
        going.answered(placed.header.clone(), placed.body.clone(), placed.query);
        Some(Outcome::Answered(Box::new(placed.header), placed.body))
    }

    fn over(&self, over: Over) -> Outcome {
        let origin = &self.ask.origin;
        let fleet = self.gateway.registry.fleet();
        match over {
            Over::Answered { header, body, .. } => Outcome::Answered(header, body),
            Over::Ended(End::Cancelled) => Outcome::Own(OwnAnswer::held_cancelled(self.id, origin)),
            Over::Ended(End::Waited(group, waited)) => {
                let text = fleet.group(&group).and_then(|group| group.settings.reject.clone());
                let text = text.unwrap_or_else(|| {
                    format!(
                        "no cluster of the routing group '{group}' could take the query within \
                         {waited:.0?}; it never ran, submit it again later"
                    )
                });
                Outcome::Own(OwnAnswer::query_error(self.id, origin, &text))
            }
            Over::Ended(End::Abandoned) => Outcome::Own(OwnAnswer::query_error(
                self.id,
                origin,
                "the query was held, and nobody asked for it for too long; it never ran, submit \
                 it again",
            )),
        }
    }
}

/// Waits until something may have changed, at most until `end`.
async fn wait(
    attendance: &mut Attendance<'_>,
    changes: &mut tokio::sync::watch::Receiver<u64>,
    end: Instant,
) {
    tokio::select! {
        () = attendance.changed() => {}
        // Without a registry there are no changes, and the time ends the wait.
        _ = timeout_at(end, changes.changed()) => {}
        () = sleep_until(end) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slug_and_the_token_stand_at_the_end_of_the_path() {
        let id = "20260416_160256_000000017_a9ah9";
        for (path, found) in [
            (format!("/v1/statement/queued/{id}/yab/3"), Some(("yab", 3))),
            (format!("/custom/statement/executing/{id}/yab/0"), Some(("yab", 0))),
            (format!("/v1/statement/queued/{id}/yab/x"), None),
            (format!("/v1/query/{id}"), None),
            (String::new(), None),
        ] {
            assert_eq!(page_of(&path), found, "{path}");
        }
    }
}
