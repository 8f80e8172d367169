//! Fuzzing of the configuration: mutated files and variables. How to run more of it stands in the driver of the core's
//! targets, which is used here.

#[path = "../../../core/tests/it/fuzz/driver.rs"]
mod driver;
#[path = "../../../core/tests/it/fuzz/mutate.rs"]
#[expect(dead_code, reason = "some of it is for requests")]
mod mutate;

use std::fmt;

use fastrand::Rng;
use hookline_core::source::Kind;

use self::driver::{Target, run};
use super::*;

/// What no error may show, nor the configuration when it is printed.
const MARKER: &str = "hookline-fuzz-secret";

const FILES: &[&str] = &[
    "[http]\nlisten = \"localhost:0\"\nmax_body = \"1 MiB\"\npublic_url = \"https://hooks.example.com\"\n\
     [grpc]\nlisten = \"[::1]:7000\"\n[store]\npath = \"/var/lib/hookline\"\ncache = \"32 MiB\"\n[shutdown]\ngrace = \"1m 30s\"\n\
     [log]\nlevel = \"warn,hookline_server=debug\"\nformat = \"json\"\n",
    "[sources.github]\nkind = \"github\"\nsecrets = [\"env:OLD\", \"file:new\", \"plain:hookline-fuzz-secret\"]\n",
    "[sources.stripe-test]\nkind = \"stripe\"\nunsigned = true\n[sources.s]\nkind = \"stripe\"\n\
     secrets = [\"plain:whsec_hookline-fuzz-secret\"]\n",
    "[sources.acme]\nkind = \"custom\"\nsecrets = [\"plain:hookline-fuzz-secret\"]\n\
     [sources.acme.signature]\nheader = \"X-Acme-Signature\"\nitem_separator = \",\"\nlabel = \"v1\"\n\
     timestamp = \"item:t\"\nsigned = \"{timestamp}.{id}.{body}\"\nid_header = \"X-Acme-Id\"\n\
     [sources.acme.event]\ntype = [\"header:X-Acme-Event\", \"body:/action\"]\nid = \"header:X-Acme-Id\"\n\
     actor = [\"body:/nobody\", \"body:/user/name\"]\nresource_type = \"text:ticket\"\n\
     resource_id = \"body:/items/0/a~1b\"\ntime = \"body:/at\"\nmetadata = { team = \"body:/team\" }\n",
    "[sources.acme]\nkind = \"custom\"\nunsigned = true\n[sources.acme.event]\ntype = \"body:/type\"\n",
    "[sources.t]\nkind = \"custom\"\nsecrets = [\"plain:hookline-fuzz-secret\"]\n[sources.t.signature]\n\
     scheme = \"basic\"\nheader = \"authorization\"\n[sources.t.event]\ntype = \"text:x\"\n",
];

const VARIABLES: &[(&str, &str)] = &[
    ("HOOKLINE_HTTP__LISTEN", "127.0.0.1:0"),
    ("HOOKLINE_HTTP__MAX_BODY", "65536"),
    ("HOOKLINE_LOG__LEVEL", "debug"),
    ("HOOKLINE_SHUTDOWN__GRACE", "1m 30s"),
    ("HOOKLINE_SOURCES__GITHUB__KIND", "github"),
    ("HOOKLINE_SOURCES__GITHUB__SECRETS", "[\"env:OLD\", \"plain:hookline-fuzz-secret\"]"),
    ("HOOKLINE_SOURCES__GITHUB__SECRETS", "env:OLD,plain:hookline-fuzz-secret"),
    ("HOOKLINE_SOURCES__GITHUB__UNSIGNED", "true"),
    ("HOOKLINE_SOURCES__ACME__EVENT__METADATA", "{ team = \"body:/team\" }"),
];

/// A configuration as it may be given.
struct Given(Fake);

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, bytes) in &self.0.files {
            writeln!(f, "file {}: b\"{}\"", path.display(), bytes.escape_ascii())?;
        }
        self.0.variables.iter().try_for_each(|(name, value)| writeln!(f, "{name:?} = {value:?}"))
    }
}

