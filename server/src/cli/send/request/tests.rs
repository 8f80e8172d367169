//! What is made of a file, for every kind.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hookline_core::{
    source::PublicUrl,
    verify::{
        VerifyError,
        scheme::{Encoding, Prefix, Primitive, Proof, TimePlace},
    },
};

use super::*;

const BASE: &str = "https://hooks.example.com";
const TARGET: &str = "/webhooks/s";
const URL: &str = "https://hooks.example.com/webhooks/s";
/// RFC 8032, section 7.1, test 1.
const ED25519: [&str; 2] = [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
];
/// Made for this test with OpenSSL: PKCS #8, and SubjectPublicKeyInfo.
const P256: [&str; 2] = [
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6k35j+Y4FBDGOl64dA0doG8CW9aGpRo6miU7x4x4H4mh\
     RANCAARjT6uawXyJsSY0Cw2XjuiiX2e1c+rSLfwFUL/2dxqUTkb+4+BLC3MVP3tfAMfD6iehz7AiGTeacnlCtUxR6jYV",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEY0+rmsF8ibEmNAsNl47ool9ntXPq0i38BVC/9ncalE5G/uPgSwtzFT97\
     XwDHw+onoc+wIhk3mnJ5QrVMUeo2FQ==",
];

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000).unwrap()
}

fn write(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Raw => String::from_utf8(bytes.to_vec()).unwrap(),
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => BASE64_STANDARD.encode(bytes),
        Encoding::Base64Url => BASE64_URL_SAFE_NO_PAD.encode(bytes),
    }
}

/// Returns what a sender signs with, and what it is checked with.
fn secrets(proof: &Proof) -> [Secret; 2] {
    let prefix = match &proof.key.prefix {
        Prefix::Optional(prefix) | Prefix::Required(prefix) => prefix.as_ref(),
        Prefix::Any | Prefix::Not(_) => "",
    };
    let [private, public] = match proof.primitive {
        Primitive::Ed25519 => ED25519.map(|text| hex::decode(text).unwrap()),
        Primitive::EcdsaP256 => P256.map(|text| BASE64_STANDARD.decode(text).unwrap()),
        Primitive::HmacSha1
        | Primitive::HmacSha256
        | Primitive::HmacSha512
        | Primitive::Sha256
        | Primitive::Token => [(); 2].map(|()| b"0123456789abcdef01234567".to_vec()),
    };
    let own = match proof.primitive {
        Primitive::Ed25519 if !prefix.is_empty() => "whsk_",
        Primitive::EcdsaP256 => "",
        Primitive::Ed25519
        | Primitive::HmacSha1
        | Primitive::HmacSha256
        | Primitive::HmacSha512
        | Primitive::Sha256
        | Primitive::Token => prefix,
    };
    [(own, private), (prefix, public)].map(|(prefix, bytes)| {
        Secret::new(format!("{prefix}{}", write(proof.key.encoding, &bytes))).unwrap()
    })
}

fn wanted<'a>(kind: Kind, secret: Option<&'a Secret>, headers: &'a HeaderMap) -> Wanted<'a> {
    Wanted {
        kind,
        schemes: kind.provider().schemes,
        secret,
        url: URL,
        now: now(),
        event: None,
        delivery_id: None,
        content_type: None,
        form: Form::No,
        headers,
    }
}

#[test]
fn what_is_made_for_a_kind_is_taken_by_a_source_of_it() {
    let (none, event) = (HeaderMap::new(), HeaderValue::from_static("push"));
    for kind in Kind::all() {
        let provider = kind.provider();
        let pairs = provider
            .schemes
            .iter()
            .flat_map(|scheme| scheme.proofs.iter().map(move |proof| (scheme, proof)));
        for (scheme, proof) in pairs {
            let [private, public] = secrets(proof);
            let event = provider.event_header.map(|_| &event);
            let wanted = Wanted { event, ..wanted(kind, Some(&private), &none) };
            let made = make(&wanted, &Bytes::from_static(b"{}")).unwrap();
            let url = Some(PublicUrl::Base(BASE.into()));
            let settings = Settings { url, ..Settings::default() };
            let name = SourceName::parse("s").unwrap();
            let source = Source::new(name, kind, vec![public.into()], settings).unwrap();
            let (headers, body) = (&made.headers, &made.body);
            let request = Request { method: &Method::POST, target: TARGET, headers, body };
            let received = receive(&source, request, now()).map(drop);
            let is_in_body = made.token_in.is_some()
                || scheme
                    .time
                    .as_ref()
                    .is_some_and(|time| matches!(time.place, TimePlace::Body { .. }));
            let taken = match received {
                Ok(()) => true,
                // What stands in the body is the file's.
                Err(VerifyError::Missing(_)) => is_in_body,
                Err(_) => false,
            };
            assert!(taken, "{kind}: {scheme}: {received:?}");
        }
    }
}

