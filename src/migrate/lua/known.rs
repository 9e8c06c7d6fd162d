//! What a rule of a Java gateway has at hand: `request`, `trinoQueryProperties`, `trinoRequestUser`,
//! `state`, `result`, and a few classes of Java.

use super::{Code, GROUP_KEY, Helper, Kind, Translator, quoted};
use crate::migrate::mvel::{Expr, Op, Unknown, unknown};

/// Headers that a request of Warren has a field for.
const FIELDS: [(&str, &str); 7] = [
    ("X-Trino-Catalog", "catalog"),
    ("X-Trino-Client-Info", "client_info"),
    ("X-Trino-Language", "language"),
    ("X-Trino-Schema", "schema"),
    ("X-Trino-Source", "source"),
    ("X-Trino-Time-Zone", "time_zone"),
    ("X-Trino-Trace-Token", "trace_token"),
];

/// The name of a property: `getQueryType` and `queryType` are one.
fn property(name: &str) -> String {
    let rest = name.strip_prefix("get").or_else(|| name.strip_prefix("is"));
    let rest = rest.filter(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()));
    let Some(rest) = rest else { return name.to_owned() };
    rest[..1].to_ascii_lowercase() + &rest[1..]
}

/// The class that a path of names ends in: `Optional` of `java.util.Optional`.
pub(super) fn class(expr: &Expr) -> Option<&str> {
    let is_path = |of: &Expr| {
        let mut of = of;
        while let Expr::Field(inner, _) = of {
            of = inner;
        }
        matches!(of, Expr::Name(_))
    };
    let name = match expr {
        Expr::Name(name) => name,
        Expr::Field(of, name) if is_path(of) => name,
        _ => return None,
    };
    name.starts_with(|first: char| first.is_ascii_uppercase()).then_some(name.as_str())
}

/// Whether this is the key of the group.
pub(super) fn is_group_key(expr: &Expr) -> bool {
    match expr {
        Expr::Text(text) => text == GROUP_KEY,
        Expr::Field(of, name) => {
            name == "RESULTS_ROUTING_GROUP_KEY"
                && class(of).is_some_and(|it| it.contains("Routing"))
        }
        _ => false,
    }
}

impl Translator {
    pub(super) fn request(&mut self, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        let code = match (property(name).as_str(), given) {
            ("header", [header]) => return self.header(header),
            ("method", []) => {
                self.notes.push(
                    "asks for the method: in Warren rules see new queries alone, which are `POST`"
                        .to_owned(),
                );
                Code::call("request.method", Kind::Text)
            }
            ("requestURI" | "pathInfo" | "servletPath", []) => {
                self.notes.push(
                    "asks for the path: in Warren rules see new queries alone, which have \
                     `/v1/statement`"
                        .to_owned(),
                );
                Code::call("request.path", Kind::Text)
            }
            ("remoteAddr" | "remoteHost", []) => Code::call("request.remote_addr", Kind::Text),
            ("contentType", []) => Code::call("request:header(\"Content-Type\")", Kind::MaybeText),
            _ => return unknown(format!("`{name}` of the request")),
        };
        Ok(code)
    }

    fn header(&mut self, header: &Expr) -> Result<Code, Unknown> {
        if let Expr::Text(name) = header {
            let field = FIELDS.iter().find(|(header, _)| name.eq_ignore_ascii_case(header));
            if let Some((_, field)) = field {
                return Ok(Code::call(format!("request.{field}"), Kind::MaybeText));
            }
        }
        let name = self.expr(header)?;
        if !matches!(name.kind, Kind::Text | Kind::Any) {
            return unknown(format!("a header by the name `{}`", name.text));
        }
        Ok(Code::call(format!("request:header({})", name.text), Kind::MaybeText))
    }

    pub(super) fn query(&mut self, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        let code = match (property(name).as_str(), given) {
            ("body", []) => Code::call("request.query.text", Kind::Text),
            ("queryType", []) => Code::call("(request.query.type or \"\")", Kind::Text),
            ("resourceGroupQueryType", []) => {
                Code::call("(request.query.kind or \"\")", Kind::Text)
            }
            ("tables", []) => Code::call("request.query.tables", Kind::List),
            ("catalogSchemas", []) => Code::call("request.query.schemas", Kind::List),
            ("catalogs", []) => {
                self.helpers.insert(Helper::Catalogs);
                Code::call("catalogs(request)", Kind::List)
            }
            ("schemas", []) => {
                self.helpers.insert(Helper::SchemaNames);
                Code::call("schema_names(request.query)", Kind::List)
            }
            ("defaultCatalog", []) => Code::call("request.catalog", Kind::Optional),
            ("defaultSchema", []) => Code::call("request.schema", Kind::Optional),
            ("errorMessage", []) => Code::call("request.query.parse_error", Kind::Optional),
            ("newQuerySubmission", []) => Code::compare("request.method == \"POST\""),
            ("queryParsingSuccessful", []) => Code::compare("request.query.parse_error == nil"),
            ("tablesContains", [table]) => return self.tables_contain(table),
            _ => return unknown(format!("`{name}` of trinoQueryProperties")),
        };
        Ok(code)
    }

