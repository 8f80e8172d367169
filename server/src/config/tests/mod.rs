use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use bytes::Bytes;
use hookline_core::{
    normalize::receive,
    source::Secret,
    time::Timestamp,
    verify::{self, Draft, Request},
};
use http::{HeaderMap, Method};

use super::*;

mod explain;
mod fuzz;
mod packaged;
mod sources;

/// An environment of maps.
#[derive(Clone, Debug, Default)]
struct Fake {
    variables: BTreeMap<OsString, OsString>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Fake {
    fn new() -> Self {
        Self::default()
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), bytes.as_ref().to_vec());
        self
    }

    /// The configuration file that the environment names.
    fn toml(self, text: &str) -> Self {
        self.file("hub.toml", text).variable("HOOKLINE_CONFIG", "hub.toml")
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&Flags::default(), self)
    }

    /// The mistakes, a line each.
    fn mistakes(&self) -> Vec<String> {
        self.load().unwrap_err().iter().map(ToString::to_string).collect()
    }
}

impl Environment for Fake {
    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.variables.clone().into_iter().collect()
    }

    fn read(&self, path: &Path, _most: usize) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Which of these texts are live secrets of the first source: a secret can't be read, only be signed with.
fn live<'a>(config: &Config, texts: &[&'a str]) -> Vec<&'a str> {
    let source = &config.sources[0];
    let (body, now) = (Bytes::from_static(b"{}"), Timestamp::EPOCH);
    let is_live = |text: &&str| {
        let secret = Secret::new(*text).unwrap();
        let draft = Draft { url: "", headers: &HeaderMap::new(), body: &body };
        let signed = verify::sign(source.schemes(), &secret, draft, now).unwrap();
        let headers = &signed.into_iter().collect();
        let request = Request { method: &Method::POST, target: "/", headers, body: &body };
        receive(source, request, now).is_ok()
    };
    assert!(!is_live(&"another secret"));
    texts.iter().copied().filter(is_live).collect()
}

#[test]
fn without_anything_said_the_defaults_hold() {
    let config = Fake::new().variable("PATH", "/bin").load().unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:4150");
    assert_eq!(config.http.max_body, 25 << 20);
    assert_eq!(config.grpc.listen.to_string(), "127.0.0.1:4160");
    assert_eq!(config.store.path, Path::new("./hookline-data"));
    assert_eq!((config.store.cache, config.store.dictionaries), (64 << 20, true));
    assert_eq!(config.store.keep_free, KeepFree::Percent(5));
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let (max_age, open_max_age) = (days(14), days(30));
    let dead_letters_max_age = days(30);
    let max_bytes = None;
    let retention = Retention { max_age, open_max_age, dead_letters_max_age, max_bytes };
    assert_eq!(config.retention, retention);
    assert_eq!(config.shutdown.grace, Duration::from_secs(10));
    assert_eq!(config.log, Log::default());
    assert_eq!(config.auth, Auth::off(Path::new("./hookline-data")));
    assert!(config.sources.is_empty());
    assert_eq!(config.advice(), Some(SOURCE_EXAMPLE));
}

