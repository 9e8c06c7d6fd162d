//! Compression of answers, as a coordinator does it when the client takes it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http::Response;

/// Compresses the body with the first encoding the client names that is known here.
pub(crate) fn compress(response: &mut Response, accepted: Option<&str>) {
    if response.body.is_empty() {
        return;
    }
    for name in accepted.unwrap_or_default().split(',') {
        let (name, weight) = name.split_once(';').unwrap_or((name, ""));
        if weight.trim().trim_start_matches("q=").parse() == Ok(0.0) {
            continue;
        }
        let done = match name.trim() {
            "gzip" => gzip(&response.body).map(|body| ("gzip", body)),
            "zstd" => zstd::bulk::compress(&response.body, 1).map(|body| ("zstd", body)),
            _ => continue,
        };
        if let Ok((name, body)) = done {
            response.body = body;
            response.headers.push(("Content-Encoding", name.to_owned()));
            response.headers.push(("Vary", "Accept-Encoding".to_owned()));
        }
        return;
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_first_known_encoding_is_used() {
        for (accepted, expected) in [
            (None, None),
            (Some("br"), None),
            (Some("gzip;q=0, identity"), None),
            (Some("br, gzip, zstd"), Some("gzip")),
            (Some("zstd;q=1.0,gzip"), Some("zstd")),
        ] {
            let mut response = Response::json(b"{\"id\":1}".to_vec());
            compress(&mut response, accepted);
            let name = response.headers.iter().find(|(key, _)| *key == "Content-Encoding");
            assert_eq!(name.map(|(_, value)| value.as_str()), expected, "{accepted:?}");
            let plain = match expected {
                None => response.body,
                Some("zstd") => zstd::bulk::decompress(&response.body, 100).unwrap(),
                Some(_) => {
                    let mut plain = Vec::new();
                    let mut decoder = flate2::read::GzDecoder::new(response.body.as_slice());
                    decoder.read_to_end(&mut plain).unwrap();
                    plain
                }
            };
            assert_eq!(plain, b"{\"id\":1}");
        }
    }
}
