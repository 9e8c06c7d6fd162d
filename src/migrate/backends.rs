//! The backends of a Java gateway, as its API tells them.

use serde::Deserialize;

/// A Trino cluster behind a Java gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its coordinator.
    pub proxy_to: String,
    /// Where people find its web pages.
    #[serde(default)]
    pub external_url: Option<String>,
    /// Whether it takes queries.
    #[serde(default = "active")]
    pub active: bool,
    /// Its group.
    #[serde(default)]
    pub routing_group: Option<String>,
}

fn active() -> bool {
    true
}

/// Why an answer holds no backends.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a list of backends, expected what `/api/public/backends` of a Java gateway answers: \
     [{{\"name\": …, \"proxyTo\": …, \"active\": …, \"routingGroup\": …}}]"
)]
pub struct BackendsError {
    source: serde_json::Error,
}

/// Reads what `/api/public/backends` or `/gateway/backend/all` answers.
pub fn of_json(text: &[u8]) -> Result<Vec<Backend>, BackendsError> {
    serde_json::from_slice(text).map_err(|source| BackendsError { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let text = br#"[{"name":"a","proxyTo":"http://a:8080/","active":false,"routingGroup":"bi",
            "externalUrl":"http://a","new":1},{"name":"b","proxyTo":"http://b"}]"#;
        let backends = of_json(text).unwrap();
        assert_eq!(backends[0].routing_group.as_deref(), Some("bi"));
        assert!(!backends[0].active && backends[1].active);
        assert!(of_json(b"{}").unwrap_err().to_string().starts_with("not a list of backends"));
    }
}
