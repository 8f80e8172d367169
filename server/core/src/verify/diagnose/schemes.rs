//! Other ways to write or make a signature, and other places for it.

use super::{Case, Diagnosis, Finding};
use crate::{
    normalize::Mapping,
    provider::Kind,
    source::{Custom, LiveSecret, Settings, Source},
    verify::{
        Scheme,
        scheme::{Encoding, Part, Place, Primitive, Proof, TEXT_KEY},
    },
};

/// The most kinds of those that sign by one header that are named.
const KINDS_SHOWN_MAX: usize = 5;
const MACS: [Primitive; 3] = [Primitive::HmacSha256, Primitive::HmacSha1, Primitive::HmacSha512];
const ENCODINGS: [Encoding; 3] = [Encoding::Hex, Encoding::Base64, Encoding::Base64Url];

/// Tries signatures that are written or made otherwise, where they belong and in other headers.
pub(super) fn find(case: &Case<'_>) -> Option<Diagnosis> {
    let in_place = || case.source.schemes().iter().find_map(|scheme| changed(case, scheme));
    legacy(case).or_else(in_place).or_else(|| in_other_headers(case))
}

/// Tries the older ways to sign, where the source does not take them.
fn legacy(case: &Case<'_>) -> Option<Diagnosis> {
    let settings = Settings { legacy_signatures: true, ..case.source.settings().clone() };
    let source = case.with(case.source.secrets().to_vec(), settings)?;
    case.judge(&source, case.request, || Finding::Legacy)
}

/// Tries variants of a scheme, one change each.
fn changed(case: &Case<'_>, scheme: &Scheme) -> Option<Diagnosis> {
    let encodings = ENCODINGS
        .into_iter()
        .filter(|encoding| *encoding != scheme.encoding)
        .map(|encoding| (Finding::Encoding(encoding), Scheme { encoding, ..scheme.clone() }));
    let primitives = MACS.into_iter().filter_map(|primitive| {
        let changed = scheme
            .proofs
            .iter()
            .filter(|proof| MACS.contains(&proof.primitive) && proof.primitive != primitive);
        let proofs: Vec<_> = changed.map(|proof| Proof { primitive, ..proof.clone() }).collect();
        let changed = Scheme { proofs: proofs.into(), ..scheme.clone() };
        (!changed.proofs.is_empty()).then_some((Finding::Primitive(primitive), changed))
    });
    let bare = scheme.field.is_some().then(|| {
        let proofs = scheme.proofs.iter().map(|proof| Proof { label: "".into(), ..proof.clone() });
        let proofs = proofs.collect::<Vec<_>>().into();
        (Finding::Unlabelled, Scheme { field: None, proofs, ..scheme.clone() })
    });
    let alone = (scheme.signed.contains(&Part::Body) && 1 < scheme.signed.len()).then(|| {
        let signed = vec![Part::Body].into();
        (Finding::BodyAlone, Scheme { signed, ..scheme.clone() })
    });
    let mut variants = encodings.chain(primitives).chain(bare).chain(alone);
    variants.find_map(|(finding, scheme)| judge(case, scheme, finding))
}

/// Tries all headers as signatures of the body alone: the SHA-1 beside a SHA-256 that was lost, or that of another
/// version.
fn in_other_headers(case: &Case<'_>) -> Option<Diagnosis> {
    let schemes = case.source.schemes();
    let of_scheme = |name: &str| {
        let is_it = |place: &Place| matches!(place, Place::Header(header) if header == name);
        schemes.iter().any(|scheme| is_it(&scheme.place))
    };
    let mut others = case.request.headers.iter().filter(|(name, _)| !of_scheme(name.as_str()));
    let proofs = schemes.iter().flat_map(|scheme| scheme.proofs.iter());
    let mut forms: Vec<_> = proofs
        .filter(|proof| MACS.contains(&proof.primitive))
        .map(|proof| proof.key.clone())
        .collect();
    forms.push(TEXT_KEY);
    others.find_map(|(name, value)| {
        let (label, field) = match value.to_str().ok()?.split_once('=') {
            // The rest is no signature, but the padding of one.
            Some((_, rest)) if rest.trim_end_matches('=').is_empty() => ("", None),
            Some((label, _)) => (label, Some('=')),
            None => ("", None),
        };
        let shapes = MACS
            .into_iter()
            .flat_map(|primitive| ENCODINGS.into_iter().map(move |encoding| (primitive, encoding)));
        let mut schemes = shapes.flat_map(|(primitive, encoding)| {
            forms.iter().map(move |key| (primitive, encoding, key))
        });
        schemes.find_map(|(primitive, encoding, key)| {
            let proof = Proof { label: label.to_owned().into(), primitive, key: key.clone() };
            let scheme = Scheme {
                place: Place::Header(name.as_str().to_owned().into()),
                proofs: vec![proof].into(),
                ..Scheme::over_body("", field, &[], encoding)
            };
            let header = name.as_str().to_owned();
            judge(case, scheme, Finding::OtherHeader { header, primitive })
        })
    })
}

/// Judges the request as if this scheme were the source's.
fn judge(case: &Case<'_>, scheme: Scheme, finding: Finding) -> Option<Diagnosis> {
    let scheme = Scheme { legacy: false, ..scheme };
    let custom = Custom { schemes: vec![scheme], mapping: Mapping::EMPTY };
    let settings = Settings { custom: Some(custom), ..case.source.settings().clone() };
    let mut secrets = case.source.secrets().iter().cloned();
    secrets.find_map(|secret: LiveSecret| {
        let name = case.source.name().clone();
        let source = Source::new(name, Kind::CUSTOM, vec![secret], settings.clone()).ok()?;
        case.judge(&source, case.request, || finding.clone())
    })
}

/// Returns who else signs by a header that is there, if that by which the source's kind signs is not.
pub(super) fn other_kind(case: &Case<'_>) -> Option<Diagnosis> {
    let headers = case.request.headers;
    let header_of = |scheme: &'static Scheme| match &scheme.place {
        Place::Header(name) if headers.contains_key(name.as_ref()) => Some(name.as_ref()),
        Place::Header(_) | Place::Query(_) | Place::Body(_) => None,
    };
    let own = case.source.schemes().iter().any(|scheme| match &scheme.place {
        Place::Header(name) => headers.contains_key(name.as_ref()),
        Place::Query(_) | Place::Body(_) => true,
    });
    if own {
        return None;
    }
    let signs_by = |kind: Kind| kind.provider().schemes.iter().filter_map(header_of);
    // By `Authorization` anybody may sign.
    let header = Kind::all().flat_map(signs_by).find(|name| *name != "authorization")?;
    let kinds = Kind::all().filter(|kind| signs_by(*kind).any(|name| name == header));
    let kinds = kinds.take(KINDS_SHOWN_MAX).collect();
    let finding = Finding::OtherKind { header: header.to_owned(), kinds };
    Some(Diagnosis { finding, age: None })
}
