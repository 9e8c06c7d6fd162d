//! `[rules.http]`: which services rules may call.

use std::time::Duration;

use http::HeaderValue;

use super::clusters::ca;
use super::{HOUR, MS};
use crate::config::problem::Wrong;
use crate::config::raw::Section;
use crate::config::{OnFailure, RuleHttp, secret, services};

/// The longest time of a call: a rule may make four, one after the other, while a client waits.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Reads `[rules.http]`; `None`: it allows nothing, or something is wrong.
pub(super) fn rule_http(section: &Section<'_>) -> Option<RuleHttp> {
    let allow = section.list("allow", services::allowed);
    let authorization = secret::read(section, "authorization");
    if let Some(secret) = &authorization
        && HeaderValue::from_str(secret.reveal()).is_err()
    {
        let right = "name where the whole value of `Authorization` stands, alone and in one line";
        section.complain("authorization", "not a value that a header can carry", right);
    }
    let on_failure = section.parsed("on_failure", |text| match text {
        "nil" => Ok(OnFailure::Nil),
        "default_group" => Ok(OnFailure::DefaultGroup),
        "reject" => Ok(OnFailure::Reject),
        _ => {
            let right = "write `\"nil\"`, `\"default_group\"` or `\"reject\"`";
            Err(Wrong::new("not what can become of such a query", right))
        }
    });
    let timeout = section.duration("timeout", MS..=TIMEOUT_MAX);
    let open_after = section.number("open_after", 1..=1_000_000);
    let open_for = section.duration("open_for", 100 * MS..=HOUR);
    let max_in_flight = section.number("max_in_flight", 1..=100_000);
    let ca = ca(section);
    let http = RuleHttp {
        allow,
        ca,
        authorization,
        timeout,
        on_failure: on_failure?,
        open_after: open_after.and_then(|count| u32::try_from(count).ok())?,
        open_for,
        max_in_flight: max_in_flight.and_then(|count| usize::try_from(count).ok())?,
    };
    (!http.allow.is_empty()).then_some(http)
}
