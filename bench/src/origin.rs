//! The origin: an nginx that answers as two idle coordinators would, with constant pages.
//!
//! nginx and not the stub, because it is the cheapest thing known to answer HTTP. Two ports, each
//! with a mark of its own. A probe (source `warren-probe` or user `warren`) gets a query that ends
//! at its first page; every other submit gets a fresh id, whose pages never end.

use std::net::SocketAddr;
use std::path::Path;

use warren_stub::lean;

/// The marks of the two ports.
pub(crate) const MARKS: [&str; 2] = ["benca", "bencb"];
/// An id as the origin makes it: index of ten digits, so that all ids have one length.
const SAMPLE: &str = "20260101_000000_0000000000_benca";

/// The configuration of the origin. `folder` takes nginx's own files.
pub(crate) fn origin_conf(folder: &Path, ports: [SocketAddr; 2]) -> String {
    let servers: String = MARKS.iter().zip(ports).map(|(mark, port)| server(mark, port)).collect();
    let page = lean::page(SAMPLE).replace(SAMPLE, "$id");
    let ended = lean::ended(SAMPLE).replace(SAMPLE, "$id");
    format!(
        r#"{head}
  map $http_x_forwarded_host $base {{
    "" "http://$http_host";
    default "$http_x_forwarded_proto://$http_x_forwarded_host";
  }}
  map "$http_x_trino_source/$http_x_trino_user" $probe {{ "~^warren-probe/|/warren$" 1; default 0; }}
  map $connection $c {{
    "~^(?<c1>.)$" "000$c1"; "~^(?<c2>..)$" "00$c2"; "~^(?<c3>...)$" "0$c3"; "~(?<c4>....)$" $c4;
  }}
  map $connection_requests $r {{
    "~^(?<r1>.)$" "00000$r1"; "~^(?<r2>..)$" "0000$r2"; "~^(?<r3>...)$" "000$r3";
    "~^(?<r4>....)$" "00$r4"; "~^(?<r5>.....)$" "0$r5"; "~(?<r6>......)$" $r6;
  }}
  map $probe $index {{ 1 "0000000000"; default "$c$r"; }}
  map $request_uri $id {{ "~/(?<told>[0-9]+_[0-9]+_[0-9]+_[a-z0-9]+)(/|$)" $told; default ""; }}
  map $id $page {{
    "~_0000000000_" '{ended}';
    default '{page}';
  }}
{servers}}}
"#,
        head = head(folder),
    )
}

/// The configuration of the reverse proxy.
pub(crate) fn proxy_conf(folder: &Path, listen: SocketAddr, upstreams: [SocketAddr; 2]) -> String {
    format!(
        r#"{head}
  upstream origin {{ server {a}; server {b}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen {listen} backlog=1024;
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
"#,
        head = head(folder),
        a = upstreams[0],
        b = upstreams[1],
    )
}

fn head(folder: &Path) -> String {
    let folder = folder.display();
    let own = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/nginx.pid;\n\
         error_log stderr error;\nevents {{ worker_connections 4096; }}\nhttp {{\n{own}  \
         access_log off;\n  keepalive_requests 100000000;\n  keepalive_timeout 300s;\n  \
         tcp_nodelay on;\n  map_hash_bucket_size 512;\n  default_type application/json;"
    )
}

fn server(mark: &str, listen: SocketAddr) -> String {
    let started = format!("20260101_000000_${{index}}_{mark}");
    let slug = "y0123456789012345678901234567890123456789";
    let queued = format!(
        r#"{{"id":"{started}","infoUri":"$base/ui/query.html?{started}","nextUri":"$base/v1/statement/queued/{started}/{slug}/1","stats":{{"state":"QUEUED","queued":true,"scheduled":false,"nodes":0,"totalSplits":0,"queuedSplits":0,"runningSplits":0,"completedSplits":0}},"warnings":[]}}"#
    );
    let info = r#"{"nodeVersion":{"version":"476"},"environment":"bench","coordinator":true,"starting":false,"uptime":"1.00h"}"#;
    format!(
        r"  server {{
    listen {listen} backlog=1024;
    location = /v1/statement {{ return 200 '{queued}'; }}
    location /v1/statement/ {{
      if ($request_method = DELETE) {{ return 204; }}
      return 200 $page;
    }}
    location = /v1/info {{ return 200 '{info}'; }}
    location = /v1/info/state {{ return 200 '\u0022ACTIVE\u0022'; }}
    location = /v1/query {{ return 200 '[]'; }}
    location /v1/query/ {{
      if ($request_method = DELETE) {{ return 204; }}
      return 410;
    }}
  }}
"
    )
    .replace(r"\u0022", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_whole_in_the_configuration() {
        let ports = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let conf = origin_conf(Path::new("/nowhere"), ports);
        assert_eq!(conf.matches('{').count(), conf.matches('}').count());
        for expected in ["listen 127.0.0.1:2 ", "_bencb", r#""nextUri":"http://localhost"#, "[[1]]"]
        {
            assert!(conf.contains(expected), "{expected}\n{conf}");
        }
        assert!(!conf.contains(SAMPLE));
    }
}
