//! What a rule may change of a submit. Pure.
//!
//! Promises that nothing of it touches who the user is and with which rights, where the request comes
//! from, what is executed, the connection, or the body.

use http::{HeaderName, HeaderValue};

use super::verdict::{Given, Items, kind_of, shown};

/// The most entries of one field of an answer.
pub(super) const ENTRIES_MAX: usize = 32;
/// The longest value, in bytes.
pub(super) const VALUE_MAX: usize = 4096;

/// What the rules change of a submit before a cluster sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Headers that have this value and no other one.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers that are taken away.
    pub remove: Vec<HeaderName>,
    /// Client tags that are added.
    pub tags: Vec<String>,
    /// Session properties that have this value.
    pub session: Vec<(String, String)>,
    /// The source, instead of what the client says.
    pub source: Option<HeaderValue>,
}

/// Headers that are not the rules' to change.
const PROTECTED: [&str; 21] = [
    "authorization",
    "connection",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-proxied-https",
    "x-trino-extra-credential",
    "x-trino-prepared-statement",
    "x-trino-role",
    "x-trino-transaction-id",
    "x-trino-user",
];
/// The beginnings of others.
const PROTECTED_BEGIN: [&str; 5] =
    ["content-", "x-forwarded-", "x-trino-internal-", "x-trino-original-", "x-warren-"];

impl Changes {
    /// Takes a field of an answer; `None`: it is none of these.
    pub(super) fn take(&mut self, field: &str, value: &Given) -> Option<Result<(), String>> {
        let taken = match field {
            "set_headers" => named(field, value).and_then(|pairs| self.set_headers(pairs)),
            "remove_headers" => list(field, value).and_then(|names| self.remove_headers(names)),
            "add_client_tags" => list(field, value).and_then(|tags| self.add_tags(tags)),
            "set_session" => named(field, value).and_then(|pairs| self.set_session(pairs)),
            "set_source" => self.set_source(value),
            _ => return None,
        };
        Some(taken)
    }

    fn set_headers(&mut self, pairs: Vec<(&str, &str)>) -> Result<(), String> {
        for (name, value) in pairs {
            let header = header(name)?;
            let value = header_value(&format!("the header `{header}`"), value)?;
            self.set.push((header, value));
        }
        // The order of a table is chance.
        self.set.sort_by(|left, right| left.0.as_str().cmp(right.0.as_str()));
        Ok(())
    }

    fn remove_headers(&mut self, names: Vec<&str>) -> Result<(), String> {
        for name in names {
            self.remove.push(header(name)?);
        }
        Ok(())
    }

    fn add_tags(&mut self, tags: Vec<&str>) -> Result<(), String> {
        for tag in tags {
            if tag.trim() != tag || tag.is_empty() || tag.contains(',') {
                let tag = shown(tag);
                return Err(format!("`{tag}` is no client tag, expected a word without commas"));
            }
            header_value("a client tag", tag)?;
            self.tags.push(tag.to_owned());
        }
        Ok(())
    }

    fn set_session(&mut self, pairs: Vec<(&str, &str)>) -> Result<(), String> {
        for (name, value) in pairs {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-$".contains(&byte);
            if name.is_empty() || !name.bytes().all(good) {
                let name = shown(name);
                return Err(format!(
                    "`{name}` is no session property, expected a name such as `query_max_run_time` \
                     or `hive.bucket_execution_enabled`"
                ));
            }
            if name.len().max(value.len()) > VALUE_MAX {
                let name = shown(name);
                return Err(format!(
                    "the session property `{name}` has a name or value of more than {VALUE_MAX} bytes"
                ));
            }
            self.session.push((name.to_owned(), value.to_owned()));
        }
        self.session.sort();
        Ok(())
    }

    fn set_source(&mut self, value: &Given) -> Result<(), String> {
        let Given::Text(text) = value else {
            return Err(format!("`set_source` is a {}, expected a string", kind_of(value)));
        };
        self.source = Some(header_value("`set_source`", text)?);
        Ok(())
    }
}

fn header(name: &str) -> Result<HeaderName, String> {
    let header = HeaderName::try_from(name).ok().filter(|_| name.len() <= VALUE_MAX);
    let header = header.ok_or_else(|| format!("`{}` is no name of a header", shown(name)))?;
    if is_protected(&header) {
        return Err(format!("rules may not change the header `{header}`"));
    }
    Ok(header)
}

/// Whether a header is about the connection, the body, what is executed, credentials, or who and where
/// the client is.
pub(super) fn is_protected(header: &HeaderName) -> bool {
    PROTECTED.contains(&header.as_str())
        || PROTECTED_BEGIN.iter().any(|begin| header.as_str().starts_with(begin))
}

/// The value of a header, if it can be one.
pub(super) fn header_value(what: &str, value: &str) -> Result<HeaderValue, String> {
    let fits = value.len() <= VALUE_MAX;
    HeaderValue::try_from(value).ok().filter(|_| fits).ok_or_else(|| {
        format!("{what} has a value that is not one line of at most {VALUE_MAX} bytes")
    })
}

