//! What is signed: the parts of a scheme, filled in from a request.

use std::borrow::Cow;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::{
    Request, Scheme, VerifyError,
    key::is_same,
    scheme::{Part, Place},
};

/// The parameter of the query with the hash of a body whose fields are not signed one by one (Twilio).
const BODY_HASH: &str = "bodySHA256";

/// What of a request goes into what is signed.
#[derive(Debug, Default)]
pub(super) struct Message<'t, 'a> {
    method: &'t str,
    /// The address at which the sender posts; empty if the scheme needs none.
    url: &'t str,
    time: &'t str,
    id: &'t str,
    body: &'a [u8],
    /// See [`Part::SortedForm`].
    sorted_form: Vec<u8>,
    /// The form's fields as they were posted, if they had to be looked at.
    fields: Option<Fields<'a>>,
}

/// The fields of a form, in the order of the body.
pub(crate) type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl<'t, 'a: 't> Message<'t, 'a> {
    /// Gathers what a scheme signs of a request that was posted at `url`, as the sender sees it.
    pub(super) fn of(
        scheme: &Scheme,
        request: Request<'a>,
        time: &'t str,
        url: &'t str,
    ) -> Result<Self, VerifyError> {
        let id = match &scheme.id {
            Some(header) => header_text(request.headers, header)?,
            None => "",
        };
        let (mut sorted_form, mut fields) = (Vec::new(), None);
        if scheme.signed.contains(&Part::SortedForm) {
            match query_value(url, BODY_HASH) {
                Some(hash) if !is_hash(&hash, request.body) => {
                    return Err(VerifyError::Wrong(scheme.place.name()));
                }
                Some(_) => {}
                None => {
                    let posted = parse_form(request.body);
                    let posted = posted.ok_or_else(|| VerifyError::Wrong(scheme.place.name()))?;
                    sorted_form = sorted(&posted);
                    fields = Some(posted);
                }
            }
        }
        let (method, body) = (request.method.as_str(), request.body);
        let url = if scheme.needs_url() { url } else { "" };
        Ok(Self { method, url, time, id, body, sorted_form, fields })
    }

    /// Returns the form's fields, if they had to be looked at: so that they need not be again.
    pub(super) fn into_fields(self) -> Option<Fields<'a>> {
        self.fields
    }

    /// Returns the spellings of the address that senders sign, one at least: as it is, with and without the port that its
    /// scheme implies, and with the escapes that HubSpot takes out before it signs. Mostly the first is it.
    pub(super) fn urls(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let others = || {
            let unescaped = unescape(self.url);
            let unescaped = (unescaped != self.url).then_some(unescaped);
            with_other_port(self.url).map(Cow::Owned).into_iter().chain(unescaped)
        };
        let mut others = Some(others);
        let others = std::iter::from_fn(move || others.take()).flat_map(|others| others());
        std::iter::once(Cow::Borrowed(self.url)).chain(others)
    }

    /// Returns the pieces in order.
    pub(super) fn pieces<'m>(
        &'m self,
        scheme: &'m Scheme,
        url: &'m str,
        secret: &'m [u8],
    ) -> Vec<&'m [u8]> {
        let piece = |part: &'m Part| match part {
            Part::Text(text) => text.as_bytes(),
            Part::Body => self.body,
            Part::Time => self.time.as_bytes(),
            Part::Id => self.id.as_bytes(),
            Part::Method => self.method.as_bytes(),
            Part::Url => url.as_bytes(),
            Part::SortedForm => &self.sorted_form,
            Part::Secret => secret,
        };
        scheme.signed.iter().map(piece).collect()
    }
}

/// The most fields of a form; a body with more is no form. Twilio's have some thirty, and each takes twenty times its two
/// bytes of memory, also before anything is known of the sender.
const FORM_FIELDS_MAX: usize = 10_000;

/// Returns the fields of a form; `None` if they are too many.
pub(crate) fn parse_form(body: &[u8]) -> Option<Fields<'_>> {
    let fields: Vec<_> = form_urlencoded::parse(body).take(FORM_FIELDS_MAX + 1).collect();
    (fields.len() <= FORM_FIELDS_MAX).then_some(fields)
}

/// Whether the hash that an address has is the body's. It is the address that is signed: the request's own query is not,
/// where a whole address is configured.
fn is_hash(hash: &str, body: &[u8]) -> bool {
    is_same(hex::encode(Sha256::digest(body)).as_bytes(), hash.as_bytes())
}

