//! Signatures of the kinds whose schemes have something of their own: vectors, versions, addresses, times in the body.

use std::{collections::BTreeMap, fs};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hookline_core::{
    source::Source,
    time::Timestamp,
    verify::{Draft, VerifyError, sign},
};
use http::HeaderMap;
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::ingest_support::{
    SECRET, URL, headers, kind, payloads, post, post_to, received_at, secret, signature, source,
    source_at,
};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    scheme: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    body_utf8: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "any_url")]
    url: String,
    #[serde(default = "any_time")]
    clock_unix_seconds: i64,
}

fn any_url() -> String {
    "https://hooks.example.com/".to_owned()
}

/// When the vector of Zendesk was made, which does not say so itself.
fn any_time() -> i64 {
    1_616_648_967
}

impl Vector {
    fn is_genuine(&self) -> bool {
        let (name, _) = self.scheme.split_once('-').unwrap_or((&self.scheme, ""));
        let pairs = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let host = self.url.find("//").unwrap() + 2;
        let target = &self.url[host + self.url[host..].find('/').unwrap()..];
        let source = source_at(&self.url, kind(name), &[&self.secret]);
        let now = Timestamp::from_secs(self.clock_unix_seconds).unwrap();
        post_to(target, &source, &headers(pairs), &self.body_utf8.clone().into(), now).is_ok()
    }

    /// Returns the vector with one bit changed of a text.
    fn flipped(&self, text: fn(&mut Self) -> &mut String, at: usize) -> Self {
        let mut changed = self.clone();
        let mut bytes = text(&mut changed).clone().into_bytes();
        bytes[at] ^= 1;
        *text(&mut changed) = String::from_utf8(bytes).unwrap();
        changed
    }

    fn signature(&mut self) -> &mut String {
        let mut headers = self.headers.iter_mut();
        let is_signature = |name: &str| {
            name.contains("signature") && !name.ends_with("version") && !name.ends_with("timestamp")
        };
        headers.find(|(name, _)| is_signature(name)).unwrap().1
    }
}

fn vectors() -> Vec<Vector> {
    let Some(folder) = payloads() else { return Vec::new() };
    let text = fs::read_to_string(folder.join("vectors.json")).unwrap();
    let known = ["discord", "hubspot-v", "sendgrid", "twilio", "zendesk"];
    let is_known = |vector: &Vector| known.iter().any(|name| vector.scheme.starts_with(name));
    let all: Vectors = serde_json::from_str(&text).unwrap();
    let vectors: Vec<_> = all.vectors.into_iter().filter(is_known).collect();
    assert_eq!(vectors.len(), 9, "of these schemes");
    vectors
}

#[test]
fn published_vectors_verify_and_no_changed_bit_does() {
    for mut vector in vectors() {
        assert!(vector.is_genuine(), "{}", vector.name);
        for at in 0..vector.signature().len() {
            let changed = vector.flipped(Vector::signature, at);
            assert!(!changed.is_genuine(), "{}: bit of signature byte {at}", vector.name);
        }
        for at in 0..vector.body_utf8.len() {
            let changed = vector.flipped(|vector| &mut vector.body_utf8, at);
            assert!(!changed.is_genuine(), "{}: bit of body byte {at}", vector.name);
        }
        for name in ["x-hubspot-request-timestamp", "x-signature-timestamp"] {
            let mut changed = vector.clone();
            if let Some(time) = changed.headers.get_mut(name) {
                *time = time.replace('7', "6");
                assert!(!changed.is_genuine(), "{}: another time", vector.name);
            }
        }
        if vector.scheme.starts_with("twilio") || vector.scheme.starts_with("hubspot-v2") {
            let changed = Vector { url: vector.url.replace(".com/", ".com/x"), ..vector.clone() };
            assert!(!changed.is_genuine(), "{}: another address", vector.name);
        }
    }
}

fn cause(result: Result<impl Sized, VerifyError>) -> &'static str {
    result.map_or_else(|error| error.cause(), |_| "verified")
}

