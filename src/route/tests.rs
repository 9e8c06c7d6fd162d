//! The rules as a whole: answers, refusals, cost.

mod answers;
mod attacks;
mod carried;
mod modules;
mod services;
mod suites;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::{any, prop, proptest};

use super::engine::{Machine, decide};
use super::facts::Facts;
use super::rules::{FILE_MAX, RuleSet};
use super::verdict::Decision;
use crate::config::{OnError, OnFailure, RuleHttp, Rules, ServiceUrl};
use crate::ids::GroupName;
use crate::time::now;

const SHIPPED: &str = include_str!("../../lua/route.lua");

fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

/// What rules of these tests may call; nobody is there.
const SERVICE: &str = "http://127.0.0.1:9000/route";

pub(crate) fn settings() -> Rules {
    Rules {
        file: PathBuf::from("route.lua"),
        default_group: group("bi"),
        routing_group_header: false,
        cpu: Duration::from_millis(2),
        memory: 32 * 1024 * 1024,
        on_error: OnError::DefaultGroup,
        alarm_after: 10,
        http: Some(RuleHttp {
            allow: vec![ServiceUrl::parse(SERVICE).unwrap()],
            ca: None,
            authorization: None,
            timeout: Duration::from_millis(200),
            on_failure: OnFailure::Nil,
            open_after: 5,
            open_for: Duration::from_secs(10),
            max_in_flight: 64,
        }),
    }
}

pub(crate) fn groups() -> Vec<GroupName> {
    vec![group("bi"), group("olap")]
}

fn compiled(script: &str) -> Arc<RuleSet> {
    Arc::new(RuleSet::compile(script.as_bytes(), &settings(), &groups()).unwrap())
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn ask(rules: &Arc<RuleSet>, headers: &HeaderMap) -> Decision {
    let remote_addr = Ipv4Addr::new(10, 1, 2, 3).into();
    decide(rules, &Facts { remote_addr, ..Facts::plain(headers) })
}

fn shown(decision: &Decision) -> String {
    let mut text = decision.group.to_string();
    for part in [&decision.rule, &decision.reason].into_iter().flatten() {
        text = format!("{text} | {part}");
    }
    if let Some(failure) = &decision.error {
        text = format!("{text} | {}: {failure}", failure.kind.as_str());
    }
    text
}

/// What the body of `route` answers to a request with these headers.
fn check(body: &str, lines: &[(&str, &str)], expected: Expect) {
    let rules = compiled(&format!("function route(request)\n{body}\nend"));
    expected.assert_eq(&shown(&ask(&rules, &headers(lines))));
}

/// What loading this script says: the error, or the warnings.
fn check_load(script: &str, expected: Expect) {
    let said = match RuleSet::compile(script.as_bytes(), &settings(), &groups()) {
        Ok(rules) => {
            let warnings: Vec<_> = rules.warnings().iter().map(ToString::to_string).collect();
            format!("ok {}", warnings.join("\n"))
        }
        Err(error) => error.to_string(),
    };
    expected.assert_eq(said.trim_end());
}

#[test]
fn the_shipped_rules_are_those_of_the_mission() {
    let rules = compiled(SHIPPED);
    assert_eq!(rules.warnings(), []);
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "bi"),
        (&[("X-Trino-Source", "Apache Superset")], "bi superset"),
        (&[("x-trino-source", "trino-python-client")], "olap querybook"),
        (&[("X-Trino-Source", "zeppelin-note-7")], "olap zeppelin"),
        (&[("X-Trino-Source", "zeppelin-x"), ("X-Trino-Client-Tags", "a")], "olap zeppelin"),
        (&[("X-Trino-Source", "zeppelin-")], "bi"),
        (&[("X-Trino-Source", "my zeppelin-x")], "bi"),
        (&[("X-Trino-Source", "apache superset")], "bi"),
        (&[("X-Trino-Source", "Apache Superset"), ("X-Trino-Client-Tags", "a")], "bi"),
        (&[("X-Trino-Source", "trino-python-client"), ("X-Trino-Client-Tags", "a")], "bi"),
        // Present but empty is present.
        (&[("X-Trino-Source", "trino-python-client"), ("X-Trino-Client-Tags", "")], "bi"),
        (&[("X-Trino-Source", "")], "bi"),
    ];
    for (lines, expected) in cases {
        let decision = ask(&rules, &headers(lines));
        assert_eq!(decision.error, None, "{lines:?}");
        let got = format!("{} {}", decision.group, decision.rule.unwrap_or_default());
        assert_eq!(got.trim_end(), *expected, "{lines:?}");
    }
}

