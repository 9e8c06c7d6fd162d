//! What rules ask services: a call of `route` ends at a question and goes on with its answer, whatever the
//! script does, and no more is asked than may be.

use std::collections::BTreeSet;

use super::*;
use crate::route::engine::{Step, step};
use crate::route::facts::Unrecorded;
use crate::route::services::{Heard, Post, Reply, Unanswered};
use crate::route::suite::{self, TestFile};

/// What comes of a question.
type Replied = Result<Reply, Unanswered>;

fn script(body: &str) -> String {
    format!("local URL = '{SERVICE}'\nfunction route(request)\n{body}\nend")
}

fn text(body: &str) -> Replied {
    Reply::of(200, false, body.to_owned().into())
}

fn json(body: &str) -> Replied {
    Reply::of(200, true, body.to_owned().into())
}

/// What the rules ask about a request with `X-Go`, and decide when they get these replies in their order;
/// further questions fail.
fn told_by(rules: &Arc<RuleSet>, replies: &[Replied]) -> (Vec<Post>, Decision) {
    let lines = headers(&[("X-Go", "1"), ("X-Trino-User", "ana")]);
    let mut facts = Facts::plain(&lines);
    let mut posts = Vec::new();
    loop {
        match step(rules, &facts) {
            Step::Decided(decision) => return (posts, *decision),
            Step::Asks(post) => {
                let reply = replies.get(posts.len()).cloned();
                let reply = reply.unwrap_or(Err(Unanswered::Offline));
                posts.push(post.clone());
                facts.heard.push(Arc::new(Heard { post, reply }));
            }
        }
    }
}

fn told(body: &str, replies: &[Replied]) -> (Vec<Post>, Decision) {
    told_by(&compiled(&script(body)), replies)
}

#[test]
fn a_call_ends_at_a_question_and_goes_on_with_its_answer() {
    let body = "local answer, why = http.post(URL, { user = request.user, tags = {} })
        if not answer then return { rule = 'away', reason = why } end
        return { group = answer.json.group, rule = 's' .. answer.status, reason = answer.body }";
    let (posts, decision) = told(body, &[json("{\"group\":\"olap\"}")]);
    assert_eq!(shown(&decision), "olap | s200 | {\"group\":\"olap\"}");
    let [post] = &posts[..] else { panic!("{posts:?}") };
    assert_eq!(
        (post.url.target().as_str(), &post.body[..]),
        ("/route", &b"{\"tags\":[],\"user\":\"ana\"}"[..])
    );
    assert_eq!(
        (post.headers[0].0.as_str(), &post.headers[0].1),
        ("content-type", &HeaderValue::from_static("application/json"))
    );
    assert_eq!(post.timeout, Duration::from_millis(200));
    let (posts, decision) = told(body, &[Err(Unanswered::Timeout(Duration::from_millis(200)))]);
    assert_eq!(posts.len(), 1);
    assert_eq!(
        shown(&decision),
        "bi | away | http.post to http://127.0.0.1:9000: no answer within 200ms"
    );
}

#[test]
fn no_script_goes_on_without_the_answer() {
    for body in [
        "local ok, answer = pcall(http.post, URL, 'x')
        return { rule = ok and answer and answer.body or 'no' }",
        "local answer
        pcall(function() answer = http.post(URL, 'x') end)
        return { rule = answer and answer.body or 'no' }",
        "local answer
        while not answer do pcall(function() answer = http.post(URL, 'x') or { body = 'no' } end) end
        return { rule = answer.body }",
        "local answer = setmetatable({}, { __index = function() return http.post(URL, 'x') end }).x
        return { rule = answer and answer.body or 'no' }",
        "local answer
        string.gsub('a', 'a', function() answer = http.post(URL, 'x') end)
        return { rule = answer and answer.body or 'no' }",
    ] {
        let (posts, decision) = told(body, &[text("yes")]);
        assert_eq!((posts.len(), shown(&decision).as_str()), (1, "bi | yes"), "{body}");
    }
    // It asks, and does not care.
    let (posts, decision) = told("pcall(http.post, URL, 'x') return 'olap'", &[]);
    assert_eq!((posts.len(), shown(&decision).as_str()), (1, "olap"));
}

