//! The active cluster of a group is killed, and with it a zone is lost: what new queries of real
//! clients meet with a standby that takes over, with another zone, and with neither.

use std::time::Duration;

use futures::future::join_all;
use warren::time;

use crate::support::clients::{Client, Outcome};
use crate::support::coordinator;
use crate::support::gateway::{self, Extra, Gateway};
use crate::support::own::Coordinator;
use crate::support::surroundings::{blue, green};

const CLIENTS: [Client; 4] = [Client::Cli, Client::Jdbc, Client::Dbapi, Client::Go];

const NATIONS: &str = "SELECT name FROM tpch.tiny.nation";

/// What a group says that has no standby to take over.
const CLOSED: &str = "bi is closed, ask in the channel of the platform";

/// Within this time new queries must run on the standby.
const TAKEN_OVER: Duration = Duration::from_secs(5);

fn extra(group: &str) -> Extra {
    Extra { group: group.to_owned(), booting: true, ..Extra::default() }
}

/// One zone has the cluster that will fall, the other one both that stay.
async fn zones(falls: &str) -> Gateway {
    let stays = [("blue", blue()), ("green", green())]
        .map(|(name, address)| gateway::cluster(name, "bi", &address) + "zone = \"b\"\n");
    let extra = Extra { cluster: "zone = \"a\"\n".into(), sections: stays.concat(), ..extra("") };
    Gateway::start_with_extra(&[("falls", falls)], &extra).await
}

/// Five queries of each client, at once; how they ended.
async fn outcomes(gateway: &Gateway, source: &str) -> Vec<Outcome> {
    let all = CLIENTS.map(|client| async move {
        match client {
            Client::Cli => vec![client.outcome(gateway.client(), source, NATIONS).await],
            _ => client.many(gateway.client(), source, 5, NATIONS).await,
        }
    });
    join_all(all).await.concat()
}

async fn ran(address: &str, source: &str) -> usize {
    coordinator::queries_of(address, source).await.len()
}

#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
#[tokio::test(flavor = "multi_thread")]
async fn the_active_cluster_falls_and_new_queries_do_not() {
    let active = Coordinator::start("active", &[]);
    let stays = blue();
    let pair = [("falls", active.address()), ("blue", &*stays)];
    let takes_over = extra("mode = \"active-standby\"\nauto_failover = true\n");
    let takes_over = Gateway::start_with_extra(&pair, &takes_over).await;
    let closes = extra(&format!("mode = \"active-standby\"\nreject = \"{CLOSED}\"\n"));
    let closes = Gateway::start_with_extra(&pair, &closes).await;
    let zones = zones(active.address()).await;
    for gateway in [&takes_over, &closes] {
        gateway.set_intent("blue", "standby").await;
    }
    let before = outcomes(&takes_over, "standby-before").await;
    assert!(before.iter().all(|outcome| *outcome == Outcome::Rows(25)), "{before:?}");
    assert_eq!(ran(active.address(), "standby-before").await, before.len());

    drop(active);
    let began = time::now();
    let first = Client::Dbapi.many(takes_over.client(), "standby-first", 1, NATIONS).await;
    let took = began.elapsed();
    assert_eq!(first, [Outcome::Rows(25)]);
    assert!(took < TAKEN_OVER, "{took:?}");
    let after = outcomes(&takes_over, "standby-after").await;
    assert!(after.iter().all(|outcome| *outcome == Outcome::Rows(25)), "{after:?}");
    assert_eq!(ran(&stays, "standby-after").await, after.len());
    takes_over.until("blue", "intent", "active").await;

    let elsewhere = outcomes(&zones, "zone-after").await;
    assert!(elsewhere.iter().all(|outcome| *outcome == Outcome::Rows(25)), "{elsewhere:?}");

    closes.until("falls", "health", "unhealthy").await;
    for outcome in outcomes(&closes, "closed").await {
        assert!(matches!(&outcome, Outcome::Failed(why) if why.contains(CLOSED)), "{outcome:?}");
    }
    assert_eq!(closes.cluster("blue").await["intent"], "standby");
    println!(
        "after the fall: the first query on the standby in {took:.1?}, {} more and {} of another zone well",
        after.len(),
        elsewhere.len()
    );
}