#[test]
fn the_shipped_rules_load_where_only_one_group_exists() {
    let rules = RuleSet::compile(SHIPPED.as_bytes(), &settings(), &[group("bi")]).unwrap();
    assert_eq!(rules.warnings(), []);
    let decision = ask(&Arc::new(rules), &headers(&[("X-Trino-Source", "trino-python-client")]));
    expect!["bi | querybook | the source is the Python client"].assert_eq(&shown(&decision));
}

#[test]
fn what_a_request_tells() {
    let lines: &[(&str, &str)] = &[
        ("X-Trino-Source", "cli"),
        ("X-Trino-User", "ana"),
        ("X-Trino-Client-Tags", "etl, night"),
        ("X-Trino-Catalog", "tpch"),
        ("X-Trino-Schema", ""),
        ("X-Many", "1"),
        ("X-Many", "2"),
    ];
    check(
        "local r, said = request, {}
        for _, text in ipairs({ tostring(r.source), tostring(r.user), tostring(r.catalog),
            tostring(r.schema), r.method, r.path, r.remote_addr, tostring(r:header('x-MANY')),
            tostring(r:header('X-None')) }) do
            table.insert(said, (string.gsub(text, '%W', '.')))
        end
        return { reason = table.concat(said, ';') }",
        lines,
        expect!["bi | cli;ana;tpch;;POST;.v1.statement;10.1.2.3;1.2;nil"],
    );
    check(
        "local tags = request.client_tags
        if not tags then return nil end
        return { rule = #tags .. tostring(tags[2]) .. tostring(request:has_tag('etl'))
            .. tostring(request:has_tag('et')) }",
        lines,
        expect!["bi | 2nighttruefalse"],
    );
    check(
        "return request:header('X-Trino-Client-Tags') and 'olap'",
        &[("X-Trino-Client-Tags", "")],
        expect!["olap"],
    );
}

#[test]
fn what_goes_wrong_in_a_rule_is_told_with_its_line() {
    let attack = &[("X-Go", "1")];
    let cases = [
        (
            "request.sorce",
            expect![
                "bi | runtime: line 3: request has no `sorce`, known: catalog, client_info, client_tags, hour, language, listener, method, path, query, remote_addr, resource_estimates, roles, schema, session, source, time_zone, trace_token, user, user_source, weekday, header(), has_tag()"
            ],
        ),
        (
            "request.source = 'x'",
            expect!["bi | runtime: line 3: attempt to index Request with 'source'"],
        ),
        (
            "request:nope()",
            expect![
                "bi | runtime: line 3: request has no `nope`, known: catalog, client_info, client_tags, hour, language, listener, method, path, query, remote_addr, resource_estimates, roles, schema, session, source, time_zone, trace_token, user, user_source, weekday, header(), has_tag()"
            ],
        ),
        (
            "request.header('x')",
            expect![
                "bi | runtime: line 3: a method was called without its request, expected `request:header(…)` with a colon"
            ],
        ),
        (
            "request:header(nil)",
            expect![
                "bi | runtime: line 3: bad argument #2 to `Request.header`: error converting Lua nil to string (expected string or number)"
            ],
        ),
        (
            "string.find(request.source, 'x')",
            expect![
                "bi | runtime: line 3: invalid argument #1 to 'find' (string expected, got nil)"
            ],
        ),
        ("request.source()", expect!["bi | runtime: line 3: attempt to call a nil value"]),
        (
            "error({})",
            expect![
                "bi | runtime: line 3: the script raised a table as an error, expected a string"
            ],
        ),
        (
            "error(error)",
            expect![
                "bi | runtime: line 3: the script raised a function as an error, expected a string"
            ],
        ),
        ("error('own words')", expect!["bi | runtime: line 3: own words"]),
        ("counter = 1", expect!["bi | runtime: line 3: attempt to modify a readonly table"]),
        ("string.find = nil", expect!["bi | runtime: line 3: attempt to modify a readonly table"]),
        ("groups.new = true", expect!["bi | runtime: line 3: attempt to modify a readonly table"]),
        ("string.dump()", expect!["bi | runtime: line 3: attempt to call a nil value"]),
    ];
    for (code, expected) in cases {
        let code = if code.contains('=') { code.to_owned() } else { format!("local _ = {code}") };
        check(&format!("if request:header('X-Go') then\n{code}\nend"), attack, expected);
    }
}

