//! Signatures: published vectors, rotation, downgrades, time.

use std::{collections::BTreeMap, fs, time::Duration};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use hookline_core::{
    event::SourceName,
    normalize::{Mapping, times},
    source::{Custom, EmptySecret, Kind, PublicUrl, Secret, Settings, Source, SourceError},
    time::Timestamp,
    verify::{
        Draft, Request, VerifyError,
        scheme::{Encoding, KeyForm, Part, Place, Prefix, Primitive, Proof, Scheme},
        sign,
    },
};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use sha2::Sha256;

use crate::ingest_support::{URL, headers, payloads, post, secret, source, source_with};

const DOCS_SECRET: &str = "It's a Secret to Everybody";
const DOCS_MAC: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const HUB: &str = "x-hub-signature-256";

/// From EventUtilityTest.cs of stripe-dotnet.
const STRIPE_BODY: &str = "{\n  \"id\": \"evt_123\",\n  \"object\": \"event\",\n  \"account\": \"acct_123\",\n  \
    \"api_version\": \"2017-05-25\",\n  \"created\": 1533204620,\n  \"data\": {\n    \"object\": {\n      \
    \"id\": \"cus_123\",\n      \"object\": \"customer\",\n      \"created\": 123456789,\n      \
    \"email\": \"test@stripe.com\",\n      \"livemode\": false,\n      \"metadata\": {}\n    }\n  },\n  \
    \"livemode\": false,\n  \"pending_webhooks\": 1,\n  \"request\": {\n    \"id\": \"req_123\",\n    \
    \"idempotency_key\": \"idempotency-key-123\"\n  },\n  \"type\": \"customer.created\"\n}\n";
const STRIPE_T: i64 = 1_533_204_620;
const STRIPE_MAC: &str = "2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7";
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs).unwrap()
}

fn check(
    source: &Source,
    headers: &HeaderMap,
    body: &str,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    post(source, headers, &body, now).map(drop)
}

fn cause(result: Result<(), VerifyError>) -> &'static str {
    result.map_or_else(|error| error.cause(), |()| "verified")
}

fn github(secrets: &[&str], header: &str) -> &'static str {
    let source = source(Kind::GITHUB, secrets);
    cause(check(&source, &headers([(HUB, header)]), "Hello, World!", at(0)))
}

fn stripe(header: &str, now: Timestamp) -> &'static str {
    let source = source(Kind::STRIPE, &["webhook_secret"]);
    cause(check(&source, &headers([("stripe-signature", header)]), STRIPE_BODY, now))
}

#[test]
fn the_published_github_vectors_verify() {
    for (key, body, mac) in [
        (DOCS_SECRET, "Hello, World!", DOCS_MAC),
        (
            "mysecret",
            r#"{"foo":"bar"}"#,
            "4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3",
        ),
        (
            "0123456789abcdef",
            r#"{"yo":true}"#,
            "b1f8020f5b4cd42042f807dd939015c4a418bc1ff7f604dd55b0a19b5d953d9b",
        ),
        (
            "0123456789abcdef",
            "payload=%7B%22yo%22%3Atrue%7D",
            "30f622d549ca623f1c553f7e395a80c9487b43b9feaf9af4a1811381ddf5a94d",
        ),
    ] {
        let header = format!("sha256={mac}");
        let (source, headers) = (source(Kind::GITHUB, &[key]), headers([(HUB, header.as_str())]));
        assert_eq!(check(&source, &headers, body, at(0)), Ok(()), "{body}");
        let changed = format!("{body} ");
        assert_eq!(cause(check(&source, &headers, &changed, at(0))), "wrong", "{body}");
    }
}

#[test]
fn a_github_signature_has_one_form() {
    let right = format!("sha256={DOCS_MAC}");
    for (header, want) in [
        (right.as_str(), "verified"),
        (&format!("sha256={}", DOCS_MAC.to_uppercase()), "verified"),
        (&format!("sha256={ZEROS}"), "wrong"),
        ("sha256=", "malformed"),
        ("sha", "malformed"),
        ("", "malformed"),
        (DOCS_MAC, "malformed"),
        (&format!("sha1={DOCS_MAC}"), "malformed"),
        (&format!("SHA256={DOCS_MAC}"), "malformed"),
        (&right[..right.len() - 1], "malformed"),
        (&right[..right.len() - 2], "malformed"),
        (&format!("{right}00"), "malformed"),
        (&format!("sha256=zz{}", &DOCS_MAC[2..]), "malformed"),
        (&format!("{right},{right}"), "malformed"),
        (&format!("sha256={ZEROS},{right}"), "malformed"),
    ] {
        assert_eq!(github(&[DOCS_SECRET], header), want, "{header}");
    }
}

