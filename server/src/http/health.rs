//! `/healthz`: the process answers. `/readyz`: it is worth sending to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{extract, http::StatusCode, response::Response};
use serde_json::json;

use super::{Front, answer};
use crate::store::Condition;

/// Whether the hub is ready: its store is open and both ports accept. Not ready when made; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says that the hub is ready from now on.
    pub fn set_ready(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Says that the hub is no longer ready.
    pub fn set_unready(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Returns whether the hub is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

pub(super) async fn healthz() -> Response {
    answer::json(StatusCode::OK, &json!({ "status": "ok" }))
}

pub(super) async fn readyz(extract::State(front): extract::State<Arc<Front>>) -> Response {
    let reason = if front.draining.is_cancelled() {
        "the hub stops"
    } else if !front.readiness.is_ready() {
        "the hub starts or stops"
    } else {
        match front.log.condition() {
            Condition::Open => {
                return answer::json(StatusCode::OK, &json!({ "status": "ready" }));
            }
            Condition::Full => "the disk is almost full",
            Condition::Failed => "the store has failed",
        }
    };
    let told = json!({ "error": "not ready", "reason": reason });
    answer::json(StatusCode::SERVICE_UNAVAILABLE, &told)
}