#[test]
fn every_key_of_the_file_is_taken() {
    let config = Fake::new()
        .variable("OLD", "old secret")
        .file("/run/new", "new secret\n")
        .toml(
            r#"
            [http]
            listen = "localhost:0"
            max_body = "1 MiB"
            [grpc]
            listen = "[::1]:7000"
            [store]
            path = "/var/lib/hookline"
            cache = "32 MiB"
            dictionaries = false
            keep_free = "20 GiB"
            [auth]
            tokens = "/etc/hookline/tokens.toml"
            [retention]
            max_age = "2d"
            open_max_age = "1 week"
            dead_letters_max_age = "90d"
            max_bytes = "20 GiB"
            [shutdown]
            grace = "1m 30s"
            [log]
            level = "warn,hookline_server=debug"
            format = "json"
            [sources.github]
            kind = "github"
            secrets = ["env:OLD", "file:/run/new"]
            [sources.stripe-test]
            kind = "stripe"
            unsigned = true
            "#,
        )
        .load()
        .unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    assert_eq!(
        config.http,
        Http { listen, max_body: 1 << 20, public_url: None, tls: None, insecure: false }
    );
    assert_eq!(config.grpc.listen.to_string(), "[::1]:7000");
    assert_eq!(config.store.path, Path::new("/var/lib/hookline"));
    assert_eq!((config.store.cache, config.store.dictionaries), (32 << 20, false));
    assert_eq!(config.store.keep_free, KeepFree::Bytes(20 << 30));
    let tokens = PathBuf::from("/etc/hookline/tokens.toml");
    assert_eq!(config.auth, Auth { tokens, is_named: true, is_on: true });
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let (max_age, open_max_age) = (days(2), days(7));
    let max_bytes = Some(20 << 30);
    let dead_letters_max_age = days(90);
    let retention = Retention { max_age, open_max_age, dead_letters_max_age, max_bytes };
    assert_eq!(config.retention, retention);
    assert_eq!(config.shutdown.grace, Duration::from_secs(90));
    assert_eq!(config.log.level.to_string(), "warn,hookline_server=debug");
    assert_eq!(config.log.format, Format::Json);
    let names: Vec<_> = config.sources.iter().map(|source| source.name().as_str()).collect();
    assert_eq!(names, ["github", "stripe-test"]);
    assert_eq!(live(&config, &["old secret", "new secret"]), ["old secret", "new secret"]);
    assert_eq!(config.advice(), None);
}

#[test]
fn callers_need_a_token_where_a_file_is_named_or_there() {
    let there = Fake::new().file("./hookline-data/tokens.toml", "").load().unwrap().auth;
    assert!(there.is_on && !there.is_named);
    let elsewhere =
        Fake::new().file("./hookline-data/tokens.toml", "").variable("HOOKLINE_STORE__PATH", "x");
    assert_eq!(elsewhere.load().unwrap().auth, Auth::off(Path::new("x")));
    let named = Fake::new().variable("HOOKLINE_AUTH__TOKENS", "t.toml").load().unwrap().auth;
    assert_eq!(named, Auth { tokens: "t.toml".into(), is_named: true, is_on: true });
    let refused = Fake::new().toml("[auth]\ntokens = \"\"\ntoken = 1").mistakes();
    assert!(refused.iter().any(|line| line.contains("auth.tokens")), "{refused:?}");
    assert!(refused.iter().any(|line| line.contains("auth.token")), "{refused:?}");
}

#[test]
fn what_waits_is_kept_no_shorter_than_what_does_not() {
    let of = |text: &str| Fake::new().toml(&format!("[retention]\n{text}")).load();
    let refused = of("max_age = \"3d\"\nopen_max_age = \"2d\"").unwrap_err().to_string();
    assert!(refused.contains("retention.open_max_age"), "{refused}");
    let refused = of("max_bytes = \"1 MiB\"").unwrap_err().to_string();
    assert!(refused.contains("retention.max_bytes"), "{refused}");
    let long = of("max_age = \"60d\"").unwrap().retention;
    assert_eq!(long.open_max_age, long.max_age, "never less than what nobody waits for");
    assert_eq!(of("max_age = \"0s\"").unwrap().retention.max_age, Duration::ZERO);
}

#[test]
fn the_example_that_advises_about_sources_is_a_configuration() {
    let section: String = SOURCE_EXAMPLE
        .lines()
        .skip_while(|line| !line.contains('['))
        .take(3)
        .fold(String::new(), |text, line| text + line + "\n");
    let environment = Fake::new().variable("GITHUB_WEBHOOK_SECRET", "s3cret");
    assert_eq!(live(&environment.toml(&section).load().unwrap(), &["s3cret"]), ["s3cret"]);

    let mut environment = Fake::new().variable("GITHUB_WEBHOOK_SECRET", "s3cret");
    for line in SOURCE_EXAMPLE.lines().filter(|line| line.contains("HOOKLINE_")) {
        let (name, value) = line.trim().split_once('=').unwrap();
        environment = environment.variable(name, value);
    }
    assert_eq!(live(&environment.load().unwrap(), &["s3cret"]), ["s3cret"]);
}