/// Returns a form's names and values, sorted by name and then by value, each pair once. A body that is no form reads as
/// one with odd names: it is signed either way.
///
/// Source: twilio-python `request_validator.py`, twilio-node `webhooks.ts`.
fn sorted(fields: &Fields<'_>) -> Vec<u8> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let texts = sorted.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    texts.collect::<Vec<_>>().concat()
}

/// Adds the port that the scheme implies, or takes it off.
fn with_other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = if scheme == "https" { ":443" } else { ":80" };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end)?;
    match host.strip_suffix(port) {
        Some(host) => Some(format!("{scheme}://{host}{path}")),
        // The last colon of an IPv6 address stands before its bracket.
        None if host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']')) => None,
        None => Some(format!("{scheme}://{host}{port}{path}")),
    }
}

/// Source: HubSpot docs, "Validating requests", v3: the escapes that are decoded before signing.
fn unescape(url: &str) -> Cow<'_, str> {
    const ESCAPES: [(&str, &str); 11] = [
        ("%3A", ":"),
        ("%2F", "/"),
        ("%3F", "?"),
        ("%40", "@"),
        ("%21", "!"),
        ("%24", "$"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2C", ","),
    ];
    if !url.contains('%') {
        return Cow::Borrowed(url);
    }
    let unescaped = ESCAPES.into_iter().fold(url.to_owned(), |url, (escape, character)| {
        url.replace(escape, character).replace(&escape.to_ascii_lowercase(), character)
    });
    Cow::Owned(unescaped)
}

impl Scheme {
    /// Whether a request says that it means this scheme, where it has to.
    pub(super) fn is_meant(&self, headers: &HeaderMap) -> Result<bool, VerifyError> {
        match &self.when {
            Some(when) if headers.contains_key(when.header.as_ref()) => {
                let text = header_text(headers, &when.header)?;
                Ok(text.split(',').any(|item| item.trim_ascii() == when.value))
            }
            Some(_) => Ok(false),
            None => Ok(true),
        }
    }
}

impl Place {
    /// Returns the name of the header, parameter or member.
    #[must_use]
    pub fn name(&self) -> Box<str> {
        match self {
            Self::Header(name) | Self::Query(name) | Self::Body(name) => name.as_ref().into(),
        }
    }

    /// Returns what a request has at this place, or `None` if it has nothing.
    pub(super) fn text<'a>(
        &self,
        request: Request<'a>,
    ) -> Option<Result<Cow<'a, str>, VerifyError>> {
        match self {
            Self::Header(name) if !request.headers.contains_key(name.as_ref()) => None,
            Self::Header(name) => Some(header_text(request.headers, name).map(Cow::Borrowed)),
            Self::Query(name) => query_value(request.target, name).map(Ok),
            Self::Body(_) => Some(Ok(Cow::Borrowed(""))),
        }
    }
}

/// Returns a header's text if it is there, with one value only.
pub(super) fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, VerifyError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().ok_or_else(|| VerifyError::Missing(name.into()))?;
    if values.any(|value| value != first) {
        return Err(VerifyError::Ambiguous(name.into()));
    }
    first.to_str().map_err(|_| VerifyError::Malformed(name.into()))
}

/// Returns the value of the first parameter of a name in the query of a target.
pub(crate) fn query_value<'t>(target: &'t str, name: &str) -> Option<Cow<'t, str>> {
    let (_, query) = target.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_signed_with_and_without_its_port() {
        for (url, other) in [
            ("https://h/a?b", Some("https://h:443/a?b")),
            ("https://h:443/a?b", Some("https://h/a?b")),
            ("http://h", Some("http://h:80")),
            ("https://h:8443/a", None),
            ("https://[::1]/a", Some("https://[::1]:443/a")),
            ("https://[::1]:443/a", Some("https://[::1]/a")),
        ] {
            assert_eq!(with_other_port(url).as_deref(), other, "{url}");
        }
        for (url, all) in [
            (
                "https://h:1/a?b=%2Fc%20d",
                &["https://h:1/a?b=%2Fc%20d", "https://h:1/a?b=/c%20d"][..],
            ),
            ("http://h/%3a", &["http://h/%3a", "http://h:80/%3a", "http://h/:"]),
            ("", &[""]),
        ] {
            let message = Message { url, ..Message::default() };
            assert_eq!(message.urls().collect::<Vec<_>>(), all, "{url}");
        }
    }

    #[test]
    fn a_parameter_is_found_by_its_name_and_decoded() {
        assert_eq!(query_value("/x?a=1&b=%20c+d&b=2", "b").as_deref(), Some(" c d"));
        assert_eq!(query_value("/x?a=1", "b"), None);
        assert_eq!(query_value("/x", "b"), None);
    }
}
