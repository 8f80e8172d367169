//! Requests with one thing wrong, and what is said of each.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::{
    event::SourceName,
    provider::Kind,
    source::{Custom, PublicUrl},
    verify::{
        Draft, Scheme,
        scheme::{Encoding, Part, Primitive, Proof},
        sign,
    },
};

const SECRET: &str = "a secret of some length";
/// Base64 of 24 bytes, with and without its prefix.
const KEY: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const BARE_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const BODY: &str = "{\"a\":[1.0,\"\u{e9} & /\"],\"b\":{}}";

fn secret(text: impl AsRef<[u8]>) -> Secret {
    Secret::new(text.as_ref()).unwrap()
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs).unwrap()
}

fn now() -> Timestamp {
    at(1_800_000_000)
}

fn kind(name: &str) -> Kind {
    Kind::parse(name).unwrap()
}

fn source(name: &str, kind: Kind, key: &str) -> Source {
    Source::signed(SourceName::parse(name).unwrap(), kind, vec![secret(key)]).unwrap()
}

/// What was signed, and what came.
struct Post<'a> {
    source: &'a Source,
    schemes: &'a [Scheme],
    key: Secret,
    url: &'a str,
    signed: Bytes,
    came: Bytes,
    signed_at: Timestamp,
    rename: Option<(&'static str, &'static str)>,
    sources: &'a [Source],
}

impl<'a> Post<'a> {
    fn to(source: &'a Source) -> Self {
        Self {
            source,
            schemes: source.schemes(),
            key: source.secrets()[0].secret.clone(),
            url: "https://h/webhooks/s",
            signed: Bytes::from_static(BODY.as_bytes()),
            came: Bytes::from_static(BODY.as_bytes()),
            signed_at: now(),
            rename: None,
            sources: &[],
        }
    }

    fn key(self, key: impl AsRef<[u8]>) -> Self {
        Self { key: secret(key), ..self }
    }

    fn bodies(self, signed: impl Into<Vec<u8>>, came: impl Into<Vec<u8>>) -> Self {
        Self { signed: signed.into().into(), came: came.into().into(), ..self }
    }

    fn found(&self) -> Option<Diagnosis> {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_static("msg_1"));
        let draft = Draft { url: self.url, headers: &headers, body: &self.signed };
        let signed = sign(self.schemes, &self.key, draft, self.signed_at).unwrap();
        for (mut name, value) in signed {
            if let Some((from, to)) = self.rename
                && name == from
            {
                name = HeaderName::from_static(to);
            }
            headers.insert(name, value);
        }
        diagnose(&Case {
            source: self.source,
            sources: self.sources,
            request: Request {
                method: &Method::POST,
                target: "/webhooks/s",
                headers: &headers,
                body: &self.came,
            },
            posted_url: None,
            now: now(),
        })
    }

    fn finding(&self) -> Option<Finding> {
        let found = self.found()?;
        let told = format!("{found} {found:?}");
        for hidden in [SECRET, "MDEyMzQ1", "0123456789abcdef"] {
            assert!(!told.contains(hidden), "a secret is told: {told}");
        }
        assert_eq!(found.age, None, "{told}");
        Some(found.finding)
    }
}

#[test]
fn a_request_that_verifies_has_no_diagnosis_and_neither_has_a_hopeless_one() {
    let github = source("s", Kind::GITHUB, SECRET);
    assert_eq!(Post::to(&github).found(), None);
    assert_eq!(Post::to(&github).key("quite another").found(), None);
    assert_eq!(Post::to(&github).bodies("{\"a\":1}", "{\"a\":2}").found(), None);
}

#[test]
fn a_time_is_told_apart_from_all_else_and_beside_it() {
    let stripe = source("s", Kind::STRIPE, SECRET);
    let stale = Post { signed_at: at(1_799_999_000), ..Post::to(&stripe) };
    let found = stale.found().unwrap();
    assert_eq!(found.finding, Finding::Age);
    assert!(found.to_string().contains("is 1000 s old, more than 300 s"), "{found}");
    let both = Post { came: Bytes::from([BODY, "\n"].concat()), ..stale };
    let found = both.found().unwrap();
    assert_eq!(found.finding, Finding::Body(BodyChange::WithoutLastNewline));
    assert!(found.to_string().contains("; besides, the signature in"), "{found}");
}

#[test]
fn a_secret_that_has_run_out_is_named_by_its_place() {
    let old = LiveSecret { secret: secret(SECRET), not_after: Some(at(1_700_000_000)) };
    let secrets = vec![secret("the new one").into(), old];
    let name = SourceName::parse("s").unwrap();
    let github = Source::new(name, Kind::GITHUB, secrets, Settings::default()).unwrap();
    let found = Post::to(&github).key(SECRET).finding();
    let not_after = at(1_700_000_000);
    assert_eq!(found, Some(Finding::SecretExpired { index: 1, not_after }));
}