#[test]
fn no_text_has_an_address_in_it() {
    check(
        "local own = setmetatable({}, { __tostring = function() return 'own' end })
        return { reason = table.concat({
            tostring({}), tostring(route), tostring(request), tostring(own), tostring(nil),
            tostring(1.5), string.format('%* %s', {}, 'x'), string.format('%*', own),
            `{ {} } {route} {request} {true} {nil}` }, ' | ') }",
        &[],
        expect![
            "bi | table | function | Request | own | nil | 1.5 | table x | own | table function Request true nil"
        ],
    );
}

#[test]
fn what_is_refused_when_it_is_loaded() {
    check_load(
        "",
        expect!["rules file `route.lua` is empty, expected `function route(request) … end`"],
    );
    check_load(
        " \n\t",
        expect!["rules file `route.lua` is empty, expected `function route(request) … end`"],
    );
    check_load(
        "x = 1",
        expect!["route.lua: there is no `route`, expected `function route(request) … end`"],
    );
    check_load(
        "route = 'bi'",
        expect!["route.lua: `route` is a string, expected `function route(request)`"],
    );
    check_load(
        "function route(request)\n  if x then\nend",
        expect![
            "route.lua:3: Expected 'end' (to close 'function' at line 1), got <eof>; did you forget to close 'then' at line 2?"
        ],
    );
    check_load(
        "function route(request)\n  goto x\nend",
        expect!["route.lua:2: Incomplete statement: expected assignment or a function call"],
    );
    check_load(
        "\nlocal nope\nnope()\nfunction route() end",
        expect!["route.lua:3: at the top level of the file: attempt to call a nil value"],
    );
    check_load(
        "while true do end\nfunction route() end",
        expect![
            "route.lua:1: at the top level of the file: the rules took more than 20ms of processor time (`rules.cpu`)"
        ],
    );
    check_load(
        "-- a comment\nfunction route() while true do end end",
        expect!["route.lua:2: the rules took more than 2ms of processor time (`rules.cpu`)"],
    );
    check_load(
        "-- a comment\nfunction route() local t = {} for i = 1, 1e9 do t[i] = {} end end",
        expect!["route.lua:2: the rules took more than 2ms of processor time (`rules.cpu`)"],
    );
}