/// The values of a list.
fn list<'a>(field: &str, value: &'a Given) -> Result<Vec<&'a str>, String> {
    let right = "expected a list of strings, as { \"a\", \"b\" }";
    let items = table(field, value, right)?;
    if !items.named.is_empty() {
        return Err(format!("`{field}` has names, {right}"));
    }
    items.list.iter().map(|item| text(field, item)).collect()
}

/// The names and values of a table.
pub(super) fn named<'a>(field: &str, value: &'a Given) -> Result<Vec<(&'a str, &'a str)>, String> {
    let right = "expected names and values, as { [\"a-name\"] = \"a value\" }";
    let items = table(field, value, right)?;
    if !items.list.is_empty() {
        return Err(format!("`{field}` is a list, {right}"));
    }
    items.named.iter().map(|(name, value)| Ok((text(field, name)?, text(field, value)?))).collect()
}

fn table<'a>(field: &str, value: &'a Given, right: &str) -> Result<&'a Items, String> {
    let Given::Table(items) = value else {
        return Err(format!("`{field}` is a {}, {right}", kind_of(value)));
    };
    if items.list.len() + items.named.len() > ENTRIES_MAX {
        return Err(format!("`{field}` has more than {ENTRIES_MAX} entries"));
    }
    Ok(items)
}

fn text<'a>(field: &str, item: &'a Given) -> Result<&'a str, String> {
    match item {
        Given::Text(text) => Ok(text),
        other => Err(format!("`{field}` has a {} in it, expected a string", kind_of(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given {
        Given::Text(text.to_owned())
    }

    fn names(pairs: &[(&str, &str)]) -> Given {
        let named = pairs.iter().map(|(name, value)| (given(name), given(value))).collect();
        Given::Table(Box::new(Items { list: Vec::new(), named }))
    }

    fn items(texts: &[&str]) -> Given {
        let list = texts.iter().map(|text| given(text)).collect();
        Given::Table(Box::new(Items { list, named: Vec::new() }))
    }

    fn taken(field: &str, value: &Given) -> Result<Changes, String> {
        let mut changes = Changes::default();
        changes.take(field, value).expect("a field of it").map(|()| changes)
    }

    fn refused(field: &str, value: &Given) -> String {
        taken(field, value).expect_err("no good change")
    }

    #[test]
    fn what_is_changed() {
        let set = names(&[("X-Trino-Client-Info", "a b"), ("X-Team", "bi")]);
        let set = taken("set_headers", &set).unwrap().set;
        let set: Vec<_> = set.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(set, [("x-team", "bi"), ("x-trino-client-info", "a b")]);
        let removed = taken("remove_headers", &items(&["X-Trino-Language"])).unwrap().remove;
        assert_eq!(removed, ["x-trino-language"]);
        assert_eq!(taken("add_client_tags", &items(&["a", "ü"])).unwrap().tags, ["a", "ü"]);
        let session = names(&[("hive.x", "a,b"), ("a", "")]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("a", ""), pair("hive.x", "a,b")];
        assert_eq!(taken("set_session", &session).unwrap().session, expected);
        assert_eq!(taken("set_source", &given("x")).unwrap().source.unwrap(), "x");
        assert_eq!(Changes::default().take("group", &given("bi")), None);
    }

    #[test]
    fn who_and_where_are_not_the_rules_to_change() {
        for name in [
            "X-Trino-User",
            "Authorization",
            "Cookie",
            "X-Trino-Internal-Bearer",
            "X-Trino-Original-User",
            "X-Trino-Prepared-Statement",
            "X-Trino-Role",
            "X-Trino-Transaction-Id",
            "X-Forwarded-For",
            "X-Forwarded-Client-Cert",
            "Host",
            "Transfer-Encoding",
            "Content-Length",
            "Content-Language",
            "X-Warren-Position",
        ] {
            let expected =
                format!("rules may not change the header `{}`", name.to_ascii_lowercase());
            assert_eq!(refused("set_headers", &names(&[(name, "x")])), expected);
            assert_eq!(refused("remove_headers", &items(&[name])), expected);
        }
    }

    #[test]
    fn what_is_no_change() {
        for (field, value, expected) in [
            ("set_headers", given("x"), "`set_headers` is a string, expected names and values"),
            ("set_headers", items(&["x"]), "`set_headers` is a list"),
            ("set_headers", names(&[("a b", "x")]), "`a b` is no name of a header"),
            ("set_headers", names(&[("a", "x\ny")]), "the header `a` has a value"),
            ("set_headers", names(&[("a", &"x".repeat(5000))]), "the header `a` has a value"),
            ("remove_headers", names(&[("a", "b")]), "`remove_headers` has names"),
            ("add_client_tags", items(&["a,b"]), "`a,b` is no client tag"),
            ("add_client_tags", items(&[""]), "`` is no client tag"),
            ("add_client_tags", items(&["a"; 33]), "`add_client_tags` has more than 32 entries"),
            ("set_session", names(&[("a=b", "c")]), "`a=b` is no session property"),
            ("set_source", Given::Other("number"), "`set_source` is a number"),
        ] {
            let told = refused(field, &value);
            assert!(told.starts_with(expected), "{told}");
        }
        let number = Items { list: vec![Given::Other("table")], named: Vec::new() };
        let told = refused("remove_headers", &Given::Table(Box::new(number)));
        assert_eq!(told, "`remove_headers` has a table in it, expected a string");
    }
}
