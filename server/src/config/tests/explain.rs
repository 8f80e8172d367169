//! What a configuration comes to.

use super::*;
use crate::config::explain::Setting;

fn explained(fake: &Fake, flags: &Flags) -> Vec<(String, String, String)> {
    let (_, settings) = Config::explain(flags, fake).unwrap();
    let told = |Setting { key, value, origin }| {
        (key, value, origin.map_or_else(|| "default".to_owned(), |origin| origin.to_string()))
    };
    settings.into_iter().map(told).collect()
}

#[test]
fn each_key_says_its_value_and_where_that_was_said() {
    let fake = Fake::new()
        .toml(
            r#"
            [http]
            max_body = "1MiB"
            [retention]
            max_age = "7d"
            [sources.forge]
            kind = "github"
            secrets = ["env:FORGE", { secret = "plain:old-one", not_after = 2099-01-01T00:00:00Z }]
            "#,
        )
        .variable("FORGE", "hunter2")
        .variable("HOOKLINE_RETENTION__MAX_AGE", "8d")
        .variable("HOOKLINE_SOURCES__OTHER__KIND", "github")
        .variable("HOOKLINE_SOURCES__OTHER__SECRETS", "plain:hunter3");
    let flags = Flags { data: Some("/data".into()), ..Flags::default() };
    let explained = explained(&fake, &flags);
    let is = |key: &str, value: &str, origin: &str| {
        let want = (key.to_owned(), value.to_owned(), origin.to_owned());
        assert!(explained.contains(&want), "{want:?} is not in {explained:#?}");
    };
    is("http.listen", "127.0.0.1:4150", "default");
    is("http.max_body", "1MiB", "hub.toml");
    is("retention.max_age", "8days", "HOOKLINE_RETENTION__MAX_AGE");
    is("store.path", "/data", "--data");
    is("sources.forge.kind", "github", "hub.toml");
    is("sources.other.secrets", "[redacted]", "HOOKLINE_SOURCES__OTHER__SECRETS");
    let secrets = "env:FORGE, { not_after = 2099-01-01T00:00:00Z, secret = [redacted] }";
    is("sources.forge.secrets", secrets, "hub.toml");
    let all = format!("{explained:?}");
    assert!(!all.contains("hunter") && !all.contains("old-one"), "{all}");
}