#[test]
fn what_is_refused_for_its_answers() {
    check_load(
        "function route()\n  return 'olpa'\nend",
        expect!["route.lua:2: no group is named `olpa`, known: `bi`, `olap`"],
    );
    check_load(
        "\nfunction route() return 5 end",
        expect![[
            r#"route.lua:2: `route` answered a number, expected nil, the name of a group, or a table such as { group = "…", rule = "…", reason = "…" }"#
        ]],
    );
    check_load(
        "function route() return route end",
        expect![[
            r#"route.lua:1: `route` answered a function, expected nil, the name of a group, or a table such as { group = "…", rule = "…", reason = "…" }"#
        ]],
    );
    check_load(
        "function route() return { gruop = 'bi' } end",
        expect![[
            r#"route.lua:1: the answer has an unknown field `gruop`, expected nil, the name of a group, or a table such as { group = "…", rule = "…", reason = "…" }"#
        ]],
    );
    check_load(
        "function route() return { 'bi' } end",
        expect![[
            r#"route.lua:1: the answer has a number as key, expected nil, the name of a group, or a table such as { group = "…", rule = "…", reason = "…" }"#
        ]],
    );
    check_load(
        "function route(r)\n  return r.source:lower() .. nil\nend",
        expect!["route.lua:2: attempt to concatenate string with nil"],
    );
    check_load(
        "local n = 0\nfunction route()\n  n = n + 1\n  return n % 2 == 0 and 'olap' or 'bi'\nend",
        expect![
            "route.lua:3: `n` would be kept from one request to the next, expected that no function assigns to a variable outside of itself"
        ],
    );
    check_load(
        "\nfunction route()\n  local all, order = {}, {}\n  for i = 1, 30 do all[{}] = i end\n  \
         for _, i in all do order[#order + 1] = i end\n  return { reason = table.concat(order, ' ') }\nend",
        expect![
            "route.lua:2: `route` answered differently when asked twice about a request without headers, expected the same answer (keep nothing between requests)"
        ],
    );
    check_load(
        "n = 0\nfunction route()\n  n = n + 1\nend",
        expect!["route.lua:3: attempt to modify a readonly table"],
    );
    check_load(
        "seen = { list = {} }\nfunction route(r)\n  seen.list[1] = r\nend",
        expect!["route.lua:3: attempt to modify a readonly table"],
    );
    check_load(
        "\u{1b}Lua\0\0",
        expect!["route.lua:1: Expected identifier when parsing expression, got ' '"],
    );
}

#[test]
fn what_loads_with_a_warning() {
    check_load(
        "function route(r)\n  return r.source:len() > 3 and 'bi' or 'olap'\nend",
        expect![
            "ok route.lua:2: failed for a request without headers: attempt to index nil with 'len'"
        ],
    );
    check_load(
        "function route(r)\n  if r.source == 'x' then\n    return 'etl'\n  end\n  -- return 'old'\nend",
        expect!["ok route.lua:3: no group is named `etl`, known: `bi`, `olap`"],
    );
    check_load(
        "function route(r)\n  if r.source == 'zeppelin-note-1' then\n    local g = 'et' .. 'l'\n    return g\n  end\nend",
        expect!["ok route.lua: no group is named `etl`, known: `bi`, `olap`"],
    );
    check_load(
        "function route(r)\n  return { set_source = r.source }\nend",
        expect!["ok route.lua: `set_source` is a string that is not UTF-8, expected a string"],
    );
}

#[test]
fn files_that_are_no_rules() {
    let compile =
        |script: &[u8]| RuleSet::compile(script, &settings(), &groups()).unwrap_err().to_string();
    expect!["rules file `route.lua` is not UTF-8 in line 2, expected a Lua text"]
        .assert_eq(&compile(b"-- x\n\xff\nfunction route() end"));
    expect!["rules file `route.lua` is larger than 1 MiB, expected a short Lua text"]
        .assert_eq(&compile(&vec![b'\n'; FILE_MAX + 1]));
    let error = RuleSet::load(&settings(), &groups()).unwrap_err();
    expect!["rules file `route.lua` cannot be read"].assert_eq(&error.to_string());
}

#[test]
fn the_routing_group_header_counts_only_where_it_is_switched_on() {
    let script = "function route() return { group = 'bi', rule = 'mine' } end";
    let on = Rules { routing_group_header: true, ..settings() };
    let on = Arc::new(RuleSet::compile(script.as_bytes(), &on, &groups()).unwrap());
    let asked = |name| headers(&[("X-Trino-Routing-Group", name)]);
    expect!["olap | routing-group-header | the client asked for it by X-Trino-Routing-Group"]
        .assert_eq(&shown(&ask(&on, &asked("olap"))));
    for unknown in ["", "etl", "olap,bi", "__index"] {
        assert_eq!(shown(&ask(&on, &asked(unknown))), "bi | mine", "{unknown}");
    }
    assert_eq!(shown(&ask(&compiled(script), &asked("olap"))), "bi | mine");
}

