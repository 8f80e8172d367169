//! `[sources.NAME.signature]` and `[sources.NAME.event]` of kind `custom`: how a sender signs that nobody here knows, and
//! where in its requests things stand.

use std::{borrow::Cow, time::Duration};

use hookline_core::{
    normalize::{From as Place, Mapping, PATHS_MAX, Pick, pointer},
    source::Custom,
    verify::scheme::{
        self, Encoding, KeyForm, Part, Prefix, Primitive, Proof, Scheme, SignedTime, Text,
        TimePlace, TimeUnit,
    },
};
use http::HeaderName;

use super::{ConfigError, Problem, Section};

/// How old a signature with a time may be unless `tolerance` says otherwise: what most providers take.
const TOLERANCE_DEFAULT: Duration = Duration::from_secs(300);
/// How many members of the body may be named: one more is read for the time that is signed, which may be another.
pub(super) const MEMBERS_MAX: usize = PATHS_MAX - 1;

/// Reads both tables; `None` if there is a mistake in them, which is told.
pub(super) fn read(
    section: &mut Section,
    unsigned: bool,
    errors: &mut Vec<ConfigError>,
) -> Option<Custom> {
    let before = errors.len();
    let key = section.key("signature");
    let signature = section.present("signature", errors);
    let schemes = match (signature, unsigned) {
        (Some(_), true) => {
            errors.push(ConfigError::at(key, Problem::SignatureOfUnsigned));
            Vec::new()
        }
        (None, true) => Vec::new(),
        (None, false) => {
            errors.push(ConfigError::at(key, Problem::SignatureMissing));
            Vec::new()
        }
        (Some(signature), false) => read_scheme(signature, errors).into_iter().collect(),
    };
    let mapping = read_mapping(section.section("event", errors), errors);
    (before == errors.len()).then_some(Custom { schemes, mapping })
}

/// What `scheme` may say.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Hmac,
    Ed25519,
    Ecdsa,
    Token,
    Bearer,
    Basic,
}

const FORMS: [(&str, Form); 6] = [
    ("hmac", Form::Hmac),
    ("ed25519", Form::Ed25519),
    ("ecdsa-p256", Form::Ecdsa),
    ("token", Form::Token),
    ("bearer", Form::Bearer),
    ("basic", Form::Basic),
];
const ALGORITHMS: [(&str, Primitive); 3] = [
    ("sha1", Primitive::HmacSha1),
    ("sha256", Primitive::HmacSha256),
    ("sha512", Primitive::HmacSha512),
];
const ENCODINGS: [(&str, Encoding); 3] =
    [("hex", Encoding::Hex), ("base64", Encoding::Base64), ("base64url", Encoding::Base64Url)];
const KEYS: [(&str, Encoding); 3] =
    [("text", Encoding::Raw), ("base64", Encoding::Base64), ("hex", Encoding::Hex)];
const UNITS: [(&str, TimeUnit); 3] =
    [("s", TimeUnit::Seconds), ("ms", TimeUnit::Millis), ("iso", TimeUnit::Iso)];

fn read_scheme(mut section: Section, errors: &mut Vec<ConfigError>) -> Option<Scheme> {
    let before = errors.len();
    let form = section.choice("scheme", &FORMS, errors).unwrap_or(Form::Hmac);
    let scheme = match form {
        Form::Bearer => read_authorization(&mut section, "Bearer", Encoding::Raw, errors),
        Form::Basic => read_authorization(&mut section, "Basic", Encoding::Base64, errors),
        Form::Token => {
            let place = read_place(&mut section, errors);
            token(place?, None, Encoding::Raw)
        }
        Form::Hmac | Form::Ed25519 | Form::Ecdsa => read_signature(form, &mut section, errors)?,
    };
    section.finish(errors);
    (before == errors.len()).then_some(scheme)
}

/// A scheme of `Authorization`, unless another header is said.
fn read_authorization(
    section: &mut Section,
    label: &'static str,
    encoding: Encoding,
    errors: &mut Vec<ConfigError>,
) -> Scheme {
    let header = read_header(section, "header", errors);
    let header = header.unwrap_or(Cow::Borrowed("authorization"));
    token(scheme::Place::Header(header), Some(label), encoding)
}