#[test]
fn a_secret_is_found_as_it_was_meant() {
    let standard = kind("standard-webhooks");
    let bytes: &[u8] = b"0123456789abcdef01234567";
    for (kind, configured, meant, change) in [
        (Kind::GITHUB, " a secret\n", b"a secret".as_slice(), SecretChange::Trimmed),
        (Kind::GITHUB, "a secret", b"a secret\n", SecretChange::Newline),
        (Kind::GITHUB, "\"a secret\"", b"a secret", SecretChange::Unquoted),
        (Kind::STRIPE, KEY, bytes, SecretChange::UnprefixedDecoded(Encoding::Base64)),
        (Kind::STRIPE, KEY, BARE_KEY.as_bytes(), SecretChange::Unprefixed),
        (Kind::GITHUB, BARE_KEY, bytes, SecretChange::Decoded(Encoding::Base64)),
        (Kind::GITHUB, "00ff", b"\x00\xff", SecretChange::Decoded(Encoding::Hex)),
    ] {
        let source = source("s", kind, configured);
        let found = Post::to(&source).key(meant).finding();
        assert_eq!(found, Some(Finding::Secret { index: 0, change }), "{configured:?}");
    }
    // The key is the text, so it is written as the kind writes keys.
    let source = source("s", standard, KEY);
    for (meant, change) in
        [(KEY, SecretChange::Verbatim), (BARE_KEY, SecretChange::UnprefixedVerbatim)]
    {
        let written = format!("whsec_{}", Encoding::Base64.encode(meant.as_bytes()));
        let found = Post::to(&source).key(written).finding();
        assert_eq!(found, Some(Finding::Secret { index: 0, change }));
    }
}

#[test]
fn secrets_and_addresses_of_two_sources_are_found_mixed_up() {
    let github = source("s", Kind::GITHUB, SECRET);
    let sources = [
        source("forge", Kind::GITHUB, "that of the forge"),
        source("bank", Kind::STRIPE, "that of the bank"),
    ];
    let mixed = Post { sources: &sources, ..Post::to(&github).key("that of the bank") };
    let name = SourceName::parse("bank").unwrap();
    assert_eq!(mixed.finding(), Some(Finding::SecretOf { source: name.clone(), index: 0 }));
    let lost = Post { schemes: Kind::STRIPE.provider().schemes, ..mixed };
    assert_eq!(lost.finding(), Some(Finding::OtherSource { source: name, kind: Kind::STRIPE }));
}

#[test]
fn a_body_is_found_as_it_was_signed() {
    let json = |layout, escapes, newline| BodyChange::Json { layout, escapes, newline };
    let pretty = "{\n  \"a\": [\n    1.0,\n    \"\u{e9} & /\"\n  ],\n  \"b\": {}\n}";
    let python = "{\"a\": [1.0, \"\\u00e9 & /\"], \"b\": {}}";
    let php = "{\"a\":[1.0,\"\\u00e9 & \\/\"],\"b\":{}}";
    let go = "{\"a\":[1.0,\"\u{e9} \\u0026 /\"],\"b\":{}}\n";
    let form = "payload=%7B%22a%22%3A%22+%22%7D";
    let lines = "{\n\"a\":1}\n";
    let (compact, kept) = (Layout::Compact, Escapes::Kept);
    let cases = [
        ("{}\n", BodyChange::WithoutLastNewline, "{}"),
        ("{}", BodyChange::WithLastNewline, "{}\n"),
        ("{}", BodyChange::WithLastCrLf, "{}\r\n"),
        ("{\r\n\"a\":1}\r\n", BodyChange::LineFeeds, lines),
        (lines, BodyChange::CarriageReturns, "{\r\n\"a\":1}\r\n"),
        ("\u{feff}{}", BodyChange::WithoutMark, "{}"),
        ("{}", BodyChange::WithMark, "\u{feff}{}"),
        ("{}", BodyChange::Empty, ""),
        (pretty, json(compact, kept, false), BODY),
        (BODY, json(Layout::Indent2, kept, false), pretty),
        (BODY, json(Layout::Spaced, Escapes::Ascii, false), python),
        (BODY, json(compact, Escapes::AsciiAndSlash, false), php),
        (BODY, json(compact, Escapes::Html, true), go),
        (php, json(compact, Escapes::Least, false), BODY),
        ("{\"a\":\" \"}", BodyChange::InForm, form),
        ("{\"a\": \" \"}", BodyChange::InForm, "payload=%7B%22a%22%3A%22%20%22%7D"),
        (form, BodyChange::OutOfForm, "{\"a\":\" \"}"),
    ];
    let github = source("s", Kind::GITHUB, SECRET);
    for (came, change, signed) in cases {
        let found = Post::to(&github).bodies(signed, came).finding();
        assert_eq!(found, Some(Finding::Body(change)), "{came}");
    }
}

#[test]
fn an_older_signature_is_told_where_it_is_not_taken() {
    for kind in Kind::all() {
        for scheme in kind.provider().schemes.iter().filter(|scheme| scheme.legacy) {
            let name = SourceName::parse("s").unwrap();
            let url = Some(PublicUrl::Base("https://h".into()));
            let settings = Settings { url, ..Settings::default() };
            let secrets = vec![secret(SECRET).into()];
            let source = Source::new(name, kind, secrets, settings).unwrap();
            let schemes = [scheme.clone()];
            let found = Post { schemes: &schemes, ..Post::to(&source) }.finding();
            assert_eq!(found, Some(Finding::Legacy), "{kind}");
        }
    }
}

