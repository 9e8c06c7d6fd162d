//! `http.post` of a script.
//!
//! Promises that a call of `route` ends at a question without an answer, whatever the script does, that a
//! question tells nothing of a request but what the script puts into it, and that no more are asked than
//! [`QUESTIONS_MAX`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use mlua::{Lua, Table, Value};

use super::{BODY_MAX, Heard, Post, QUESTIONS_MAX, Reply, json};
use crate::config::{RuleHttp, ServiceUrl};
use crate::route::answer::{given, items, kind_of};
use crate::route::changes::{header_value, is_protected, named};
use crate::route::request::{Seat, no_field};
use crate::route::sandbox::Limit;
use crate::route::verdict::{Given, shown};

/// Headers that no answer may set, and a question may: they say nothing of who the client is.
const OF_A_QUESTION: [&str; 3] = ["content-type", "x-trino-prepared-statement", "x-trino-role"];

/// What the script is told where nothing may be called.
const OFF: &str = "http.post is off: name its URL in `rules.http.allow`";

/// What the call in hand has heard and not asked for again yet, and what it ended for.
#[derive(Debug, Default)]
pub(in crate::route) struct Line {
    left: RefCell<Vec<Arc<Heard>>>,
    /// How many questions were asked before.
    asked: Cell<usize>,
    asks: RefCell<Option<Post>>,
}

impl Line {
    /// A call begins, of which so much was heard.
    pub(in crate::route) fn begin(&self, heard: &[Arc<Heard>]) {
        self.left.replace(heard.to_vec());
        self.asked.set(heard.len());
        self.asks.replace(None);
    }

    /// It is over; gives the question that it ended for.
    pub(in crate::route) fn end(&self) -> Option<Post> {
        self.left.replace(Vec::new());
        self.asks.take()
    }

    /// What was heard of this question, which then is used up: the same one again is another one.
    pub(in crate::route) fn answer(&self, post: &Post) -> Option<Arc<Heard>> {
        let mut left = self.left.borrow_mut();
        let place = left.iter().position(|heard| heard.post == *post)?;
        Some(left.remove(place))
    }

    /// Notes a question of which nothing was heard. Tells why the call ends here.
    pub(in crate::route) fn ask(&self, post: Post) -> Limit {
        if self.asked.get() >= QUESTIONS_MAX {
            return Limit::Questions;
        }
        self.asks.replace(Some(post));
        Limit::Answer
    }
}

/// What `http.post` is called with: URL, body, options.
type Arguments = (Value, Value, Value);

/// `http` of a script. Without settings its functions say that they are off.
pub(in crate::route) fn library(
    lua: &Lua,
    seat: &Rc<Seat>,
    settings: Option<&Arc<RuleHttp>>,
) -> mlua::Result<Table> {
    let (seat, settings) = (Rc::clone(seat), settings.cloned());
    let post = move |lua: &Lua, (url, body, options): Arguments| -> mlua::Result<(Value, Value)> {
        let settings = settings.as_ref().ok_or_else(|| raised(OFF.to_owned()))?;
        seat.in_route("http.post can be called")?;
        let post = question(&seat, settings, (&url, &body, &options))?;
        let heard = seat.post(post)?;
        match &heard.reply {
            Ok(reply) => Ok((reply.given(lua)?, Value::Nil)),
            Err(_) => {
                Ok((Value::Nil, Value::String(lua.create_string(heard.why().unwrap_or_default())?)))
            }
        }
    };
    let http = lua.create_table()?;
    http.raw_set("post", lua.create_function(post)?)?;
    http.set_readonly(true);
    Ok(http)
}

impl Reply {
    fn given(&self, lua: &Lua) -> mlua::Result<Value> {
        let reply = lua.create_table()?;
        reply.raw_set("status", self.status)?;
        reply.raw_set("body", lua.create_string(&self.body)?)?;
        if let Some(json) = &self.json {
            reply.raw_set("json", json::given(lua, json)?)?;
        }
        reply.set_readonly(true);
        Ok(Value::Table(reply))
    }
}