#[test]
fn flags_override_the_environment_which_overrides_the_file_which_overrides_defaults() {
    let environment = Fake::new()
        .toml("[http]\nlisten = \"127.0.0.1:1\"\n[grpc]\nlisten = \"127.0.0.1:2\"\n[store]\npath = \"file\"")
        .variable("HOOKLINE_HTTP__LISTEN", "127.0.0.1:3")
        .variable("HOOKLINE_GRPC__LISTEN", "127.0.0.1:4")
        .variable("HOOKLINE_LOG", "warn");
    let flags = Flags { grpc_listen: Some("127.0.0.1:5".into()), ..Flags::default() };
    let config = Config::load(&flags, &environment).unwrap();
    assert_eq!(config.http.listen.port(), 3);
    assert_eq!(config.grpc.listen.port(), 5);
    assert_eq!(config.store.path, Path::new("file"));
    assert_eq!(config.log.level.to_string(), "warn");

    let flags = Flags {
        data: Some("flag".into()),
        log: Some("trace".into()),
        log_format: Some("json".into()),
        http_listen: Some("127.0.0.1:6".into()),
        ..Flags::default()
    };
    let config = Config::load(&flags, &environment).unwrap();
    assert_eq!(config.store.path, Path::new("flag"));
    assert_eq!(config.log.level.to_string(), "trace");
    assert_eq!(config.log.format, Format::Json);
    assert_eq!(config.http.listen.port(), 6);
}

#[test]
fn the_exact_variable_of_the_log_level_overrides_its_short_form() {
    let environment =
        Fake::new().variable("HOOKLINE_LOG", "warn").variable("HOOKLINE_LOG__LEVEL", "debug");
    assert_eq!(environment.load().unwrap().log.level.to_string(), "debug");
}

#[test]
fn a_source_can_be_made_of_variables_alone_in_each_form_of_a_list() {
    for list in [r#"["env:A", "plain:b"]"#, "env:A,plain:b", " env:A , plain:b "] {
        let config = Fake::new()
            .variable("A", "a")
            .variable("HOOKLINE_SOURCES__GITHUB__KIND", "github")
            .variable("HOOKLINE_SOURCES__GITHUB__SECRETS", list)
            .load()
            .unwrap();
        assert_eq!(live(&config, &["a", "b"]), ["a", "b"], "{list}");
    }
    let unsigned = Fake::new()
        .variable("HOOKLINE_SOURCES__GITHUB__KIND", "github")
        .variable("HOOKLINE_SOURCES__GITHUB__UNSIGNED", "true");
    assert_eq!(unsigned.load().unwrap().sources.len(), 1);
}

