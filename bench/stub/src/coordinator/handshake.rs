//! Hand-shakes of OAuth2: a client without a token hears where a browser logs in, and polls for it.
//!
//! As in Trino their state lives in the coordinator that began them and means nothing to another.
//! The client knows a hand-shake by its id, the browser by the hash of it, and what comes back from
//! the login by a `state` that the coordinator signed and a cookie that it gave to the browser.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::names::mix;

/// The most hand-shakes that are kept; the stub begins no more.
const HANDSHAKES_MAX: usize = 100_000;

/// What every token begins with. One of another coordinator is as good: the login gave it.
const TOKEN: &str = "stub-token-";

/// All hand-shakes of a coordinator, by the hash of their ids.
#[derive(Debug)]
pub(crate) struct Handshakes {
    key: u64,
    by_hash: HashMap<String, Handshake>,
}

/// One of them.
#[derive(Debug, Default)]
struct Handshake {
    token: Option<String>,
    /// Rings when the token is there.
    bell: Arc<Notify>,
}

/// What comes of asking for a token.
pub(crate) enum Asked {
    /// Here it is.
    Token(String),
    /// Nobody has logged in yet; the bell rings when somebody has.
    Waits(Arc<Notify>),
    /// Another coordinator's, or nobody's.
    Unknown,
}

impl Handshakes {
    /// None yet; the key makes ids and signatures.
    pub(super) fn new(key: u64) -> Self {
        Self { key, by_hash: HashMap::new() }
    }

    /// Begins one: its id, and the hash of it. `None`: no room.
    pub(crate) fn begin(&mut self) -> Option<(String, String)> {
        if self.by_hash.len() >= HANDSHAKES_MAX {
            return None;
        }
        let made = self.by_hash.len() as u64;
        let (left, right) = (mix(self.key ^ made), mix(mix(self.key) ^ made));
        let id = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            left >> 32,
            (left >> 16) & 0xffff,
            left & 0xffff,
            right >> 48,
            right & 0xffff_ffff_ffff
        );
        let hash = hex_of(&id);
        self.by_hash.insert(hash.clone(), Handshake::default());
        Some((id, hash))
    }

    /// Whether the hand-shake of this hash is ours.
    pub(crate) fn knows(&self, hash: &str) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// What the browser takes to the login: the state, and the cookie that it must come back with.
    pub(crate) fn state(&self, hash: &str) -> Option<(String, String)> {
        self.by_hash.get(hash)?;
        let nonce = self.nonce(hash);
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let claims = json!({
            "aud": "trino_oauth_ui", "handler_state": hash, "nonce": hex_of(&nonce),
        });
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let signature = self.signature(&claims);
        Some((format!("{head}.{claims}.{signature}"), nonce))
    }

    /// Somebody came back from the login with a code; tells whether the token is there now.
    pub(crate) fn complete(&mut self, state: &str, code: &str, nonce: Option<&str>) -> bool {
        let Some(hash) = hash_in(state) else { return false };
        if self.state(&hash).is_none_or(|(own, cookie)| own != state || nonce != Some(&cookie)) {
            return false;
        }
        let Some(handshake) = self.by_hash.get_mut(&hash) else { return false };
        handshake.token = Some(format!("{TOKEN}{code}"));
        handshake.bell.notify_waiters();
        true
    }

    /// Asks for the token of the hand-shake with this id.
    pub(crate) fn ask(&self, id: &str) -> Asked {
        match self.by_hash.get(&hex_of(id)) {
            None => Asked::Unknown,
            Some(Handshake { token: Some(token), .. }) => Asked::Token(token.clone()),
            Some(handshake) => Asked::Waits(Arc::clone(&handshake.bell)),
        }
    }

    fn nonce(&self, hash: &str) -> String {
        hex_of(&format!("{} nonce {hash}", self.key))
    }

    fn signature(&self, claims: &str) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{} sign {claims}", self.key)))
    }
}

/// Whether statements with this token run.
pub(crate) fn is_token(text: &str) -> bool {
    text.starts_with(TOKEN)
}

/// The hash in a state, whoever signed it.
pub(crate) fn hash_in(state: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(state.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["handler_state"].as_str().map(str::to_owned)
}

/// The hash by which a browser knows a hand-shake.
pub(crate) fn hex_of(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
