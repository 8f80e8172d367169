//! Other secrets, and the same ones written otherwise.

use super::{Case, Diagnosis, Finding, SecretChange};
use crate::{
    source::Secret,
    verify::scheme::{Encoding, Prefix, Primitive, Proof},
};

/// Tries secrets that have run out, those of the source read otherwise, and those of other sources.
pub(super) fn find(case: &Case<'_>) -> Option<Diagnosis> {
    expired(case).or_else(|| written_otherwise(case)).or_else(|| of_others(case))
}

fn expired(case: &Case<'_>) -> Option<Diagnosis> {
    let mut secrets = case.source.secrets().iter().enumerate();
    secrets.find_map(|(index, secret)| {
        let not_after = secret.not_after.filter(|_| !secret.is_live(case.now))?;
        let source = case.with_secret(secret.secret.clone())?;
        case.judge(&source, case.request, || Finding::SecretExpired { index, not_after })
    })
}

fn written_otherwise(case: &Case<'_>) -> Option<Diagnosis> {
    let schemes = case.source.schemes();
    let proofs: Vec<&Proof> = schemes.iter().flat_map(|scheme| scheme.proofs.iter()).collect();
    case.source.secrets().iter().enumerate().find_map(|(index, live)| {
        let text = live.secret.as_bytes();
        let keys = proofs.iter().flat_map(|proof| other_keys(proof, text));
        let mut variants = other_texts(text).into_iter().chain(keys);
        variants.find_map(|(change, bytes)| {
            let source = case.with_secret(Secret::new(bytes).ok()?)?;
            case.judge(&source, case.request, || Finding::Secret { index, change })
        })
    })
}

type Variant = (SecretChange, Vec<u8>);

/// What copying does to a secret.
fn other_texts(text: &[u8]) -> Vec<Variant> {
    let trimmed = text.trim_ascii();
    let mut variants = Vec::new();
    if trimmed != text {
        variants.push((SecretChange::Trimmed, trimmed.to_vec()));
    }
    for end in [&b"\n"[..], b"\r\n"] {
        variants.push((SecretChange::Newline, [trimmed, end].concat()));
    }
    for quote in [b'"', b'\''] {
        let inner = trimmed.strip_prefix(&[quote]).and_then(|rest| rest.strip_suffix(&[quote]));
        variants.extend(inner.map(|inner| (SecretChange::Unquoted, inner.to_vec())));
    }
    variants
}

/// A secret that is decoded where it should not be, or the other way round; each written so that the proof reads it as
/// that key.
fn other_keys(proof: &Proof, text: &[u8]) -> Vec<Variant> {
    if proof.primitive.is_public_key() || proof.primitive == Primitive::Token {
        return Vec::new();
    }
    let text = text.trim_ascii();
    let bare = without_prefix(proof, text);
    let decodings = [Encoding::Base64, Encoding::Hex, Encoding::Base64Url];
    let decodings = || decodings.into_iter().filter(|encoding| *encoding != proof.key.encoding);
    let mut keys = Vec::new();
    if proof.key.encoding == Encoding::Raw {
        keys.extend(bare.map(|bare| (SecretChange::Unprefixed, bare.to_vec())));
    } else {
        keys.push((SecretChange::Verbatim, text.to_vec()));
        keys.extend(bare.map(|bare| (SecretChange::UnprefixedVerbatim, bare.to_vec())));
    }
    for encoding in decodings() {
        let whole = encoding.decode(text).map(|key| (SecretChange::Decoded(encoding), key));
        let rest = bare.and_then(|bare| encoding.decode(bare));
        keys.extend(whole);
        keys.extend(rest.map(|key| (SecretChange::UnprefixedDecoded(encoding), key)));
    }
    keys.into_iter().map(|(change, key)| (change, write(proof, &key))).collect()
}

/// Returns a secret without its own prefix, or one that is known by sight.
fn without_prefix<'t>(proof: &Proof, text: &'t [u8]) -> Option<&'t [u8]> {
    let own = match &proof.key.prefix {
        Prefix::Optional(prefix) | Prefix::Required(prefix) | Prefix::Not(prefix) => {
            prefix.as_ref()
        }
        Prefix::Any => "whsec_",
    };
    text.strip_prefix(own.as_bytes()).or_else(|| text.strip_prefix(b"whsec_"))
}

/// Writes a key as the proof's secrets are written.
fn write(proof: &Proof, key: &[u8]) -> Vec<u8> {
    let prefix = match &proof.key.prefix {
        Prefix::Optional(prefix) | Prefix::Required(prefix) => prefix.as_bytes(),
        Prefix::Any | Prefix::Not(_) => b"",
    };
    match proof.key.encoding {
        Encoding::Raw => [prefix, key].concat(),
        encoding @ (Encoding::Hex | Encoding::Base64 | Encoding::Base64Url) => {
            [prefix, encoding.encode(key).as_bytes()].concat()
        }
    }
}

fn of_others(case: &Case<'_>) -> Option<Diagnosis> {
    let others = || {
        case.sources
            .iter()
            .filter(|other| other.name() != case.source.name() && !other.is_unsigned())
    };
    let with_its_secret = others().find_map(|other| {
        other.secrets().iter().enumerate().find_map(|(index, live)| {
            let source = case.with_secret(live.secret.clone())?;
            let source_name = || other.name().clone();
            case.judge(&source, case.request, || Finding::SecretOf { source: source_name(), index })
        })
    });
    with_its_secret.or_else(|| {
        others().find_map(|other| {
            let (source, kind) = (other.name().clone(), other.kind());
            case.judge(other, case.request, || Finding::OtherSource { source, kind })
        })
    })
}
