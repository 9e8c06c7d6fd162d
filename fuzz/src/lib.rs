//! What is done with random input: one function for each target. The smoke run of the tests
//! (`tests/it/fuzz.rs`) calls the same ones.
//!
//! Each panics if a promise is broken. What clients send may be refused; it may not be misread.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use warren::config::{OnError, Rules};
use warren::ids::GroupName;
use warren::route::engine::decide;
use warren::route::facts::{Facts, Statement};
use warren::route::rules::RuleSet;
use warren::sql::{PREPARED_MAX, Prepared, Session, TABLES_MAX, analyse, analyse_bytes};

/// The most client tags that a rule sees.
const TAGS_MAX: usize = 1000;

/// Asks for all that a rule may ask.
const ALL: &str = r#"
local TEXTS = { "catalog", "client_info", "language", "listener", "method", "path", "remote_addr",
  "schema", "source", "time_zone", "trace_token", "user", "user_source" }
local TABLES = { "client_tags", "resource_estimates", "roles", "session" }
local LISTS = { "catalogs", "schemas", "tables" }

function route(request)
  for _, name in TEXTS do
    local value = request[name]
    assert(value == nil or type(value) == "string", name)
  end
  for _, name in TABLES do
    -- One that is too long is an error.
    local told, value = pcall(function() return request[name] end)
    assert(not told or value == nil or type(value) == "table", name)
  end
  assert((request.source == nil) == (request:header("X-TRINO-Source") == nil), "source")
  assert((request.user == nil) == (request.user_source == nil), "user")
  local query = request.query
  for _, name in LISTS do
    assert(type(query[name]) == "table", name)
  end
  assert(type(query.text) == "string" and type(query.digest) == "string", "text")
  assert(not query.is_read_only or query.kind ~= nil, "is_read_only")
  assert(query.parse_error == nil or type(query.parse_error) == "string", "parse_error")
  return { group = "bi", reason = "all is well" }
end
"#;

/// Tells how many client tags there are, and how long they are together.
const TAGS: &str = r#"
function route(request)
  local tags = request.client_tags
  if tags == nil then
    return { reason = "none" }
  end
  if #tags > 0 then
    assert(request:has_tag(tags[1]) and request:has_tag(tags[#tags]), "a tag is not there")
  end
  return { reason = #tags .. " of " .. #table.concat(tags) }
end
"#;

/// A rule set whose time is not limited: how long something takes is the fuzzer's to judge.
fn rules(script: &str) -> Arc<RuleSet> {
    let group = GroupName::parse("bi").expect("a group's name");
    let settings = Rules {
        file: PathBuf::from("route.lua"),
        default_group: group.clone(),
        routing_group_header: true,
        cpu: Duration::from_secs(3600),
        memory: 256 << 20,
        on_error: OnError::DefaultGroup,
        alarm_after: 10,
        http: None,
    };
    let rules = RuleSet::compile(script.as_bytes(), &settings, &[group]);
    Arc::new(rules.unwrap_or_else(|error| panic!("{error}")))
}

/// A head, lines of `name: value`, and behind an empty line a statement.
pub fn facts(data: &[u8]) {
    static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| rules(ALL));
    let end = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let (head, body) = data.split_at(end);
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            // It holds no more than some thousands.
            let _full = headers.try_append(name, value);
        }
    }
    let text = body.strip_prefix(b"\n\n").unwrap_or(body).to_vec().into();
    let statement = Statement { text, is_cut: data.len() % 2 == 1, analysis: None };
    let decision = decide(&RULES, &Facts { statement, ..Facts::plain(&headers) });
    if let Some(failure) = decision.error {
        panic!("{failure}");
    }
}

/// The body of a submit.
pub fn sql(data: &[u8]) {
    let session = Session { catalog: Some("hive"), schema: Some("web"), ..Session::default() };
    let known = analyse_bytes(data, &session);
    assert!(known.is_fully_read || known.parse_error.is_some(), "nobody says why: {known:?}");
    assert!(known.is_fully_read || !known.is_read_only, "it may do more than read: {known:?}");
    assert!(known.tables.len() <= TABLES_MAX, "{} tables", known.tables.len());
    for table in &known.tables {
        let schema = (table.catalog.clone(), table.schema.clone());
        assert!(known.catalogs.contains(&table.catalog), "{table} has no catalog: {known:?}");
        assert!(known.schemas.contains(&schema), "{table} has no schema: {known:?}");
    }
    assert_eq!(known.digest(), analyse_bytes(data, &session).digest());
}

/// The value of `X-Trino-Client-Tags`.
pub fn tags(data: &[u8]) {
    static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| rules(TAGS));
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-trino-client-tags"), value)]);
    let decision = decide(&RULES, &Facts::plain(&headers));
    // As Trino cuts them: at commas, without blanks around them, none empty.
    let tags = data.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let tags: Vec<_> = tags.filter(|tag| !tag.is_empty()).collect();
    if tags.len() > TAGS_MAX {
        assert!(decision.error.is_some(), "{} tags", tags.len());
        return;
    }
    let length: usize = tags.iter().map(|tag| tag.len()).sum();
    let expected = format!("{} of {length}", tags.len());
    assert_eq!(decision.reason, Some(expected), "{:?}", decision.error);
}

/// The lines of `X-Trino-Prepared-Statement`; the first statement of the first line is executed.
pub fn prepared(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.lines().collect();
    let name = text.split(['=', '\n']).next().unwrap_or_default().replace('"', "\"\"");
    let statement = format!("EXECUTE \"{name}\"");
    let session = Session { prepared: Prepared::Headers(&lines), ..Session::default() };
    let known = analyse(&statement, &session);
    // Bytes that are no UTF-8 become three.
    let most = 3 * (PREPARED_MAX + data.len() + statement.len());
    assert!(known.text.len() <= most, "{} bytes of {}", known.text.len(), data.len());
    assert!(known.is_fully_read || known.parse_error.is_some(), "nobody says why: {known:?}");
}