fn question(
    seat: &Seat,
    settings: &RuleHttp,
    (url, body, options): (&Value, &Value, &Value),
) -> mlua::Result<Post> {
    let url = allowed(settings, url)?;
    let (kind, body) = match body {
        Value::String(text) if text.as_bytes().len() > BODY_MAX => {
            let text = format!("http.post takes a body of at most {BODY_MAX} bytes");
            return Err(raised(text));
        }
        Value::String(text) => {
            ("application/octet-stream", Bytes::copy_from_slice(&text.as_bytes()))
        }
        Value::Table(table) => {
            let text = json::written(table, || seat.in_route("http.post can be called"))?;
            ("application/json", Bytes::from(text))
        }
        other => {
            let kind = kind_of(other);
            return Err(raised(format!(
                "http.post got a {kind} as body, expected a string or a table"
            )));
        }
    };
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(kind))];
    let mut post = Post { url, headers, body, timeout: settings.timeout };
    match options {
        Value::Nil => {}
        Value::Table(options) => take_options(&mut post, options)?,
        other => {
            let kind = kind_of(other);
            return Err(raised(format!("http.post got a {kind} as options, expected a table")));
        }
    }
    Ok(post)
}

fn allowed(settings: &RuleHttp, url: &Value) -> mlua::Result<ServiceUrl> {
    let Value::String(text) = url else {
        return Err(raised(format!("http.post got a {} as URL, expected a string", kind_of(url))));
    };
    let bytes = text.as_bytes();
    // What is cut off is no URL anyway.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(BODY_MAX)]);
    let url = ServiceUrl::parse(&text)
        .map_err(|what| raised(format!("http.post cannot call `{}`: {what}", shown(&text))))?;
    if !settings.allow.iter().any(|entry| entry.covers(&url)) {
        let text = format!("`rules.http.allow` does not name `{}`", shown(&text));
        return Err(raised(text));
    }
    Ok(url)
}

fn take_options(post: &mut Post, options: &Table) -> mlua::Result<()> {
    for pair in options.pairs::<Value, Value>() {
        let (name, value) = pair?;
        match given(&name) {
            Given::Text(name) if name == "timeout" => post.timeout = timeout(&value, post.timeout)?,
            Given::Text(name) if name == "headers" => take_headers(post, &value)?,
            _ => return Err(no_field("http.post", &name, "headers, timeout")),
        }
    }
    Ok(())
}

fn timeout(value: &Value, most: Duration) -> mlua::Result<Duration> {
    let wrong = || {
        let right = "expected a time as \"100ms\", and at most";
        raised(format!(
            "the timeout of http.post is not good, {right} `rules.http.timeout` ({most:?})"
        ))
    };
    let Given::Text(text) = given(value) else { return Err(wrong()) };
    let timeout = humantime::parse_duration(&text).map_err(|_| wrong())?;
    let good = !timeout.is_zero() && timeout <= most;
    good.then_some(timeout).ok_or_else(wrong)
}

fn take_headers(post: &mut Post, value: &Value) -> mlua::Result<()> {
    let headers = match value {
        Value::Table(table) => Given::Table(Box::new(items(table)?)),
        other => given(other),
    };
    for (name, value) in named("headers", &headers).map_err(raised)? {
        let name = HeaderName::try_from(name)
            .map_err(|_| raised(format!("`{}` is no name of a header", shown(name))))?;
        if is_protected(&name) && !OF_A_QUESTION.contains(&name.as_str()) {
            return Err(raised(format!("http.post may not send the header `{name}`")));
        }
        let value = header_value(&format!("the header `{name}`"), value).map_err(raised)?;
        post.headers.retain(|(known, _)| *known != name);
        post.headers.push((name, value));
    }
    // The order of a table is chance, and a question must be the same when it is asked again.
    post.headers.sort_by(|left, right| left.0.as_str().cmp(right.0.as_str()));
    Ok(())
}

fn raised(text: String) -> mlua::Error {
    mlua::Error::RuntimeError(text)
}