#[test]
fn either_of_two_live_secrets_verifies() {
    let right = format!("sha256={DOCS_MAC}");
    assert_eq!(github(&["new", DOCS_SECRET], &right), "verified");
    assert_eq!(github(&[DOCS_SECRET, "new"], &right), "verified");
    assert_eq!(github(&["new", "other"], &right), "wrong");
}

#[test]
fn a_missing_or_weaker_signature_is_refused() {
    let source = source(Kind::GITHUB, &[DOCS_SECRET]);
    let sha1 = "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59";
    let legacy = headers([("x-hub-signature", sha1)]);
    assert_eq!(cause(check(&source, &legacy, "Hello, World!", at(0))), "missing");
    assert_eq!(cause(check(&source, &HeaderMap::new(), "Hello, World!", at(0))), "missing");
}

#[test]
fn a_repeated_header_counts_only_if_its_values_are_the_same() {
    let source = source(Kind::GITHUB, &[DOCS_SECRET]);
    let (right, wrong) = (format!("sha256={DOCS_MAC}"), format!("sha256={ZEROS}"));
    for (values, want) in [
        ([&right, &right], "verified"),
        ([&right, &wrong], "ambiguous"),
        ([&wrong, &right], "ambiguous"),
    ] {
        let headers = headers(values.map(|value| (HUB, value.as_str())));
        assert_eq!(cause(check(&source, &headers, "Hello, World!", at(0))), want, "{values:?}");
    }
}

#[test]
fn a_header_that_is_not_text_is_malformed() {
    let mut headers = HeaderMap::new();
    headers.insert(HUB, HeaderValue::from_bytes(b"sha256=\xff\xfe").unwrap());
    let source = source(Kind::GITHUB, &[DOCS_SECRET]);
    assert_eq!(cause(check(&source, &headers, "x", at(0))), "malformed");
}

#[test]
fn of_several_stripe_signatures_any_v1_may_match() {
    let t = format!("t={STRIPE_T}");
    for (header, want) in [
        (format!("{t},v1={STRIPE_MAC}"), "verified"),
        (format!("{t}, v1={STRIPE_MAC}"), "verified"),
        (format!("v1={STRIPE_MAC},{t}"), "verified"),
        (format!("{t},v1={ZEROS},v1={STRIPE_MAC}"), "verified"),
        (format!("{t},v1={STRIPE_MAC},v1={ZEROS},v0={ZEROS}"), "verified"),
        (format!("{t},v1=not hex,v1={STRIPE_MAC},v2=x,=,,x"), "verified"),
        (format!("{t},{t},v1={STRIPE_MAC}"), "verified"),
        (format!("{t},t=1,v1={STRIPE_MAC}"), "malformed"),
        (format!("{t},v1={ZEROS}"), "wrong"),
        (format!("{t},v0={STRIPE_MAC}"), "malformed"),
        (format!("{t},v1="), "malformed"),
        (format!("v1={STRIPE_MAC}"), "malformed"),
        (format!("t=,v1={STRIPE_MAC}"), "malformed"),
        (format!("t=+{STRIPE_T},v1={STRIPE_MAC}"), "malformed"),
        (format!("t=99999999999999999999,v1={STRIPE_MAC}"), "malformed"),
        (format!("t=0{STRIPE_T},v1={STRIPE_MAC}"), "wrong"),
        (format!("t=1533204621,v1={STRIPE_MAC}"), "wrong"),
        (String::new(), "malformed"),
    ] {
        assert_eq!(stripe(&header, at(STRIPE_T)), want, "{header}");
    }
}

#[test]
fn a_stripe_time_has_its_limit_in_the_past_only() {
    let header = format!("t={STRIPE_T},v1={STRIPE_MAC}");
    for (offset, want) in [
        (0, "verified"),
        (300, "verified"),
        (301, "stale"),
        (86_400 * 365, "stale"),
        (-1, "verified"),
        (-301, "verified"),
        (-86_400, "verified"),
    ] {
        assert_eq!(stripe(&header, at(STRIPE_T + offset)), want, "{offset}");
    }
    let just_after = at(STRIPE_T + 300) + Duration::from_micros(1);
    assert_eq!(stripe(&header, just_after), "stale");
    // A wrong signature is wrong, however old it says it is.
    assert_eq!(stripe(&format!("t={STRIPE_T},v1={ZEROS}"), at(STRIPE_T + 9_999)), "wrong");
}