/// Signs a body as the kind does, and lets the request be changed.
fn check(name: &str, body: &str, change: impl FnOnce(&mut HeaderMap)) -> &'static str {
    let (source, body) = (source(kind(name), &[SECRET]), Bytes::copy_from_slice(body.as_bytes()));
    let mut headers = signature(&source, &HeaderMap::new(), &body);
    change(&mut headers);
    cause(post(&source, &headers, &body, received_at()))
}

fn hubspot(pairs: &[(&str, &str)], body: &str) -> &'static str {
    let source = source_at("https://h.example/w", kind("hubspot"), &["secret"]);
    let headers = headers(pairs.iter().copied());
    cause(post(&source, &headers, &body.to_owned().into(), received_at()))
}

/// SHA-256 of `secret` and a body.
fn hash(of: &str) -> String {
    hex::encode(Sha256::digest(format!("secret{of}")))
}

#[test]
fn hubspot_says_which_version_its_hash_is_of() {
    const AT: &str = "x-hubspot-signature";
    const VERSION: &str = "x-hubspot-signature-version";
    let (v1, v2) = (hash("[]"), hash("POSThttps://h.example/w[]"));
    for (pairs, want) in [
        (&[(AT, v1.as_str()), (VERSION, "v1")][..], "verified"),
        (&[(AT, v2.as_str()), (VERSION, "v2")], "verified"),
        (&[(AT, v1.as_str()), (VERSION, "v2")], "wrong"),
        (&[(AT, v2.as_str()), (VERSION, "v1")], "wrong"),
        (&[(AT, v1.as_str())], "malformed"),
        (&[(AT, v1.as_str()), (VERSION, "")], "malformed"),
        (&[(AT, v1.as_str()), (VERSION, "V1")], "malformed"),
        (&[(AT, v1.as_str()), (VERSION, "v3")], "malformed"),
        (&[(AT, v1.as_str()), (VERSION, "v1"), (VERSION, "v2")], "ambiguous"),
        (&[(VERSION, "v1")], "missing"),
        (&[], "missing"),
    ] {
        assert_eq!(hubspot(pairs, "[]"), want, "{pairs:?}");
    }
    // What a captured hash of v2 can be passed off as.
    let forged = hubspot(&[(AT, &v2), (VERSION, "v1")], "POSThttps://h.example/w[]");
    assert_eq!(forged, "verified", "an event that can't be read, see the scheme");
}

#[test]
fn a_sender_says_which_version_it_has_signed_by() {
    for schemes in kind("hubspot").provider().schemes.chunks(1) {
        let body = Bytes::from_static(b"[]");
        let draft = Draft { url: URL, headers: &HeaderMap::new(), body: &body };
        let signed = sign(schemes, &secret(SECRET), draft, received_at()).unwrap();
        let headers: HeaderMap = signed.into_iter().collect();
        let source = source(kind("hubspot"), &[SECRET]);
        assert_eq!(cause(post(&source, &headers, &body, received_at())), "verified", "{headers:?}");
        let wrong = post(&source, &headers, &Bytes::from_static(b"[ ]"), received_at());
        assert_eq!(cause(wrong), "wrong", "{headers:?}");
    }
}

#[test]
fn a_wrong_hubspot_signature_of_v3_is_not_made_good_by_an_older_one() {
    let older = [("x-hubspot-signature", hash("[]")), ("x-hubspot-signature-version", "v1".into())];
    let pairs = || older.iter().map(|(name, value)| (*name, value.as_str()));
    let zeros = "A".repeat(43);
    for (v3, time, want) in [
        (zeros.as_str(), "1800000000000", "wrong"),
        ("", "1800000000000", "malformed"),
        (zeros.as_str(), "1800000000", "wrong"),
        (zeros.as_str(), "soon", "malformed"),
    ] {
        let newer = [("x-hubspot-signature-v3", v3), ("x-hubspot-request-timestamp", time)];
        let pairs: Vec<_> = pairs().chain(newer).collect();
        assert_eq!(hubspot(&pairs, "[]"), want, "{v3:?} {time}");
    }
    let pairs: Vec<_> = pairs().chain([("x-hubspot-signature-v3", zeros.as_str())]).collect();
    assert_eq!(hubspot(&pairs, "[]"), "missing", "the time of v3");
}

