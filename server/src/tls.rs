//! TLS of the listeners: a certificate, its key, and whose certificates clients must have, from files that are read
//! again when they change. A new connection gets what was read last; open ones keep what they have.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::{
    CertificateError, ConfigBuilder, InconsistentKeys, RootCertStore, ServerConfig, WantsVerifier,
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
    /// A file that is to have certificates or a key has none that can be used. Of a key nothing is shown.
    #[error("the file `{}` {problem}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The key is that of another certificate.
    #[error("the key `{}` does not belong to the certificate `{}`, the first in that file", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
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

/// What is wrong with what stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is something else: perhaps DER, which is binary.
    #[error("is not PEM: no line of it begins with `-----BEGIN`")]
    NotPem,
    /// It is PEM, of other things.
    #[error("has no {wanted}, only {}", .found.join(" and "))]
    Other {
        /// What it should have.
        wanted: &'static str,
        /// What it has.
        found: Vec<&'static str>,
    },
    /// It is cut off.
    #[error("breaks off: a part of it has no line `-----END ...-----`")]
    BreaksOff,
    /// A line looks like the beginning of a part, and is none.
    #[error("is broken PEM: a line `-----BEGIN ...` does not end with `-----`")]
    BadBeginning,
    /// A part is not what it says it is.
    #[error("is broken PEM: a part of it is not base64")]
    NotBase64,
    /// It could not be read for another reason.
    #[error("can't be read as PEM")]
    Unreadable,
    /// What is in a part is no certificate.
    #[error("has a certificate, number {number}, that is none: it is not X.509 in DER")]
    NotCertificate {
        /// Which one, from 1.
        number: usize,
    },
    /// A key that can't be used.
    #[error(
        "has a private key that can't be used: RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, and Ed25519 can"
    )]
    UnusableKey,
}

impl Problem {
    /// Says why something is not found in PEM.
    fn of(error: &pem::Error, wanted: &'static str, pem: &[u8]) -> Self {
        match error {
            pem::Error::MissingSectionEnd { .. } => Self::BreaksOff,
            pem::Error::IllegalSectionStart { .. } => Self::BadBeginning,
            pem::Error::Base64Decode(_) => Self::NotBase64,
            pem::Error::NoItemsFound => Self::nothing_of(wanted, pem),
            pem::Error::Io(_) | pem::Error::SectionTooLarge | _ => Self::Unreadable,
        }
    }

    fn nothing_of(wanted: &'static str, pem: &[u8]) -> Self {
        match kinds(pem) {
            found if found.is_empty() => Self::NotPem,
            found => Self::Other { wanted, found },
        }
    }
}

/// Returns what there is in PEM, in words: what is in it is not shown.
fn kinds(pem: &[u8]) -> Vec<&'static str> {
    let text = String::from_utf8_lossy(pem);
    let mut kinds = Vec::new();
    for label in text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")) {
        let kind = match label.trim_end_matches('-') {
            "ENCRYPTED PRIVATE KEY" => "a private key with a password",
            label if label.ends_with("PRIVATE KEY") => "a private key",
            label if label.ends_with("PUBLIC KEY") => "a public key",
            label if label.ends_with("CERTIFICATE REQUEST") => "a certificate request",
            label if label.ends_with("CERTIFICATE") => "a certificate",
            _ => "something else",
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
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
            versions.with_client_cert_verifier(client_verifier(path, pem, Arc::clone(&provider))?)
        }
        (None, _) | (_, None) => versions.with_no_client_auth(),
    };
    let key = private_key(&files.key, &pems.key, &provider)?;
    let mut config =
        builder.with_single_cert(certificates(&files.cert, &pems.cert)?, key).map_err(|error| {
            let (cert, key) = (files.cert.clone(), files.key.clone());
            if error == InconsistentKeys::KeyMismatch.into() {
                return TlsError::Mismatch { cert, key };
            }
            unread(&files.cert, 1, &error).unwrap_or(TlsError::Pair { cert, key, error })
        })?;
    config.alpn_protocols = vec![protocol.name().to_vec()];
    Ok(config)
}

fn versions(provider: &Arc<CryptoProvider>) -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
}

/// Returns the private key of a file, which can be used.
fn private_key(
    path: &Path,
    pem: &[u8],
    provider: &CryptoProvider,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |problem| TlsError::Content { path: path.to_owned(), problem };
    let key = PrivateKeyDer::from_pem_slice(pem);
    let key = key.map_err(|error| failed(Problem::of(&error, "private key", pem)))?;
    let loaded = provider.key_provider.load_private_key(key.clone_key());
    loaded.map_err(|_| failed(Problem::UnusableKey))?;
    Ok(key)
}

/// Returns the certificates of a file, at least one.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |problem| TlsError::Content { path: path.to_owned(), problem };
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| failed(Problem::of(&error, "certificate", pem)))?;
    if found.is_empty() {
        return Err(failed(Problem::nothing_of("certificate", pem)));
    }
    let odd = found.iter().position(|certificate| !is_sequence(certificate));
    odd.map_or(Ok(found), |place| Err(failed(Problem::NotCertificate { number: place + 1 })))
}

/// Whether bytes are one SEQUENCE of DER, as every certificate is, also one of a version that only a root may have.
fn is_sequence(der: &[u8]) -> bool {
    let (length, rest) = match der {
        [0x30, length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x81, a, rest @ ..] => (usize::from(*a), rest),
        [0x30, 0x82, a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
        _ => return false,
    };
    rest.len() == length
}

/// Says what is wrong with a certificate that rustls does not read.
fn unread(path: &Path, number: usize, error: &rustls::Error) -> Option<TlsError> {
    let is_none = *error == CertificateError::BadEncoding.into();
    let problem = Problem::NotCertificate { number };
    is_none.then(|| TlsError::Content { path: path.to_owned(), problem })
}

fn client_verifier(
    path: &Path,
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for (certificate, number) in certificates(path, pem)?.into_iter().zip(1..) {
        let added = roots.add(certificate);
        added.map_err(|error| {
            let told = unread(path, number, &error);
            told.unwrap_or(TlsError::ClientRoot { path: path.to_owned(), error })
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::ClientRoots { path: path.to_owned(), error })
}
