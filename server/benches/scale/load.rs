//! The load: `hookline bench ingest`, with real bodies of GitHub's: what is made up has fewer subjects.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{Outcome, servers::Server};

/// What the bodies are signed with.
pub(crate) const SECRET: &str = "bench-secret";

/// When the load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    AfterSeconds(u64),
    AfterCount(u64),
}

/// What a load has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posted {
    /// How many webhooks a second were answered 200.
    pub(crate) rate: f64,
    /// How large their bodies are.
    pub(crate) mean_bytes: f64,
}

/// Posts webhooks as fast as they are answered; an answer other than 200 is an error.
pub(crate) fn post(hub: &Server, connections: usize, end: End) -> Outcome<Posted> {
    let end = match end {
        End::AfterSeconds(seconds) => ["--duration".to_owned(), format!("{seconds}s")],
        End::AfterCount(count) => ["--count".to_owned(), count.to_string()],
    };
    let bodies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/payloads/github");
    let output = Command::new(env!("CARGO_BIN_EXE_hookline"))
        .args(["bench", "ingest", "--json", "--url", hub.url(), "--connections"])
        .arg(connections.to_string())
        .arg("--bodies")
        .arg(bodies)
        .args(["--secret", &format!("plain:{SECRET}")])
        .args(end)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the load failed: {}", said.trim()).into());
    }
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let number = |place: &str| {
        let found = report.pointer(place).and_then(Value::as_f64);
        found.ok_or_else(|| format!("no number at `{place}` of {report}"))
    };
    Ok(Posted {
        rate: number("/results/0/figures/rate/median")?,
        mean_bytes: number("/settings/bodies_mean_bytes")?,
    })
}
