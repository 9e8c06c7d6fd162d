//! Logins by OAuth2: what a hand-shake asks for, and what does not complete it.

use warren_stub::client::{Answer, Client};
use warren_stub::{Stub, StubOptions};

/// Without a proxy that vouches for TLS; a poll waits for 10 ms.
fn stub() -> (Stub, Client) {
    let login = Some("http://login.example/login".to_owned());
    let stub = Stub::start(StubOptions::scaled(0.01).with(|behaviour| behaviour.oauth = login));
    let client = Client::new(stub.addr());
    (stub, client)
}

/// The text between two marks in the header lines of a name.
fn between(answer: &Answer, name: &str, before: &str, after: &str) -> String {
    let mut lines = answer.headers.iter().filter(|(own, _)| own == name);
    let found = lines.find_map(|(_, line)| line.split_once(before)?.1.split_once(after));
    found.unwrap_or_else(|| panic!("no {before} in {answer:?}")).0.to_owned()
}

/// The paths of a new hand-shake: that of the client and that of the browser.
fn begin(client: &Client) -> (String, String) {
    let refused = client.submit("SELECT 1").expect("an answer");
    assert_eq!(refused.status, 401);
    let path = |name| between(&refused, "WWW-Authenticate", name, "\"");
    let [token, initiate] = ["x_token_server=\"", "x_redirect_server=\""].map(path);
    let of = |url: &str| url[url.find("/oauth2/").expect("a path")..].to_owned();
    (of(&token), of(&initiate))
}

/// What a browser is sent to the login with: the state, and its cookie.
fn sent(client: &Client, initiate: &str) -> (String, String) {
    let answer = client.get(initiate).expect("an answer");
    assert_eq!(answer.status, 303);
    let location = answer.header("location").expect("a place");
    let state = location.split_once("&state=").expect("a state").1.to_owned();
    (state, between(&answer, "Set-Cookie", "", ";"))
}

#[test]
fn a_login_lets_statements_in() {
    let (stub, client) = stub();
    let (token, initiate) = begin(&client);
    let waiting = client.get(&token).unwrap().json();
    assert!(waiting["nextUri"].as_str().is_some_and(|uri| uri.ends_with(&token)), "{waiting}");
    let (state, cookie) = sent(&client, &initiate);
    let back = format!("/oauth2/callback?code=abc&state={state}");
    assert_eq!(client.clone().with("Cookie", &cookie).get(&back).unwrap().status, 200);
    assert_eq!(client.get(&token).unwrap().json()["token"], "stub-token-abc");
    assert_eq!(client.send("DELETE", &token, "").unwrap().status, 200);
    for credentials in ["Bearer stub-token-abc", "Basic eDp5"] {
        let let_in = client.clone().with("Authorization", credentials);
        assert_eq!(let_in.submit("SELECT 1").unwrap().status, 200, "{credentials}");
    }
    assert_eq!(stub.foreign_ids(), (0, Vec::new()));
}

#[test]
fn what_completes_no_login() {
    let (stub, client) = stub();
    let (token, initiate) = begin(&client);
    let (state, cookie) = sent(&client, &initiate);
    let browser = client.clone().with("Cookie", &cookie);
    let (_, other_initiate) = begin(&client);
    let (_, other_cookie) = sent(&client, &other_initiate);
    let back = |state: &str| format!("/oauth2/callback?code=abc&state={state}");
    let forged = format!("{}x", state.trim_end_matches(|last| last != '.'));
    assert_eq!(client.get(&back(&state)).unwrap().status, 401, "no cookie");
    let other = client.clone().with("Cookie", &other_cookie);
    assert_eq!(other.get(&back(&state)).unwrap().status, 401, "the cookie of another browser");
    assert_eq!(browser.get(&back(&forged)).unwrap().status, 401, "another signature");
    assert_eq!(browser.get("/oauth2/callback?code=abc").unwrap().status, 400, "no state");
    assert!(client.get(&token).unwrap().json()["token"].is_null());
    let strange = client.clone().with("Authorization", "Bearer of-another-login");
    assert_eq!(strange.submit("SELECT 1").unwrap().status, 401);
    assert_eq!(stub.foreign_ids().0, 0);
    // Of these it knows nothing.
    for path in ["/oauth2/token/1-2-3", "/oauth2/token/initiate/aa"] {
        assert_eq!(client.get(path).unwrap().status, 404, "{path}");
    }
    assert_eq!(stub.foreign_ids().0, 2);
}
