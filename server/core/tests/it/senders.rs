//! Senders of every kind, made of what the kinds say of themselves: secrets of the right form, requests that are signed.
//! Used by what looks at all kinds alike, the benchmark among it.

use std::{borrow::Cow, collections::BTreeMap, fmt, fs, path::Path, time::Duration};

use base64::Engine as _;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use hookline_core::{
    event::SourceName,
    normalize::{From as Place_, Mapping, Received, pointer, receive},
    source::{Custom, Kind, PublicUrl, Secret, Settings, Source},
    verify::{
        Draft, Request, SignError, VerifyError,
        scheme::{
            Encoding, Part, Place, Prefix, Primitive, Proof, Scheme, SignedTime, TimePlace,
            TimeUnit,
        },
        sign,
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use serde::Deserialize;

use crate::ingest_support::{payloads, received_at};

const BASE: &str = "https://hooks.example.com";
const TARGET: &str = "/webhooks/test";
/// The header that a signature is made for which stands elsewhere.
const MOVED: &str = "x-moved";
/// So long that no time in a body of the corpus is too old.
const TOLERANCE: Duration = Duration::from_secs(1 << 36);

/// A request.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Sent {
    pub(crate) fn request(&self) -> Request<'_> {
        let Self { target, headers, body } = self;
        Request { method: &Method::POST, target, headers, body }
    }

    pub(crate) fn give_to(&self, source: &Source) -> Result<Received, VerifyError> {
        receive(source, self.request(), received_at())
    }
}

/// As literals that can be put into a test.
impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "target {:?}", self.target)?;
        for (name, value) in &self.headers {
            writeln!(f, "header {name}: b\"{}\"", value.as_bytes().escape_ascii())?;
        }
        writeln!(f, "body b\"{}\"", self.body.escape_ascii())
    }
}

/// One who signs in one way.
pub(crate) struct Sender {
    pub(crate) source: Source,
    pub(crate) scheme: Scheme,
    pub(crate) proof: Proof,
    /// What is signed with, which of a public-key scheme the source does not know.
    secret: Secret,
    /// What is taken from it.
    pub(crate) works: Seed,
}

impl Sender {
    /// Returns the senders of a kind, one at least. What can't be signed with because another proof takes the secrets of
    /// its form is left out.
    pub(crate) fn of(kind: Kind) -> Vec<Self> {
        let all = settings(kind).into_iter().flat_map(|settings| {
            let schemes = match &settings.custom {
                Some(custom) => custom.schemes.clone(),
                None => kind.provider().schemes.to_vec(),
            };
            let ways = schemes.into_iter().flat_map(|scheme| {
                let proofs = scheme.proofs.to_vec();
                proofs.into_iter().map(move |proof| (scheme.clone(), proof))
            });
            ways.map(move |(scheme, proof)| Self::new(kind, settings.clone(), scheme, proof))
                .collect::<Vec<_>>()
        });
        let able: Vec<_> = all
            .filter_map(|sender| {
                let works = sender.works(small_seeds(kind))?;
                Some(Self { works, ..sender })
            })
            .collect();
        assert!(!able.is_empty(), "nobody can sign for `{kind}`");
        able
    }

    fn new(kind: Kind, settings: Settings, scheme: Scheme, proof: Proof) -> Self {
        let (public, private) = secrets(&proof);
        let secret = |text: String| Secret::new(text).unwrap();
        let source = Source::new(name(kind), kind, vec![secret(public).into()], settings).unwrap();
        let works = small_seeds(kind).swap_remove(0);
        Self { source, scheme, proof, secret: secret(private), works }
    }

    /// Returns the first of some bodies that is taken, if it is signed.
    fn works(&self, seeds: Vec<Seed>) -> Option<Seed> {
        let is_taken = |seed: &Seed| {
            let sent = self.send(&seed.headers, &seed.body).unwrap();
            sent.give_to(&self.source).is_ok()
        };
        seeds.into_iter().find(is_taken)
    }