#[test]
fn a_body_that_twilio_does_not_sign_field_by_field_must_have_the_hash_of_the_address() {
    let body = r#"{"type":"a"}"#;
    let right = hex::encode(Sha256::digest(body));
    for (hash, body, want) in [
        (right.as_str(), body, "verified"),
        (&right, r#"{"type":"b"}"#, "wrong"),
        (&right.replace('a', "b"), body, "wrong"),
        ("", body, "wrong"),
    ] {
        let target = format!("/webhooks/test?bodySHA256={hash}");
        let url = format!("https://hooks.example.com{target}");
        let source = source(kind("twilio"), &[SECRET]);
        assert_eq!(twilio(&source, &url, &target, body), want, "{hash} {body}");
    }
    // Whoever has a signature of the bare address can't add the hash of a body to it.
    let url = "https://hooks.example.com/webhooks/test?a=1";
    let target = format!("/webhooks/test?a=1&bodySHA256={right}");
    let source = source_at(url, kind("twilio"), &[SECRET]);
    assert_eq!(twilio(&source, url, &target, body), "wrong");
    assert_eq!(twilio(&source, url, &target, ""), "verified");
}

#[test]
fn a_form_of_more_fields_than_anybody_posts_is_no_form() {
    for (count, want) in [(10_000, "verified"), (10_001, "wrong")] {
        let source = source(kind("twilio"), &[SECRET]);
        let names: Vec<_> = (0..count).map(|n| format!("a{n:05}")).collect();
        let signed = format!("https://hooks.example.com/webhooks/test{}", names.concat());
        assert_eq!(twilio(&source, &signed, "/webhooks/test", &names.join("&")), want);
    }
}

#[test]
fn twilio_tells_which_hash_it_signs_with() {
    const SETTINGS: &str = "x-twilio-webhooks-signature-settings";
    let source = source_at("https://h.example/w", kind("twilio"), &["auth token", "shared key"]);
    let signed = "https://h.example/wBodyhiFrom+1";
    let mut sha256 = Hmac::<Sha256>::new_from_slice(b"shared key").unwrap();
    sha256.update(signed.as_bytes());
    let sha256 = BASE64_STANDARD.encode(sha256.finalize().into_bytes());
    let mut sha1 = Hmac::<Sha1>::new_from_slice(b"auth token").unwrap();
    sha1.update(signed.as_bytes());
    let sha1 = BASE64_STANDARD.encode(sha1.finalize().into_bytes());
    let shared = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256";
    for (mac, settings, want) in [
        (&sha256, Some(shared), "verified"),
        (&sha1, None, "verified"),
        (&sha1, Some(""), "verified"),
        (&sha1, Some("key=1,algorithm=HMAC_SHA1"), "verified"),
        (&sha1, Some(shared), "malformed"),
        (&sha256, None, "malformed"),
        (&sha256, Some("key=1,algorithm=HMAC_SHA512"), "malformed"),
    ] {
        let settings = settings.map(|text| (SETTINGS, text));
        let headers = headers([("x-twilio-signature", mac.as_str())].into_iter().chain(settings));
        let result = post(&source, &headers, &"From=%2B1&Body=hi".into(), received_at());
        assert_eq!(cause(result), want, "{settings:?}");
    }
}

/// Posts with a signature of an address and no fields.
fn twilio(source: &Source, url: &str, target: &str, body: &str) -> &'static str {
    let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(url.as_bytes());
    let mac = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let headers = headers([("x-twilio-signature", mac.as_str())]);
    cause(post_to(target, source, &headers, &body.to_owned().into(), received_at()))
}

