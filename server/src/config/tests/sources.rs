//! What a source may be configured with: custom senders, secrets that run out, settings.

use bytes::Bytes;
use hmac::{KeyInit as _, Mac as _};
use hookline_core::{
    event::NewEvent,
    normalize::{Received, receive},
    rate::Rate,
    time::Timestamp,
    verify::Request,
};
use http::Method;

use super::{Config, Duration, Fake, live};

/// A source of kind `custom` with these keys in its two tables.
fn custom(signature: &str, event: &str) -> Fake {
    Fake::new().toml(&format!(
        "[sources.acme]\nkind = \"custom\"\nsecrets = [\"plain:s3cret\"]\n\
         [sources.acme.signature]\n{signature}\n[sources.acme.event]\n{event}"
    ))
}

fn post(config: &Config, headers: &[(&'static str, &str)], body: &str) -> Result<NewEvent, String> {
    let headers = headers.iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
    });
    let (headers, body) = (headers.collect(), Bytes::copy_from_slice(body.as_bytes()));
    let request = Request { method: &Method::POST, target: "/x", headers: &headers, body: &body };
    match receive(&config.sources[0], request, Timestamp::from_secs(1_000).unwrap()) {
        Ok(Received::Events { mut events, .. }) => Ok(events.remove(0)),
        Ok(Received::Answer(answer)) => panic!("{answer:?}"),
        Err(error) => Err(error.cause().to_owned()),
    }
}

#[test]
fn a_custom_source_is_verified_and_read_as_it_is_described() {
    let config = custom(
        "header = \"X-Acme-Signature\"\nitem_separator = \",\"\nlabel = \"v1\"\n\
         timestamp = \"item:t\"\nsigned = \"{timestamp}.{id}.{body}\"\nid_header = \"X-Acme-Id\"",
        "type = [\"header:X-Acme-Event\", \"body:/action\"]\nid = \"header:X-Acme-Id\"\n\
         actor = [\"body:/nobody\", \"body:/user/name\"]\nresource_type = \"text:ticket\"\n\
         resource_id = \"body:/items/0/a~1b\"\ntime = \"body:/at\"\n\
         metadata = { team = \"body:/team\" }",
    );
    let config = config.load().unwrap();
    let body =
        r#"{"action":"Opened","user":{"name":"ann"},"items":[{"a/b":7}],"at":999,"team":"x"}"#;
    let id = "d-1";
    let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
    let mac = hex::encode(mac.chain_update(format!("998.{id}.{body}")).finalize().into_bytes());
    let signature = format!("t=998,v1={mac}");
    let headers =
        [("x-acme-signature", signature.as_str()), ("x-acme-event", "ticket"), ("x-acme-id", id)];
    let event = post(&config, &headers, body).unwrap();
    assert_eq!(event.event_type.as_str(), "ticket.opened");
    assert_eq!(event.metadata["event_type_raw"], "ticket.Opened");
    assert_eq!((event.actor.as_str(), event.delivery_key.as_str()), ("ann", id));
    assert_eq!((event.resource_type.as_str(), event.resource_id.as_str()), ("ticket", "7"));
    assert_eq!(event.timestamp, Timestamp::from_secs(999).unwrap());
    assert_eq!(event.metadata["team"], "x");

    assert_eq!(post(&config, &headers, "{}").unwrap_err(), "wrong");
    let early = format!("t=1500,v1={mac}");
    let headers = [("x-acme-signature", early.as_str()), ("x-acme-id", id)];
    assert_eq!(post(&config, &headers, body).unwrap_err(), "wrong", "the time is signed");
    assert_eq!(post(&config, &headers[1..], body).unwrap_err(), "missing");
}