#[test]
fn a_public_key_does_not_sign_and_what_is_needed_is_said() {
    let none = HeaderMap::new();
    let standard = Kind::parse("standard-webhooks").unwrap();
    let public = &secrets(&standard.provider().schemes[0].proofs[0])[1];
    let error = make(&wanted(standard, Some(public), &none), &Bytes::new()).err().unwrap();
    assert!(error.to_string().contains("the private key"), "{error}");
}

#[test]
fn what_is_given_is_sent_in_place_of_what_would_be() {
    let secret = Secret::new("s").unwrap();
    let given = ["X-Github-Event: push", "x-hub-signature-256: sha256=00", "content-type: a/b"];
    let given = read_headers(&given.map(str::to_owned)).unwrap();
    let made = make(&wanted(Kind::GITHUB, Some(&secret), &given), &Bytes::new()).unwrap();
    for (name, value) in &given {
        let sent: Vec<_> = made.headers.get_all(name).iter().collect();
        assert_eq!(sent, [value]);
    }
    let error = read_headers(&["hunter2".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("--header 1") && !error.contains("hunter2"), "{error}");
}

#[test]
fn an_id_that_is_signed_is_random_and_looks_as_one() {
    let none = HeaderMap::new();
    let standard = Kind::parse("standard-webhooks").unwrap();
    let [private, _] = secrets(&standard.provider().schemes[0].proofs[1]);
    let ids = [(); 2].map(|()| {
        let wanted = wanted(standard, Some(&private), &none);
        let made = make(&wanted, &Bytes::new()).unwrap();
        made.headers["webhook-id"].to_str().unwrap().to_owned()
    });
    assert!(ids[0].starts_with("msg_") && ids[0] != ids[1], "{ids:?}");
}

#[test]
fn a_github_body_that_tells_nothing_needs_the_event() {
    let none = HeaderMap::new();
    let [push, seven] = ["push", "7"].map(HeaderValue::from_static);
    assert!(make(&wanted(Kind::GITHUB, None, &none), &Bytes::from_static(b"{}")).is_err());
    let wanted_one = Wanted {
        event: Some(&push),
        delivery_id: Some(&seven),
        ..wanted(Kind::GITHUB, None, &none)
    };
    let made = make(&wanted_one, &Bytes::from_static(b"not json")).unwrap();
    assert_eq!(
        (&made.headers["x-github-event"], &made.headers["x-github-delivery"]),
        (&push, &seven)
    );
    let of_stripe = Wanted { event: Some(&push), ..wanted(Kind::STRIPE, None, &none) };
    assert!(make(&of_stripe, &Bytes::new()).is_err());
    let of_stripe = Wanted { delivery_id: Some(&seven), ..wanted(Kind::STRIPE, None, &none) };
    assert!(make(&of_stripe, &Bytes::new()).is_err());
}

#[test]
fn a_file_becomes_a_form() {
    let none = HeaderMap::new();
    for (form, file, body) in [
        (
            Form::Fields,
            r#"{"b":"x y","a":12345678901234567890123,"c":[1,"2"],"d":null,"e":{"f": 1}}"#,
            "a=12345678901234567890123&b=x+y&c=1&c=2&d=&e=%7B%22f%22%3A+1%7D",
        ),
        (Form::Payload, "{\"a\": 1}", "payload=%7B%22a%22%3A+1%7D"),
    ] {
        let wanted = Wanted { form, ..wanted(Kind::STRIPE, None, &none) };
        let made = make(&wanted, &Bytes::from_static(file.as_bytes())).unwrap();
        assert_eq!(made.body, body);
        assert_eq!(made.headers[CONTENT_TYPE], FORM);
    }
    let wanted = Wanted { form: Form::Fields, ..wanted(Kind::STRIPE, None, &none) };
    assert!(make(&wanted, &Bytes::from_static(b"[]")).is_err());
}

#[test]
fn an_event_that_stands_in_the_body_needs_no_header() {
    let Ok(kind) = Kind::parse("cloudevents") else { return };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"));
    let file = r#"{"specversion":"1.0","id":"1","source":"/a","type":"b.c"}"#;
    let made = make(&wanted(kind, None, &headers), &Bytes::from(file)).unwrap();
    assert_eq!(made.headers.len(), 1, "{:?}", made.headers);
    assert!(make(&wanted(kind, None, &headers), &Bytes::from_static(b"[1]")).is_err());
}