#[test]
fn a_variable_reaches_a_source_with_dashes_in_its_name() {
    let config = Fake::new()
        .toml("[sources.github-org]\nkind = \"github\"\nsecrets = [\"plain:file\"]")
        .variable("HOOKLINE_SOURCES__GITHUB_ORG__SECRETS", "plain:environment")
        .load()
        .unwrap();
    assert_eq!(config.sources.len(), 1);
    assert_eq!(live(&config, &["environment"]), ["environment"]);
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_key_and_place() {
    let environment = Fake::new()
        .toml(
            r#"
            [http]
            lisen = "127.0.0.1:80"
            max_body = "1 GB"
            [grcp]
            [shutdown]
            grace = 10
            [sources.GitHub]
            kind = "githb"
            secrets = ["env:MISSING", "s3cret", 5]
            [sources.agent]
            secrets = ["env:MISSING", "s3cret"]
            "#,
        )
        .variable("HOOKLINE_GRPC__LISTEN", "nowhere")
        .variable("HOOKLINE_LOG__LEVEL", "loud");
    let flags = Flags { http_listen: Some("0.0.0.0:4150".into()), ..Flags::default() };
    let errors = Config::load(&flags, &environment).unwrap_err();
    let text = errors.to_string();
    assert_eq!(
        text,
        "the configuration has 17 mistakes:
  http.max_body (hub.toml): `1 GB` is not a size: write one such as `25MiB`, `512KiB`, `2GiB` or `1048576`
  http.listen (--http-listen): `0.0.0.0:4150` can be reached from other machines: say `cert` and `key` in \
         `[http.tls]`, or `--http-insecure` where a proxy in front has TLS, or use a loopback address such as `127.0.0.1:4150`
  http.lisen (hub.toml): there is no such key; is `http.listen` meant?
  grpc.listen (HOOKLINE_GRPC__LISTEN): `nowhere` is not an address: write one such as `127.0.0.1:4150`, port 0 for a \
         free one
  shutdown.grace (hub.toml): must be a duration with its unit, such as \"10s\", but is a number
  log.level (HOOKLINE_LOG__LEVEL): `loud` is not a level: use `off`, `error`, `warn`, `info`, `debug` or `trace`, or \
         `part::of::the::code=level`, with commas between
  sources.GitHub: the source name has `G` at byte 0, outside [a-z0-9_-]
  sources.GitHub.kind: unknown kind `githb`: `hookline sources kinds` lists all; is `github` meant?
  sources.GitHub.secrets[2] (hub.toml): must be text, but is a number
  sources.GitHub.secrets[0]: the environment variable `MISSING` is not set
  sources.GitHub.secrets[1]: must begin with `env:`, `file:` or `plain:` (the value is not shown)
  sources.GitHub.secrets[2]: must begin with `env:`, `file:` or `plain:` (the value is not shown)
  sources.agent: the name `agent` is reserved for the hub's own events
  sources.agent.kind: is missing: say who posts; `hookline sources kinds` lists who is known
  sources.agent.secrets[0]: the environment variable `MISSING` is not set
  sources.agent.secrets[1]: must begin with `env:`, `file:` or `plain:` (the value is not shown)
  grcp (hub.toml): there is no such key; is `grpc` meant?"
    );
    assert!(!text.contains("s3cret"));
}

#[test]
fn an_empty_data_folder_is_told_wherever_it_is_said() {
    let flags = Flags { data: Some(PathBuf::new()), ..Flags::default() };
    let errors = Config::load(&flags, &Fake::new()).unwrap_err();
    assert!(errors.to_string().ends_with("store.path (--data): must not be empty"), "{errors}");
    let mistakes = Fake::new().toml("[store]\npath = \"\"").mistakes();
    assert_eq!(mistakes, ["store.path (hub.toml): must not be empty"]);
}

#[test]
fn what_is_left_free_of_a_disk_is_a_part_of_it_or_a_size() {
    let read = |text: &str| text.parse::<KeepFree>().ok();
    let cases = [
        ("0%", KeepFree::Percent(0)),
        ("90 %", KeepFree::Percent(90)),
        ("20GiB", KeepFree::Bytes(20 << 30)),
        ("0", KeepFree::Bytes(0)),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text), Some(expected), "{text}");
    }
    for text in ["", "%", "91%", "-1%", "1.5%", "256%", "5 percent", "20GB"] {
        assert_eq!(read(text), None, "{text}");
    }
    let mistakes = Fake::new().toml("[store]\nkeep_free = \"91%\"").mistakes();
    let expected = "store.keep_free (hub.toml): `91%` is neither a part of the disk, as `5%` is, at most 90%, \
                    nor a size, as `20GiB` is";
    assert_eq!(mistakes, [expected]);
}

#[test]
fn a_syntax_error_is_told_with_its_line_and_without_the_line_itself() {
    let mistakes = Fake::new().toml("[http]\n\n[sources]\nx = \"plain:s3cret\n").mistakes();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].starts_with("hub.toml: line 4, column "), "{mistakes:?}");
    assert!(!mistakes[0].contains("s3cret"), "{mistakes:?}");
}

