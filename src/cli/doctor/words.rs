//! What can go wrong on a hop, in words, and what to do about it. Pure.

use std::time::Duration;

/// What is said instead of TLS by a port that has none.
pub(super) const NO_HANDSHAKE: &str = "it answers to plain HTTP";

/// Why a hop gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its name has no address.
    NoName(String),
    /// Nothing can be sent there.
    Connect(String),
    /// TLS failed; what it said.
    Tls(String),
    /// It takes requests and does not answer.
    Silent(Duration),
    /// The connection broke.
    Broken(String),
    /// It refused; with the beginning of its text and the kind of credentials that it asks for.
    Status { code: u16, text: String, asks_for: Option<String> },
    /// It answers 200, and not as Trino does.
    NoTrino(String),
    /// The statement failed.
    Failed { name: String, message: String },
    /// The statement stood in this state at its deadline.
    Waits { state: String, limit: Duration },
}

/// Who is at the end of a hop, for the advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A coordinator.
    Cluster,
    /// Warren's port for clients, or what stands before it.
    Warren,
}

/// What is wrong, and the fix.
pub(super) struct Words {
    pub(super) text: String,
    pub(super) fix: String,
}

fn words(text: impl Into<String>, fix: &str) -> Words {
    Words { text: text.into(), fix: fix.to_owned() }
}

/// Tells a trouble.
pub(super) fn tell(trouble: &Trouble, end: End, user: &str) -> Words {
    let cluster = end == End::Cluster;
    let of = |at_cluster, at_warren| if cluster { at_cluster } else { at_warren };
    match trouble {
        Trouble::NoName(host) => words(
            format!("the name {host} has no address on this machine"),
            of(
                "correct the host in the cluster's `url`, or the DNS here",
                "correct the URL, or the DNS here",
            ),
        ),
        Trouble::Connect(why) => words(
            format!("cannot connect: {why}"),
            of(
                "see that the coordinator runs and that this machine may reach it (security groups, network policies)",
                "see that Warren runs and listens there (`listen.client`), and that this machine may reach it",
            ),
        ),
        Trouble::Tls(why) => tls(why, cluster),
        Trouble::Silent(limit) => words(
            format!("takes the request and does not answer within {limit:?}"),
            of(
                "look at the coordinator: it hangs, or is out of memory",
                "look at Warren's log and at its clusters",
            ),
        ),
        Trouble::Broken(why) => words(
            format!("breaks the connection instead of answering: {why}"),
            "see whether a proxy between cuts it, and what the log at the other end says",
        ),
        Trouble::Status { code: 406, text, .. } => words(
            format!("refuses forwarded headers (406): {text}"),
            "set `http-server.process-forwarded=true` in `config.properties` of the coordinators, and restart them",
        ),
        Trouble::Status { code: code @ (401 | 403), asks_for, .. } => {
            let kind = asks_for.as_ref().map(|kind| format!(", it asks for {kind}"));
            words(
                format!("refuses the user {user} ({code}{})", kind.unwrap_or_default()),
                of(
                    "name an account of it in `probe.user` and `probe.password` of the cluster; a password needs https",
                    "name an account by --user and --password-file",
                ),
            )
        }
        Trouble::Status { code, text, .. } => words(
            format!("answers {code}: {text}"),
            of(
                "see whether `url` is that of the coordinator, and what its log says",
                "see Warren's log",
            ),
        ),
        Trouble::NoTrino(what) => words(
            format!("answers, and not as Trino does: {what}"),
            "see whether a login page or another program answers in its place",
        ),
        Trouble::Failed { name, message } => words(
            format!("the statement failed: {name}: {message}"),
            of(
                "run it by hand; grant the user what it lacks",
                "run it by hand; look at the clusters below",
            ),
        ),
        Trouble::Waits { state, limit } => words(
            format!("the statement stands {state} after {limit:?}"),
            "look for workers that are missing, and for a resource group that is full",
        ),
    }
}

fn tls(why: &str, cluster: bool) -> Words {
    let of = |at_cluster, at_warren| if cluster { at_cluster } else { at_warren };
    let has = |part: &str| why.contains(part);
    if has("not valid for name") || has("NotValidForName") {
        words(
            format!("its certificate is for another name: {why}"),
            of(
                "write the name of the certificate into the cluster's `url`, or into its `tls.server_name`",
                "call it by a name in its certificate, or put the name into the certificate",
            ),
        )
    } else if has("UnknownIssuer") {
        words(
            format!("the authority of its certificate is not trusted here: {why}"),
            of(
                "name the authority's PEM file in `tls.ca` of the cluster",
                "name the authority's PEM file by --ca; clients have to trust it too",
            ),
        )
    } else if has("expired") || has("Expired") {
        words(format!("its certificate is expired: {why}"), "renew it")
    } else if has("InvalidContentType") || why == NO_HANDSHAKE {
        words(
            format!("speaks no TLS: {why}"),
            of(
                "write `http://` in the cluster's `url`, or switch its TLS on",
                "call it by http://",
            ),
        )
    } else {
        words(format!("TLS failed: {why}"), "see which versions and certificates the other end has")
    }
}
