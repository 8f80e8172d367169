//! The configuration that is packaged as an example says what is the case.

use super::*;

const EXAMPLE: &str = include_str!("../../../packaging/hookline.toml");

#[test]
fn the_example_says_every_default() {
    let defaults = Fake::new().load().unwrap();
    let example = Fake::new().toml(EXAMPLE).load().unwrap();
    let of = |config: &Config| {
        let Config { http, grpc, store, auth, retention, shutdown, log, traces, sources } =
            config.clone();
        assert_eq!(sources.len(), 0);
        (http, grpc, store, auth, retention, shutdown, log, traces)
    };
    assert_eq!(of(&example), of(&defaults));
}

#[test]
fn the_example_has_every_key_and_what_it_shows_would_be_taken() {
    let mut section = "";
    let mut seen = Vec::new();
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ") {
            seen.push(format!("{section}.{key}"));
        }
    }
    for (section, keys) in section::SECTIONS {
        for key in *keys {
            let key = format!("{section}.{key}");
            let is_seen = |seen: &String| *seen == key || seen.starts_with(&format!("{key}."));
            assert!(seen.iter().any(is_seen), "`{key}` is not in the example");
        }
    }

    let is_shown = |line: &&str| line.starts_with("# [") || line.contains(" = ");
    let shown = EXAMPLE.lines().filter(|line| line.starts_with('[') || is_shown(line));
    let all: Vec<_> = shown.map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    let environment = Fake::new().toml(&all.join("\n"));
    for mistake in environment.variable("GITHUB_WEBHOOK_SECRET", "x").mistakes() {
        assert!(mistake.contains(".pem` can't be read"), "{mistake}");
    }
}
