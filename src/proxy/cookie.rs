//! The cookie that keeps a browser at the coordinator whose pages it reads: the session of Trino's
//! web pages lives in one coordinator. It names a cluster and is signed, so that nobody but Warren
//! can write it; it is ours alone, and no coordinator sees it.

use http::HeaderMap;
use http::header::COOKIE;
use ring::hmac;

use crate::config::Scheme;
use crate::ids::ClusterName;

/// Its name.
const NAME: &str = "warren-cluster";

/// The cluster that a request's cookie names, if it is ours.
pub fn read(key: &hmac::Key, headers: &HeaderMap) -> Option<ClusterName> {
    headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()).find_map(|line| {
        let value = line.split(';').find_map(|pair| value_of(pair.trim()))?;
        let (signature, name) = value.split_once('.')?;
        hmac::verify(key, name.as_bytes(), &from_hex(signature)?).ok()?;
        ClusterName::parse(name).ok()
    })
}

/// The line that gives a browser the cookie for `cluster`.
pub fn write(key: &hmac::Key, cluster: &ClusterName, scheme: Scheme) -> String {
    let signature = hmac::sign(key, cluster.as_str().as_bytes());
    let signature: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let secure = if scheme == Scheme::Https { "; Secure" } else { "" };
    format!("{NAME}={signature}.{cluster}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

/// The other cookies of a line; `None`: ours is not among them.
pub fn without_ours(line: &str) -> Option<String> {
    let ours = |pair: &&str| value_of(pair.trim()).is_some();
    line.split(';').any(|pair| ours(&pair)).then(|| {
        let others: Vec<&str> = line.split(';').filter(|pair| !ours(pair)).map(str::trim).collect();
        others.join("; ")
    })
}

fn value_of(pair: &str) -> Option<&str> {
    pair.strip_prefix(NAME)?.strip_prefix('=')
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_signed_is_believed() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"other");
        let name = ClusterName::parse("blue").expect("a good name");
        let line = write(&key, &name, Scheme::Https);
        assert!(line.ends_with("Path=/; HttpOnly; SameSite=Lax; Secure"), "{line}");
        assert!(!write(&key, &name, Scheme::Http).contains("Secure"));
        let pair = line.split(';').next().expect("a pair").to_owned();
        let told = |key: &hmac::Key, line: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, line.parse().expect("a value"));
            read(key, &headers)
        };
        assert_eq!(told(&key, &format!("a=1; {pair}")), Some(name));
        assert_eq!(told(&other, &pair), None, "signed by somebody else");
        assert_eq!(told(&key, &pair.replace("blue", "green")), None, "changed");
        for junk in ["", "warren-cluster=", "warren-cluster=x.y", "warren-cluster", "a=b"] {
            assert_eq!(told(&key, junk), None, "{junk}");
        }
        assert_eq!(without_ours(&format!("a=1; {pair};b=2")).as_deref(), Some("a=1; b=2"));
        assert_eq!(without_ours(&pair).as_deref(), Some(""));
        assert_eq!(without_ours("a=1; b=2"), None);
    }
}