/// A source that signs the address.
fn signing_url(url: PublicUrl) -> Source {
    const PROOFS: &[Proof] = &[Proof::sha256("")];
    let scheme = Scheme {
        signed: vec![Part::Url, Part::Body].into(),
        ..Scheme::over_body("x-signature", None, PROOFS, Encoding::Hex)
    };
    let custom = Custom { schemes: vec![scheme], mapping: crate::normalize::Mapping::EMPTY };
    let settings = Settings { url: Some(url), custom: Some(custom), ..Settings::default() };
    let name = SourceName::parse("s").unwrap();
    Source::new(name, Kind::CUSTOM, vec![secret(SECRET).into()], settings).unwrap()
}

#[test]
fn an_address_is_found_as_it_was_signed() {
    for (configured, signed, changes) in [
        ("http://h", "https://h/webhooks/s", vec![UrlChange::Https]),
        ("https://h", "http://h/webhooks/s", vec![UrlChange::Http]),
        ("https://h:8443", "https://h/webhooks/s", vec![UrlChange::WithoutPort]),
        ("https://h", "https://h/webhooks/s/", vec![UrlChange::WithSlash]),
        ("http://h:1", "https://h/webhooks/s", vec![UrlChange::Https, UrlChange::WithoutPort]),
    ] {
        let source = signing_url(PublicUrl::Base(configured.into()));
        let found = Post { url: signed, ..Post::to(&source) }.finding();
        assert_eq!(found, Some(Finding::Url(changes)), "{configured} {signed}");
    }
    let source = signing_url(PublicUrl::Exact("https://h/in/?a=1".into()));
    let found = Post { url: "https://h/in", ..Post::to(&source) }.finding();
    let changes = vec![UrlChange::WithoutSlash, UrlChange::WithoutQuery];
    assert_eq!(found, Some(Finding::Url(changes)));
}

#[test]
fn a_signature_is_found_where_and_as_it_was_made() {
    const HUB: &str = "x-hub-signature-256";
    const SHA256: &[Proof] = &[Proof::sha256("sha256")];
    const SHA1: &[Proof] = &[Proof::sha1("sha1")];
    const BARE: &[Proof] = &[Proof::sha256("")];
    let github = source("s", Kind::GITHUB, SECRET);
    let scheme = &Kind::GITHUB.provider().schemes[0];
    let hub = |field, proofs, encoding| Scheme::over_body(HUB, field, proofs, encoding);
    let old = Scheme::over_body("x-hub-signature", Some('='), SHA1, Encoding::Hex);
    let bare = Scheme::over_body("x-sign", None, BARE, Encoding::Base64);
    let header =
        |name: &str, primitive| Finding::OtherHeader { header: name.to_owned(), primitive };
    for (scheme, finding) in [
        (hub(Some('='), SHA256, Encoding::Base64), Finding::Encoding(Encoding::Base64)),
        (hub(None, SHA256, Encoding::Hex), Finding::Unlabelled),
        (old, header("x-hub-signature", Primitive::HmacSha1)),
        (bare, header("x-sign", Primitive::HmacSha256)),
    ] {
        let schemes = [scheme];
        let found = Post { schemes: &schemes, ..Post::to(&github) }.finding();
        assert_eq!(found, Some(finding));
    }
    let sha512 = Proof { primitive: Primitive::HmacSha512, ..Proof::sha256("sha256") };
    let schemes = [Scheme { proofs: vec![sha512].into(), ..scheme.clone() }];
    let found = Post { schemes: &schemes, ..Post::to(&github) }.finding();
    assert_eq!(found, Some(Finding::Primitive(Primitive::HmacSha512)));
    // Signed without the time that stands beside.
    let stripe = source("s", Kind::STRIPE, SECRET);
    let of_stripe = &Kind::STRIPE.provider().schemes[0];
    let schemes = [Scheme { signed: vec![Part::Body].into(), ..of_stripe.clone() }];
    let found = Post { schemes: &schemes, ..Post::to(&stripe) }.finding();
    assert_eq!(found, Some(Finding::BodyAlone));
}

#[test]
fn a_header_of_another_kind_is_told_where_nothing_verifies() {
    let github = source("s", Kind::GITHUB, SECRET);
    let schemes = Kind::STRIPE.provider().schemes;
    let found = Post { schemes, ..Post::to(&github).key("another") }.finding();
    let Some(Finding::OtherKind { header, kinds }) = found else { panic!("{found:?}") };
    assert_eq!(header, "stripe-signature");
    assert!(kinds.contains(&Kind::STRIPE));
    let renamed =
        Post { rename: Some(("stripe-signature", "x-else")), schemes, ..Post::to(&github) };
    assert_eq!(renamed.finding(), None);
}