#[test]
fn a_file_that_is_missing_or_no_text_is_told_beside_the_other_mistakes() {
    let environment =
        Fake::new().variable("HOOKLINE_CONFIG", "gone.toml").variable("HOOKLINE_HTTP__LISTEN", "x");
    let mistakes = environment.mistakes();
    assert_eq!(mistakes[0], "gone.toml: can't be read: entity not found");
    assert_eq!(mistakes.len(), 2);
    let binary = Fake::new().file("b", [0xff]).variable("HOOKLINE_CONFIG", "b");
    assert_eq!(binary.mistakes(), ["b: is not UTF-8 text"]);
}

#[test]
fn without_tls_only_loopback_is_listened_on_unless_it_is_said_so() {
    for listener in ["HTTP", "GRPC"] {
        let key = format!("HOOKLINE_{listener}__LISTEN");
        let listening = |address: &str| Fake::new().variable(&key, address);
        for good in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(listening(good).load().is_ok(), "{good}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let [mistake] = &listening(open).mistakes()[..] else { panic!("one mistake: {open}") };
            let begins = format!("{}.listen ({key}): `{open}` can be", listener.to_lowercase());
            assert!(mistake.starts_with(&begins), "{mistake}");
            let insecure = format!("HOOKLINE_{listener}__INSECURE");
            assert!(listening(open).variable(&insecure, "true").load().is_ok());
            let other = if listener == "HTTP" { "GRPC" } else { "HTTP" };
            let insecure = format!("HOOKLINE_{other}__INSECURE");
            assert_eq!(listening(open).variable(&insecure, "true").mistakes().len(), 1);
        }
        for bad in ["4150", "", "hub.example.com:1"] {
            let mistakes = listening(bad).mistakes();
            assert!(mistakes[0].contains("is not an address"), "{mistakes:?}");
        }
    }
    let flags = Flags {
        http_listen: Some("0.0.0.0:1".into()),
        grpc_listen: Some("0.0.0.0:2".into()),
        http_insecure: true,
        grpc_insecure: true,
        ..Flags::default()
    };
    let config = Config::load(&flags, &Fake::new()).unwrap();
    assert!(config.http.insecure && config.grpc.insecure);
}