#[test]
fn linear_tells_its_time_in_the_body_and_only_without_one_in_a_header() {
    const HEADER: &str = "linear-timestamp";
    let now = received_at().as_millis();
    let at = |offset: i64| format!(r#"{{"type":"Issue","webhookTimestamp":{}}}"#, now + offset);
    for (body, want) in [
        (at(0), "verified"),
        (at(-60_000), "verified"),
        (at(-60_001), "stale"),
        (at(60_000), "verified"),
        (at(60_001), "stale"),
        // Signed, but of no type.
        (format!(r#"{{"webhookTimestamp":{now}}}"#), "verified"),
        (format!(r#"{{"webhookTimestamp":{}}}"#, now - 60_001), "stale"),
        (r#"{"webhookTimestamp":0}"#.to_owned(), "stale"),
    ] {
        // The header, which is not signed, says nothing against it.
        for header in [None, Some(now), Some(now - 99_999)] {
            let found = check("linear", &body, |headers| {
                headers.remove(HEADER);
                if let Some(time) = header {
                    headers.insert(HEADER, time.into());
                }
            });
            assert_eq!(found, want, "{body} {header:?}");
        }
    }
    for body in [r#"{"type":"Issue"}"#, r#"{"webhookTimestamp":null}"#, "[]", "", "\u{0}"] {
        assert_eq!(check("linear", body, |_| {}), "verified", "{body}");
        let missing = check("linear", body, |headers| drop(headers.remove(HEADER)));
        assert_eq!(missing, "missing", "{body}");
        let stale = check("linear", body, |headers| {
            headers.insert(HEADER, (now - 60_001).into());
        });
        assert_eq!(stale, "stale", "{body}");
    }
}

#[test]
fn zendesk_signatures_age_both_ways_and_an_empty_body_is_signed() {
    let source = source(kind("zendesk"), &[SECRET]);
    let headers = signature(&source, &HeaderMap::new(), &Bytes::new());
    for (offset, want) in [(0, "verified"), (300, "verified"), (301, "stale"), (-301, "stale")] {
        let now = Timestamp::from_secs(1_800_000_000 + offset).unwrap();
        assert_eq!(cause(post(&source, &headers, &Bytes::new(), now)), want, "{offset}");
    }
    assert_eq!(cause(post(&source, &headers, &"{}".into(), received_at())), "wrong");
}

#[test]
fn the_first_signature_that_is_there_has_to_be_right() {
    for (name, strong, weak) in [
        ("forgejo", "x-forgejo-signature", "x-gitea-signature"),
        ("shopify", "x-shopify-hmac-sha256", "shopify-hmac-sha256"),
        ("sentry", "sentry-hook-signature", "sentry-app-signature"),
    ] {
        let moved = |headers: &mut HeaderMap| {
            let value = headers.remove(strong).unwrap();
            headers.append(http::HeaderName::from_static(weak), value);
        };
        assert_eq!(check(name, "{}", |_| {}), "verified", "{name}");
        assert_eq!(check(name, "{}", moved), "verified", "{name}");
        let wrong = check(name, "{}", |headers| {
            moved(headers);
            let zeros = if name == "shopify" { "A".repeat(43) } else { "0".repeat(64) };
            headers.append(strong, zeros.parse().unwrap());
        });
        assert_eq!(wrong, "wrong", "{name}");
        assert_eq!(check(name, "{}", |headers| drop(headers.remove(strong))), "missing", "{name}");
    }
}

#[test]
fn intercom_has_sha1_under_a_name_that_others_use_for_sha256() {
    assert_eq!(check("intercom", "{}", |_| {}), "verified");
    for (value, want) in [
        (format!("sha256={}", "0".repeat(64)), "malformed"),
        (format!("sha1={}", "0".repeat(40)), "wrong"),
        ("0".repeat(40), "malformed"),
    ] {
        let found = check("intercom", "{}", |headers| {
            headers.insert("x-hub-signature", value.parse().unwrap());
        });
        assert_eq!(found, want, "{value}");
    }
}
