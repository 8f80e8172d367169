//! Posts a webhook over HTTP.

use std::{error::Error, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::time::timeout;

/// How long a post may take, with its answer: providers give up after 10 to 30 s.
const POST_TIME_MAX: Duration = Duration::from_secs(30);
/// The most bytes of an answer that are read: a hub answers with some hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("hookline/", env!("CARGO_PKG_VERSION")));

/// A client for `http://` and `https://` addresses.
#[derive(Clone, Debug)]
pub(super) struct Poster(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: http::StatusCode,
    /// The body, as text.
    pub(super) body: String,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// The request could not be made.
    #[error("could not make a request to `{url}`")]
    Request { url: Box<Uri>, source: http::Error },
    /// The connection could not be made, or broke.
    #[error("could not post to `{url}`")]
    Connection { url: Box<Uri>, source: hyper_util::client::legacy::Error },
    /// The answer could not be read. The webhook may have been accepted.
    #[error("could not read the answer of `{url}`: the webhook may have been accepted")]
    Answer { url: Box<Uri>, source: Box<dyn Error + Send + Sync> },
    /// Nobody answered. The webhook may have been accepted.
    #[error("`{url}` did not answer within {POST_TIME_MAX:?}: the webhook may have been accepted")]
    TimedOut { url: Box<Uri> },
}

impl Poster {
    /// Makes a client that trusts the certificates of a file in PEM, or those that the system trusts.
    pub(super) fn trusting(ca_cert: Option<&Path>) -> io::Result<Self> {
        let Some(path) = ca_cert else {
            let provider = ring::default_provider();
            let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
            return Ok(Self::over(builder.https_or_http().enable_http1().build()));
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        Ok(Self::with_roots(roots))
    }

    /// Makes a client for `http://` alone: it trusts no certificate.
    pub(super) fn plain() -> Self {
        Self::with_roots(RootCertStore::empty())
    }

    fn with_roots(roots: RootCertStore) -> Self {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        Self::over(builder.https_or_http().enable_http1().build())
    }

    fn over(connector: HttpsConnector<HttpConnector>) -> Self {
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Posts a body with these headers, and waits for the answer. What has no content type is said to be JSON.
    pub(super) async fn post(
        &self,
        url: &Uri,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, PostError> {
        headers.entry(header::CONTENT_TYPE).or_insert(JSON);
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let mut request = Request::post(url)
            .body(Full::new(body))
            .map_err(|source| PostError::Request { url: url.clone().into(), source })?;
        request.headers_mut().extend(headers);
        timeout(POST_TIME_MAX, self.exchange(url, request))
            .await
            .unwrap_or_else(|_| Err(PostError::TimedOut { url: url.clone().into() }))
    }

    async fn exchange(
        &self,
        url: &Uri,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, PostError> {
        let answer = self
            .0
            .request(request)
            .await
            .map_err(|source| PostError::Connection { url: url.clone().into(), source })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|source| PostError::Answer { url: url.clone().into(), source })?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Answer { status, body })
    }
}