struct Configurations {
    /// A file with a source of each kind behind those above.
    files: Vec<String>,
}

impl Configurations {
    fn new() -> Self {
        let of_kind = |kind: Kind| {
            format!(
                "[sources.x]\nkind = \"{kind}\"\nsecrets = [\"plain:{MARKER}\"]\ntolerance = \"5m\"\n"
            )
        };
        let files = FILES.iter().map(|&file| file.to_owned()).chain(Kind::all().map(of_kind));
        Self { files: files.collect() }
    }
}

impl Target for Configurations {
    type Input = Given;

    fn name(&self) -> String {
        "config".into()
    }

    fn make(&self, rng: &mut Rng) -> Given {
        let file = &self.files[rng.usize(0..self.files.len())];
        let other = &self.files[rng.usize(0..self.files.len())];
        let mut bytes = file.clone().into_bytes();
        if rng.u8(0..8) != 0 {
            bytes = mutate::bytes(rng, file.as_bytes(), other.as_bytes());
        }
        let mut fake = Fake::new()
            .file("new", format!("{MARKER}\n"))
            .file("hub.toml", bytes)
            .variable("OLD", MARKER)
            .variable("HOOKLINE_CONFIG", "hub.toml");
        for _ in 0..rng.usize(0..3) {
            let (name, value) = VARIABLES[rng.usize(0..VARIABLES.len())];
            let (_, other) = VARIABLES[rng.usize(0..VARIABLES.len())];
            let name = if rng.u8(0..4) == 0 { mutate::text(rng, name, "__") } else { name.into() };
            let value = if rng.bool() { mutate::text(rng, value, other) } else { value.into() };
            fake.variables.insert(name.into(), value.into());
        }
        Given(fake)
    }

    fn check(&self, Given(fake): &Given) -> &'static str {
        match fake.load() {
            Ok(config) => {
                assert!(!format!("{config:?}").contains(MARKER), "a secret is printed");
                "loaded"
            }
            Err(errors) => {
                assert_ne!(errors.iter().count(), 0);
                let shown = [errors.to_string(), format!("{errors:?}")];
                let is_shown = shown.iter().any(|text| text.contains(MARKER));
                assert!(!is_shown || is_elsewhere(fake), "an error shows a secret: {errors}");
                "refused"
            }
        }
    }
}

/// Whether a mutation has put the secret where none is looked for: what is no secret's place may be shown.
fn is_elsewhere(fake: &Fake) -> bool {
    let file = String::from_utf8_lossy(&fake.files[Path::new("hub.toml")]);
    let of_file = file.parse::<toml::Table>().is_ok_and(|table| {
        table.iter().any(|(key, value)| key.contains(MARKER) || holds_elsewhere(value))
    });
    of_file
        || fake.variables.iter().any(|(name, value)| {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            let is_place = name == "OLD" || name.ends_with("__SECRETS");
            name.contains(MARKER) || !is_place && value.contains(MARKER) || is_named(&value)
        })
}

/// Whether the secret stands where the name of a file may go on: a comma within a list's text is of the name.
fn is_named(text: &str) -> bool {
    let before = text.rsplit_once(MARKER).map_or("", |(before, _)| before);
    before.contains("file:")
}

fn holds_elsewhere(value: &toml::Value) -> bool {
    match value {
        toml::Value::Table(table) => table.iter().any(|(key, value)| {
            let is_here = if key == "secrets" {
                is_named(&value.to_string())
            } else {
                holds_elsewhere(value)
            };
            key.contains(MARKER) || is_here
        }),
        toml::Value::Array(values) => values.iter().any(holds_elsewhere),
        toml::Value::String(text) => text.contains(MARKER),
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => false,
    }
}

#[test]
fn fuzz_any_configuration_is_loaded_or_refused_and_no_secret_is_shown() {
    let ways = run(&Configurations::new(), 1);
    let comes_through = ["loaded", "refused"].iter().all(|way| ways.contains_key(way));
    assert!(ways.is_empty() || comes_through, "{ways:?}");
}
