//! TLS of the listeners: a certificate, its key, and whose certificates clients must have, from files that are read
//! again when they change. A new connection gets what was read last; open ones keep what they have.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::{
    ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::{Environment, Process},
    limits,
};

/// The files of a listener, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `cert`: the certificate, then those between it and the root.
    pub cert: PathBuf,
    /// `key`: its private key.
    pub key: PathBuf,
    /// `client_ca`: who has signed the certificates that clients must have. Unset: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// What is spoken over the connections of a listener, as clients ask for it (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, as gRPC needs it.
    Http2,
}

impl Protocol {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("the file `{}` can't be read: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file has no certificate, or one that can't be read.
    #[error("the file `{}` is no list of certificates in PEM: {error}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// A file has no private key. What is in it is not shown.
    #[error("the file `{}` has no private key in PEM, without a password", .0.display())]
    Key(PathBuf),
    /// The certificate and the key can't be used together.
    #[error("the certificate `{}` and the key `{}` can't be used: {error}", .cert.display(), .key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// A certificate that can't be trusted for clients.
    #[error("the certificates of `{}` can't sign those of clients: {error}", .path.display())]
    ClientRoot {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// No certificate that could be trusted for clients.
    #[error("the certificates of `{}` can't sign those of clients: {error}", .path.display())]
    ClientRoots {
        /// The file.
        path: PathBuf,
        /// Why.
        error: VerifierBuilderError,
    },
}

/// What stands in the files of a listener.
#[derive(Clone, PartialEq, Eq)]
struct Pems {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Pems {
    fn read(files: &Files, environment: &dyn Environment) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            environment
                .read(path, limits::PEM_BYTES_MAX)
                .map_err(|error| TlsError::Unreadable { path: path.to_owned(), error })
        };
        Ok(Self {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

impl fmt::Debug for Pems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pems").finish_non_exhaustive()
    }
}

/// Returns what is wrong with the files, if anything is.
///
/// # Errors
///
/// If one can't be read, or they can't be used together.
pub fn check(files: &Files, environment: &dyn Environment) -> Result<(), TlsError> {
    config(files, &Pems::read(files, environment)?, Protocol::Http1).map(drop)
}

/// What a listener's connections are secured with.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    protocol: Protocol,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// What it was made of.
    used: Pems,
    /// What could not be used since: said once.
    refused: Option<Refused>,
}

#[derive(Debug)]
struct Refused {
    /// `None`: it could not be read.
    pems: Option<Pems>,
    /// Whether it was said. Not at once, since files that belong together are replaced one after the other.
    is_told: bool,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If one can't be read, or they can't be used together.
    pub fn open(files: Files, protocol: Protocol) -> Result<Self, TlsError> {
        let used = Pems::read(&files, &Process)?;
        let config = Arc::new(config(&files, &used, protocol)?);
        let current = RwLock::new(Current { config, used, refused: None });
        Ok(Self { files, protocol, current })
    }

    /// Returns what makes the handshakes of new connections.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().config).into()
    }

    /// Reads the files again, and takes them if they have changed and can be used; otherwise all stays as it is, and what
    /// is wrong is logged once it stays so. Blocks on the disk.
    pub fn look_again(&self) {
        let found = Pems::read(&self.files, &Process);
        let mut current = self.current.write();
        let (pems, refusal) = match found {
            Ok(found) if found == current.used => {
                current.refused = None;
                return;
            }
            Ok(found) => match config(&self.files, &found, self.protocol) {
                Ok(config) => {
                    tracing::info!(cert = %self.files.cert.display(), "certificate taken");
                    *current = Current { config: Arc::new(config), used: found, refused: None };
                    return;
                }
                Err(refusal) => (Some(found), refusal),
            },
            Err(refusal) => (None, refusal),
        };
        match &mut current.refused {
            Some(refused) if refused.pems == pems => {
                if !refused.is_told {
                    refused.is_told = true;
                    tracing::error!("{refusal}; the certificate of before stays in use");
                }
            }
            refused => *refused = Some(Refused { pems, is_told: false }),
        }
    }
}

/// Looks at the files of listeners again and again, until it is told to stop.
pub async fn keep_fresh(
    listeners: Vec<Arc<Tls>>,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
) {
    loop {
        let next = clock.steady() + limits::PEM_INTERVAL;
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = clock.sleep_until(next) => {}
        }
        let listeners = listeners.clone();
        let look = move || listeners.iter().for_each(|tls| tls.look_again());
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::error!(%error, "looking for new certificates");
        }
    }
}

fn config(files: &Files, pems: &Pems, protocol: Protocol) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let versions = versions(&provider);
    let builder = match (&files.client_ca, &pems.client_ca) {
        (Some(path), Some(pem)) => {
            versions.with_client_cert_verifier(client_verifier(path, pem, provider)?)
        }
        (None, _) | (_, None) => versions.with_no_client_auth(),
    };
    let key =
        PrivateKeyDer::from_pem_slice(&pems.key).map_err(|_| TlsError::Key(files.key.clone()))?;
    let mut config =
        builder.with_single_cert(certificates(&files.cert, &pems.cert)?, key).map_err(|error| {
            let (cert, key) = (files.cert.clone(), files.key.clone());
            TlsError::Pair { cert, key, error }
        })?;
    config.alpn_protocols = vec![protocol.name().to_vec()];
    Ok(config)
}

fn versions(provider: &Arc<CryptoProvider>) -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
}

/// Returns the certificates of a file, at least one.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::Certificate { path: path.to_owned(), error };
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found.map_err(failed)? {
        found if found.is_empty() => Err(failed(pem::Error::NoItemsFound)),
        found => Ok(found),
    }
}

fn client_verifier(
    path: &Path,
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::ClientRoot { path: path.to_owned(), error })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::ClientRoots { path: path.to_owned(), error })
}