/// A certificate and its key, in PEM.
fn certificate() -> (String, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["hub.example.com".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

#[test]
fn with_tls_others_may_connect_and_to_agents_only_those_who_are_known() {
    let (cert, key) = certificate();
    let files = Fake::new().file("cert", cert.clone()).file("key", key).file("clients", cert);
    let listener = |name: &str| {
        files
            .clone()
            .variable(&format!("HOOKLINE_{name}__LISTEN"), "0.0.0.0:1")
            .variable(&format!("HOOKLINE_{name}__TLS__CERT"), "cert")
            .variable(&format!("HOOKLINE_{name}__TLS__KEY"), "key")
    };
    let config = listener("HTTP").load().unwrap();
    let tls = tls::Files { cert: "cert".into(), key: "key".into(), client_ca: None };
    assert_eq!((config.http.tls.as_ref(), config.http.scheme()), (Some(&tls), "https"));
    assert_eq!((config.grpc.tls.as_ref(), config.grpc.scheme()), (None, "http"));
    assert_eq!(listener("GRPC").mistakes().len(), 1);
    let config = listener("GRPC").variable("HOOKLINE_GRPC__TLS__CLIENT_CA", "clients").load();
    assert_eq!(config.unwrap().grpc.tls.unwrap().client_ca, Some("clients".into()));
    // Tokens tell who calls as well, but not who may read them on the way.
    assert!(listener("GRPC").variable("HOOKLINE_AUTH__TOKENS", "t.toml").load().is_ok());
    let plain = Fake::new().variable("HOOKLINE_GRPC__LISTEN", "0.0.0.0:1");
    assert_eq!(plain.variable("HOOKLINE_AUTH__TOKENS", "t.toml").mistakes().len(), 1);
}

/// Files of a listener, good and bad.
fn tls_files() -> Fake {
    let (cert, key) = certificate();
    let (_, other) = certificate();
    Fake::new()
        .file("cert", cert.clone())
        .file("key", key.clone())
        .file("other", other)
        .file("both", format!("{cert}{key}"))
        .file("text", "no PEM at all")
        .file("cut", cert.lines().take(3).collect::<Vec<_>>().join("\n"))
        .file("holes", cert.replacen('M', "?", 1))
        .file("open", cert.replacen("CERTIFICATE-----", "CERTIFICATE", 1))
        .file(
            "second",
            format!("{cert}-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"),
        )
        .file("no cert", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
        .file("locked", key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))
        .file("key cut", key.lines().take(2).collect::<Vec<_>>().join("\n"))
        .file("no key", "-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----\n")
}

/// Files for `cert`, `key` and `client_ca` that can't be used, and how that is told.
const BAD_TLS: &[(&str, &str, &str, &str)] = &[
    ("cert", "", "", ".key: is missing"),
    ("", "key", "", ".cert: is missing"),
    ("gone", "key", "", ": the file `gone` can't be read"),
    ("text", "key", "", ": the file `text` is not PEM: no line of it begins"),
    ("key", "key", "", ": the file `key` has no certificate, only a private key"),
    ("cut", "key", "", ": the file `cut` breaks off: a part of it has no line `-----END"),
    ("holes", "key", "", ": the file `holes` is broken PEM: a part of it is not base64"),
    ("open", "key", "", ": the file `open` is broken PEM: a line `-----BEGIN ...` does not"),
    ("second", "key", "", ": the file `second` has a certificate, number 2, that is none"),
    ("no cert", "key", "", ": the file `no cert` has a certificate, number 1, that is none"),
    ("cert", "key", "no cert", ": the file `no cert` has a certificate, number 1, that is none"),
    ("cert", "text", "", ": the file `text` is not PEM"),
    ("cert", "cert", "", ": the file `cert` has no private key, only a certificate"),
    ("cert", "locked", "", ": the file `locked` has no private key, only a private key with"),
    ("cert", "key cut", "", ": the file `key cut` breaks off"),
    ("cert", "no key", "", ": the file `no key` has a private key that can't be used: RSA"),
    (
        "cert",
        "other",
        "",
        ": the key `other` does not belong to the certificate `cert`, the first in that",
    ),
    ("cert", "key", "key", ": the file `key` has no certificate, only a private key"),
    ("cert", "key", "second", ": the file `second` has a certificate, number 2"),
];

#[test]
fn files_of_tls_that_can_not_be_used_are_mistakes() {
    let files = tls_files();
    let told = |cert: &str, key: &str, client_ca: &str| {
        let mut environment = files.clone();
        for (name, path) in [("CERT", cert), ("KEY", key), ("CLIENT_CA", client_ca)] {
            if !path.is_empty() {
                environment = environment.variable(&format!("HOOKLINE_HTTP__TLS__{name}"), path);
            }
        }
        environment.load().map(drop).map_err(|_| environment.mistakes().join("; "))
    };
    assert_eq!(told("cert", "key", ""), Ok(()));
    assert_eq!(told("both", "both", "cert"), Ok(()));
    for (cert, key, client_ca, mistake) in BAD_TLS {
        let mistake = format!("http.tls{mistake}");
        let found = told(cert, key, client_ca).unwrap_err();
        assert!(found.starts_with(&mistake), "{found}, not {mistake}");
        assert!(!found.contains("PRIVATE"), "{found}");
    }
}

#[test]
fn both_listeners_at_one_address_are_a_mistake_unless_the_port_is_free_to_choose() {
    let environment = |address: &str| {
        Fake::new()
            .variable("HOOKLINE_HTTP__LISTEN", address)
            .variable("HOOKLINE_GRPC__LISTEN", address)
    };
    let mistakes = environment("127.0.0.1:9").mistakes();
    assert_eq!(mistakes, ["grpc.listen: `127.0.0.1:9` is the address of `http.listen` too"]);
    assert!(environment("127.0.0.1:0").load().is_ok());
}

#[test]
fn names_of_the_hubs_own_events_are_no_sources() {
    for name in ["dead-letter", "agent"] {
        let text = format!("[sources.{name}]\nkind = \"github\"\nunsigned = true");
        let mistakes = Fake::new().toml(&text).mistakes();
        let want = format!("the name `{name}` is reserved for the hub's own events");
        assert_eq!(mistakes, [format!("sources.{name}: {want}")]);
    }
}

#[test]
fn a_secret_is_a_variable_a_file_or_plain_and_never_empty() {
    let with = |secret: &str| {
        Fake::new()
            .variable("EMPTY", "")
            .file("newline", "\n")
            .file("crlf", "key\r\n")
            .file("binary", [0xff])
            .variable("HOOKLINE_SOURCES__S__KIND", "github")
            .variable("HOOKLINE_SOURCES__S__SECRETS", secret)
    };
    assert_eq!(live(&with("file:crlf").load().unwrap(), &["key"]), ["key"]);
    assert_eq!(live(&with("plain:env:x").load().unwrap(), &["env:x"]), ["env:x"]);
    for (secret, want) in [
        ("env:EMPTY", "the secret in the environment variable `EMPTY` is empty"),
        ("env:GONE", "the environment variable `GONE` is not set"),
        ("file:newline", "the secret in the file `newline` is empty"),
        ("file:gone", "the file `gone` can't be read: entity not found"),
        ("file:binary", "the file `binary` is not UTF-8 text"),
        ("plain:", "the secret in `plain:` is empty"),
        ("s3cret", "must begin with `env:`, `file:` or `plain:` (the value is not shown)"),
    ] {
        let want = format!("sources.s.secrets[0]: {want}");
        assert_eq!(with(secret).mistakes(), [want], "{secret}");
    }
    let broken = with("[\"plain:s3cret").mistakes();
    assert_eq!(broken.len(), 1);
    assert!(!broken[0].contains("s3cret"), "{broken:?}");
}

#[test]
fn a_source_has_secrets_or_says_that_it_is_unsigned() {
    let none = Fake::new().toml("[sources.s]\nkind = \"stripe\"\nsecrets = []");
    assert_eq!(
        none.mistakes(),
        ["sources.s.secrets: is missing: name one, such as `env:NAME` or `file:PATH`, or say \
          `unsigned = true` to take what anybody posts"]
    );
    let both = "[sources.s]\nkind = \"stripe\"\nsecrets = [\"plain:x\"]\nunsigned = true";
    assert_eq!(
        Fake::new().toml(both).mistakes(),
        ["sources.s.unsigned: contradicts `secrets`: a source with secrets is always verified"]
    );
    let word = "[sources.s]\nkind = \"stripe\"\nsecrets = 5\nunsigned = \"yes\"";
    assert_eq!(
        Fake::new().toml(word).mistakes(),
        [
            "sources.s.secrets (hub.toml): must be a list, but is a number",
            "sources.s.unsigned (hub.toml): must be true or false, but is text"
        ]
    );
}

#[test]
fn a_misspelled_variable_is_told_and_those_of_others_are_left_alone() {
    for (name, meant) in [
        ("HOOKLINE_HTTP_LISTEN", "HOOKLINE_HTTP__LISTEN"),
        ("HOOKLINE_LOG_LEVEL", "HOOKLINE_LOG__LEVEL"),
        ("HOOKLINE_SOURCES_GITHUB_KIND", "HOOKLINE_SOURCES__<NAME>__SECRETS"),
    ] {
        let want = format!("{name}: there is no such key; is `{meant}` meant?");
        assert_eq!(Fake::new().variable(name, "x").mistakes(), [want]);
    }
    let mistakes = Fake::new().variable("HOOKLINE_HTTP__LISTENER", "x").mistakes();
    let want =
        "http.listener (HOOKLINE_HTTP__LISTENER): there is no such key; is `http.listen` meant?";
    assert_eq!(mistakes, [want]);
    assert!(Fake::new().variable("HOOKLINE_PAYLOADS", "x").load().is_ok());
}

#[test]
fn the_keys_that_guesses_are_made_from_are_those_that_are_read() {
    for (section, keys) in section::SECTIONS {
        for key in *keys {
            let mistakes = Fake::new().toml(&format!("[{section}]\n{key} = 1.5")).mistakes();
            let want = format!("{section}.{key} (hub.toml): must be ");
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(&want), "{mistakes:?}");
        }
    }
}

#[test]
fn traces_go_to_a_plain_address_and_a_part_of_them_only() {
    let of = |text: &str| Fake::new().toml(&format!("[traces]\n{text}"));
    let off = Fake::new().load().unwrap().traces;
    assert_eq!((off.otlp, off.ratio), (None, 1.0));
    let on = of("otlp = \"http://127.0.0.1:4317\"\nratio = 0.25").load().unwrap().traces;
    assert_eq!((on.otlp.as_deref(), on.ratio), (Some("http://127.0.0.1:4317"), 0.25));
    let by_variable = Fake::new().variable("HOOKLINE_TRACES__RATIO", "0.5").load().unwrap();
    assert_eq!(by_variable.traces.ratio, 0.5);
    for bad in ["https://c.example:4317", "http://u:p@c:4317", "c:4317", "http://c:4317/v1/traces"]
    {
        let mistakes = of(&format!("otlp = \"{bad}\"")).mistakes();
        let want = "traces.otlp (hub.toml): must be an address without TLS";
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(want), "{mistakes:?}");
        assert!(!mistakes[0].contains(bad), "it may hold a password: {mistakes:?}");
    }
    for bad in ["-0.1", "1.1", "2", "\"all\"", "nan"] {
        let want = "traces.ratio (hub.toml): must be a number from 0 to 1";
        assert_eq!(of(&format!("ratio = {bad}")).mistakes(), [want]);
    }
}

