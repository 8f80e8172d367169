//! Typeform: webhooks of forms.
//!
//! Who answered a form is not told but by the answers, whose meaning is the form's own: `actor` is empty.
//!
//! Source: developer docs of Typeform, "Webhooks: secure" and "example payload".

use std::borrow::Cow;

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{Mapping, pick},
    verify::scheme::{Encoding, Proof, Scheme},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "typeform",
    title: "Typeform",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Mapping(&MAPPING),
};

/// `Typeform-Signature: sha256=<base64>` over the raw body.
const SCHEME: Scheme = Scheme::over_body("typeform-signature", Some('='), PROOFS, Encoding::Base64);
const PROOFS: &[Proof] = &[Proof::sha256("sha256")];

const MAPPING: Mapping = Mapping {
    event_type: Cow::Borrowed(&[pick![body "event_type"]]),
    id: pick![body "event_id"],
    time: pick![body "form_response.submitted_at"],
    resource_type: pick![text "form"],
    resource_id: pick![body "form_response.form_id"],
    metadata: Cow::Borrowed(&[(
        Cow::Borrowed("response_id"),
        pick![body "form_response.response_id", body "form_response.token"],
    )]),
    ..Mapping::EMPTY
};
