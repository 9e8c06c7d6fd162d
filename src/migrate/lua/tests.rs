//! What MVEL becomes, piece by piece, and what is refused.

use super::*;
use crate::migrate::mvel;

fn condition(text: &str) -> String {
    let mut translator = Translator::new("r", None);
    let lines = mvel::condition(text).and_then(|expr| translator.condition(&expr));
    match lines {
        Ok(lines) => lines.join("\n"),
        Err(unknown) => format!("error: {unknown}"),
    }
}

fn action(text: &str) -> String {
    let mut translator = Translator::new("r", None);
    let lines = mvel::statements(text).and_then(|read| block(&mut translator, &read, 0));
    match lines {
        Ok(lines) => lines.join("\n"),
        Err(unknown) => format!("error: {unknown}"),
    }
}

#[test]
fn headers() {
    for (mvel, lua) in [
        (r#"request.getHeader("X-Trino-Source") == "a""#, r#"request.source == "a""#),
        (r#"request.getHeader("x-Any") != null"#, r#"request:header("x-Any") ~= nil"#),
        (r#""a".equals(request.getHeader("X-A"))"#, r#""a" == request:header("X-A")"#),
        (r#"request.getHeader("X-A").equals('a')"#, r#"known(request:header("X-A")) == "a""#),
        (r#"request.getHeader("X-A") contains "a""#, r#"has(request:header("X-A"), "a")"#),
        (
            r#"request.getHeader("X-A").contains("a")"#,
            r#"string.find(request:header("X-A"), "a", 1, true) ~= nil"#,
        ),
        (r#"request.getHeader("X-A").startsWith("a")"#, r#"begins(request:header("X-A"), "a")"#),
        (
            r#"request.getHeader("X-A").toLowerCase().endsWith("a")"#,
            r#"ends(string.lower(request:header("X-A")), "a")"#,
        ),
        (
            r#"request.getHeader("X-A").equalsIgnoreCase("Ab")"#,
            r#"string.lower(request:header("X-A")) == "ab""#,
        ),
        (r#"request.getHeader("X-A").isEmpty()"#, r#"#request:header("X-A") == 0"#),
        (r#"request.getHeader("X-A") == empty"#, r#"is_empty(request:header("X-A"))"#),
        (
            r#"request.getHeader("X-A").matches("a|b.*")"#,
            r#"matches_one(request:header("X-A"), "^a$", "^b[^\n]*$")"#,
        ),
        (r#"request.getHeader("X-A") ~= "a.c""#, r#"matches(request:header("X-A"), "^a[^\n]c$")"#),
        (r#"request.getHeader("X-A") > 40"#, r#"number(request:header("X-A")) > 40"#),
        (r#"request.getHeader("X-A") == 42"#, r#"number(request:header("X-A")) == 42"#),
        (r#"request.getHeader("X-A").length() > 2"#, r#"#request:header("X-A") > 2"#),
        (
            r#"request.getHeader("X-A").replace("a.", "%") == "b""#,
            r#"(string.gsub(request:header("X-A"), "a%.", "%%")) == "b""#,
        ),
        (
            r#"request.getHeader("X-A").charAt(0) == 'a'"#,
            r#"string.sub(request:header("X-A"), 1, 1) == "a""#,
        ),
        (
            r#"["a", "b"].contains(request.getHeader("X-A"))"#,
            r#"table.find({ "a", "b" }, request:header("X-A")) ~= nil"#,
        ),
        (r#"["a"] contains request.getHeader("X-A")"#, r#"has({ "a" }, request:header("X-A"))"#),
        (
            r#"request.getHeader("X-A").split(",")[0] == "a""#,
            r#"string.split(request:header("X-A"), ",")[1] == "a""#,
        ),
        (
            r#"(request.getHeader("X-A") == null ? "a" : "b") == "a""#,
            r#"(if request:header("X-A") == nil then "a" else "b") == "a""#,
        ),
    ] {
        assert_eq!(condition(mvel), lua, "{mvel}");
    }
}

#[test]
fn statements_and_users() {
    for (mvel, lua) in [
        (
            r#"trinoQueryProperties.tablesContains("A.\"b\".c")"#,
            r#"table.find(request.query.tables, "a.b.c") ~= nil"#,
        ),
        (
            r#"trinoQueryProperties.getCatalogs().contains("a")"#,
            r#"table.find(catalogs(request), "a") ~= nil"#,
        ),
        (
            r#"!trinoQueryProperties.catalogSchemas.contains("a.b")"#,
            r#"not (table.find(request.query.schemas, "a.b") ~= nil)"#,
        ),
        (
            r#"trinoQueryProperties.getQueryType().toLowerCase.equals("insert")"#,
            r#"string.lower((request.query.type or "")) == "insert""#,
        ),
        (
            r#"trinoQueryProperties.getDefaultCatalog().equals(java.util.Optional.of("a"))"#,
            r#"request.catalog == "a""#,
        ),
        ("trinoQueryProperties.getDefaultSchema().isPresent()", "request.schema ~= nil"),
        (
            r#"trinoQueryProperties.getDefaultSchema().orElse("") == "a""#,
            r#"(request.schema or "") == "a""#,
        ),
        (
            "!trinoQueryProperties.isQueryParsingSuccessful()",
            "not (request.query.parse_error == nil)",
        ),
        (r#"trinoRequestUser.userExistsAndEquals("a")"#, r#"user == "a""#),
        (r#"trinoRequestUser.getUser().get() == "a""#, r#"known(user) == "a""#),
        (r#"request.getMethod() == "DELETE""#, r#"request.method == "DELETE""#),
        (r#"request.getRequestURI().startsWith("/a")"#, r#"begins(request.path, "/a")"#),
        (r#"state.get("a").contains("b")"#, r#"holds(state.a, "b")"#),
        (r#"result.get("routingGroup") == null"#, "group == nil"),
        ("true", "true"),
    ] {
        assert_eq!(condition(mvel), lua, "{mvel}");
    }
}

#[test]
fn brackets_stay_where_they_matter() {
    for (mvel, lua) in [
        ("true && false || true", "true and false\nor true"),
        ("true && (false || true)", "true\nand (false or true)"),
        ("!(true && false)", "not (true and false)"),
        ("true == (1 == 2)", "true == (1 == 2)"),
        ("2 * (1 + 3) == 8", "2 * (1 + 3) == 8"),
        ("5 - (2 - 1) == 4", "5 - (2 - 1) == 4"),
        (r#""a" + "b" == "ab""#, r#""a" .. "b" == "ab""#),
        (
            r#"request.getHeader("X-A") + 1 == "a1""#,
            r#"word(request:header("X-A")) .. word(1) == "a1""#,
        ),
    ] {
        assert_eq!(condition(mvel), lua, "{mvel}");
    }
}

#[test]
fn what_is_refused() {
    for (mvel, why) in [
        (r#"request.getCookies() != null"#, "`getCookies` of the request"),
        (
            r#"request.getHeader("X-A")"#,
            "`request:header(\"X-A\")` where a truth value was expected",
        ),
        ("trinoRequestUser.getUserInfo().isPresent()", "`getUserInfo` of trinoRequestUser"),
        ("foo == 1", "the variable `foo`"),
        (r#""a" < "b""#, "`<` between `\"a\"` and `\"b\"`"),
        (
            r#"request.getHeader("X-A") == true"#,
            "a text beside a truth value; compare with \"true\"",
        ),
        ("1 / 2 == 0", "the operator `/`, which cuts whole numbers in Java"),
        (
            r#"trinoRequestUser.getUser() == "a""#,
            "an Optional beside a value that is none, which are never equal in Java; compare with \
             `Optional.of(…)`",
        ),
        (
            r#"request.getHeader("X-A").matches("(ab)+")"#,
            "the regular expression `(ab)+`: a repeated group",
        ),
        (r#"request.getHeader("X-A").hashCode() == 1"#, "the method `hashCode` of a text"),
        ("Runtime.getRuntime() == null", "`Runtime.getRuntime`"),
        ("new Random() == null", "`new Random`"),
    ] {
        assert_eq!(condition(mvel), format!("error: {why}"), "{mvel}");
    }
}

#[test]
fn actions() {
    for (mvel, lua) in [
        (r#"result.put("routingGroup", "a")"#, "group = \"a\"\nrule = \"r\""),
        (
            "result.put(FileBasedRoutingGroupSelector.RESULTS_ROUTING_GROUP_KEY, 'a b')",
            "group = \"a-b\"\nrule = \"r\"",
        ),
        (
            r#"result.put("routingGroup", request.getHeader("X-Team"))"#,
            "group = request:header(\"X-Team\")\nrule = \"r\"",
        ),
        (r#"state.put("a", new HashSet())"#, "state.a = {}"),
        (r#"state.put("a b", 1)"#, "state[\"a b\"] = 1"),
        (r#"state.get("a").add("b")"#, "add(state.a, \"b\")"),
        (
            r#"x = "a"; result.put("routingGroup", x)"#,
            "local my_x = \"a\"\ngroup = my_x\nrule = \"r\"",
        ),
        (
            r#"if (true) { result.put("routingGroup", "a") } else { state.put("b", 1); }"#,
            "if true then\n  group = \"a\"\n  rule = \"r\"\nelse\n  state.b = 1\nend",
        ),
        (
            r#"foreach (t : request.getHeader("X-A").split(",")) { state.put("t", t) }"#,
            "for _, my_t in ipairs(string.split(request:header(\"X-A\"), \",\")) do\n  state.t = my_t\nend",
        ),
        (r#"grün = "a""#, "error: the variable `grün`, a name that Lua cannot have"),
        (r#"System.out.println("a")"#, ""),
        (r#"request.setAttribute("a", "b")"#, "error: the variable `request`"),
        (
            r#"result.put("routingCluster", "a")"#,
            "error: `routingCluster`; in Lua the answer `{ cluster = \"…\" }` pins a query to a cluster",
        ),
    ] {
        assert_eq!(action(mvel), lua, "{mvel}");
    }
}

#[test]
fn groups_that_a_rule_names_are_known() {
    let mut translator = Translator::new("r", None);
    let text = r#"result.put("routingGroup", request.getMethod() == "GET" ? "a" : "b")"#;
    block(&mut translator, &mvel::statements(text).unwrap(), 0).unwrap();
    assert_eq!(translator.groups.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(!translator.has_open_group);
}

#[test]
fn groups_get_the_names_that_they_have_here() {
    for (mvel, lua) in [
        (
            r#"result.put("routingGroup", request.getHeader("X-A") == null ? "etl prod" : "b c")"#,
            "group = (if request:header(\"X-A\") == nil then \"etl-prod\" else \"b-c\")\nrule = \"r\"",
        ),
        (
            r#"result.put("routingGroup", request.getHeader("X-A") + "-x")"#,
            "group = word(request:header(\"X-A\")) .. \"-x\"\nrule = \"r\"",
        ),
        (
            r#"if (result.get("routingGroup") == "a b") { state.put("x", 1) }"#,
            "if group == \"a-b\" then\n  state.x = 1\nend",
        ),
    ] {
        assert_eq!(action(mvel), lua, "{mvel}");
    }
    for (mvel, lua) in [
        (r#""a b".equals(result.get("routingGroup"))"#, r#""a-b" == group"#),
        (r#"result["routingGroup"].equalsIgnoreCase("A b")"#, r#"string.lower(group) == "a-b""#),
        (
            r#"["a b", "c"].contains(result.get("routingGroup"))"#,
            r#"table.find({ "a-b", "c" }, group) ~= nil"#,
        ),
        (r#"result.get("routingGroup").startsWith("a-")"#, r#"begins(group, "a-")"#),
        (r#"request.getHeader("X-A") == "a b""#, r#"request:header("X-A") == "a b""#),
    ] {
        assert_eq!(condition(mvel), lua, "{mvel}");
    }
}

#[test]
fn groups_that_cannot_be_named_are_refused() {
    for mvel in [
        r#"g = "a b"; result.put("routingGroup", g)"#,
        r#"state.put("g", true ? "a b" : "c"); result.put("routingGroup", state.get("g"))"#,
        r#"foreach (g : ["a b"]) { result.put("routingGroup", g) }"#,
        r#"result.put("routingGroup", "a b" + request.getHeader("X-A"))"#,
        r#"result.put("routingGroup", result.getOrDefault("routingGroup", "a b"))"#,
        r#"if (result.get("routingGroup").contains("a b")) { state.put("x", 1) }"#,
    ] {
        let told = action(mvel);
        assert!(told.starts_with("error: the text `a b` in a group that is known"), "{told}");
    }
    // Nothing of it becomes the group.
    assert!(action(r#"g = "a b"; result.put("routingGroup", "c")"#).ends_with("rule = \"r\""));
    let mut later = Translator::new("r", Some("a b".to_owned()));
    let text = r#"result.put("routingGroup", state.get("g"))"#;
    block(&mut later, &mvel::statements(text).unwrap(), 0).unwrap_err();
}

#[test]
fn optionals_are_not_kept_as_texts() {
    for mvel in [
        "u = trinoRequestUser.getUser()",
        r#"state.put("u", trinoRequestUser.getUser())"#,
        r#"state.putIfAbsent("u", trinoRequestUser.getUser())"#,
        r#"state.get("u").add(trinoRequestUser.getUser())"#,
        r#"state.get("u").put("a", trinoRequestUser.getUser())"#,
    ] {
        let told = action(mvel);
        assert!(told.starts_with("error: `=` of the Optional `user"), "{told}");
    }
    let told = condition("[trinoRequestUser.getUser()].size() == 1");
    assert!(told.starts_with("error: `[]` of the Optional `user"), "{told}");
}