#[test]
fn questions_get_their_answers_in_their_order() {
    let twice = "local a, b = http.post(URL, 'x'), http.post(URL, 'x')
        return { rule = (a and a.body or '-') .. (b and b.body or '-') }";
    let (posts, decision) = told(twice, &[text("1"), text("2")]);
    assert_eq!((posts.len(), shown(&decision).as_str()), (2, "bi | 12"));
    let (posts, decision) = told(twice, &[Err(Unanswered::Open), text("2")]);
    assert_eq!((posts.len(), shown(&decision).as_str()), (2, "bi | -2"));
    let by_answer = "local who = http.post(URL, 'who')
        local what = who and http.post(URL .. '/' .. who.body, 'what')
        return { rule = what and what.body or 'no' }";
    let (posts, decision) = told(by_answer, &[text("ana"), text("bi")]);
    assert_eq!(shown(&decision), "bi | bi");
    assert_eq!(posts[1].url.target(), "/route/ana");
}

#[test]
fn no_more_is_asked_than_four_times() {
    for body in [
        "for i = 1, 9 do http.post(URL, tostring(i)) end return 'olap'",
        "for i = 1, 9 do http.post(URL, 'x') end return 'olap'",
        "for i = 1, 9 do pcall(http.post, URL, tostring(i)) end return 'olap'",
        "while true do pcall(http.post, URL, 'x') end",
        "local function ask(i) pcall(http.post, URL, tostring(i)) pcall(ask, i + 1) end ask(1)",
    ] {
        let body = format!("if request:header('X-Go') then {body} end");
        for replies in [vec![], vec![text("x"); 9]] {
            let (posts, decision) = told(&body, &replies);
            let failure = decision.error.expect(&body);
            assert_eq!((posts.len(), failure.kind.as_str()), (4, "runtime"), "{body}");
            assert_eq!(failure.message, "the rules asked services more than 4 questions");
        }
    }
    let four = "for i = 1, 4 do http.post(URL, 'x') end return 'olap'";
    let (posts, decision) = told(four, &[]);
    assert_eq!((posts.len(), shown(&decision).as_str()), (4, "olap"));
}

#[test]
fn what_a_rule_says_of_its_question() {
    let body = "http.post(URL .. '?a=b', 'x\\255', { timeout = '50ms',
            headers = { ['X-Team'] = 'data', ['content-type'] = 'text/plain', Accept = 1,
                ['X-Trino-Role'] = 'hive=ROLE{admin}' } })
        return nil";
    let (posts, _) = told(body, &[]);
    let [post] = &posts[..] else { panic!("{posts:?}") };
    assert_eq!((post.url.target().as_str(), &post.body[..]), ("/route?a=b", &b"x\xff"[..]));
    assert_eq!(post.timeout, Duration::from_millis(50));
    let lines: Vec<_> =
        post.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    assert_eq!(
        lines,
        ["accept: 1", "content-type: text/plain", "x-team: data", "x-trino-role: hive=ROLE{admin}"]
    );
    let (posts, _) = told("http.post(URL, 'x') return nil", &[]);
    assert_eq!(posts[0].headers[0].1, "application/octet-stream");
}