#[test]
fn a_long_straight_line_is_refused() {
    let large = "local s, x = ('x'):rep(65536), nil\n";
    let long = "x = s .. s\n";
    for script in [
        format!("{large}{}function route() end", long.repeat(3_000)),
        format!("{large}function route()\nlocal x\n{}end", long.repeat(2_000)),
    ] {
        let error = RuleSet::compile(script.as_bytes(), &settings(), &groups()).unwrap_err();
        assert!(error.to_string().contains("the rules took"), "{error}");
    }
}

#[test]
fn one_expression_that_does_too_much_is_refused() {
    let sum = " + hour".repeat(50);
    let script =
        format!("function route(r)\n  local hour = r.hour\n  return hour{sum} > 9 and 'bi'\nend");
    check_load(
        &script,
        expect![
            "route.lua:3: this expression does too much at one go, expected at most ten operations on plain variables in a row (name a part of it in a `local`)"
        ],
    );
}

#[test]
fn no_table_that_a_global_holds_can_keep_a_value() {
    for (top, keep) in [
        ("seen = {}", "seen.x = 1"),
        ("seen = { { {} } }", "seen[1][1].x = 1"),
        ("seen = setmetatable({}, {})", "getmetatable(seen).x = 1"),
        ("seen = setmetatable({}, { __index = {} })", "getmetatable(seen).__index.x = 1"),
        ("seen = { [{}] = 1 }", "local key = next(seen) key.x = 1"),
        ("", "request.client_tags.x = 1"),
        ("", "groups.x = true"),
        ("", "_G.x = 1"),
        ("", "route = nil"),
    ] {
        let script =
            format!("{top}\nfunction route(request) if request:header('X-Go') then {keep} end end");
        let go = headers(&[("X-Go", "1"), ("X-Trino-Client-Tags", "a")]);
        expect!["bi | runtime: line 2: attempt to modify a readonly table"]
            .assert_eq(&shown(&ask(&compiled(&script), &go)));
    }
}

#[test]
fn the_rest_of_the_library_is_not_there() {
    for name in [
        "io",
        "os",
        "package",
        "debug",
        "ffi",
        "load",
        "loadstring",
        "dofile",
        "loadfile",
        "getfenv",
        "setfenv",
        "collectgarbage",
        "newproxy",
        "gcinfo",
        "print",
        "coroutine",
        "buffer",
        "vector",
        "math.random",
        "math.randomseed",
        "string.dump",
        "string.pack",
        "table.create",
        "table.move",
        "table.foreach",
        "xpcall",
    ] {
        let script = format!("function route() return {name} == nil and 'olap' end");
        match RuleSet::compile(script.as_bytes(), &settings(), &groups()) {
            Ok(rules) => assert_eq!(shown(&ask(&Arc::new(rules), &headers(&[]))), "olap", "{name}"),
            Err(error) => assert!(error.to_string().contains("there is no global"), "{error}"),
        }
    }
}

#[test]
fn honest_rules_of_some_size_pass() {
    let mut script = "local SOURCES = {}\n".to_owned();
    script.extend((0..5_000).map(|index| {
        format!("SOURCES['source-{index}'] = {{ group = 'olap', rule = 'r{index}' }}\n")
    }));
    script += "function route(request) return SOURCES[request.source] end";
    let rules = compiled(&script);
    let decision = ask(&rules, &headers(&[("X-Trino-Source", "source-4999")]));
    assert_eq!(shown(&decision), "olap | r4999");
}