#[test]
fn a_custom_source_may_have_a_token_in_place_of_a_signature() {
    let event = "type = \"text:x\"";
    for (signature, header, value) in [
        ("scheme = \"bearer\"", "authorization", "bearer s3cret"),
        ("scheme = \"basic\"", "authorization", "Basic czNjcmV0"),
        ("scheme = \"token\"\nheader = \"X-Api-Key\"", "x-api-key", "s3cret"),
    ] {
        let config = custom(signature, event).load().unwrap();
        let event = post(&config, &[(header, value)], "{}").unwrap();
        assert_eq!(event.delivery_key, "", "without an id nothing is deduped");
        let other = format!("{value}x");
        assert!(post(&config, &[(header, &other)], "{}").is_err());
        assert_eq!(post(&config, &[], "{}").unwrap_err(), "missing");
    }
}

#[test]
fn mistakes_of_a_custom_source_are_told_at_their_keys() {
    let signed = "header = \"X-S\"";
    let typed = "type = \"body:/type\"";
    for (signature, event, told) in [
        ("", typed, "signature.header: say where the signature stands: either `header` or `query`"),
        ("header = \"X S\"", typed, "signature.header: `X S` is not the name of a header"),
        (
            "header = \"X-S\"\nalgorithm = \"md5\"",
            typed,
            "signature.algorithm (hub.toml): is `md5`, but must be one of `sha1`, `sha256`, `sha512`",
        ),
        (
            "header = \"X-S\"\nsigned = \"{timestamp}\"",
            typed,
            "signature.signed: must have {body} in it: what is not signed can be changed by anybody",
        ),
        (
            "header = \"X-S\"\ntimestamp = \"header:X-T\"",
            typed,
            "signature.signed: must have {timestamp} in it exactly if `timestamp` is a header or an item",
        ),
        (
            "header = \"X-S\"\nsigned = \"{id}{body}\"",
            typed,
            "signature.signed: must have {id} in it exactly if `id_header` says where it stands",
        ),
        (
            "header = \"X-S\"\nid_header = \"X-Id\"",
            typed,
            "signature.signed: must have {id} in it exactly if `id_header` says where it stands",
        ),
        (
            "header = \"X-S\"\ntimestamp = \"item:t\"\nsigned = \"{timestamp}{body}\"",
            typed,
            "signature.timestamp: as `item:LABEL` needs an `item_separator`, and a `label` of the \
             signature that is another",
        ),
        (
            "header = \"X-S\"\nfield_separator = \"=\"",
            typed,
            "signature.label: is missing: a \
            signature behind a `field_separator` has a label",
        ),
        (
            signed,
            "",
            "event.type: is missing: say where the event type stands, such as \
            `header:X-Event` or `body:/type`",
        ),
        (
            signed,
            "type = \"/type\"",
            "event.type[0]: `/type` is no place: write `header:NAME`, \
            `body:/json/pointer` or `text:TEXT`",
        ),
        (
            signed,
            "type = \"body:type\"",
            "event.type[0]: `type` is no JSON pointer: write one such as `/data/id`",
        ),
        (
            "header = \"X-S\"\nsigned = \"{url}{body}\"",
            typed,
            "url: is missing: `custom` signs the address it posts to, so say it here, or what stands \
             before `/webhooks` in `http.public_url`",
        ),
    ] {
        let mistakes = custom(signature, event).mistakes();
        assert_eq!(mistakes, [format!("sources.acme.{told}")], "{signature} {event}");
    }
}

