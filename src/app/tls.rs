//! TLS on the clients' ports: certificates by the name that the client asks for, read again when
//! their files change. Connections that stand keep what they have; a bad pair leaves the old one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use pingora::listeners::tls::TlsSettings;
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tracing::{error, info};

use crate::config::Tls;
use crate::telemetry::metrics::Metrics;

/// Between two looks at the files.
const PERIOD: Duration = Duration::from_millis(500);

/// Why files cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM.
    #[error("`{}`: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A key is not that of its certificate.
    #[error("`{}` is not the key of the certificate in `{}`", key.display(), certificate.display())]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// The certificates of one listener.
#[derive(Debug)]
pub struct Certificates {
    settings: Tls,
    /// Of the files, before they were read.
    read_at: Vec<Stamp>,
    pairs: ArcSwap<Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Reads them.
    pub fn load(settings: &Tls) -> Result<Arc<Self>, TlsError> {
        let read_at = stamps(settings);
        let pairs = ArcSwap::from_pointee(read_pairs(settings)?);
        Ok(Arc::new(Self { settings: settings.clone(), read_at, pairs }))
    }

    /// Reads them again whenever a file has changed, for as long as the gateway lives.
    pub async fn watch(self: Arc<Self>, metrics: Arc<Metrics>) {
        let mut known = self.read_at.clone();
        // Of all listeners: each adds itself while its files are bad.
        let rejected = metrics.gauges.with_label_values(&["certificates_rejected"]);
        let mut bad = false;
        loop {
            tokio::time::sleep(PERIOD).await;
            let found = stamps(&self.settings);
            // Whoever writes two files is done when nothing has changed between two looks.
            if found == known {
                continue;
            }
            tokio::time::sleep(PERIOD).await;
            if stamps(&self.settings) != found {
                continue;
            }
            known = found;
            match read_pairs(&self.settings) {
                Ok(pairs) => {
                    self.pairs.store(Arc::new(pairs));
                    rejected.sub(i64::from(std::mem::replace(&mut bad, false)));
                    info!("changed certificates are in force");
                }
                Err(error) => {
                    rejected.add(i64::from(!std::mem::replace(&mut bad, true)));
                    error!(%error, "bad certificates: the old ones stay in force");
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    /// The first that is valid for the name that the client asks for, else the first.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pairs = self.pairs.load();
        let named = hello.server_name().and_then(|name| {
            let name = ServerName::try_from(name).ok()?;
            pairs.iter().find(|pair| is_for(pair, &name))
        });
        named.or_else(|| pairs.first()).cloned()
    }
}

fn is_for(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = pair.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
    parsed.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

/// Pingora's settings for a listener with these certificates.
pub fn settings(certificates: &Arc<Certificates>) -> Result<TlsSettings, TlsError> {
    let file = certificates.settings.pairs.first().map(|(file, _)| file.clone());
    let failed = |error: &dyn std::fmt::Display| TlsError::File {
        file: file.clone().unwrap_or_default(),
        why: error.to_string(),
    };
    // The paths are not read: the resolver answers for them.
    let mut settings = TlsSettings::intermediate("", "").map_err(|error| failed(&error))?;
    settings.set_cert_resolver(certificates.clone());
    settings.enable_h2();
    if let Some(file) = &certificates.settings.client_ca {
        let mut roots = RootCertStore::empty();
        for der in read_certificates(file)? {
            roots.add(der).map_err(|error| wrong(file, error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
        settings
            .set_client_cert_verifier(verifier.map_err(|error| wrong(file, error.to_string()))?);
    }
    Ok(settings)
}

fn read_pairs(settings: &Tls) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    let pairs = settings.pairs.iter().map(|(certificate, key)| {
        let chain = read_certificates(certificate)?;
        let der = PrivateKeyDer::from_pem_file(key).map_err(|error| {
            wrong(key, format!("no private key in PEM can be read from it ({error})"))
        })?;
        let signing = any_supported_type(&der)
            .map_err(|error| wrong(key, format!("a key that cannot be used ({error})")))?;
        let pair = CertifiedKey::new(chain, signing);
        // What cannot be compared (keys of some kinds) is left to the handshake.
        if matches!(pair.keys_match(), Err(rustls::Error::InconsistentKeys(_))) {
            return Err(TlsError::Pair { certificate: certificate.clone(), key: key.clone() });
        }
        Ok(Arc::new(pair))
    });
    pairs.collect()
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error| wrong(file, format!("no certificate in PEM can be read ({error})"));
    let read = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(unreadable)?;
    if chain.is_empty() {
        return Err(wrong(file, "no certificate in it; write the chain in PEM".to_owned()));
    }
    Ok(chain)
}

fn wrong(file: &Path, why: String) -> TlsError {
    TlsError::File { file: file.to_owned(), why }
}

/// When a file changed last, and its size; `None`: it is not there.
type Stamp = Option<(SystemTime, u64)>;

fn stamps(settings: &Tls) -> Vec<Stamp> {
    let files = settings.pairs.iter().flat_map(|(certificate, key)| [certificate, key]);
    files
        .map(|file| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
        .collect()
}