#[test]
fn a_file_that_keeps_more_than_a_third_of_its_memory_is_refused() {
    let small = Rules { memory: 8 << 20, ..settings() };
    let list = "local LIST = {} for i = 1, 80 do LIST[i] = string.rep(string.char(i), 60000) end";
    let keeps = format!("{list} function route() return LIST[81] end");
    let error = RuleSet::compile(keeps.as_bytes(), &small, &groups()).unwrap_err().to_string();
    assert!(error.starts_with("route.lua: the file keeps "), "{error}");
    assert!(
        error.ends_with(" KiB, expected at most a third of `rules.memory` (2730 KiB)"),
        "{error}"
    );
    // What it only made counts no more, neither here nor for the first call.
    let makes = format!("do {list} end function route() return 'olap' end");
    let rules = RuleSet::compile(makes.as_bytes(), &small, &groups()).unwrap();
    let machine = Machine::new(&rules).unwrap();
    let outcome = machine.call(&rules, &Facts::plain(&headers(&[])));
    assert!(outcome.is_ok() && !machine.is_doubtful(&outcome), "{outcome:?}");
}

#[test]
fn a_file_that_keeps_what_it_may_is_not_loaded_anew_for_each_query() {
    // Time is not what this is about.
    let small = Rules { memory: 8 << 20, cpu: Duration::from_secs(1), ..settings() };
    let script = "local LIST = {} for i = 1, 34 do LIST[i] = string.rep(string.char(i), 60000) end
        function route() return { reason = #string.rep('x', 50000) > 0 and LIST[1]:sub(1, 1) and 'ok' } end";
    let rules = RuleSet::compile(script.as_bytes(), &small, &groups()).unwrap();
    let headers = headers(&[]);
    let facts = Facts::plain(&headers);
    let mut machine = Machine::new(&rules).unwrap();
    let mut loads = 1;
    for _ in 0..1000 {
        let outcome = machine.call(&rules, &facts);
        assert!(outcome.is_ok(), "{outcome:?}");
        if machine.is_doubtful(&outcome) {
            (machine, loads) = (Machine::new(&rules).unwrap(), loads + 1);
        }
    }
    assert!(loads < 10, "{loads}");
}

proptest! {
    #[test]
    fn no_header_bytes_break_a_decision(
        values in prop::collection::vec(
            (0_usize..6, prop::collection::vec(any::<u8>(), 0..200)), 0..12)
    ) {
        const NAMES: [&str; 6] = ["x-trino-source", "x-trino-user", "x-trino-client-tags",
            "x-trino-catalog", "x-trino-schema", "x-trino-routing-group"];
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(NAMES[name], value);
            }
        }
        thread_local! {
            static RULES: Arc<RuleSet> = {
                let script = format!("{SHIPPED}
                    local shipped = route
                    function route(r)
                        local tags = r.client_tags or {{}}
                        local text = (r.source or '') .. (r.user or '') .. (r.catalog or '')
                            .. (r.schema or '') .. table.concat(tags, ',')
                        if tags[1] then assert(r:has_tag(tags[1])) end
                        return #text < 1e9 and shipped(r) or nil
                    end");
                let on = Rules { routing_group_header: true, ..settings() };
                Arc::new(RuleSet::compile(script.as_bytes(), &on, &groups()).unwrap())
            };
        }
        let decision = RULES.with(|rules| ask(rules, &headers));
        assert_eq!(decision.error, None);
    }

    #[test]
    fn no_bytes_break_the_loading(script in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = RuleSet::compile(&script, &settings(), &groups());
    }
}

/// Prints what a decision costs; the figure that counts is that of a release build.
#[test]
#[expect(clippy::print_stdout, reason = "the figure is what this test is for")]
fn the_cost_of_a_decision() {
    let rules = compiled(SHIPPED);
    let names: Vec<_> = (0..10).map(|index| format!("x-header-{index}")).collect();
    let mut lines: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "a value of some length")).collect();
    lines.extend([("x-trino-source", "zeppelin-7"), ("x-trino-user", "ana")]);
    let headers = headers(&lines);
    let mut best = u128::MAX;
    for _ in 0..50 {
        let start = now();
        for _ in 0..200 {
            assert_eq!(ask(&rules, &headers).group.as_str(), "olap");
        }
        best = best.min(start.elapsed().as_nanos() / 200);
    }
    println!("a decision of the shipped rules costs {best} ns");
    assert!(best < 100_000, "{best} ns");
}
