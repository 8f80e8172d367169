//! The request that a provider would make: headers, body, signature. Pure but for random ids.

use std::collections::BTreeMap;

use bytes::Bytes;
use hookline_core::{
    event::{EventType, SourceName},
    normalize::{Received, receive},
    source::{Kind, Secret, Settings, Source},
    time::Timestamp,
    verify::{self, Draft, Request, Scheme, SignError, scheme::Place},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use serde_json::value::RawValue;

use super::guess;
use crate::cli::CommandError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// What is to be sent.
pub(super) struct Wanted<'a> {
    pub(super) kind: Kind,
    pub(super) schemes: &'a [Scheme],
    /// None: it is not signed.
    pub(super) secret: Option<&'a Secret>,
    /// The address that is signed.
    pub(super) url: &'a str,
    pub(super) now: Timestamp,
    pub(super) event: Option<&'a HeaderValue>,
    pub(super) delivery_id: Option<&'a HeaderValue>,
    pub(super) content_type: Option<&'a HeaderValue>,
    pub(super) form: Form,
    /// What is sent in place of what would be.
    pub(super) headers: &'a HeaderMap,
}

/// Whether a file is sent as a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    No,
    /// The members of its JSON object are the fields.
    Fields,
    /// It is the field `payload`.
    Payload,
}

/// A request that is ready to be posted.
pub(super) struct Made {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Where the token stands, if the kind has one that can't be put into a header.
    pub(super) token_in: Option<Place>,
}

/// Makes a request of a file.
pub(super) fn make(wanted: &Wanted<'_>, file: &Bytes) -> Result<Made, CommandError> {
    let body = encode(wanted.form, file)?;
    let mut headers = wanted.headers.clone();
    headers.entry(CONTENT_TYPE).or_insert_with(|| {
        let default = if wanted.form == Form::No { JSON } else { FORM };
        wanted.content_type.cloned().unwrap_or(default)
    });
    if let Some((name, event)) = event(wanted, &headers, file, &body)? {
        headers.entry(name).or_insert(event);
    }
    let id = delivery_id(wanted);
    match id_header(wanted) {
        Some(name) => {
            headers.entry(name).or_insert_with(|| id.clone());
        }
        None if wanted.delivery_id.is_some() => {
            return Err(CommandError::Usage(format!(
                "--delivery-id sets a header, and {} has none for it: the id stands in the body",
                wanted.kind.provider().title
            )));
        }
        None => {}
    }
    let token_in = match wanted.secret {
        Some(secret) => sign(wanted, secret, &mut headers, &id, &body)?,
        None => None,
    };
    Ok(Made { headers, body, token_in })
}

/// Adds the headers of the signature, but for those that were given. Returns where the token stands instead.
fn sign(
    wanted: &Wanted<'_>,
    secret: &Secret,
    headers: &mut HeaderMap,
    id: &HeaderValue,
    body: &Bytes,
) -> Result<Option<Place>, CommandError> {
    let sign = |headers: &HeaderMap| {
        let draft = Draft { url: wanted.url, headers, body };
        verify::sign(wanted.schemes, secret, draft, wanted.now)
    };
    let mut signed = sign(headers);
    if let Err(SignError::HeaderMissing(name)) = &signed
        && let Ok(name) = HeaderName::try_from(name.as_ref())
    {
        // The id that is signed stands in another header than the one by which deliveries are known.
        headers.insert(name, id.clone());
        signed = sign(headers);
    }
    match signed {
        Ok(signed) => {
            for (name, value) in signed {
                headers.entry(name).or_insert(value);
            }
            Ok(None)
        }
        Err(SignError::NotInHeader(place)) => Ok(Some(place)),
        Err(error) => Err(CommandError::Usage(format!("could not sign: {error}{}", hint(wanted)))),
    }
}

