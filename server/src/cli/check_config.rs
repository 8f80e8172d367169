//! `hookline check-config`: all mistakes of a configuration, else what it comes to.

use hookline_core::{source::Source, verify::Scheme};
use serde::Serialize;

use super::{
    CommandError,
    event_json::line,
    put,
    screen::Screen,
    serve,
    table::{Cell, Table},
    text::Align,
};
use crate::config::{Config, Process, Setting};

const EXAMPLES: &str = "\
Examples:
  hookline check-config --config hub.toml

  # What was not left as it is
  hookline check-config --config hub.toml --json | jq '.settings[] | select(.origin != \"default\")'";

/// Tells all mistakes of a configuration, else what it comes to.
///
/// Reads it as `hookline serve` would with the same flags, environment and file, and opens nothing but the file and those
/// of secrets and certificates. Each key is shown with its value and where that was said: default, file, environment or
/// flag. Of secrets only the place is shown.
///
/// Exit code 0: it is good. 64: it has mistakes, all of which are told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    serve: serve::Args,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<(), CommandError> {
    let (config, settings) = Config::explain(&args.serve.flags(), &Process)?;
    if args.json {
        return Ok(put(&line(&ConfigJson::new(&config, &settings)))?);
    }
    for line in told(&config, &settings, Screen::of_stdout()) {
        put(&line)?;
    }
    Ok(())
}

fn origin(setting: &Setting) -> String {
    setting.origin.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string)
}

fn told(config: &Config, settings: &[Setting], screen: Screen) -> Vec<String> {
    let mut table = Table::new(&["KEY", "VALUE", "SAID IN"].map(|head| (head, Align::Left)));
    for setting in settings {
        let cells = [&setting.key, &setting.value, &origin(setting)];
        table.push(cells.map(|text| Cell::new(text)).to_vec());
    }
    let mut lines = table.lines(screen);
    lines.push(String::new());
    if let Some(advice) = config.advice() {
        lines.push(advice.to_owned());
        return lines;
    }
    let heads = ["SOURCE", "KIND", "POST TO", "SIGNED BY"].map(|head| (head, Align::Left));
    let mut table = Table::new(&heads);
    for source in &config.sources {
        let cells = [
            source.name().to_string(),
            source.kind().to_string(),
            post_to(source),
            signed_by(source),
        ];
        table.push(cells.map(Cell::from).to_vec());
    }
    lines.extend(table.lines(screen));
    lines
}

fn post_to(source: &Source) -> String {
    let path = source.path();
    source.url_of(&path).unwrap_or(path)
}

fn signed_by(source: &Source) -> String {
    if source.is_unsigned() {
        return "nothing".to_owned();
    }
    let schemes = source.schemes().iter().filter(|scheme| source.takes(scheme));
    schemes.map(Scheme::to_string).collect::<Vec<_>>().join("; ")
}

#[derive(Serialize)]
struct ConfigJson<'a> {
    settings: Vec<SettingJson<'a>>,
    sources: Vec<SourceJson>,
}

#[derive(Serialize)]
struct SettingJson<'a> {
    key: &'a str,
    value: &'a str,
    origin: String,
}

#[derive(Serialize)]
struct SourceJson {
    name: String,
    kind: String,
    post_to: String,
    signed_by: String,
}

impl<'a> ConfigJson<'a> {
    fn new(config: &Config, settings: &'a [Setting]) -> Self {
        let setting =
            |it: &'a Setting| SettingJson { key: &it.key, value: &it.value, origin: origin(it) };
        let source = |source: &Source| SourceJson {
            name: source.name().to_string(),
            kind: source.kind().to_string(),
            post_to: post_to(source),
            signed_by: signed_by(source),
        };
        Self {
            settings: settings.iter().map(setting).collect(),
            sources: config.sources.iter().map(source).collect(),
        }
    }
}