fn token(place: scheme::Place, label: Option<&'static str>, encoding: Encoding) -> Scheme {
    let key = KeyForm { prefix: Prefix::Any, encoding: Encoding::Raw };
    let proof = Proof { label: label.unwrap_or_default().into(), primitive: Primitive::Token, key };
    Scheme {
        place,
        when: None,
        legacy: false,
        items: None,
        field: label.map(|_| ' '),
        proofs: vec![proof].into(),
        encoding,
        signed: Cow::Borrowed(&[]),
        id: None,
        time: None,
    }
}

/// `header`, or `query` for what stands in the address.
fn read_place(section: &mut Section, errors: &mut Vec<ConfigError>) -> Option<scheme::Place> {
    let before = errors.len();
    let key = section.key("header");
    let header = read_header(section, "header", errors);
    let query = section.text("query", errors);
    match (header, query) {
        (Some(name), None) => Some(scheme::Place::Header(name)),
        (None, Some(name)) => Some(scheme::Place::Query(name.into())),
        (Some(_), Some(_)) | (None, None) => {
            if before == errors.len() {
                errors.push(ConfigError::at(key, Problem::PlaceCount));
            }
            None
        }
    }
}

fn read_signature(
    form: Form,
    section: &mut Section,
    errors: &mut Vec<ConfigError>,
) -> Option<Scheme> {
    let place = read_place(section, errors);
    let (primitive, encoding, key) = match form {
        Form::Ed25519 => (Primitive::Ed25519, Encoding::Hex, Encoding::Hex),
        Form::Ecdsa => (Primitive::EcdsaP256, Encoding::Base64, Encoding::Base64),
        Form::Hmac | Form::Token | Form::Bearer | Form::Basic => {
            let algorithm = section.choice("algorithm", &ALGORITHMS, errors);
            (algorithm.unwrap_or(Primitive::HmacSha256), Encoding::Hex, Encoding::Raw)
        }
    };
    let encoding = section.choice("encoding", &ENCODINGS, errors).unwrap_or(encoding);
    let key = section.choice("key", &KEYS, errors).unwrap_or(key);
    let prefix = section.text("key_prefix", errors);
    let prefix = prefix.map_or(Prefix::Any, |prefix| Prefix::Optional(prefix.into()));
    let items = section.character("item_separator", errors);
    let label_key = section.key("label");
    let label = section.text("label", errors);
    // A label without a separator would be taken for the signature.
    let field =
        section.character("field_separator", errors).or_else(|| label.is_some().then_some('='));
    if field.is_some() && label.is_none() {
        errors.push(ConfigError::at(label_key, Problem::LabelMissing));
    }
    let id = read_header(section, "id_header", errors);
    let time_key = section.key("timestamp");
    let time = read_time(section, errors);
    if let Some(TimePlace::Item(name)) = time.as_ref().map(|time| &time.place) {
        // An item is told from the signature by its label, and from its neighbours by what stands between them.
        let is_told = label.as_ref().is_some_and(|label| label != name.as_ref());
        if name.is_empty() || !is_told || items.is_none() {
            errors.push(ConfigError::at(time_key, Problem::TimeItem));
        }
    }
    let signed = read_signed(section, id.is_some(), time.as_ref(), errors);
    let key = KeyForm { prefix, encoding: key };
    let proof = Proof { label: label.unwrap_or_default().into(), primitive, key };
    Some(Scheme {
        place: place?,
        when: None,
        legacy: false,
        items,
        field,
        proofs: vec![proof].into(),
        encoding,
        signed: signed?.into(),
        id,
        time,
    })
}

/// `timestamp` and `timestamp_unit`.
fn read_time(section: &mut Section, errors: &mut Vec<ConfigError>) -> Option<SignedTime> {
    let key = section.key("timestamp");
    let place = section.text("timestamp", errors);
    let unit = section.choice("timestamp_unit", &UNITS, errors).unwrap_or(TimeUnit::Seconds);
    let place = match place?.split_once(':') {
        Some(("header", name)) => parse_header(name).map(TimePlace::Header),
        Some(("item", label)) => Ok(TimePlace::Item(label.to_owned().into())),
        Some(("body", text)) => {
            let path = pointer(text).map_err(Problem::from);
            path.map(|path| TimePlace::Body { path, header: None })
        }
        Some(_) | None => Err(Problem::TimePlace),
    };
    let place = place.map_err(|problem| errors.push(ConfigError::at(key, problem))).ok()?;
    Some(SignedTime { place, unit, past: Some(TOLERANCE_DEFAULT), future: true })
}