#[test]
fn the_time_is_signed_as_it_is_written() {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"webhook_secret").unwrap();
    mac.update(b"0123.x");
    let mac = hex::encode(mac.finalize().into_bytes());
    let source = source(Kind::STRIPE, &["webhook_secret"]);
    for (t, want) in [("0123", "verified"), ("123", "wrong")] {
        let header = format!("t={t},v1={mac}");
        let headers = headers([("stripe-signature", header.as_str())]);
        assert_eq!(cause(check(&source, &headers, "x", at(123))), want, "{t}");
    }
}

#[test]
fn what_is_signed_verifies_with_the_same_secret_only() {
    for kind in [Kind::GITHUB, Kind::STRIPE] {
        let (now, body) = (at(1_700_000_000), Bytes::from_static(b"\xff\x00 any bytes"));
        let draft = Draft { url: URL, headers: &HeaderMap::new(), body: &body };
        let signature = sign(kind.provider().schemes, &secret("whsec_x"), draft, now).unwrap();
        let headers: HeaderMap = signature.into_iter().collect();
        assert!(post(&source(kind, &["old", "whsec_x"]), &headers, &body, now).is_ok(), "{kind}");
        let refused = post(&source(kind, &["x"]), &headers, &body, now).unwrap_err();
        assert_eq!(refused.cause(), "wrong", "{kind}");
    }
}

#[test]
fn no_error_tells_a_secret_or_the_right_signature() {
    let header = format!("t={STRIPE_T},v1={STRIPE_MAC}");
    let source = source(Kind::STRIPE, &["webhook_secret"]);
    let headers = headers([("stripe-signature", header.as_str())]);
    let stale = check(&source, &headers, STRIPE_BODY, at(STRIPE_T + 400)).unwrap_err();
    assert_eq!(
        stale.to_string(),
        "the signature in `stripe-signature` is 400 s old, more than 300 s"
    );
    let wrong = check(&source, &headers, "{}", at(STRIPE_T)).unwrap_err();
    for text in [format!("{stale:?} {stale} {wrong:?} {wrong}"), format!("{source:?}")] {
        assert!(!text.contains("webhook_secret") && !text.contains(STRIPE_MAC), "{text}");
    }
    assert!(format!("{source:?}").contains("[redacted]"));
    let body = &Bytes::from_static(b"private");
    let request = Request { method: &Method::POST, target: "/", headers: &headers, body };
    assert_eq!(format!("{request:?}"), "Request { headers: 1, body_bytes: 7 }");
}

#[test]
fn a_source_is_signed_or_says_that_it_is_not() {
    let name = |text| SourceName::parse(text).unwrap();
    let signed = |text, count| {
        let secrets = vec![secret("s"); count];
        Source::signed(name(text), Kind::GITHUB, secrets).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(signed("hub", 1), Ok(()));
    assert_eq!(signed("hub", 4), Ok(()));
    let message = "the source `hub` has no secret and does not say `unsigned = true`";
    assert_eq!(signed("hub", 0), Err(message.into()));
    let message = "the source `hub` has 5 secrets, at most 4 are allowed";
    assert_eq!(signed("hub", 5), Err(message.into()));
    for reserved in ["dead-letter", "agent"] {
        let message = format!("the source name `{reserved}` is reserved");
        assert_eq!(signed(reserved, 1), Err(message));
        let refused =
            Source::unsigned(name(reserved), Kind::STRIPE, Settings::default()).unwrap_err();
        assert_eq!(refused, SourceError::Reserved(name(reserved)));
    }
    assert_eq!(Secret::new("").unwrap_err(), EmptySecret);

    let open = Source::unsigned(name("hub"), Kind::GITHUB, Settings::default()).unwrap();
    assert!(open.is_unsigned());
    assert_eq!(check(&open, &HeaderMap::new(), "anything", at(0)), Ok(()));
}

#[test]
fn kinds_have_names() {
    let names: Vec<_> = Kind::all().map(Kind::as_str).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "by name, each once: {names:?}");
    for kind in Kind::all() {
        assert_eq!(Kind::parse(kind.as_str()), Ok(kind));
    }
    let message = Kind::parse("GitHub").unwrap_err().to_string();
    assert_eq!(message, "unknown kind `GitHub`: `hookline sources kinds` lists all");
}

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    scheme: String,
    secret: String,
    body_utf8: String,
    headers: BTreeMap<String, String>,
    /// `None`: where it is a choice.
    valid: Option<bool>,
    url: Option<String>,
    clock_unix_seconds: Option<i64>,
    #[serde(default)]
    other_secrets_that_must_not_match: Vec<String>,
}

