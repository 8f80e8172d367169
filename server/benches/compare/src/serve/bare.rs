//! The ceiling of ingest: the body is read, and nothing done with it.

use axum::{Router, body::Bytes, routing::post};
use tokio::net::TcpListener;

use crate::{Outcome, bodies::PATH};

pub(super) async fn run(listener: TcpListener) -> Outcome {
    let app = Router::new().route(PATH, post(|body: Bytes| async move { body.len().to_string() }));
    Ok(axum::serve(listener, app).await?)
}