/// `signed`: text with parts in braces. What is not signed can be changed by anybody, so it must not count.
fn read_signed(
    section: &mut Section,
    has_id: bool,
    time: Option<&SignedTime>,
    errors: &mut Vec<ConfigError>,
) -> Option<Vec<Part>> {
    let key = section.key("signed");
    let text = section.text("signed", errors).unwrap_or_else(|| "{body}".to_owned());
    let is_time_apart = time.is_some_and(|time| !matches!(time.place, TimePlace::Body { .. }));
    let parts = parse_template(&text).and_then(|parts| {
        let has = |part: &Part| parts.contains(part);
        if !has(&Part::Body) {
            Err(Problem::Unsigned("{body}"))
        } else if is_time_apart != has(&Part::Time) {
            Err(Problem::TimeMismatch)
        } else if has(&Part::Id) != has_id {
            Err(Problem::IdMismatch)
        } else {
            Ok(parts)
        }
    });
    parts.map_err(|problem| errors.push(ConfigError::at(key, problem))).ok()
}

fn parse_template(text: &str) -> Result<Vec<Part>, Problem> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) =
            after.split_once('}').ok_or_else(|| Problem::Template(text.to_owned()))?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned().into()));
        }
        parts.push(match name {
            "body" => Part::Body,
            "timestamp" => Part::Time,
            "id" => Part::Id,
            "url" => Part::Url,
            "method" => Part::Method,
            _ => return Err(Problem::Template(text.to_owned())),
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned().into()));
    }
    Ok(parts)
}

fn read_header(
    section: &mut Section,
    key: &'static str,
    errors: &mut Vec<ConfigError>,
) -> Option<Text> {
    let path = section.key(key);
    let name = section.text(key, errors)?;
    parse_header(&name).map_err(|problem| errors.push(ConfigError::at(path, problem))).ok()
}

fn parse_header(name: &str) -> Result<Text, Problem> {
    let name = HeaderName::try_from(name).map_err(|_| Problem::Header(name.to_owned()))?;
    Ok(name.as_str().to_owned().into())
}

fn read_mapping(mut section: Section, errors: &mut Vec<ConfigError>) -> Mapping {
    let before = errors.len();
    let type_key = section.key("type");
    let event_type = section.list("type", errors).unwrap_or_default();
    if event_type.is_empty() && before == errors.len() {
        errors.push(ConfigError::at(&type_key, Problem::TypeMissing));
    }
    let event_type: Vec<Pick> = event_type
        .iter()
        .enumerate()
        .filter_map(|(index, text)| place(&format!("{type_key}[{index}]"), text, errors))
        .map(|place| vec![place].into())
        .collect();
    let mut pick = |key| read_pick(&mut section, key, errors);
    let mut mapping = Mapping {
        event_type: event_type.into(),
        id: pick("id"),
        time: pick("time"),
        actor: pick("actor"),
        actor_type: pick("actor_type"),
        resource_type: pick("resource_type"),
        resource_id: pick("resource_id"),
        ..Mapping::EMPTY
    };
    let metadata = section.texts("metadata", errors);
    let metadata = metadata.into_iter().filter_map(|(name, key, text)| {
        let place = place(&key, &text, errors)?;
        Some((Text::from(name), Pick::from(vec![place])))
    });
    mapping.metadata = metadata.collect::<Vec<_>>().into();
    if MEMBERS_MAX < mapping.path_count() {
        errors.push(ConfigError::at(section.key(""), Problem::PathCount(mapping.path_count())));
    }
    section.finish(errors);
    mapping
}

/// Places of one thing, of which the first counts that has something.
fn read_pick(section: &mut Section, key: &'static str, errors: &mut Vec<ConfigError>) -> Pick {
    let path = section.key(key);
    let texts = section.list(key, errors).unwrap_or_default();
    let places = texts.iter().filter_map(|text| place(&path, text, errors));
    places.collect::<Vec<_>>().into()
}

fn place(key: &str, text: &str, errors: &mut Vec<ConfigError>) -> Option<Place> {
    let place = match text.split_once(':') {
        Some(("header", name)) => parse_header(name).map(Place::Header),
        Some(("body", text)) => pointer(text).map(Place::Body).map_err(Problem::from),
        Some(("text", text)) => Ok(Place::Text(text.to_owned().into())),
        Some(_) | None => Err(Problem::Place(text.to_owned())),
    };
    place.map_err(|problem| errors.push(ConfigError::at(key, problem))).ok()
}