#[test]
fn tables_and_values_in_each_others_place_are_told() {
    assert_eq!(
        Fake::new().toml("http = 5\nsources = []").mistakes(),
        [
            "http (hub.toml): must be a table, but is a number",
            "sources (hub.toml): must be a table, but is a list"
        ]
    );
    let over = Fake::new()
        .toml("http = 5\n[sources.s]\nkind = \"github\"\nunsigned = true")
        .variable("HOOKLINE_HTTP__LISTEN", "127.0.0.1:1")
        .variable("HOOKLINE_SOURCES__S", "x");
    let mistakes = over.mistakes();
    assert!(mistakes.contains(&"http (hub.toml): must be a table, but is a number".to_owned()));
    let want = "sources.s (HOOKLINE_SOURCES__S): must be a table, but is text";
    assert!(mistakes.contains(&want.to_owned()), "{mistakes:?}");
}

#[test]
fn a_variable_that_is_no_text_is_told() {
    let mut environment = Fake::new();
    environment.variables.insert("HOOKLINE_LOG".into(), OsStr::from_bytes(&[0xff]).to_owned());
    let want = "the environment variable `HOOKLINE_LOG` is not UTF-8 text";
    assert_eq!(environment.mistakes(), [want]);
}

#[test]
fn secrets_do_not_show_in_debug() {
    let config = Fake::new()
        .variable("HOOKLINE_SOURCES__S__KIND", "github")
        .variable("HOOKLINE_SOURCES__S__SECRETS", "plain:s3cret")
        .load()
        .unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn the_real_environment_reads_files_up_to_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "12345").unwrap();
    assert_eq!(Process.read(&path, 5).unwrap(), b"12345");
    let error = Process.read(&path, 4).unwrap_err();
    assert_eq!(error.to_string(), "it has more than 4 bytes");
    assert!(Process.read(&folder.path().join("gone"), 5).is_err());
    assert!(!Process.variables().is_empty());
}
