//! `hookline sources`: who may post, and what came of it.

mod kinds;

use hookline_client::proto::{ListSourcesRequest, ListSourcesResponse, Source};
use serde::Serialize;

use super::{
    CommandError,
    event_json::line,
    hub::Address,
    put,
    text::{self, Align, Columns},
};
use crate::config::SOURCE_EXAMPLE;

const EXAMPLES: &str = "\
Examples:
  # What to enter at the providers, and who was refused
  hookline sources

  # Sources whose posts were refused, by machine
  hookline sources --json | jq 'select(.refusals != {}) | {name, refusals}'

  # All kinds that a source may have
  hookline sources kinds";

/// Lists the sources of a running hub, or all kinds of sources.
///
/// One line each: name, kind, when its newest event came, events accepted and duplicate, posts refused with the causes,
/// where its provider is to post, and how it signs. Counts are since the hub started. Where no public address is
/// configured, the path is shown.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    address: Address,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Kinds(kinds::Args),
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    match &args.command {
        Some(Command::Kinds(kinds)) => Ok(kinds::run(kinds)?),
        None => list(&args).await,
    }
}

async fn list(args: &Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let answer = client.sources().list_sources(ListSourcesRequest {}).await;
    let answer = answer.map_err(|status| args.address.refused("list sources", status))?;
    let lines = if args.json { json(answer.get_ref()) } else { table(answer.get_ref()) };
    Ok(lines.iter().try_for_each(|line| put(line))?)
}

fn json(answer: &ListSourcesResponse) -> Vec<String> {
    answer.sources.iter().map(|source| line(&SourceJson::new(source))).collect()
}

pub(super) fn table(answer: &ListSourcesResponse) -> Vec<String> {
    if answer.sources.is_empty() {
        return vec![SOURCE_EXAMPLE.to_owned()];
    }
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(answer.sources.iter().map(cells));
    let (left, right) = ((Align::Left, 1), (Align::Right, 1));
    let mut columns = Columns::new(&[left, left, left, right, right, left, left, left]);
    rows.iter().for_each(|row| columns.fit(row));
    let mut lines: Vec<_> = rows.iter().map(|row| columns.row(row)).collect();
    if 0 < answer.unknown_source_count {
        let posts = text::count(answer.unknown_source_count, "post");
        lines.push(format!("{posts} to a name that is none of these"));
    }
    lines
}

const HEAD: [&str; 8] =
    ["SOURCE", "KIND", "LAST EVENT", "ACCEPTED", "DUPLICATE", "REFUSED", "POST TO", "SIGNED BY"];

fn cells(source: &Source) -> Vec<String> {
    let url = if source.url.is_empty() { &source.path } else { &source.url };
    let schemes = if source.unsigned { "nothing".to_owned() } else { source.schemes.join("; ") };
    vec![
        text::cell(&source.name, 64),
        text::cell(&source.kind, 40),
        text::time(source.last_event_at.as_ref()).unwrap_or_else(|| "-".to_owned()),
        source.accepted_count.to_string(),
        source.duplicate_count.saturating_add(source.replayed_count).to_string(),
        text::cell(&refused(source), 100),
        text::cell(url, 200),
        text::cell(&schemes, 200),
    ]
}

/// Returns how often posts were refused, with the causes, such as `3: signature_wrong 2, overload 1`.
fn refused(source: &Source) -> String {
    let sum: u64 = source.refusals.iter().fold(0, |sum, it| sum.saturating_add(it.count));
    let causes = source.refusals.iter().map(|it| format!("{} {}", it.cause, it.count));
    match source.refusals.as_slice() {
        [] => "0".to_owned(),
        [only] => format!("{sum}: {}", only.cause),
        _ => format!("{sum}: {}", causes.collect::<Vec<_>>().join(", ")),
    }
}

/// `hookline.v1.Source`.
#[derive(Debug, Serialize)]
pub(super) struct SourceJson<'a> {
    name: &'a str,
    kind: &'a str,
    url: &'a str,
    path: &'a str,
    schemes: &'a [String],
    unsigned: bool,
    replay_window_secs: Option<i64>,
    last_event_at: Option<String>,
    accepted_count: u64,
    duplicate_count: u64,
    replayed_count: u64,
    handshake_count: u64,
    refusals: std::collections::BTreeMap<&'a str, u64>,
}

impl<'a> SourceJson<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        let refusals = source.refusals.iter().map(|it| (it.cause.as_str(), it.count));
        Self {
            name: &source.name,
            kind: &source.kind,
            url: &source.url,
            path: &source.path,
            schemes: &source.schemes,
            unsigned: source.unsigned,
            replay_window_secs: source.replay_window.as_ref().map(|window| window.seconds),
            last_event_at: text::time(source.last_event_at.as_ref()),
            accepted_count: source.accepted_count,
            duplicate_count: source.duplicate_count,
            replayed_count: source.replayed_count,
            handshake_count: source.handshake_count,
            refusals: refusals.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hookline_client::proto::SourceRefusal;

    use super::*;

    fn source() -> Source {
        let refusal = |cause: &str, count| SourceRefusal { cause: cause.to_owned(), count };
        Source {
            name: "forge".to_owned(),
            kind: "github".to_owned(),
            path: "/webhooks/forge".to_owned(),
            schemes: vec!["HMAC-SHA256 hex in x-hub-signature-256".to_owned()],
            last_event_at: Some(prost_types::Timestamp { seconds: 1_533_204_620, nanos: 0 }),
            accepted_count: 12,
            replayed_count: 1,
            refusals: vec![refusal("signature_wrong", 2), refusal("overload", 1)],
            ..Source::default()
        }
    }

    #[test]
    fn a_source_is_a_line_below_a_head() {
        let answer =
            ListSourcesResponse { sources: vec![source()], ..ListSourcesResponse::default() };
        assert_eq!(
            table(&answer),
            [
                "SOURCE  KIND    LAST EVENT                ACCEPTED  DUPLICATE  \
                 REFUSED                           POST TO          SIGNED BY",
                "forge   github  2018-08-02T10:10:20.000Z        12          1  \
                 3: signature_wrong 2, overload 1  /webhooks/forge  \
                 HMAC-SHA256 hex in x-hub-signature-256",
            ]
        );
        let strangers = ListSourcesResponse { unknown_source_count: 1, ..answer };
        assert_eq!(table(&strangers).last().unwrap(), "1 post to a name that is none of these");
    }

    #[test]
    fn without_sources_it_says_how_to_have_one() {
        let told = table(&ListSourcesResponse::default());
        assert!(told.concat().contains("[sources.github]"), "{told:?}");
    }

    #[test]
    fn a_source_is_an_object_for_machines() {
        let line = line(&SourceJson::new(&source()));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["refusals"]["signature_wrong"], 2);
        assert_eq!(value["last_event_at"], "2018-08-02T10:10:20.000Z");
        assert_eq!(value["replay_window_secs"], serde_json::Value::Null);
    }
}
