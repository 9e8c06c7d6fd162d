//! Files that the rules require.

use std::fs;

use super::*;
use crate::route::modules::Module;
use crate::route::rules::RulesError;
use crate::route::suite::TestFile;
use crate::route::texts::Texts;

/// Rules with modules: their names without `.lua`, and what stands in them.
fn texts(script: &str, modules: &[(&str, &str)]) -> Texts {
    let module = |(name, script): &(&str, &str)| Module {
        name: format!("{name}.lua"),
        script: script.as_bytes().to_vec(),
    };
    let modules = modules.iter().map(module).collect();
    Texts { script: script.into(), modules, tests: Vec::new() }
}

fn load(texts: &Texts) -> Result<RuleSet, RulesError> {
    Ok(texts.tried(&settings(), &groups())?.rules)
}

/// What becomes of a request with this source.
fn answer(texts: &Texts, source: &str) -> String {
    let rules = Arc::new(load(texts).unwrap_or_else(|error| panic!("{error}")));
    shown(&ask(&rules, &headers(&[("X-Trino-Source", source)])))
}

/// What loading these says.
fn check_modules(script: &str, modules: &[(&str, &str)], expected: Expect) {
    let said = match load(&texts(script, modules)) {
        Ok(rules) => {
            rules.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&said);
}

const TEAMS: &str = "local sources = require('sources')
local TEAMS = { dbt = 'olap' }
return { of = function(source) return TEAMS[sources.short(source)] end, TEAMS = TEAMS }";
const SOURCES: &str = "SHORTENED = 'a global of a module'
return { short = function(source) return source and string.match(source, '^%a+') end }";

#[test]
fn rules_go_by_what_their_modules_say() {
    let script = "local teams = require \"teams\"
        function route(request)
          return { group = teams.of(request.source), reason = SHORTENED }
        end";
    let texts = texts(script, &[("sources", SOURCES), ("teams", TEAMS)]);
    assert_eq!(answer(&texts, "dbt-core"), "olap | a global of a module");
    assert_eq!(answer(&texts, "cli"), "bi | a global of a module");
}

#[test]
fn a_module_is_run_once_and_gives_the_same_each_time() {
    let script = "local one, two, nothing = require 'one', require('two'), require 'nothing'
        function route() return one == two.one and nothing == true and 'olap' or 'bi' end";
    let two = "return { one = require 'one' }";
    let modules = [("one", "return {}"), ("two", two), ("nothing", "local _ = 1")];
    assert_eq!(answer(&texts(script, &modules), ""), "olap");
    // One that failed is not half there.
    let script = "local ok = pcall(require, 'bad') or pcall(require, 'bad')
        function route() return ok and 'olap' or 'bi' end";
    assert_eq!(answer(&texts(script, &[("bad", "error('no')")]), ""), "bi");
}

#[test]
fn nothing_passes_by_a_module_from_one_request_to_the_next() {
    let keep = "local kept = require 'kept'
        function route(request)
          if request.source then kept.last = request.source end
          return { reason = kept.last or 'nothing' }
        end";
    let kept = texts(keep, &[("kept", "return {}")]);
    assert_eq!(answer(&kept, "dbt"), "bi | runtime: line 3: attempt to modify a readonly table");
    check_modules(
        "local count = require 'count'\nfunction route() count() end",
        &[("count", "local n = 0\nreturn function()\n  n += 1\n  return n\nend")],
        expect![
            "count.lua:3: `n` would be kept from one request to the next, expected that no function assigns to a variable outside of itself"
        ],
    );
    check_modules(
        "local words = require 'words'\nfunction route() words() end",
        &[("words", "return string.gmatch('a secret', '%a+')")],
        expect![
            "route.lua: an iterator of string.gmatch would be kept from one request to the next, expected that functions make it where they need it"
        ],
    );
    // What a module reads of globals is what they are now, not what they were when it was loaded.
    for (first, keep) in [
        (
            "store = {}",
            "local kept = store if r.source then kept.last = r.source end return kept.last",
        ),
        (
            "local last store = function(new) last = new or last return last end",
            "return store(r.source)",
        ),
    ] {
        let script = format!(
            "{first}\nlocal keep = require 'keep'\nstore = function() return 'replaced' end
            function route(r) return {{ reason = tostring(keep(r)) }} end"
        );
        let keep = format!("return function(r) {keep} end");
        let old = texts(&script, &[("keep", &keep)]);
        let told = match load(&old) {
            Ok(_) => answer(&old, "secret"),
            Err(error) => error.to_string(),
        };
        assert!(told.contains("replaced") || told.contains("attempt to index function"), "{told}");
    }
    let late = texts(
        "function route(request)
          local ok, why = pcall(require, request.source or 'late')
          return { reason = tostring(ok) .. string.match(tostring(why), '[^\\n]+') }
        end",
        &[("late", "return 1")],
    );
    for name in ["late", "route", "../late"] {
        assert_eq!(
            answer(&late, name),
            "bi | falseruntime error: `require` works at the top level only, while rules are loaded"
        );
    }
}

#[test]
fn what_is_wrong_in_a_module_is_told_with_its_name() {
    let script = "-- The rules.\nlocal m = require 'm'\nfunction route(r)\n  return m(r)\nend";
    for (module, expected) in [
        (
            "return function(",
            expect!["m.lua:1: Expected identifier when parsing variable name, got <eof>"],
        ),
        ("\nerror('no')", expect!["route.lua:2: at the top level of the file: m.lua:2: no"]),
        (
            "while true do end",
            expect![
                "route.lua:2: at the top level of the file: the rules took more than 20ms of processor time (`rules.cpu`)"
            ],
        ),
        (
            "return function(r)\n  return reqest.source\nend",
            expect![
                "m.lua:2: there is no global `reqest`, expected one that the file defines or that rules have"
            ],
        ),
        (
            "return function(r)\n  while true do end\nend",
            expect!["route.lua:4: the rules took more than 2ms of processor time (`rules.cpu`)"],
        ),
        (
            "return function(r)\n  return r.source == 'x' and { group = \"etl\" } or nil\nend",
            expect!["m.lua:2: no group is named `etl`, known: `bi`, `olap`"],
        ),
        ("", expect!["route.lua:4: attempt to call a boolean value"]),
        (
            "return require 'm'",
            expect![
                "route.lua:2: at the top level of the file: `m.lua` requires itself, or what it requires does"
            ],
        ),
        (
            "return require 'n'",
            expect![
                "route.lua:2: at the top level of the file: there is no module `n`, expected the name, as a text in the call, of a file `NAME.lua` beside the rules; known: `m`"
            ],
        ),
        (
            "return require(7)",
            expect![
                "route.lua:2: at the top level of the file: `require` got a number, expected the name of a module"
            ],
        ),
    ] {
        check_modules(script, &[("m", module)], expected);
    }
    let runtime =
        texts(script, &[("m", "return function(r)\n  return r.source and r.source.x.y\nend")]);
    assert_eq!(
        answer(&runtime, "a"),
        "bi | runtime: line 4: m.lua:2: attempt to index nil with 'y'"
    );
}

#[test]
fn modules_that_no_folder_could_hold_are_refused() {
    for name in ["../m", "a/b", "", "m.n", &"m".repeat(65), "m\n"] {
        let error = load(&texts("function route() end", &[(name, "")])).unwrap_err().to_string();
        assert!(error.contains("is no file beside rules"), "{name}: {error}");
    }
    for names in [&["m", "m"][..], &["route"]] {
        let modules: Vec<_> = names.iter().map(|name| (*name, "")).collect();
        let error = load(&texts("function route() end", &modules)).unwrap_err().to_string();
        assert!(error.contains("is the name of the rules themselves or of two files"), "{error}");
    }
    for names in [&["tests/a.lua", "tests/a.lua"][..], &["tests/../a.lua"], &["tests/a"]] {
        let file = |name: &&str| TestFile { name: (*name).to_owned(), script: Vec::new() };
        let tests = names.iter().map(file).collect();
        let error = load(&Texts { tests, ..texts("function route() end", &[]) }).unwrap_err();
        assert_eq!(error.kind(), "files", "{names:?}");
    }
    let names: Vec<_> = (0..101).map(|index| format!("m{index}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let error = load(&texts("function route() end", &many)).unwrap_err();
    expect!["the modules beside the rules are too many, expected at most 100 files"]
        .assert_eq(&error.to_string());
    let long = "-".repeat(600_000);
    let error = load(&texts("function route() end", &[("a", &long), ("b", &long)])).unwrap_err();
    expect!["the modules beside the rules are too many, expected at most 1 MiB together"]
        .assert_eq(&error.to_string());
}

#[test]
fn only_files_that_are_required_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("route.lua");
    for (name, text) in [
        ("route.lua", "local m = require('m') -- not require 'gone', nor require 'route'"),
        ("m.lua", "return require \"n\""),
        ("n.lua", "return require 'm'"),
        ("other.lua", "not Lua"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let read = || Texts::read(&file).unwrap();
    let names: Vec<_> = read().modules.into_iter().map(|module| module.name).collect();
    assert_eq!(names, ["m.lua", "n.lua"]);
    let (print, hash) = (read().print(), read().hash());
    fs::write(folder.path().join("n.lua"), "return {}").unwrap();
    assert_ne!((read().print(), read().hash()), (print, hash), "a changed module is seen");
    fs::write(folder.path().join("n.lua"), b"\xff").unwrap();
    let error = read().tried(&settings(), &groups()).unwrap_err().in_words();
    expect!["rules file `n.lua` is not UTF-8 in line 1, expected a Lua text"].assert_eq(&error);
    fs::remove_file(folder.path().join("n.lua")).unwrap();
    fs::create_dir(folder.path().join("n.lua")).unwrap();
    let error = Texts::read(&file).unwrap_err();
    assert_eq!(error.kind(), "unreadable");
}