impl Vector {
    /// The kinds that sign by this scheme.
    fn kinds(&self) -> &[&str] {
        match self.scheme.as_str() {
            "jira-bitbucket-websub" => &["jira", "bitbucket", "bitbucket-server"],
            "svix" => &["standard-webhooks", "clerk", "resend"],
            "standard-webhooks" => &["standard-webhooks", "openai", "replicate", "anthropic"],
            "standard-webhooks-v1a" => &["standard-webhooks"],
            "hubspot-v1" | "hubspot-v2" | "hubspot-v3" => &["hubspot"],
            "github" => &["github"],
            "slack" => &["slack"],
            "stripe" => &["stripe"],
            "twilio" => &["twilio"],
            "pagerduty" => &["pagerduty"],
            "square" => &["square"],
            "paddle" => &["paddle"],
            "sendgrid" => &["sendgrid"],
            "discord" => &["discord"],
            "zendesk" => &["zendesk"],
            "zoom" => &["zoom"],
            "github-legacy-sha1" => &["custom"],
            other => panic!("no kind is known to sign by `{other}`"),
        }
    }

    fn verdict(&self, kind: &str, secret_text: &str) -> Result<(), VerifyError> {
        let url = self.url.as_deref().unwrap_or(URL);
        let custom = (kind == "custom").then(legacy_sha1);
        let settings = Settings {
            url: Some(PublicUrl::Exact(url.into())),
            legacy_signatures: true,
            custom,
            ..Settings::default()
        };
        let source = source_with(Kind::parse(kind).unwrap(), &[secret_text], settings);
        let pairs = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // The only scheme that is without a clock and has a time tells it in a header.
        let zendesk = self.headers.get("x-zendesk-webhook-signature-timestamp");
        let signed_at = zendesk.and_then(|text| times::parse_date(text));
        let now = self.clock_unix_seconds.map(at).or(signed_at).unwrap_or_else(|| at(0));
        check(&source, &headers(pairs), &self.body_utf8, now)
    }
}

/// GitHub's old signature, which its own kind never takes.
fn legacy_sha1() -> Custom {
    let key = KeyForm { prefix: Prefix::Any, encoding: Encoding::Raw };
    let proof = Proof { label: "sha1".into(), primitive: Primitive::HmacSha1, key };
    let scheme = Scheme {
        place: Place::Header("x-hub-signature".into()),
        items: None,
        field: Some('='),
        proofs: vec![proof].into(),
        encoding: Encoding::Hex,
        signed: vec![Part::Body].into(),
        id: None,
        when: None,
        legacy: false,
        time: None,
    };
    Custom { schemes: vec![scheme], mapping: Mapping::EMPTY }
}

#[test]
fn every_collected_vector_gets_its_verdict() {
    let Some(folder) = payloads() else { return };
    let text = fs::read_to_string(folder.join("vectors.json")).unwrap();
    let vectors = serde_json::from_str::<Vectors>(&text).unwrap().vectors;
    for vector in &vectors {
        // Where it is our choice, hexadecimal in upper case is taken.
        let want = vector.valid.unwrap_or(true);
        for kind in vector.kinds() {
            let verdict = vector.verdict(kind, &vector.secret);
            assert_eq!(verdict.is_ok(), want, "{} as {kind}: {verdict:?}", vector.name);
            for other in &vector.other_secrets_that_must_not_match {
                assert_eq!(cause(vector.verdict(kind, other)), "wrong", "{}", vector.name);
            }
        }
        if vector.scheme == "github-legacy-sha1" {
            let verdict = vector.verdict("github", &vector.secret);
            assert_eq!(cause(verdict), "missing", "{} is never enough", vector.name);
        }
    }
    assert!(35 <= vectors.len(), "only {} vectors", vectors.len());
}
