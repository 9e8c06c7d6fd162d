//! Certificate authorities from files, read once for each file and time of change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use pingora::protocols::tls::CaType;
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
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
