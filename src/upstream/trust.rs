//! Certificate authorities, and certificates of our own, from files; read once for each file and time
//! of change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use pingora::protocols::tls::CaType;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::error;

type Known = HashMap<PathBuf, (Option<SystemTime>, Arc<CaType>)>;

/// Files that were read, with the time of their last change.
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// The authorities in a PEM file.
///
/// A file that cannot be read trusts nobody: its cluster fails its probes, with this in the log.
pub fn authorities(file: &Path) -> Arc<CaType> {
    let changed = std::fs::metadata(file).and_then(|meta| meta.modified()).ok();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, authorities)) = known.get(file)
        && *at == changed
    {
        return authorities.clone();
    }
    let authorities: Arc<CaType> = match read(file) {
        Ok(certificates) => certificates.into(),
        Err(error) => {
            error!(file = %file.display(), %error, "certificate authorities cannot be read");
            Arc::new([])
        }
    };
    known.insert(file.to_owned(), (changed, authorities.clone()));
    authorities
}

fn read(file: &Path) -> Result<Vec<WrappedX509>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(file)?
        .map(|der| Ok(WrappedX509::new(der?.to_vec(), parse_x509)))
        .collect()
}

type Shown = HashMap<(PathBuf, PathBuf), ([Option<SystemTime>; 2], Option<Arc<CertKey>>)>;

/// Pairs that were read, with the times of their last changes.
static SHOWN: LazyLock<Mutex<Shown>> = LazyLock::new(Mutex::default);

/// The certificate in a PEM file, with its key in another one.
///
/// A pair that cannot be used is not shown: its cluster refuses its probes, with this in the log.
pub fn identity(certificate: &Path, key: &Path) -> Option<Arc<CertKey>> {
    let changed = [certificate, key]
        .map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok());
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let names = (certificate.to_owned(), key.to_owned());
    if let Some((at, identity)) = shown.get(&names)
        && *at == changed
    {
        return identity.clone();
    }
    let read = read_pair(certificate, key);
    if let Err(error) = &read {
        error!(file = %certificate.display(), error, "the certificate of probes cannot be used");
    }
    let identity = read.ok().map(Arc::new);
    shown.insert(names, (changed, identity.clone()));
    identity
}

fn read_pair(certificate: &Path, key: &Path) -> Result<CertKey, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| words(&error))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| words(&error))?;
    // What cannot be read must be refused here: Pingora takes it for granted later.
    for certificate in &chain {
        rustls::server::ParsedCertificate::try_from(certificate).map_err(|error| words(&error))?;
    }
    if chain.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| words(&error))?;
    rustls::crypto::ring::sign::any_supported_type(&key).map_err(|error| words(&error))?;
    let chain = chain.into_iter().map(|der| der.to_vec()).collect();
    Ok(CertKey::new(chain, key.secret_der().to_vec()))
}
