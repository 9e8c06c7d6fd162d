//! An object storage that speaks S3: moto, a process of the test's own.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use warren_stub::free_address;

use super::coordinator::SOON;
use super::own::Coordinator;
use super::surroundings::file;
use super::wire;

/// A running storage; gone with the value.
#[derive(Debug)]
pub(crate) struct Storage {
    folder: TempDir,
    process: Child,
    address: String,
}

impl Storage {
    /// Starts one with these buckets, all empty.
    pub(crate) async fn start(buckets: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a writable folder");
        let address = free_address();
        let process = Command::new(file("WARREN_TEST_MOTO"))
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("moto starts");
        let storage = Self { folder, process, address: address.to_string() };
        for bucket in buckets {
            storage.make(bucket).await;
        }
        storage
    }

    /// Makes a bucket, as soon as it answers.
    async fn make(&self, bucket: &str) {
        let path = format!("/{bucket}");
        let made = async {
            while wire::ask(&self.address, "PUT", &path, &[], "").await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let told = tokio::time::timeout(SOON, made).await;
        assert!(told.is_ok(), "moto does not answer: {}", self.log());
    }

    /// A coordinator of this name that spools into the bucket of this name, with `key` as its own: no
    /// other one can read the names of its segments.
    pub(crate) fn coordinator(
        &self,
        name: &str,
        (key, mode): (u8, &str),
        more: &[&str],
    ) -> Coordinator {
        let key = STANDARD.encode([key; 32]);
        let mut arguments = vec!["--plugin=spooling-filesystem".to_owned()];
        // Trino's own sizes would put a result of this size into the pages themselves.
        for (property, value) in [
            ("enabled", "true"),
            ("shared-secret-key", &key),
            ("retrieval-mode", mode),
            ("inlining.max-rows", "1000"),
            ("inlining.max-size", "128kB"),
            ("initial-segment-size", "1MB"),
            ("max-segment-size", "2MB"),
        ] {
            arguments.push(format!("--property=protocol.spooling.{property}={value}"));
        }
        for line in [
            "spooling-manager.name=filesystem".to_owned(),
            "fs.s3.enabled=true".to_owned(),
            format!("fs.location=s3://{name}/"),
            format!("s3.endpoint=http://{}", self.address),
            "s3.region=us-east-1".to_owned(),
            "s3.aws-access-key=test".to_owned(),
            "s3.aws-secret-key=test".to_owned(),
            "s3.path-style-access=true".to_owned(),
        ] {
            let file = "spooling-manager.properties".to_owned();
            arguments.extend(["--file-property".to_owned(), file, line]);
        }
        let own = arguments.iter().map(String::as_str);
        Coordinator::start(name, &own.chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// How many objects a bucket holds.
    pub(crate) async fn objects(&self, bucket: &str) -> usize {
        let path = format!("/{bucket}?list-type=2");
        let answer = wire::ask(&self.address, "GET", &path, &[], "").await.expect("an answer");
        let list = String::from_utf8(answer.body).expect("XML");
        assert!(list.contains("<ListBucketResult"), "{list}");
        list.matches("<Key>").count()
    }

    /// How many objects were ever written into a bucket.
    pub(crate) fn written(&self, bucket: &str) -> usize {
        self.log().matches(&format!("\"PUT /{bucket}/")).count()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
