//! Other bodies.

use bytes::Bytes;

use super::{
    BodyChange, Case, Diagnosis, Escapes, Finding, Layout,
    rewrite::{is_json, json},
};
use crate::verify::Request;

/// Tries the body as it may have been before a tool or an editor had it.
pub(super) fn find(case: &Case<'_>) -> Option<Diagnosis> {
    let body = case.request.body;
    let mut variants = ends(body).chain(forms(body)).chain(rewritten(body));
    variants.find_map(|(change, body)| {
        let request = Request { body: &body, ..case.request };
        case.judge(case.source, request, || Finding::Body(change))
    })
}

type Variant = (BodyChange, Bytes);

/// What editors do to a begin, an end, and the ends of lines.
fn ends(body: &Bytes) -> impl Iterator<Item = Variant> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let without = |end: &[u8]| body.strip_suffix(end).map(Bytes::copy_from_slice);
    let with = |end: &[u8]| Some(Bytes::from([body, end].concat()));
    let marked = body.strip_prefix(MARK).map(Bytes::copy_from_slice);
    let lines = |from: &str, to: &str| {
        let text = str::from_utf8(body).ok().filter(|text| text.contains(from))?;
        Some(Bytes::from(text.replace(from, to)))
    };
    let crlf = lines("\n", "\r\n").filter(|_| !body.contains(&b'\r'));
    let variants = [
        (BodyChange::WithoutLastNewline, without(b"\r\n").or_else(|| without(b"\n"))),
        (BodyChange::WithLastNewline, with(b"\n")),
        (BodyChange::WithLastCrLf, with(b"\r\n")),
        (BodyChange::LineFeeds, lines("\r\n", "\n")),
        (BodyChange::CarriageReturns, crlf),
        (BodyChange::WithoutMark, marked),
        (BodyChange::WithMark, Some(Bytes::from([MARK, body].concat()))),
        (BodyChange::Empty, (!body.is_empty()).then(Bytes::new)),
    ];
    variants.into_iter().filter_map(|(change, body)| Some((change, body?)))
}

/// A form that holds JSON, and the JSON that it holds.
fn forms(body: &Bytes) -> impl Iterator<Item = Variant> {
    let text = str::from_utf8(body).unwrap_or_default().trim_ascii();
    let is_json = is_json(text);
    let encoded = |text: &str| {
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        format!("payload={encoded}")
    };
    let mut into = Vec::new();
    if is_json {
        for text in [text.to_owned(), json(text, Layout::Compact, Escapes::Kept)] {
            let form = encoded(&text);
            into.push(Bytes::from(form.replace('+', "%20")));
            into.push(Bytes::from(form));
        }
    }
    let mut fields = form_urlencoded::parse(body);
    let payload = fields.find(|(name, _)| !is_json && name == "payload");
    let out = payload.map(|(_, value)| Bytes::from(value.into_owned()));
    let into = into.into_iter().map(|body| (BodyChange::InForm, body));
    into.chain(out.map(|body| (BodyChange::OutOfForm, body)))
}

/// JSON as other libraries write it.
fn rewritten(body: &Bytes) -> impl Iterator<Item = Variant> {
    let text = str::from_utf8(body).ok().filter(|text| is_json(text));
    text.into_iter().flat_map(|text| {
        let styles = Layout::ALL
            .into_iter()
            .flat_map(|layout| Escapes::ALL.map(|escapes| (layout, escapes)));
        styles.flat_map(move |(layout, escapes)| {
            let anew = json(text, layout, escapes);
            let ended = format!("{anew}\n");
            [(anew, false), (ended, true)].map(|(anew, newline)| {
                (BodyChange::Json { layout, escapes, newline }, Bytes::from(anew))
            })
        })
    })
}