#[test]
fn a_secret_may_run_out_and_must_be_one_of_its_kind() {
    let source = |kind: &str, secrets: &str| {
        Fake::new().toml(&format!("[sources.a]\nkind = \"{kind}\"\nsecrets = {secrets}"))
    };
    let secrets = r#"["plain:new", { secret = "plain:old", not_after = 2026-12-01T00:00:00Z }]"#;
    let config = source("github", secrets).load().unwrap();
    let ends: Vec<_> = config.sources[0].secrets().iter().map(|secret| secret.not_after).collect();
    assert_eq!(ends, [None, Timestamp::from_secs(1_796_083_200)]);
    assert_eq!(live(&config, &["new", "old"]), ["new", "old"]);

    let soon = r#"[{ secret = "plain:x", not_after = "soon" }, { secrt = "plain:s3cret" }]"#;
    assert_eq!(
        source("github", soon).mistakes(),
        [
            "sources.a.secrets[1].secrt (hub.toml): there is no such key",
            "sources.a.secrets[0]: `soon` is not a time: write one such as `2026-12-01T00:00:00Z`",
            "sources.a.secrets[1]: must begin with `env:`, `file:` or `plain:` (the value is not shown)",
        ]
    );
    let mistakes = source("standard-webhooks", r#"["plain:whsec_not base64"]"#).mistakes();
    assert_eq!(
        mistakes,
        ["sources.a.secrets[0]: the secret is not base64, which a source of kind \
          `standard-webhooks` needs (the value is not shown)"]
    );
}

#[test]
fn settings_of_a_source_have_their_bounds() {
    let source = |keys: &str| {
        Fake::new().toml(&format!(
            "[http]\npublic_url = \"https://hooks.example.com/\"\n\
             [sources.a]\nkind = \"slack\"\nsecrets = \"plain:x\"\n{keys}"
        ))
    };
    let config = source("replay_window = \"10m\"\ntolerance = \"1m\"").load().unwrap();
    let settings = config.sources[0].settings();
    assert_eq!(settings.replay_window, Some(Duration::from_secs(600)));
    assert_eq!(settings.tolerance, Some(Duration::from_secs(60)));
    let url = config.sources[0].url_of("/webhooks/a?b").unwrap();
    assert_eq!(url, "https://hooks.example.com/webhooks/a?b");
    assert_eq!(settings.rate, None);
    let config = source("max_per_second = 0.5\nburst = 7").load().unwrap();
    assert_eq!(config.sources[0].settings().rate, Some(Rate { per_second: 0.5, burst: 7 }));
    let config = source("max_per_second = 20").load().unwrap();
    assert_eq!(config.sources[0].settings().rate, Some(Rate { per_second: 20.0, burst: 20 }));
    let config = source("url = \"https://other.example.com/in\"").load().unwrap();
    let url = config.sources[0].url_of("/webhooks/a?b").unwrap();
    assert_eq!(url, "https://other.example.com/in?b");
    for (keys, told) in [
        ("replay_window = \"0s\"", "replay_window: `0s` is less than 1s"),
        ("replay_window = \"8d\"", "replay_window (hub.toml): `8days` is more than 7days"),
        ("tolerance = \"2d\"", "tolerance (hub.toml): `2days` is more than 1day"),
        ("max_per_second = 0", "max_per_second (hub.toml): 0 is not within 0.001 to 100000"),
        ("max_per_second = nan", "max_per_second (hub.toml): NaN is not within 0.001 to 100000"),
        (
            "max_per_second = \"fast\"",
            "max_per_second (hub.toml): `fast` is not a number that can be taken here",
        ),
        ("max_per_second = 1\nburst = 0", "burst (hub.toml): 0 is not within 1 to 100000"),
        ("burst = 5", "burst (hub.toml): does nothing without `max_per_second`"),
        (
            "verify_token = \"x\"",
            "verify_token: must begin with `env:`, `file:` or `plain:` (the value is not shown)",
        ),
        (
            "verify_token = \"plain:x\"",
            "verify_token: means nothing for `slack`: its handshake has none",
        ),
        (
            "legacy_signatures = true",
            "legacy_signatures: means nothing for `slack`: it has no older signatures",
        ),
        (
            "url = \"https://user:s3cret@hooks.example.com\"",
            "url (hub.toml): must be an address without user, password, query and fragment (the \
             value is not shown)",
        ),
        (
            "url = \"https://hooks.example.com/?a=b\"",
            "url (hub.toml): must be an address without user, password, query and fragment (the \
             value is not shown)",
        ),
        (
            "url = \"hooks.example.com\"",
            "url (hub.toml): `hooks.example.com` is not an address: write one such as `https://hooks.example.com`",
        ),
    ] {
        assert_eq!(source(keys).mistakes(), [format!("sources.a.{told}")]);
    }
}

#[test]
fn members_of_the_body_are_counted_with_one_left_for_the_time_that_is_signed() {
    let of = |count: usize| {
        let members = (1..count).map(|at| format!("m{at} = \"body:/m{at}\"\n"));
        let event = format!(
            "type = \"body:/type\"\n[sources.acme.event.metadata]\n{}",
            members.collect::<String>()
        );
        custom("scheme = \"bearer\"", &event)
    };
    assert!(of(63).load().is_ok());
    let told = "64 members of the body are more than 63";
    assert!(of(64).mistakes()[0].ends_with(told), "{:?}", of(64).mistakes());
}

#[test]
fn a_setting_that_would_do_nothing_is_refused() {
    let keys = "[sources.a]\nkind = \"github\"\nsecrets = \"plain:x\"\ntolerance = \"1m\"";
    assert_eq!(
        Fake::new().toml(keys).mistakes(),
        [
            "sources.a.tolerance: means nothing for `github`: it signs no time; `replay_window` may help"
        ]
    );
}

#[test]
fn the_examples_of_the_docs_are_configurations() {
    let docs = include_str!("../../../docs/sources.md");
    let mut examples =
        docs.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let known = ["GITHUB_WEBHOOK_SECRET", "STRIPE_SECRET_NEW", "STRIPE_SECRET_OLD", "ACME_SECRET"];
    let environment = || known.iter().fold(Fake::new(), |fake, name| fake.variable(name, "acme_x"));
    for want in [&["github", "payments"][..], &["acme"]] {
        let config = environment().toml(examples.next().unwrap()).load().unwrap();
        let names: Vec<_> = config.sources.iter().map(|source| source.name().as_str()).collect();
        assert_eq!(names, want);
    }
    let old = examples.next().unwrap();
    let source = "[sources.old]\nkind = \"custom\"\nsecrets = \"plain:x\"";
    let event = "[sources.old.event]\ntype = \"text:x\"";
    environment().toml(&format!("{source}\n{old}\n{event}")).load().unwrap();
    assert_eq!(examples.next(), None);
}

#[test]
fn a_secret_counts_until_its_end_and_no_longer() {
    // Requests of these tests come at 1970-01-01T00:16:40Z.
    for (end, want) in
        [("00:16:41", Ok(())), ("00:16:40", Err("wrong")), ("00:16:39", Err("wrong"))]
    {
        let config = Fake::new().toml(&format!(
            "[sources.acme]\nkind = \"custom\"\n\
             secrets = [\"plain:new\", {{ secret = \"plain:old\", not_after = 1970-01-01T{end}Z }}]\n\
             [sources.acme.signature]\nscheme = \"bearer\"\n[sources.acme.event]\ntype = \"text:x\""
        ));
        let config = config.load().unwrap();
        let taken = |secret| post(&config, &[("authorization", secret)], "{}").map(|_| ());
        assert_eq!(taken("Bearer old"), want.map_err(str::to_owned), "{end}");
        assert_eq!(taken("Bearer new"), Ok(()));
    }
}

#[test]
fn an_id_that_is_signed_goes_before_one_that_is_not() {
    let config = custom(
        "header = \"X-S\"\nsigned = \"{id}{body}\"\nid_header = \"X-Signed-Id\"",
        "type = \"text:x\"",
    );
    let config = config.load().unwrap();
    let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
    let mac = hex::encode(mac.chain_update("d-1{}").finalize().into_bytes());
    let headers = [("x-s", mac.as_str()), ("x-signed-id", "d-1")];
    assert_eq!(post(&config, &headers, "{}").unwrap().delivery_key, "d-1");
    let standard =
        Fake::new().toml("[sources.a]\nkind = \"standard-webhooks\"\nsecrets = \"plain:whsec_\"");
    assert_eq!(
        standard.mistakes(),
        ["sources.a.secrets[0]: the secret is not a prefix with a key behind it, which a source \
          of kind `standard-webhooks` needs (the value is not shown)"]
    );
}
