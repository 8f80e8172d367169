//! `hookline tokens list`: who may call, and what they may do.

use hookline_core::{event::SourceName, pattern::PatternSet, time::Timestamp};
use serde::Serialize;

use super::Place;
use crate::{
    auth::{Entry, State, read, time_text},
    cli::{
        CommandError,
        event_json::line,
        put,
        screen::Screen,
        send::now,
        table::{Cell, Head, Table},
        text::{Align, Colour},
    },
};

/// Lists tokens, also those that have expired or were revoked. Shows neither tokens nor hashes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const HEAD: [Head; 6] = [
    ("TOKEN", Align::Left),
    ("STATE", Align::Left),
    ("MAY", Align::Left),
    ("CREATED", Align::Left),
    ("EXPIRES", Align::Left),
    ("ID", Align::Left),
];

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    let (entries, now) = (read(&args.place.path()?)?, now());
    let lines = if args.json {
        entries.iter().map(|entry| line(&TokenJson::new(entry, now))).collect()
    } else {
        table(&entries, now, Screen::of_stdout())
    };
    Ok(lines.iter().try_for_each(|line| put(line))?)
}

fn table(entries: &[Entry], now: Timestamp, screen: Screen) -> Vec<String> {
    if entries.is_empty() {
        return vec!["there are no tokens: nobody may call".to_owned()];
    }
    let mut table = Table::new(&HEAD);
    for entry in entries {
        let state = entry.state(now);
        let colour = match state {
            State::Live => Colour::Green,
            State::Expired => Colour::Yellow,
            State::Revoked => Colour::Red,
        };
        table.push(vec![
            Cell::new(&entry.name),
            Cell::new(state.as_str()).in_colour(colour),
            Cell::new(&entry.scopes.to_string()),
            Cell::new(&time_text(entry.created_at)),
            Cell::new(&entry.expires_at.map(time_text).unwrap_or_default()),
            Cell::new(&entry.id),
        ]);
    }
    table.lines(screen)
}

#[derive(Debug, Serialize)]
struct TokenJson<'a> {
    name: &'a str,
    id: &'a str,
    state: &'static str,
    subscribe: Vec<String>,
    publish: Vec<&'a str>,
    read: Vec<String>,
    operate: bool,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

impl<'a> TokenJson<'a> {
    fn new(entry: &'a Entry, now: Timestamp) -> Self {
        let patterns = |set: &Option<PatternSet>| {
            set.iter().flat_map(PatternSet::patterns).map(ToString::to_string).collect()
        };
        Self {
            name: &entry.name,
            id: &entry.id,
            state: entry.state(now).as_str(),
            subscribe: patterns(&entry.scopes.subscribe),
            publish: entry.scopes.publish.iter().map(SourceName::as_str).collect(),
            read: patterns(&entry.scopes.read),
            operate: entry.scopes.operate,
            created_at: time_text(entry.created_at),
            expires_at: entry.expires_at.map(time_text),
            revoked_at: entry.revoked_at.map(time_text),
        }
    }
}