    /// Signs a request, wherever the signature stands.
    ///
    /// # Errors
    ///
    /// If a header that is signed can't be.
    pub(crate) fn send(&self, headers: &HeaderMap, body: &Bytes) -> Result<Sent, SignError> {
        let mut headers = headers.clone();
        if let Some(id) = &self.scheme.id {
            let id = HeaderName::try_from(id.as_ref()).unwrap();
            headers.entry(id).or_insert(HeaderValue::from_static("msg_1"));
        }
        let mut body = body.clone();
        if let Place::Body(member) = &self.scheme.place {
            body = with_token(&body, member);
        }
        if let Some(SignedTime { place: TimePlace::Body { path, .. }, unit, .. }) =
            &self.scheme.time
        {
            let time =
                if *unit == TimeUnit::Iso { "\"2027-01-15T08:00:00Z\"" } else { "1800000000" };
            body = with_member(&body, path, time);
        }
        let mut scheme = self.scheme.clone();
        scheme.proofs = vec![self.proof.clone()].into();
        if !matches!(scheme.place, Place::Header(_)) {
            scheme.place = Place::Header(Cow::Borrowed(MOVED));
        }
        let url = self.source.url_of(TARGET).unwrap_or_default();
        let draft = Draft { url: &url, headers: &headers, body: &body };
        let signed = sign(&[scheme], &self.secret, draft, received_at())?;
        // A body of the corpus may come with the signature that it once had.
        for scheme in self.source.schemes() {
            headers.remove(&*scheme.place.name());
        }
        for (name, value) in signed {
            headers.insert(name, value);
        }
        let moved = headers.remove(MOVED);
        let target = match (&self.scheme.place, moved) {
            (Place::Query(name), Some(value)) => {
                let value = value.to_str().unwrap();
                let mut query = form_urlencoded::Serializer::new(String::new());
                format!("{TARGET}?{}", query.append_pair(name, value).finish())
            }
            (Place::Query(_) | Place::Header(_) | Place::Body(_), _) => TARGET.to_owned(),
        };
        Ok(Sent { target, headers, body })
    }
}

/// Returns the source of a kind that looks at no signature.
pub(crate) fn unsigned(kind: Kind) -> Source {
    let settings = settings(kind).swap_remove(0);
    Source::unsigned(name(kind), kind, settings).unwrap()
}

fn name(kind: Kind) -> SourceName {
    SourceName::parse(kind.as_str()).unwrap()
}

/// Puts a member into an object that does not name it.
fn with_member(body: &Bytes, name: &str, value: &str) -> Bytes {
    let quoted = format!("\"{name}\"");
    let is_there = body.windows(quoted.len()).any(|part| part == quoted.as_bytes());
    match body.strip_prefix(b"{") {
        Some(rest) if !is_there => {
            let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
            [format!("{{{quoted}:{value}{comma}").as_bytes(), rest].concat().into()
        }
        Some(_) | None => body.clone(),
    }
}

/// Puts the token into each object, wherever it is looked for.
fn with_token(body: &[u8], name: &str) -> Bytes {
    let (mut made, mut is_text, mut is_escaped) = (Vec::new(), false, false);
    for (at, &byte) in body.iter().enumerate() {
        made.push(byte);
        let is_quote = byte == b'"' && !is_escaped;
        is_escaped = is_text && !is_escaped && byte == b'\\';
        is_text ^= is_quote;
        if byte == b'{' && !is_text {
            let is_empty = body[at + 1..].trim_ascii_start().starts_with(b"}");
            let comma = if is_empty { "" } else { "," };
            made.extend(format!("\"{name}\":\"{TEXT_SECRET}\"{comma}").bytes());
        }
    }
    made.into()
}

const TEXT_SECRET: &str = "a secret of the tests";

/// Returns a secret as the source has it, and as the sender has it.
fn secrets(proof: &Proof) -> (String, String) {
    let (prefix, private_prefix) = match &proof.key.prefix {
        Prefix::Any | Prefix::Not(_) => ("", ""),
        Prefix::Optional(prefix) | Prefix::Required(prefix) => (prefix.as_ref(), prefix.as_ref()),
    };
    let write =
        |prefix: &str, bytes: &[u8]| format!("{prefix}{}", encode(proof.key.encoding, bytes));
    match proof.primitive {
        Primitive::Ed25519 => {
            let key = SigningKey::from_bytes(&[7; 32]);
            (write(prefix, key.verifying_key().as_bytes()), write("whsk_", &[7; 32]))
        }
        Primitive::EcdsaP256 => {
            let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
            let public = key.public_key().to_public_key_der().unwrap();
            (write(prefix, public.as_bytes()), write("", key.to_pkcs8_der().unwrap().as_bytes()))
        }
        Primitive::HmacSha1
        | Primitive::HmacSha256
        | Primitive::HmacSha512
        | Primitive::Sha256
        | Primitive::Token => {
            let secret = write(private_prefix, TEXT_SECRET.as_bytes());
            (secret.clone(), secret)
        }
    }
}

fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Raw => str::from_utf8(bytes).unwrap().to_owned(),
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => base64::prelude::BASE64_STANDARD.encode(bytes),
        Encoding::Base64Url => base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes),
    }
}

/// Returns what a source of a kind may be configured with: the ways of `custom`, and one of every other kind.
fn settings(kind: Kind) -> Vec<Settings> {
    let settings = Settings {
        url: Some(PublicUrl::Base(BASE.into())),
        tolerance: Some(TOLERANCE),
        verify_token: Some(Secret::new("a token of the tests").unwrap()),
        ..Settings::default()
    };
    if kind != Kind::CUSTOM {
        return vec![settings];
    }
    let custom = |schemes| Some(Custom { schemes, mapping: mapping() });
    let with = |scheme| Settings { custom: custom(vec![scheme]), ..settings.clone() };
    custom_schemes().into_iter().map(with).collect()
}

/// What `custom` may describe, each part of it once at least.
fn custom_schemes() -> Vec<Scheme> {
    let text = |part: &'static str| Part::Text(Cow::Borrowed(part));
    let base = &Kind::GITHUB.provider().schemes[0];
    let proof = |label: &'static str, primitive| Proof {
        label: Cow::Borrowed(label),
        primitive,
        ..base.proofs[0].clone()
    };
    let with = |primitive, encoding, signed: Vec<Part>| Scheme {
        field: None,
        proofs: vec![proof("", primitive)].into(),
        encoding,
        signed: signed.into(),
        ..base.clone()
    };
    let public = |primitive, encoding| {
        let mut scheme = with(primitive, encoding, vec![Part::Body]);
        scheme.proofs.to_mut()[0].key.encoding = encoding;
        scheme
    };
    let time =
        |place| Some(SignedTime { place, unit: TimeUnit::Seconds, past: None, future: true });
    let token = |place| Scheme { place, ..with(Primitive::Token, Encoding::Raw, Vec::new()) };
    vec![
        with(Primitive::HmacSha256, Encoding::Hex, vec![Part::Body]),
        with(Primitive::HmacSha1, Encoding::Base64, vec![Part::Body]),
        with(Primitive::HmacSha512, Encoding::Base64Url, vec![Part::Method, Part::Url, Part::Body]),
        with(Primitive::HmacSha1, Encoding::Base64, vec![Part::Url, Part::SortedForm]),
        with(Primitive::Sha256, Encoding::Hex, vec![Part::Secret, text(":"), Part::Body]),
        public(Primitive::Ed25519, Encoding::Hex),
        public(Primitive::EcdsaP256, Encoding::Base64),
        Scheme {
            items: Some(','),
            field: Some('='),
            proofs: vec![proof("v1", Primitive::HmacSha256), proof("v0", Primitive::HmacSha1)]
                .into(),
            id: Some(Cow::Borrowed("x-id")),
            time: time(TimePlace::Item(Cow::Borrowed("t"))),
            ..with(Primitive::HmacSha256, Encoding::Hex, vec![Part::Id, Part::Time, Part::Body])
        },
        Scheme {
            time: time(TimePlace::Body { path: Cow::Borrowed("at"), header: None }),
            ..with(Primitive::HmacSha256, Encoding::Hex, vec![Part::Body])
        },
        Scheme {
            field: Some(' '),
            proofs: vec![proof("Basic", Primitive::Token)].into(),
            encoding: Encoding::Base64,
            ..token(Place::Header(Cow::Borrowed("authorization")))
        },
        token(Place::Query(Cow::Borrowed("token"))),
    ]
}

fn mapping() -> Mapping {
    let body = |text: &str| Place_::Body(pointer(text).unwrap());
    let path = |text: &'static str| Place_::Body(Cow::Borrowed(text));
    Mapping {
        event_type: vec![vec![path("type"), Place_::Header("x-event".into())].into()].into(),
        event_type_prefix: Cow::Borrowed("acme."),
        id: vec![path("id"), Place_::Header("x-id".into())].into(),
        time: vec![body("/created"), body("/data/0/at")].into(),
        actor: vec![body("/sender/login"), path("user.name")].into(),
        actor_type: vec![Place_::Text("person".into())].into(),
        resource_type: vec![body("/data/object/object"), Place_::Text("thing".into())].into(),
        resource_id: vec![body("/data/object/id"), body("/items/9/a~1b")].into(),
        metadata: vec![("team".into(), vec![body("/data/a~0b/c/d/e/f/g/h")].into())].into(),
    }
}

