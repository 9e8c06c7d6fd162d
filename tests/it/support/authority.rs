//! Certificates of an authority of the tests' own.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// An authority, and a folder for what it signs: `ca.pem` is its own certificate.
pub(crate) struct Authority {
    folder: TempDir,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// One that nobody knows yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // A name of its own: two authorities of one name are told apart by broken signatures.
        let name = format!("the authority of {}", folder.path().display());
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let der = certificate.der().clone();
        Self { folder, certificate: der, issuer: Issuer::new(params, key) }
    }

    /// Writes `NAME.pem` and `NAME.key` for these host names; gives the certificate.
    pub(crate) fn sign(&self, file: &str, hosts: &[&str]) -> CertificateDer<'static> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        self.issue(file, &CertificateParams::new(hosts).unwrap())
    }

    /// The same for whatever is to stand in the certificate.
    pub(crate) fn issue(&self, file: &str, params: &CertificateParams) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        certificate.der().clone()
    }

    /// A file of its folder.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The settings of a listener with these pairs.
    pub(crate) fn listener(&self, address: SocketAddr, files: &[&str], rest: &str) -> String {
        let folder = self.folder.path().display();
        let mut text = format!("[[listeners]]\nname = \"https\"\naddress = \"{address}\"\n");
        for (place, file) in files.iter().enumerate() {
            let section = if place == 0 { "[listeners.tls]" } else { "[[listeners.tls.more]]" };
            let rest = if place == 0 { rest } else { "" };
            write!(
                text,
                "{section}\ncertificate = \"{folder}/{file}.pem\"\nkey = \"{folder}/{file}.key\"\n{rest}"
            )
            .unwrap();
        }
        text
    }

    /// What a client believes that believes this authority alone.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }
}
