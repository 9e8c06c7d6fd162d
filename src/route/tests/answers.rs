//! What rules may ask beside headers, and what they may answer beside a group.

use std::collections::BTreeSet;
use std::sync::Arc;

use expect_test::{Expect, expect};

use super::*;
use crate::ids::ClusterName;
use crate::route::facts::{Statement, Unrecorded};
use crate::route::priority::Priority;
use crate::route::standing::{AllIdle, ClusterStanding, GroupStanding, Standings};
use crate::time::LocalTime;

/// What `route` with this body decides.
fn told(settings: &Rules, body: &str, facts: &Facts<'_>) -> Decision {
    let script = format!("function route(request)\n{body}\nend");
    let rules = RuleSet::compile(script.as_bytes(), settings, &groups());
    decide(&Arc::new(rules.unwrap_or_else(|error| panic!("{error}"))), facts)
}

/// The reason that the body gives: what it saw.
fn check_reason(body: &str, facts: &Facts<'_>, expected: Expect) {
    let decision = told(&settings(), body, facts);
    assert_eq!(decision.error, None, "{body}");
    expected.assert_eq(&decision.reason.unwrap_or_default());
}

/// What goes wrong for a request that no probe is like: else such rules would not come into force.
fn check_error(body: &str, expected: Expect) {
    let lines = headers(&[("X-Trino-Source", "a")]);
    let body = format!("if request.source ~= 'a' then return nil end {body}");
    expected.assert_eq(&shown(&told(&settings(), &body, &Facts::plain(&lines))));
}

#[test]
fn facts_beside_headers() {
    let lines = headers(&[
        ("X-Trino-User", "ana"),
        ("X-Trino-Session", "a=1,b=x%2Cy"),
        ("X-Trino-Role", "hive=ROLE%7Badmin%7D"),
        ("X-Trino-Time-Zone", "Europe/Berlin"),
        ("X-Trino-Resource-Estimate", "PEAK_MEMORY=5GB"),
    ]);
    let facts = Facts {
        listener: "tls",
        local_time: Some(LocalTime { hour: 23, weekday: 7 }),
        ..Facts::plain(&lines)
    };
    check_reason(
        "if not request.session.b then return nil end
        return { reason = table.concat({
            request.user_source, request.session.b, request.roles.hive, request.time_zone,
            request.resource_estimates.PEAK_MEMORY, request.listener, tostring(request.hour),
            tostring(request.weekday), tostring(request.trace_token), tostring(request.session.c),
            default_group }, ' | ') }",
        &facts,
        expect!["header | x,y | ROLE{admin} | Europe/Berlin | 5GB | tls | 23 | 7 | nil | nil | bi"],
    );
}

