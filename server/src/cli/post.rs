//! Posts a webhook over HTTP.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;

/// How long a post may take, with its answer: providers give up after 10 to 30 s.
const POST_TIME_MAX: Duration = Duration::from_secs(30);
/// The most bytes of an answer that are read: a hub answers with some hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("hookline/", env!("CARGO_PKG_VERSION")));

/// A client for `http://` addresses.
#[derive(Clone, Debug)]
pub(super) struct Poster(Client<HttpConnector, Full<Bytes>>);

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
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
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
