//! `hookline sources kinds`

use std::io;

use hookline_core::{
    provider::Provider,
    source::Kind,
    verify::scheme::{Place, Proof, Scheme},
};
use http::Method;
use serde::Serialize;

use crate::cli::{
    event_json::line,
    put,
    text::{self, Align, Columns},
};

const EXAMPLES: &str = "\
Examples:
  # Those that sign with HMAC-SHA256, by machine
  hookline sources kinds --json | jq -r 'select(.schemes[].algorithms[] == \"HMAC-SHA256\") | .kind'";

/// Lists all kinds that a source may have.
///
/// One line for each way to sign, the strongest first: kind, provider, signature, how old it may be, what the secret
/// looks like, whether the public address has to be configured, and what the provider asks for before it posts events.
/// What a kind does not have is a dash. What is legacy counts only with `legacy_signatures = true`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let lines = if args.json {
        Kind::all().map(|kind| line(&KindJson::new(kind.provider()))).collect()
    } else {
        table()
    };
    lines.iter().try_for_each(|line| put(line))
}

fn table() -> Vec<String> {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(Kind::all().flat_map(|kind| of_provider(kind.provider())));
    // Nothing here is of outside, so columns may be as wide as what stands in them.
    let mut widths = [(Align::Left, 1); HEAD.len()];
    for row in &rows {
        for ((_, width), cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut columns = Columns::new(&widths);
    rows.iter().map(|row| columns.row(row)).collect()
}

const HEAD: [&str; 7] =
    ["KIND", "PROVIDER", "SIGNATURE", "TOLERANCE", "SECRET", "NEEDS URL", "HANDSHAKE"];

/// Returns a row for each scheme. The kind stands in each, so that `grep` finds all.
fn of_provider(provider: &Provider) -> Vec<Vec<String>> {
    let row = |signature: String, tolerance: String, secret: String, needs_url: bool| {
        vec![
            provider.name.to_owned(),
            provider.title.to_owned(),
            signature,
            tolerance,
            secret,
            if needs_url { "yes" } else { "-" }.to_owned(),
            text::cell(provider.handshake.what, 100),
        ]
    };
    if provider.schemes.is_empty() {
        let configured = || "as configured".to_owned();
        return vec![row(configured(), configured(), configured(), false)];
    }
    let of_scheme = |scheme: &Scheme| {
        let legacy = if scheme.legacy { " (legacy)" } else { "" };
        row(
            format!("{scheme}{legacy}"),
            tolerance(scheme),
            secrets(scheme).join(" or "),
            scheme.needs_url(),
        )
    };
    provider.schemes.iter().map(of_scheme).collect()
}

/// Returns how old a signature may be; `any` of one with a time that is not looked at unless a tolerance is configured.
fn tolerance(scheme: &Scheme) -> String {
    match scheme.time.as_ref().map(|time| time.past) {
        None => "-".to_owned(),
        Some(None) => "any".to_owned(),
        Some(Some(past)) => humantime::format_duration(past).to_string(),
    }
}

/// Returns the forms of secrets, each once.
fn secrets(scheme: &Scheme) -> Vec<String> {
    let mut forms: Vec<_> = scheme.proofs.iter().map(Proof::secret_form).collect();
    forms.dedup();
    forms
}

/// A kind.
#[derive(Debug, Serialize)]
struct KindJson {
    kind: &'static str,
    provider: &'static str,
    schemes: Vec<SchemeJson>,
    event_header: Option<&'static str>,
    id_headers: &'static [&'static str],
    handshake: Option<&'static str>,
    methods: Vec<&'static str>,
}

/// A way to sign.
#[derive(Debug, Serialize)]
struct SchemeJson {
    signature: String,
    algorithms: Vec<&'static str>,
    encoding: &'static str,
    place: &'static str,
    name: Box<str>,
    has_time: bool,
    tolerance_secs: Option<u64>,
    secrets: Vec<String>,
    needs_url: bool,
    legacy: bool,
}

impl KindJson {
    fn new(provider: &'static Provider) -> Self {
        let others = provider.handshake.methods.iter().map(Method::as_str);
        Self {
            kind: provider.name,
            provider: provider.title,
            schemes: provider.schemes.iter().map(SchemeJson::new).collect(),
            event_header: provider.event_header,
            id_headers: provider.id_headers,
            handshake: Some(provider.handshake.what).filter(|what| !what.is_empty()),
            methods: std::iter::once("POST").chain(others).collect(),
        }
    }
}

impl SchemeJson {
    fn new(scheme: &Scheme) -> Self {
        Self {
            signature: scheme.to_string(),
            algorithms: scheme.proofs.iter().map(|proof| proof.primitive.as_str()).collect(),
            encoding: scheme.encoding.as_str(),
            place: match scheme.place {
                Place::Header(_) => "header",
                Place::Query(_) => "query",
                Place::Body(_) => "body",
            },
            name: scheme.place.name(),
            has_time: scheme.has_time(),
            tolerance_secs: scheme.time.as_ref().and_then(|time| time.past).map(|it| it.as_secs()),
            secrets: secrets(scheme),
            needs_url: scheme.needs_url(),
            legacy: scheme.legacy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_line_with_all_columns() {
        let lines = table();
        for kind in Kind::all() {
            let first = |line: &&String| line.split_whitespace().next() == Some(kind.as_str());
            let count = lines.iter().filter(first).count();
            assert_eq!(count, kind.provider().schemes.len().max(1), "{kind}");
        }
        let github = lines.iter().find(|line| line.starts_with("github ")).unwrap();
        assert!(github.contains("HMAC-SHA256 hex in x-hub-signature-256"), "{github}");
        let stripe = lines.iter().find(|line| line.starts_with("stripe ")).unwrap();
        assert!(stripe.contains("  5m  "), "{stripe}");
    }

    #[test]
    fn every_kind_is_an_object_for_machines() {
        for kind in Kind::all() {
            let text = line(&KindJson::new(kind.provider()));
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["kind"], kind.as_str());
            assert_eq!(value["schemes"].as_array().unwrap().len(), kind.provider().schemes.len());
        }
    }
}
