//! Tests of rules in Lua: those that Warren ships hold, snippets of the docs too, and what does not hold
//! is told.

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};

use super::*;
use crate::route::modules::Module;
use crate::route::suite::{self, TestFile};
use crate::route::texts::Texts;
use crate::time::thread_cpu;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rules of a folder with its tests; how many cases it has.
fn holds(folder: &Path) -> usize {
    let file = folder.join("route.lua");
    let rules = RuleSet::load(&Rules { file: file.clone(), ..settings() }, &groups()).unwrap();
    assert_eq!(rules.warnings(), [], "{}", file.display());
    let report = suite::run(&rules, &suite::read(&file).unwrap()).unwrap();
    let broken: Vec<_> = report.broken.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{}:\n{}", folder.display(), broken.join("\n"));
    report.cases
}

#[test]
fn the_shipped_rules_and_examples_hold_their_tests() {
    assert!(holds(&root().join("lua")) >= 7);
    let examples = fs::read_dir(root().join("lua/examples")).unwrap();
    let examples: Vec<_> = examples.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(examples.len(), 8);
    for example in examples {
        assert!(holds(&example) >= 2, "{}", example.display());
    }
}

#[test]
fn the_snippets_of_the_docs_work() {
    let page = fs::read_to_string(root().join("docs/rules.md")).unwrap();
    let snippets: Vec<_> = page
        .split("\n```lua\n")
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap_or_default())
        .collect();
    let (cases, rules): (Vec<&str>, Vec<&str>) =
        snippets.into_iter().partition(|snippet| snippet.contains("case \""));
    let (modules, rules): (Vec<&str>, Vec<&str>) =
        rules.into_iter().partition(|snippet| module_name(snippet).is_some());
    assert!(rules.len() >= 5 && cases.len() == 1, "{} {}", rules.len(), cases.len());
    let module = |script: &&str| {
        Some(Module { name: module_name(script)?.to_owned(), script: script.as_bytes().to_vec() })
    };
    let modules: Vec<_> = modules.iter().filter_map(module).collect();
    for snippet in &rules {
        let required = if snippet.contains("require(") { modules.clone() } else { Vec::new() };
        let texts = Texts { script: (*snippet).into(), modules: required, tests: Vec::new() };
        let tried = texts.tried(&settings(), &groups());
        let tried = tried.unwrap_or_else(|error| panic!("{snippet}\n{error}"));
        assert_eq!(tried.rules.warnings(), [], "{snippet}");
    }
    // Those of the first chapter are tested by those of the chapter on tests.
    let report = suite::run(&compiled(rules[0]), &[file(cases[0])]).unwrap();
    assert_eq!((report.cases, report.broken), (2, Vec::new()));
}

/// The name of a module, which stands above it.
fn module_name(snippet: &str) -> Option<&str> {
    snippet.lines().next()?.strip_prefix("-- ").filter(|name| name.ends_with(".lua"))
}

fn file(script: &str) -> TestFile {
    TestFile { name: "tests/a.lua".to_owned(), script: script.as_bytes().to_vec() }
}

/// What a file of tests comes to for rules that send `olap` there and refuse `x`.
fn check(script: &str, expected: Expect) {
    let rules = compiled(
        "function route(request)
            if request.user == 'x' then return { reject = 'no', rule = 'x' } end
            if request.user == 'e' then error('oh') end
            if request.user == 'p' then return { priority = 50 } end
            if request.user == 'c' then return { cluster = 'olap-blue' } end
            return request.source == 'olap' and group.olap.has_room and 'olap' or nil
        end",
    );
    let told = match suite::run(&rules, &[file(script)]) {
        Ok(report) if report.broken.is_empty() => format!("{} hold", report.cases),
        Ok(report) => {
            let broken: Vec<_> = report.broken.iter().map(ToString::to_string).collect();
            broken.join("\n")
        }
        Err(error) => format!("wrong: {error}"),
    };
    expected.assert_eq(&told);
}