#[test]
fn what_a_statement_is_and_touches() {
    let lines = headers(&[("X-Trino-Catalog", "hive"), ("X-Trino-Schema", "web")]);
    let text = "INSERT INTO hits SELECT * FROM iceberg.raw.log";
    let statement = Statement { text: text.into(), ..Statement::default() };
    let facts = Facts { statement, ..Facts::plain(&lines) };
    check_reason(
        "local q = request.query
        if not q.kind then return nil end
        return { reason = table.concat({
            q.kind, q.type, table.concat(q.tables, ','), table.concat(q.schemas, ','),
            table.concat(q.catalogs, ','), tostring(q.is_read_only), tostring(q.is_metadata),
            tostring(q.parse_error), tostring(#q.digest), tostring(#q.text) }, ' | ') }",
        &facts,
        expect![
            "INSERT | Insert | hive.web.hits,iceberg.raw.log | hive.web,iceberg.raw | hive,iceberg | false | false | nil | 16 | 46"
        ],
    );
    check_error(
        "return request.query.table",
        expect![
            "bi | runtime: line 2: request.query has no `table`, known: catalogs, digest, is_metadata, is_read_only, kind, parse_error, schemas, tables, text, type"
        ],
    );
}

#[test]
fn what_nobody_recorded_is_absent_and_noted() {
    let lines = headers(&[("X-Trino-User", "ana")]);
    let known = BTreeSet::from(["x-trino-user".to_owned()]);
    let unrecorded = Arc::new(Unrecorded::beside(known, false));
    let statement = Statement { text: "EXECUTE p".into(), is_cut: true, analysis: None };
    let facts = Facts { statement, unrecorded: Some(unrecorded.clone()), ..Facts::plain(&lines) };
    check_reason(
        "return { reason = table.concat({
            request.user, tostring(request.source), tostring(request.session.a),
            tostring(request.path), tostring(request.listener), tostring(request.remote_addr),
            type(request.hour), tostring(request.query.kind),
            tostring(request:header('X-\\n')) }, ' | ') }",
        &facts,
        expect!["ana | nil | nil | nil | nil | nil | number | nil | nil"],
    );
    let asked: Vec<_> = unrecorded.asked().into_iter().collect();
    expect![[r#"
        prepared statements
        the address of the client
        the header x-?
        the header x-trino-catalog
        the header x-trino-schema
        the header x-trino-session
        the header x-trino-source
        the listener
        the path
        the rest of a long statement
        the time zone of the gateway"#]]
    .assert_eq(&asked.join("\n"));
}

#[test]
fn the_time_to_read_a_statement_is_not_the_rules() {
    let lines = headers(&[]);
    let list = vec!["'some literal'"; 60_000].join(",");
    let text = format!("SELECT 1 FROM a.b.c WHERE x IN ({list})");
    let statement = Statement { text: text.into(), ..Statement::default() };
    let facts = Facts { statement, ..Facts::plain(&lines) };
    let body =
        "local n = 0 for i = 1, 1000 do n += i end return { reason = request.query.tables[1] }";
    check_reason(body, &facts, expect!["a.b.c"]);
}

#[derive(Debug)]
struct Busy;

impl Standings for Busy {
    fn group_standing(&self, name: &GroupName) -> Option<GroupStanding> {
        let idle = AllIdle.group_standing(name)?;
        Some(GroupStanding { ready: 0, has_room: false, queued: 7, running: 9, load: 16, ..idle })
    }

    fn cluster_standing(&self, name: &ClusterName) -> Option<ClusterStanding> {
        let idle = AllIdle.cluster_standing(name)?;
        (name.as_str() == "bi-blue").then(|| ClusterStanding { group: "bi".to_owned(), ..idle })
    }

    fn cluster_names(&self) -> Vec<ClusterName> {
        vec![ClusterName::parse("bi-blue").unwrap()]
    }
}

#[test]
fn how_groups_and_clusters_stand() {
    let lines = headers(&[]);
    let facts = Facts { standings: Arc::new(Busy), ..Facts::plain(&lines) };
    check_reason(
        "local bi, blue = group.bi, { group = '', ready = true, load = 0 }
        if bi.ready == 0 then blue = cluster['bi-blue'] end
        return { reason = table.concat({
            tostring(bi.ready), tostring(bi.has_room), tostring(bi.queued), tostring(bi.running),
            tostring(bi.load), tostring(bi.clusters), blue.group, tostring(blue.ready),
            tostring(blue.load) }, ' ') }",
        &facts,
        expect!["0 false 7 9 16 1 bi true 0"],
    );
    check_error(
        "return group.olpa.ready > 0 and 'bi'",
        expect!["bi | runtime: line 2: no group is named `olpa`, known: `bi`, `olap`"],
    );
    check_error(
        "return group.bi.redy",
        expect![
            "bi | runtime: line 2: a group has no `redy`, known: clusters, has_room, load, queued, ready, running"
        ],
    );
    let decision = told(
        &settings(),
        "return request.source and cluster['bi-bule'].ready and 'bi'",
        &Facts { standings: Arc::new(Busy), ..Facts::plain(&headers(&[("X-Trino-Source", "a")])) },
    );
    expect!["bi | runtime: line 2: no cluster is named `bi-bule`, known: `bi-blue`"]
        .assert_eq(&shown(&decision));
}

#[test]
fn answers_beside_a_group() {
    let lines = headers(&[]);
    let answer = |body: &str| {
        let decision = told(&settings(), body, &Facts::plain(&lines));
        assert_eq!(decision.error, None, "{body}");
        decision
    };
    let decision = answer("return { groups = { 'olap', 'bi', 'olap' } }");
    assert_eq!(decision.group.as_str(), "olap");
    assert_eq!(decision.others, [group("bi")]);
    let decision = answer("return { cluster = 'bi-blue' }");
    assert_eq!(decision.cluster, Some(ClusterName::parse("bi-blue").unwrap()));
    assert_eq!(answer("return { reject = 'no' }").reject.as_deref(), Some("no"));
    for (body, priority) in [
        ("return { priority = 1 }", Some(1)),
        ("return { priority = 200 / 2 }", Some(100)),
        ("return { group = 'bi' }", None),
    ] {
        assert_eq!(answer(body).priority.map(Priority::number), priority, "{body}");
    }
    let decision = answer(
        "return { set_headers = { ['X-A'] = 1 }, remove_headers = { 'X-B' }, set_source = 's',
            add_client_tags = { 'a' }, set_session = { x = true } }",
    );
    let changes = decision.changes;
    assert_eq!(changes.set[0].1, "1");
    assert_eq!((changes.tags, changes.remove[0].as_str()), (vec!["a".to_owned()], "x-b"));
    assert_eq!(changes.session, [("x".to_owned(), "true".to_owned())]);
    let source = answer("return { set_source = ('s'):rep(4096) }").changes.source;
    assert_eq!(source.map(|source| source.len()), Some(4096));
}

#[test]
fn what_is_no_answer() {
    for (answer, expected) in [
        ("{ group = 'bi', cluster = 'x' }", "the answer has `cluster` and `group`"),
        ("{ groups = {} }", "`groups` of the answer is not a list of 1 to 32 groups"),
        ("{ groups = { a = 'bi' } }", "`groups` of the answer is not a list of 1 to 32 groups"),
        ("{ groups = 'bi' }", "`groups` of the answer is not a list of 1 to 32 groups"),
        ("{ groups = { 'bi', 'x' } }", "no group is named `x`, known: `bi`, `olap`"),
        ("{ cluster = 'a b' }", "no cluster is named `a b`"),
        ("{ reject = '' }", "`reject` of the answer is no text of 1 to 512 bytes"),
        ("{ set_source = ('x'):rep(5000) }", "`set_source` has a value that is not one line"),
        ("{ set_source = 'caf\\xe9' }", "`set_source` is a string that is not UTF-8, expected a"),
        ("{ set_headers = { ['X-Trino-User'] = 'x' } }", "rules may not change the header"),
        ("{ set_headers = { ['X-A'] = {} } }", "`set_headers` has a table in it"),
        ("{ set_headers = { ['X-A'] = '\\xff' } }", "`set_headers` has a string that is not UTF-8"),
        (
            "{ set_session = { x = ('y'):rep(4097) } }",
            "the session property `x` has a name or value",
        ),
        ("{ set_session = { [('x'):rep(4097)] = 'y' } }", "the session property `xxxx"),
        ("{ set_headers = { [('x'):rep(4097)] = 'y' } }", "`xxxxxxxx"),
        ("{ remove_headers = { ('x'):rep(5000) } }", "`xxxxxxxx"),
        ("{ add_client_tags = { 'a,b' } }", "`a,b` is no client tag"),
        ("{ priority = 0 }", "`priority` of the answer is 0, expected a whole number from 1"),
        ("{ priority = 101 }", "`priority` of the answer is 101, expected a whole number"),
        ("{ priority = 1.5 }", "`priority` of the answer is a number, expected a whole number"),
        ("{ priority = 0 / 0 }", "`priority` of the answer is a number, expected a whole number"),
        ("{ priority = 1e300 }", "`priority` of the answer is a number, expected a whole number"),
        ("{ priority = 'high' }", "`priority` of the answer is a string, expected a whole number"),
        ("{ priority = {} }", "`priority` of the answer is a table, expected a whole number"),
        ("{ urgency = 1 }", "the answer has an unknown field `urgency`"),
    ] {
        let lines = headers(&[("X-Trino-Source", "a")]);
        // Not for a request of the probes: such rules would not come into force.
        let body = format!("return request.source == 'a' and {answer} or nil");
        let decision = told(&settings(), &body, &Facts::plain(&lines));
        let failure = decision.error.unwrap_or_else(|| panic!("{answer} is no answer")).message;
        assert!(failure.starts_with(expected), "{answer}: {failure}");
        assert_eq!(Decision::of(group("bi")), Decision { error: None, ..told_nothing(&body) });
    }
}

/// What the same rules decide about a request that does not meet the wrong answer.
fn told_nothing(body: &str) -> Decision {
    told(&settings(), body, &Facts::plain(&headers(&[])))
}

#[test]
fn a_failure_refuses_the_query_if_the_settings_say_so() {
    let strict = Rules { on_error: OnError::Reject, ..settings() };
    let lines = headers(&[("X-Trino-Source", "a")]);
    let decision =
        told(&strict, "return request.source and error('x') or nil", &Facts::plain(&lines));
    expect!["the routing rules failed for this query (runtime); ask the operators of the gateway"]
        .assert_eq(&decision.reject.unwrap_or_default());
    assert!(decision.error.is_some());
}