/// A body as it is posted, with its headers; not signed yet.
#[derive(Clone)]
pub(crate) struct Seed {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Deserialize)]
struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    provider: String,
    file: String,
    body_format: String,
    headers: BTreeMap<String, String>,
}

/// Returns the real bodies of a kind; none if there is no folder of them.
pub(crate) fn real_seeds(kind: Kind) -> Vec<Seed> {
    let Some(folder) = payloads() else { return Vec::new() };
    let text = fs::read_to_string(folder.join("MANIFEST.json")).unwrap();
    let manifest: Manifest = serde_json::from_str(&text).unwrap();
    let of_kind = manifest.entries.iter().filter(|entry| entry.provider == kind.as_str());
    of_kind.map(|entry| entry.seed(&folder)).collect()
}

impl Entry {
    fn seed(&self, folder: &Path) -> Seed {
        let json = fs::read(folder.join(&self.file)).unwrap();
        let mut form = form_urlencoded::Serializer::new(String::new());
        let body = match self.body_format.as_str() {
            "form-payload" => {
                form.append_pair("payload", str::from_utf8(&json).unwrap()).finish().into()
            }
            "form-fields" => {
                let fields: BTreeMap<String, serde_json::Value> =
                    serde_json::from_slice(&json).unwrap();
                for (name, value) in fields {
                    form.append_pair(&name, value.as_str().unwrap_or(&value.to_string()));
                }
                form.finish().into()
            }
            _ => json.into(),
        };
        let headers = self.headers.iter().map(|(name, value)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        });
        Seed { headers: headers.collect(), body }
    }
}

/// Returns small bodies that any kind may be sent, and the demo's, for who has no real ones.
pub(crate) fn small_seeds(kind: Kind) -> Vec<Seed> {
    const JSON: &str = "application/json; charset=utf-8";
    const FORM: &str = "application/x-www-form-urlencoded";
    let seed = |media_type: &'static str, body: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(media_type));
        if let Some(name) = kind.provider().event_header {
            headers.insert(name, HeaderValue::from_static("issues"));
        }
        Seed { headers, body: Bytes::from_static(body.as_bytes()) }
    };
    vec![
        seed(JSON, SMALL),
        seed(JSON, include_str!("../../../src/cli/demo/pull_request_opened.json")),
        seed(JSON, include_str!("../../../src/cli/demo/invoice_paid.json")),
        seed(JSON, "[{\"event\":\"open\",\"timestamp\":1}, {\"event\":\"click\",\"id\":2}]"),
        seed(JSON, GRAPH),
        seed("application/cloudevents+json", CLOUD_EVENT),
        seed(FORM, "payload=%7B%22type%22%3A%22block_actions%22%2C%22id%22%3A7%7D"),
        seed(FORM, "MessageSid=SM1&From=%2B1415&Body=a+b&Body=c&command=%2Fweather"),
    ]
}

const GRAPH: &str = r##"{"value":[{"id":"n1","subscriptionId":"s","changeType":"created",
"resource":"Users/1/Messages/2","tenantId":"t","resourceData":{"@odata.type":"#Microsoft.Graph.Message","id":"A"}},
{"lifecycleEvent":"missed"}]}"##;

const CLOUD_EVENT: &str = r#"{"specversion":"1.0","id":"A-1","source":"/a b","type":"com.example.Made",
"subject":"mug","time":"2018-04-05T17:31:00Z","authid":"u-1","authtype":"user","data":{}}"#;

const SMALL: &str = r#"{"id":"evt_1","type":"issue.opened","event":"opened","action":"opened","created":1557933565,
"sender":{"login":"ann","id":7,"type":"User"},"user":{"name":"ann","id":"u1"},"webhookTimestamp":1557933565000,
"repository":{"full_name":"o/r","name":"r","owner":{"login":"o"}},"issue":{"number":1,"id":5},
"data":{"id":"d1","object":{"id":"o1","object":"invoice"},"at":"2019-05-15T15:20:18Z"},"items":[{"id":1.5e3}],
"entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"id":"m"}]}}]}]}"#;