#[test]
fn what_does_not_hold_is_told_with_its_line() {
    check(
        "case 'a' { headers = { ['X-Trino-Source'] = 'olap' }, expect = { group = 'olap' } }
        case 'b' { user = 'x', expect = { reject = 'no', rule = 'x' } }
        case 'c' { user = 'e', expect = { error = 'runtime' } }
        case 'd' { headers = { ['X-Trino-Source'] = 'olap' }, group = { olap = { has_room = false } },
            expect = { group = default_group } }
        case 'e' { user = 'p', expect = { group = 'bi', priority = 50 } }",
        expect!["5 hold"],
    );
    check(
        "case 'a' { expect = { group = 'olap' } }\n\ncase 'b' { user = 'x', expect = { } }
        case 'c' { user = 'e', expect = { group = 'bi' } }
        case 'd' { expect = { error = 'runtime' } }
        case 'e' { user = 'p', expect = { priority = 10 } }
        case 'f' { expect = { priority = 10 } }
        case 'g' { user = 'c', expect = { cluster = 'olap-blue', group = 'olap' } }",
        expect![[r#"
            tests/a.lua:1: `a`: expected group "olap", got "bi"
            tests/a.lua:3: `b`: expected no refusal, got "no"
            tests/a.lua:4: `c`: the rules failed: line 3: oh
            tests/a.lua:5: `d`: expected the error runtime, got group bi
            tests/a.lua:6: `e`: expected priority 10, got 50
            tests/a.lua:7: `f`: expected priority 10, got none
            tests/a.lua:8: `g`: expected group "olap", got the cluster olap-blue (expect it by `cluster`)"#]],
    );
}

#[test]
fn too_many_tests_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tests")).unwrap();
    for index in 0..4 {
        let name = format!("tests/{index}.lua");
        fs::write(folder.path().join(name), "-".repeat(600_000)).unwrap();
    }
    let error = suite::read(&folder.path().join("route.lua")).unwrap_err();
    expect!["the tests beside the rules are too many, expected at most 2 MiB together"]
        .assert_eq(&error.in_words());
    let error = Texts { script: SHIPPED.into(), tests: vec![file("-"); 201], ..Texts::default() };
    let error = error.tried(&settings(), &groups()).unwrap_err();
    expect!["the tests beside the rules are too many, expected at most 200 files"]
        .assert_eq(&error.in_words());
    let cases = "for i = 1, 6000 do case 'a' { expect = {} } end";
    let error = suite::run(&compiled(SHIPPED), &[file(cases), file(cases)]).unwrap_err();
    expect!["the tests beside the rules are too many, expected at most 10000 cases"]
        .assert_eq(&error.in_words());
}

#[test]
fn a_case_with_too_many_headers_is_told_so() {
    let script = "local h = {} for i = 1, 40000 do h['x' .. i] = '' end
        case 'a' { headers = h, expect = {} }";
    let rules = compiled("function route() end");
    let error = suite::run(&rules, &[file(script)]).unwrap_err().to_string();
    assert!(error.contains("more headers than a request can have"), "{error}");
}

#[test]
fn a_case_that_takes_too_long_is_asked_again() {
    let cpu = Duration::from_millis(10);
    let script = b"function route(request) if request.user == 'x' then while true do end end end";
    let rules = RuleSet::compile(script, &Rules { cpu, ..settings() }, &groups()).unwrap();
    let cases = file("case 'a' { user = 'x', expect = {} }");
    let before = thread_cpu();
    let report = suite::run(&rules, &[cases]).unwrap();
    let took = thread_cpu() - before;
    assert!(report.broken[0].difference.contains("processor time"), "{report:?}");
    // Three times; once takes little more than the limit.
    assert!(took > cpu * 2, "{took:?}");
}

#[test]
fn cases_cannot_say_more_than_a_gateway_has_memory_for() {
    let long = "local q = ('x'):rep(65536) q = q .. q q = q .. q q = q .. q q = q .. q ";
    let told = "all cases say more than 64 MiB, expected shorter texts";
    for cases in [
        "for i = 1, 100 do case 'a' { query = q, expect = {} } end",
        "for i = 1, 100 do case 'a' { expect = { reject = q } } end",
        "local h = {} for i = 1, 100 do h[i] = q end case 'a' { headers = { a = h }, expect = {} }",
        "for i = 1, 100 do case(q) end",
    ] {
        let rules = compiled("function route() end");
        let error = suite::run(&rules, &[file(&format!("{long}{cases}"))]).unwrap_err().to_string();
        assert!(error.contains(told), "{cases}: {error}");
    }
    // That of all files together counts.
    let rules = compiled("function route() end");
    let half = file(&format!("{long}for i = 1, 40 do case 'a' {{ query = q, expect = {{}} }} end"));
    assert!(suite::run(&rules, std::slice::from_ref(&half)).unwrap().broken.is_empty());
    let error = suite::run(&rules, &[half.clone(), half]).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}

#[test]
fn what_is_no_file_of_tests() {
    check(
        "case 'a' { user = 'ana' }",
        expect!["wrong: tests/a.lua:1: `a`: deserialize error: missing field `expect`"],
    );
    check(
        "case 'a' { expect = {}, gruop = {} }",
        expect![
            "wrong: tests/a.lua:1: `a`: deserialize error: unknown field `gruop`, expected one of `headers`, `user`, `query`, `remote_addr`, `listener`, `hour`, `weekday`, `group`, `cluster`, `http`, `expect`"
        ],
    );
    check(
        "case 'a' { hour = 24, expect = {} }",
        expect![
            "wrong: tests/a.lua:1: `a`: `hour` is from 0 to 23, `weekday` from 1 (Monday) to 7"
        ],
    );
    check(
        "case 'a' { group = { olpa = { ready = 0 } }, expect = {} }",
        expect!["wrong: tests/a.lua:1: `a`: no group is named `olpa`, known: `bi`, `olap`"],
    );
    check(
        "case 'a' { headers = { ['a b'] = 'x' }, expect = {} }",
        expect!["wrong: tests/a.lua:1: `a`: `a b` with its value is no header"],
    );
    check(
        "while true do end",
        expect!["wrong: tests/a.lua:1: the rules took more than 1000000 steps"],
    );
    check(
        "case('a'",
        expect!["wrong: tests/a.lua:1: Expected ')' (to close '(' at column 5), got <eof>"],
    );
    check(
        "local x = io.open('/etc/passwd')",
        expect!["wrong: tests/a.lua:1: attempt to index nil with 'open'"],
    );
}
