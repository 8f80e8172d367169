//! `hookline events publish`

use std::path::PathBuf;

use bytes::Bytes;
use hookline_client::proto::{PublishEventRequest, PublishEventResponse};
use hookline_core::time::Timestamp;
use serde::Serialize;

use crate::cli::{
    CommandError, event_json::line, hub::Address, place::wire, put, send::read_body,
    time_arg::read_time,
};

const EXAMPLES: &str = "\
Examples:
  # An agent says that it is done
  hookline events publish report.finished --payload '{\"pages\": 12}'

  # About a thing, from a pipe, once however often it is called
  build | hookline events publish build.finished - --resource-type commit --resource-id 6f1e2d3 \\
    --delivery-key build-6f1e2d3";

/// Appends an event to the log, as an agent would.
///
/// The event is durable when its id is printed. Its subject is `<source>/<TYPE>`; sources of webhooks are refused.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// What happened, such as `report.finished`
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// The file with the payload, `-` for the standard input [default: no payload]
    #[arg(conflicts_with = "payload")]
    file: Option<PathBuf>,
    #[command(flatten)]
    address: Address,
    /// The payload itself
    #[arg(long, value_name = "TEXT")]
    payload: Option<String>,
    /// The source it is filed under
    #[arg(long, default_value = "agent")]
    source: String,
    /// Who did it
    #[arg(long, default_value = "", hide_default_value = true)]
    actor: String,
    /// What kind of thing it happened to, such as `pull_request`
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    resource_type: String,
    /// Which thing it happened to, such as `octo/hello#42`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    resource_id: String,
    /// A key of your own: a second event with it within 7 days is a duplicate
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    delivery_key: String,
    /// A fact about the event; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = read_pair)]
    metadata: Vec<(String, String)>,
    /// When it happened: a time such as 2026-11-23T09:00:00Z, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    at: Option<Timestamp>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

fn read_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let payload = match (&args.payload, &args.file) {
        (Some(payload), _) => payload.clone().into(),
        (None, Some(file)) => read_body(file)?,
        (None, None) => Bytes::new(),
    };
    let client = args.address.client()?;
    let answer = client.events().publish_event(request(&args, payload)).await;
    let answer = answer.map_err(|status| args.address.refused("publish the event", status))?;
    Ok(put(&told(answer.get_ref(), args.json))?)
}

fn request(args: &Args, payload: Bytes) -> PublishEventRequest {
    PublishEventRequest {
        source: args.source.clone(),
        event_type: args.event_type.clone(),
        timestamp: args.at.map(wire),
        actor: args.actor.clone(),
        resource_type: args.resource_type.clone(),
        resource_id: args.resource_id.clone(),
        payload,
        metadata: args.metadata.iter().cloned().collect(),
        delivery_key: args.delivery_key.clone(),
    }
}

#[derive(Serialize)]
struct Told<'a> {
    event_id: &'a str,
    sequence: u64,
    duplicate: bool,
}

fn told(answer: &PublishEventResponse, json: bool) -> String {
    let PublishEventResponse { event_id, sequence, duplicate } = answer;
    if json {
        return line(&Told { event_id, sequence: *sequence, duplicate: *duplicate });
    }
    let what = if *duplicate { "duplicate of" } else { "published" };
    format!("{what} {event_id}, sequence {sequence}")
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("publish").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn every_flag_gets_into_the_request() {
        let args = "a.b --payload {} --source s --actor me --resource-type page --resource-id 7 \
                    --delivery-key k --metadata a=1 --metadata b=x=y --at 1533204620";
        let args = parse(&args.split_whitespace().collect::<Vec<_>>()).unwrap();
        let request = request(&args, "{}".into());
        assert_eq!((request.event_type.as_str(), request.source.as_str()), ("a.b", "s"));
        assert_eq!((request.actor.as_str(), request.delivery_key.as_str()), ("me", "k"));
        assert_eq!((request.resource_type.as_str(), request.resource_id.as_str()), ("page", "7"));
        assert_eq!((request.metadata["a"].as_str(), request.metadata["b"].as_str()), ("1", "x=y"));
        assert_eq!(request.timestamp.unwrap().seconds, 1_533_204_620);
    }

    #[test]
    fn a_payload_is_a_file_or_a_text() {
        assert!(parse(&["a.b", "file", "--payload", "{}"]).is_err());
        assert!(parse(&["a.b", "--metadata", "a"]).is_err());
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn the_answer_says_whether_it_was_there_already() {
        let event_id = "0199".to_owned();
        let answer = PublishEventResponse { event_id, sequence: 7, duplicate: true };
        assert_eq!(told(&answer, false), "duplicate of 0199, sequence 7");
        assert_eq!(told(&answer, true), r#"{"event_id":"0199","sequence":7,"duplicate":true}"#);
    }
}