    fn tables_contain(&mut self, table: &Expr) -> Result<Code, Unknown> {
        let table = match table {
            // Each part may stand in quotes; names are compared in small letters.
            Expr::Text(text) => quoted(&text.replace('"', "").to_lowercase()),
            other => format!("string.lower({})", self.expr(other)?.text),
        };
        Ok(Code::compare(format!("table.find(request.query.tables, {table}) ~= nil")))
    }

    pub(super) fn user(&mut self, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        let code = match (property(name).as_str(), given) {
            ("user", []) => Code::call("user", Kind::Optional),
            ("userExists", []) => Code::compare("user ~= nil"),
            ("userExistsAndEquals", [user]) => {
                let user = self.expr(user)?;
                if !matches!(user.kind, Kind::Text | Kind::MaybeText | Kind::Any) {
                    return unknown(format!("a user by the name `{}`", user.text));
                }
                Code::compare(format!("user == {}", user.text))
            }
            _ => return unknown(format!("`{name}` of trinoRequestUser")),
        };
        self.helpers.insert(Helper::User);
        Ok(code)
    }

    /// What is read of `state` or `result`.
    pub(super) fn map(&mut self, map: &str, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        match (name, given) {
            ("get", [key]) => self.entry(map, key),
            ("containsKey", [key]) => {
                let entry = self.entry(map, key)?.text;
                Ok(Code::compare(format!("{entry} ~= nil")))
            }
            ("getOrDefault", [key, other]) => {
                let (entry, other) = (self.entry(map, key)?.text, self.expr(other)?);
                super::no_optional(&[&other], name)?;
                Ok(Code::call(format!("({entry} or {})", other.text), Kind::Any))
            }
            ("isEmpty" | "size" | "keySet" | "values" | "entrySet" | "clear", _) => {
                unknown(format!("`{name}` of `{map}`"))
            }
            (_, []) => self.entry(map, &Expr::Text(name.to_owned())),
            _ => unknown(format!("`{name}` of `{map}` in an expression")),
        }
    }

    /// The place of a key in `state` or `result`.
    pub(super) fn entry(&mut self, map: &str, key: &Expr) -> Result<Code, Unknown> {
        if map == "result" && is_group_key(key) {
            return Ok(Code::call("group", Kind::MaybeText));
        }
        if map == "result" {
            self.uses_result = true;
        } else {
            self.uses_state = true;
        }
        match key {
            Expr::Text(text) if is_plain(text) => {
                Ok(Code::call(format!("{map}.{text}"), Kind::Any))
            }
            key => {
                let key = self.expr(key)?.text;
                Ok(Code::call(format!("{map}[{key}]"), Kind::Any))
            }
        }
    }

    /// A method or a constant of a class.
    pub(super) fn of_class(
        &mut self,
        class: &str,
        name: &str,
        given: &[Expr],
    ) -> Result<Code, Unknown> {
        match (class, name, given) {
            ("Optional", "of" | "ofNullable", [value]) => {
                let value = self.expr(value)?;
                match value.kind {
                    Kind::Text | Kind::MaybeText | Kind::Nil | Kind::Any => {
                        Ok(Code { kind: Kind::Optional, ..value })
                    }
                    Kind::Optional | Kind::Bool | Kind::Number | Kind::List => {
                        unknown(format!("an Optional of `{}`", value.text))
                    }
                }
            }
            ("Optional", "empty", []) => {
                Ok(Code::new("nil", Kind::Optional, super::Bind::Constant))
            }
            ("Arrays", "asList", items) | ("List" | "Set", "of", items) => self.list(items),
            ("Integer" | "Long", "parseInt" | "parseLong" | "valueOf", [value])
            | ("Double" | "Float", "parseDouble" | "parseFloat" | "valueOf", [value]) => {
                self.number(value)
            }
            ("String", "valueOf", [value]) => {
                let value = self.expr(value)?;
                super::no_optional(&[&value], "String.valueOf")?;
                Ok(self.as_text(&value))
            }
            ("Objects", "equals", [left, right]) => self.binary(Op::Same, left, right),
            ("Objects", "isNull", [value]) => self.binary(Op::Same, value, &Expr::Null),
            ("Objects", "nonNull", [value]) => self.binary(Op::Differs, value, &Expr::Null),
            ("QualifiedName", "of", [_, ..]) => qualified(given),
            (_, "RESULTS_ROUTING_GROUP_KEY", []) if class.contains("Routing") => {
                self.expr(&Expr::Text(GROUP_KEY.to_owned()))
            }
            _ => unknown(format!("`{class}.{name}`")),
        }
    }
}

/// A table's name of constant parts.
fn qualified(parts: &[Expr]) -> Result<Code, Unknown> {
    let texts = parts.iter().map(|part| match part {
        Expr::Text(text) => Ok(text.to_lowercase()),
        _ => unknown("a QualifiedName of parts that are no constants"),
    });
    let name = texts.collect::<Result<Vec<_>, Unknown>>()?.join(".");
    Ok(Code::new(quoted(&name), Kind::Text, super::Bind::Constant))
}

/// Whether a text can stand behind a dot in Lua.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 21] = [
        "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in",
        "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
    ];
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        && !WORDS.contains(&text)
}
