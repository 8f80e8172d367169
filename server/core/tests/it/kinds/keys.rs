//! Secrets of the form that each kind has.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};

/// A secret as it is configured, and what the sender signs with.
pub(super) struct Keys {
    pub(super) configured: String,
    pub(super) signing: String,
}

pub(super) fn of(kind: &str) -> Keys {
    let shared = |secret: String| Keys { configured: secret.clone(), signing: secret };
    match kind {
        "discord" => {
            let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
            let configured = hex::encode(key.verifying_key().to_bytes());
            Keys { configured, signing: hex::encode([7; 32]) }
        }
        "sendgrid" => {
            let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
            let public = key.verifying_key().to_public_key_der().unwrap();
            let private = key.to_pkcs8_der().unwrap();
            Keys {
                configured: BASE64_STANDARD.encode(public.as_bytes()),
                signing: BASE64_STANDARD.encode(private.as_bytes()),
            }
        }
        _ if is_standard(kind) => shared(format!("whsec_{}", BASE64_STANDARD.encode([7; 32]))),
        "paddle" => shared("pdl_ntfset_01hs0tqf76_a/test+secret".to_owned()),
        "stripe" => shared("whsec_a test secret".to_owned()),
        _ => shared("a-secret-of_the.test".to_owned()),
    }
}

/// Whether a kind signs as Standard Webhooks say, under an id that the message has to have.
pub(super) fn is_standard(kind: &str) -> bool {
    ["anthropic", "brex", "clerk", "openai", "recall-ai", "replicate", "resend"].contains(&kind)
}