#[test]
fn what_is_no_question() {
    let header = |name: &str| format!("http.post(URL, '', {{ headers = {{ ['{name}'] = 'x' }} }})");
    for (code, expected) in [
        (
            "http.post('http://127.0.0.1:9000/routeX', '')".to_owned(),
            "`rules.http.allow` does not name",
        ),
        (
            "http.post('http://127.0.0.2:9000/route', '')".to_owned(),
            "`rules.http.allow` does not name",
        ),
        (
            "http.post('https://127.0.0.1:9000/route', '')".to_owned(),
            "`rules.http.allow` does not name",
        ),
        ("http.post(URL .. '/../admin', '')".to_owned(), "http.post cannot call `http://"),
        (
            "http.post('http://a@127.0.0.1:9000/route', '')".to_owned(),
            "http.post cannot call `http://",
        ),
        ("http.post(7, '')".to_owned(), "http.post got a number as URL"),
        ("http.post(URL)".to_owned(), "http.post got a nil as body"),
        ("http.post(URL, request)".to_owned(), "http.post got a userdata as body"),
        ("http.post(URL, { request })".to_owned(), "http.post cannot send a body with a userdata"),
        ("http.post(URL, ('x'):rep(65536) .. 'x')".to_owned(), "http.post takes a body of at most"),
        ("http.post(URL, '', 7)".to_owned(), "http.post got a number as options"),
        (
            "http.post(URL, '', { retries = 1 })".to_owned(),
            "http.post has no `retries`, known: headers, timeout",
        ),
        ("http.post(URL, '', { 1 })".to_owned(), "http.post has no `number`"),
        (
            "http.post(URL, '', { timeout = '1s' })".to_owned(),
            "the timeout of http.post is not good",
        ),
        (
            "http.post(URL, '', { timeout = '0s' })".to_owned(),
            "the timeout of http.post is not good",
        ),
        ("http.post(URL, '', { timeout = 1 })".to_owned(), "the timeout of http.post is not good"),
        ("http.post(URL, '', { headers = 'x' })".to_owned(), "`headers` is a string"),
        ("http.post(URL, '', { headers = { 'x' } })".to_owned(), "`headers` is a list"),
        (header("Authorization"), "http.post may not send the header `authorization`"),
        (header("Cookie"), "http.post may not send the header `cookie`"),
        (header("Host"), "http.post may not send the header `host`"),
        (header("Content-Length"), "http.post may not send the header `content-length`"),
        (header("Transfer-Encoding"), "http.post may not send the header `transfer-encoding`"),
        (header("X-Forwarded-For"), "http.post may not send the header `x-forwarded-for`"),
        (header("a b"), "`a b` is no name of a header"),
        (header("a").replace("'x'", "'x\\r\\ny'"), "the header `a` has a value"),
        ("http.get(URL)".to_owned(), "attempt to call a nil value"),
        ("http.post = nil".to_owned(), "attempt to modify a readonly table"),
        ("http.post(URL, 'x').status = 1".to_owned(), "attempt to modify a readonly table"),
        ("http.post(URL, 'x').json.a = 1".to_owned(), "attempt to modify a readonly table"),
    ] {
        let body = format!("if request:header('X-Go') then\n{code}\nend");
        let (_, decision) = told(&body, &[json("{}")]);
        let failure = decision.error.unwrap_or_else(|| panic!("{code} is fine")).message;
        assert!(failure.starts_with(expected), "{code}: {failure}");
    }
}

#[test]
fn where_nothing_may_be_called() {
    let off = Rules { http: None, ..settings() };
    let compile =
        |body: &str| RuleSet::compile(script(body).as_bytes(), &off, &groups()).map(Arc::new);
    let error = compile("http.post(URL, '') return 'olap'").unwrap_err().to_string();
    let expected = "route.lua:3: http.post is off: name its URL in `rules.http.allow`";
    assert_eq!(error, expected);
    // No probe asks.
    let rules = compile("if request:header('X-Go') then http.post(URL, '') end").unwrap();
    let (posts, decision) = told_by(&rules, &[]);
    let failure = decision.error.unwrap();
    assert_eq!((posts.len(), failure.kind.as_str()), (0, "runtime"));
    // It may be asked for without being called.
    assert!(compile("return http.post and 'olap'").is_ok());
}

#[test]
fn what_services_said_is_in_no_record() {
    let lines = headers(&[("X-Go", "1")]);
    let unrecorded = Arc::new(Unrecorded::beside(BTreeSet::from(["x-go".to_owned()]), true));
    let facts = Facts { unrecorded: Some(unrecorded.clone()), ..Facts::plain(&lines) };
    let body = "if request:header('X-Go') and http.post(URL, '') then return 'olap' end";
    assert_eq!(shown(&decide(&compiled(&script(body)), &facts)), "bi");
    assert_eq!(unrecorded.asked(), BTreeSet::from(["what services say".to_owned()]));
}

