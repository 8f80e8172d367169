//! Signatures that vendors have published, and what is nearly one, for the providers that are tables.

use std::{collections::BTreeMap, fs};

use bytes::Bytes;
use hookline_core::{
    normalize::Received,
    source::{Kind, PublicUrl, Settings, Source},
    time::Timestamp,
    verify::VerifyError,
};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::ingest_support::{
    answer, headers, payloads, post, received_at, signature, source, source_with,
};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    scheme: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    body_utf8: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    other_secrets_that_must_not_match: Vec<String>,
    url: Option<String>,
    clock_unix_seconds: Option<i64>,
    expected_response: Option<Value>,
}

impl Vector {
    /// Returns the kinds whose requests are signed so.
    fn kinds(&self) -> &'static [&'static str] {
        match self.scheme.as_str() {
            "square" => &["square"],
            "paddle" => &["paddle"],
            "zoom" => &["zoom"],
            "standard-webhooks" | "standard-webhooks-v1a" | "svix" => &[
                "standard-webhooks",
                "anthropic",
                "brex",
                "clerk",
                "openai",
                "recall-ai",
                "replicate",
                "resend",
            ],
            _ => &[],
        }
    }

    fn source(&self, kind: &str, secret: &str) -> Source {
        let url = self.url.as_deref().map(|url| PublicUrl::Exact(url.into()));
        let settings = Settings { url, ..Settings::default() };
        source_with(Kind::parse(kind).unwrap(), &[secret], settings)
    }

    fn post(&self, source: &Source, headers: &HeaderMap) -> Result<Received, VerifyError> {
        let body = Bytes::copy_from_slice(self.body_utf8.as_bytes());
        let now = self.clock_unix_seconds.and_then(Timestamp::from_secs);
        post(source, headers, &body, now.unwrap_or_else(received_at))
    }

    fn headers(&self) -> HeaderMap {
        headers(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

fn vectors() -> Vec<Vector> {
    let Some(folder) = payloads() else { return Vec::new() };
    let text = fs::read_to_string(folder.join("vectors.json")).unwrap();
    let all = serde_json::from_str::<Vectors>(&text).unwrap().vectors;
    let ours: Vec<_> = all.into_iter().filter(|vector| !vector.kinds().is_empty()).collect();
    assert_eq!(ours.len(), 9, "vectors of these schemes");
    ours
}

#[test]
fn every_published_signature_verifies() {
    for vector in vectors() {
        for kind in vector.kinds() {
            let received = vector.post(&vector.source(kind, &vector.secret), &vector.headers());
            let received = received.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
            if let Some(want) = &vector.expected_response {
                let answer = answer(received);
                assert_eq!(&serde_json::from_slice::<Value>(&answer.body).unwrap(), want);
            }
        }
    }
}

#[test]
fn a_published_signature_is_of_its_secret_body_and_headers_only() {
    for mut vector in vectors() {
        let kind = vector.kinds()[0];
        for secret in &vector.other_secrets_that_must_not_match {
            let refused = vector.post(&vector.source(kind, secret), &vector.headers());
            assert_eq!(refused.unwrap_err().cause(), "wrong", "{}", vector.name);
        }
        let source = vector.source(kind, &vector.secret);
        assert!(vector.post(&source, &HeaderMap::new()).is_err(), "{}", vector.name);
        for name in vector.headers.keys().cloned().collect::<Vec<_>>() {
            let mut without = vector.headers();
            without.remove(&name);
            assert!(vector.post(&source, &without).is_err(), "{} without {name}", vector.name);
            for (index, bit) in [(0, 2), (4, 1), (7, 4), (12, 1), (20, 2), (40, 1)] {
                let mut bytes = vector.headers[&name].clone().into_bytes();
                let Some(byte) = bytes.get_mut(index) else { continue };
                *byte ^= bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let mut all = vector.headers.clone();
                let right = all.insert(name.clone(), changed.clone()).unwrap();
                // Of two signatures one may be wrong.
                if changed.to_lowercase() == right.to_lowercase() || vector.name.contains("multi") {
                    continue;
                }
                let changed: HeaderMap = headers(all.iter().map(|(n, v)| (n.as_str(), v.as_str())));
                assert!(vector.post(&source, &changed).is_err(), "{}: {all:?}", vector.name);
            }
        }
        let headers = vector.headers();
        vector.body_utf8.push(' ');
        assert_eq!(vector.post(&source, &headers).unwrap_err().cause(), "wrong", "{}", vector.name);
    }
}

#[test]
fn a_signed_request_verifies_with_the_same_secret_and_in_time_only() {
    const BASE64: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    // The age that is still taken, in both directions; none: any.
    for (kind, age) in [
        ("square", None),
        ("paddle", Some(60)),
        ("typeform", None),
        ("calendly", Some(300)),
        ("zoom", Some(300)),
        ("notion", None),
        ("whatsapp", None),
        ("telegram", None),
        ("cloudevents", None),
        ("clerk", Some(300)),
        ("resend", Some(300)),
        ("openai", Some(300)),
        ("replicate", Some(300)),
        ("brex", Some(300)),
        ("recall-ai", Some(300)),
        ("anthropic", Some(300)),
        ("standard-webhooks", Some(300)),
    ] {
        let kind = Kind::parse(kind).unwrap();
        let body = Bytes::from_static(b"\xff\x00 any bytes");
        let mut headers = headers([("webhook-id", "msg_1")]);
        headers.extend(signature(&source(kind, &[BASE64]), &headers, &body));
        let at = |secs| Timestamp::from_secs(1_800_000_000 + secs).unwrap();
        let post = |secret, secs| {
            let received = post(&source(kind, &[secret]), &headers, &body, at(secs));
            received.map_or_else(|error| error.cause(), |_| "verified")
        };
        assert_eq!(post(BASE64, 0), "verified", "{kind}");
        assert_eq!(post(OTHER, 0), "wrong", "{kind}");
        let age_max: i64 = age.unwrap_or(86_400);
        for far in [age_max, -age_max] {
            assert_eq!(post(BASE64, far), "verified", "{kind} at {far}");
            let beyond = if age.is_some() { "stale" } else { "verified" };
            assert_eq!(post(BASE64, far + far.signum()), beyond, "{kind} beyond {far}");
        }
    }
}
