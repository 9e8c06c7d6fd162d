//! Values that are each fine and do not fit together. Pure.

use std::time::Duration;

use crate::config::duration;
use crate::config::raw::Section;
use crate::config::{Group, Health, Peers, Timeouts};

/// Notes timeouts that cannot be kept.
pub(super) fn timeouts(section: &Section<'_>, timeouts: &Timeouts) {
    let Timeouts { connect, answer, submit, ask, page_hold, store, .. } = *timeouts;
    not_above(section, ("connect", connect), ("submit", submit));
    not_above(section, ("answer", answer), ("submit", submit));
    not_above(section, ("ask", ask), ("page_hold", page_hold));
    not_above(section, ("store", store), ("page_hold", page_hold));
}

/// Notes probes that would overtake themselves.
pub(super) fn health(section: &Section<'_>, health: &Health) {
    let Health { statement_period, statement_timeout, .. } = *health;
    not_above(
        section,
        ("statement_timeout", statement_timeout),
        ("statement_period", statement_period),
    );
}

/// Notes that gateways which share a store could not pass on pages of queries that are held.
pub(super) fn peers(section: &Section<'_>, peers: &Peers, shared: bool, groups: &[Group]) {
    let Some(group) = groups.iter().find(|group| shared && group.hold.is_some()) else { return };
    if peers.secret.is_none() {
        section.complain(
            "secret",
            format!(
                "missing, and the group `{}` holds queries while other gateways may share the store",
                group.name
            ),
            "write where it is, `{ env = \"NAME\" }` or `{ file = \"PATH\" }`, the same for all gateways",
        );
    }
    if peers.address.ip().is_unspecified() {
        section.complain(
            "address",
            "no address at which other gateways reach this one",
            "write the one that this machine has, as `\"10.0.0.7:8081\"`",
        );
    }
}

/// Notes that `low` is above `high`, at the one that is written.
fn not_above(section: &Section<'_>, low: (&str, Duration), high: (&str, Duration)) {
    if low.1 <= high.1 {
        return;
    }
    let [low_text, high_text] = [low, high].map(|(name, span)| (name, duration::show(span)));
    if section.line_of(low.0).is_some() {
        section.complain(
            low.0,
            format!("{} is more than `{}`, which is {}", low_text.1, high.0, high_text.1),
            format!("at most {}", high_text.1),
        );
    } else {
        section.complain(
            high.0,
            format!("{} is less than `{}`, which is {}", high_text.1, low.0, low_text.1),
            format!("at least {}", low_text.1),
        );
    }
}