#[test]
fn nothing_is_asked_while_rules_are_loaded() {
    let top = format!("local answer = http.post('{SERVICE}', '')\nfunction route() end");
    let error = RuleSet::compile(top.as_bytes(), &settings(), &groups()).unwrap_err();
    let expected = "http.post can be called only while `route` runs";
    assert!(error.to_string().ends_with(expected), "{error}");
    // A rule that does not expect a failure is told so.
    let body = "return http.post(URL, '').json.group";
    let error = RuleSet::compile(script(body).as_bytes(), &settings(), &groups()).unwrap_err();
    assert!(error.to_string().contains("route.lua:3: attempt to index nil"), "{error}");
}

fn on_failure(on_failure: OnFailure) -> Arc<RuleSet> {
    let mut settings = settings();
    settings.http.as_mut().unwrap().on_failure = on_failure;
    let body = "local answer = http.post(URL, 'x') return answer and answer.body or 'olap'";
    Arc::new(RuleSet::compile(script(body).as_bytes(), &settings, &groups()).unwrap())
}

#[test]
fn what_becomes_of_a_query_whose_question_failed() {
    let failed: Replied = Err(Unanswered::failed("it answered 503"));
    let why = "http.post to http://127.0.0.1:9000: it answered 503";
    for (policy, group, reason) in [
        (OnFailure::Nil, "olap", None),
        (OnFailure::DefaultGroup, "bi", Some(why)),
        (OnFailure::Reject, "bi", Some(why)),
    ] {
        let rules = on_failure(policy);
        assert_eq!(rules.warnings(), [], "{policy:?}");
        let (posts, decision) = told_by(&rules, std::slice::from_ref(&failed));
        assert_eq!((posts.len(), decision.error), (1, None), "{policy:?}");
        assert_eq!((decision.group.as_str(), decision.reason.as_deref()), (group, reason));
        let refused = decision.reject.is_some_and(|text| text.contains("does not answer now"));
        assert_eq!(refused, policy == OnFailure::Reject, "{policy:?}");
        let (_, decision) = told_by(&rules, &[text("olap")]);
        assert_eq!((shown(&decision).as_str(), decision.reject), ("olap", None), "{policy:?}");
    }
}

#[test]
fn tests_of_rules_say_what_services_answer() {
    let rules = compiled(&script(
        "local answer = http.post(URL, 'x')
        if not answer then return { rule = 'away' } end
        if not answer.json then return { rule = answer.status .. answer.body } end
        return { group = answer.json.group }",
    ));
    let run = |cases: &str| {
        let script = format!("local URL = '{SERVICE}'\n{cases}").into_bytes();
        suite::run(&rules, &[TestFile { name: "tests/a.lua".to_owned(), script }])
    };
    let report = run(
        "case 'a' { http = { [URL] = { json = { group = 'olap' } } }, expect = { group = 'olap' } }
        case 'b' { expect = { group = 'bi', rule = 'away' } }
        case 'c' { http = { [URL] = { status = 503 } }, expect = { rule = 'away' } }
        case 'd' { http = { [URL] = { status = 404, body = 'x' } }, expect = { rule = '404x' } }
        case 'e' { http = { [URL .. '?a'] = { body = 'x' } }, expect = { rule = 'away' } }
        case 'f' { http = { [URL] = {} }, expect = { rule = '200' } }",
    )
    .unwrap();
    assert_eq!((report.cases, report.broken), (6, Vec::new()));
    for (case, expected) in [
        ("{ [URL] = { body = 'x', json = { 1 } } }", "has `body` and `json`"),
        ("{ ['a:9000'] = {} }", "`a:9000` is an address that begins neither"),
        ("{ [URL] = { states = 1 } }", "states"),
    ] {
        let error = run(&format!("case 'a' {{ http = {case}, expect = {{}} }}")).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
