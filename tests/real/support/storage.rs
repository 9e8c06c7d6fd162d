//! An object storage that speaks S3: moto, a process of the test's own.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::coordinator::SOON;
use super::gateway::free_address;
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

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
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
