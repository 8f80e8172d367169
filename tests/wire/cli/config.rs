//! `hookline check-config`: what a configuration comes to, or all that is wrong with it.

use std::{fs, process::Output};

use tempfile::TempDir;

use super::harness::{hookline, json, stderr, stdout};

struct Checked {
    folder: TempDir,
}

impl Checked {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hub.toml"), text).unwrap();
        Self { folder }
    }

    fn run(&self, more: &[&str]) -> Output {
        let output = hookline()
            .current_dir(self.folder.path())
            .args(["check-config", "--config", "hub.toml"])
            .args(more)
            .env("HOOKLINE_RETENTION__MAX_AGE", "3d")
            .output()
            .unwrap();
        let files: Vec<_> = fs::read_dir(self.folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "it makes nothing");
        output
    }
}

const GOOD: &str = r#"
[http]
max_body = "2MiB"

[sources.forge]
kind = "github"
secrets = ["plain:nobody-sees-this", "env:FORGE_SECRET"]
"#;

#[test]
fn each_key_is_told_with_where_it_was_said_and_no_secret() {
    let checked = Checked::new(GOOD);
    let missing = checked.run(&[]);
    assert_eq!(missing.status.code(), Some(64), "the variable of a secret is not set");
    assert!(stderr(&missing).contains("FORGE_SECRET"), "{}", stderr(&missing));

    let checked = Checked::new(&GOOD.replace(", \"env:FORGE_SECRET\"", ""));
    let told = checked.run(&["--grpc-listen", "127.0.0.1:7000"]);
    let text = stdout(&told);
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    let says = |words: &[&str]| {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert!(lines.any(|line| line.starts_with(words)), "{words:?} not in:\n{text}");
    };
    says(&["KEY", "VALUE", "SAID", "IN"]);
    says(&["http.listen", "127.0.0.1:4150", "default"]);
    says(&["http.max_body", "2MiB", "hub.toml"]);
    says(&["grpc.listen", "127.0.0.1:7000", "--grpc-listen"]);
    says(&["store.cache", "64MiB", "default"]);
    says(&["retention.max_age", "3days", "HOOKLINE_RETENTION__MAX_AGE"]);
    says(&["sources.forge.secrets", "[redacted]", "hub.toml"]);
    says(&["forge", "github", "/webhooks/forge", "HMAC-SHA256"]);
    assert!(!text.contains("nobody-sees-this"), "{text}");

    let object = json(&stdout(&checked.run(&["--json"])));
    let settings = object["settings"].as_array().unwrap();
    let body = settings.iter().find(|setting| setting["key"] == "http.max_body").unwrap();
    assert_eq!((&body["value"], &body["origin"]), (&"2MiB".into(), &"hub.toml".into()));
    assert_eq!(object["sources"][0]["post_to"], "/webhooks/forge");
    assert!(!object.to_string().contains("nobody-sees-this"), "{object}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let checked = Checked::new(
        "[http]\nmax_body = \"much\"\n[store]\ncache = \"1MiB\"\n[retentoin]\n\
         [sources.forge]\nkind = \"githup\"\nsecrets = [\"plain:nobody-sees-this\"]\n",
    );
    let told = checked.run(&["--json"]);
    assert_eq!((told.status.code(), stdout(&told).as_str()), (Some(64), ""));
    let text = stderr(&told);
    for part in [
        "4 mistakes",
        "http.max_body (hub.toml): `much` is not a size",
        "store.cache (hub.toml): 1MiB is not within 8MiB to 16GiB",
        "`githup`",
        "is `retention` meant?",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert!(!text.contains("nobody-sees-this"), "{text}");
}