/// Returns what may be meant by a secret that does not sign.
fn hint(wanted: &Wanted<'_>) -> &'static str {
    let mut proofs = wanted.schemes.iter().flat_map(|scheme| scheme.proofs.iter());
    if wanted.schemes.is_empty() {
        "; how it signs is configured: give the hub's file with --config"
    } else if proofs.any(|proof| proof.primitive.is_public_key()) {
        "; of a key pair, --secret has to be the private key"
    } else {
        ""
    }
}

/// Returns the header that names the event, guessed of GitHub's.
fn event(
    wanted: &Wanted<'_>,
    headers: &HeaderMap,
    file: &[u8],
    body: &Bytes,
) -> Result<Option<(HeaderName, HeaderValue)>, CommandError> {
    let provider = wanted.kind.provider();
    let Some(name) = provider.event_header.map(HeaderName::from_static) else {
        return match wanted.event {
            None => Ok(None),
            Some(_) => Err(CommandError::Usage(format!(
                "--event sets a header, and {} has none for it: the event stands in the body",
                provider.title
            ))),
        };
    };
    if wanted.headers.contains_key(&name) {
        return Ok(None);
    }
    let guessed = || guess::github_event(file).map(HeaderValue::from_static);
    let guessed = || (wanted.kind == Kind::GITHUB).then(guessed).flatten();
    match wanted.event.cloned().or_else(guessed) {
        Some(event) => Ok(Some((name, event))),
        None if is_told_in_body(wanted, headers, body) => Ok(None),
        None => Err(CommandError::Usage(format!(
            "which event it is stands in the header `{name}`: say --event, such as `--event \
             pull_request` for GitHub"
        ))),
    }
}

/// Whether a request says what event it is without the header for it, as CloudEvents in one piece do.
fn is_told_in_body(wanted: &Wanted<'_>, headers: &HeaderMap, body: &Bytes) -> bool {
    let name = SourceName::parse("send").expect("lower-case letters are a name");
    let source = Source::unsigned(name, wanted.kind, Settings::default());
    let request = Request { method: &Method::POST, target: "/", headers, body };
    match source.map(|source| receive(&source, request, wanted.now)) {
        Ok(Ok(Received::Events { events, .. })) => {
            events.iter().all(|event| event.event_type != EventType::unparsed())
        }
        Ok(Ok(Received::Answer(_))) => true,
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Returns the header for the delivery's id, if there is one.
fn id_header(wanted: &Wanted<'_>) -> Option<HeaderName> {
    let known = wanted.kind.provider().id_headers.first().copied();
    let signed = || wanted.schemes.iter().find_map(|scheme| scheme.id.as_deref());
    known.or_else(signed).and_then(|name| HeaderName::try_from(name).ok())
}

/// Returns the id that was given, else a random one: where it is signed, as Standard Webhooks writes it.
fn delivery_id(wanted: &Wanted<'_>) -> HeaderValue {
    let random = || {
        let id = uuid::Uuid::new_v4();
        let is_signed = wanted.schemes.iter().any(|scheme| scheme.id.is_some());
        let id = if is_signed { format!("msg_{}", id.simple()) } else { id.to_string() };
        HeaderValue::try_from(id).expect("a UUID is of letters, digits and dashes")
    };
    wanted.delivery_id.cloned().unwrap_or_else(random)
}

fn encode(form: Form, file: &Bytes) -> Result<Bytes, CommandError> {
    let mut fields = form_urlencoded::Serializer::new(String::new());
    match form {
        Form::No => return Ok(file.clone()),
        Form::Payload => {
            let text = str::from_utf8(file)
                .map_err(|_| CommandError::Usage("--form-payload needs a text".to_owned()))?;
            fields.append_pair("payload", text);
        }
        Form::Fields => {
            let members: BTreeMap<String, Box<RawValue>> =
                serde_json::from_slice(file).map_err(|error| {
                    CommandError::Usage(format!("--form needs a JSON object: {error}"))
                })?;
            for (name, value) in &members {
                match serde_json::from_str::<Vec<Box<RawValue>>>(value.get()) {
                    Ok(values) => values.iter().for_each(|value| {
                        fields.append_pair(name, &field(value));
                    }),
                    Err(_) => {
                        fields.append_pair(name, &field(value));
                    }
                }
            }
        }
    }
    Ok(fields.finish().into())
}

/// Returns a value as the text of a field: a text as it is, anything else as it is written.
fn field(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        written => serde_json::from_str(written).unwrap_or_else(|_| written.to_owned()),
    }
}

/// Reads headers of the command line. What is wrong is not shown: it may be a credential.
pub(super) fn read_headers(texts: &[String]) -> Result<HeaderMap, CommandError> {
    let mut headers = HeaderMap::new();
    for (index, text) in texts.iter().enumerate() {
        let header = text.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim_ascii()).ok()?;
            Some((name, HeaderValue::try_from(value.trim_ascii()).ok()?))
        });
        let (name, value) = header.ok_or_else(|| {
            CommandError::Usage(format!("--header {} is not `Name: value`", index + 1))
        })?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
