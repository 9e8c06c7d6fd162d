//! What rules answer beside a group, as Trino and its clients see it.

use crate::support::clients::Client;
use crate::support::coordinator;
use crate::support::gateway::{Extra, Gateway};
use crate::support::surroundings::{blue, green};

const RULES: &str = "local query = request.query
  if query.kind == 'DELETE' and query.tables[1] == 'tpch.tiny.nation' then
    return { reject = 'nations are not deleted here', rule = 'nations' }
  end
  return {
    cluster = 'green',
    set_session = { query_max_run_time = '9m', join_distribution_type = 'PARTITIONED' },
    set_source = 'by-rule-' .. (request.source or ''),
  }";

const SESSION: &str = "SHOW SESSION LIKE 'query_max_run_time'";

#[tokio::test(flavor = "multi_thread")]
async fn each_client_lives_with_what_the_rules_change_and_refuse() {
    let extra = Extra { rules: Some(RULES.to_owned()), ..Extra::default() };
    let gateway =
        Gateway::start_with_extra(&[("blue", &blue()), ("green", &green())], &extra).await;
    for client in Client::ALL {
        let told = client.rows(gateway.client(), SESSION).await;
        assert!(told.contains("query_max_run_time\t9m\t"), "{client:?}: {told}");
    }
    // Each of them says it is `real-rows`, and all were on one cluster.
    let seen = coordinator::queries_of(&green(), "by-rule-real-rows").await;
    assert!(seen.len() >= Client::ALL.len(), "{seen:?}");
    assert_eq!(coordinator::queries_of(&blue(), "by-rule-real-rows").await, []);
    // JavaScript's own iterator passes over an error in the first answer.
    for client in Client::PATIENT {
        let delete = "DELETE FROM tpch.tiny.nation WHERE nationkey = 1";
        let told = client.rows(gateway.client(), delete).await;
        assert!(told.contains("nations are not deleted here"), "{client:?}: {told}");
        if client != Client::Cli {
            assert!(told.starts_with("error 4 "), "{client:?}: {told}");
        }
    }
}
