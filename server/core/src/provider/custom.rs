//! A sender that nobody here knows: the configuration says how it signs and where things stand.

use super::{Handshake, Provider, Read};

pub(super) const PROVIDER: Provider = Provider {
    name: "custom",
    title: "Any other sender",
    schemes: &[],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Custom,
};
