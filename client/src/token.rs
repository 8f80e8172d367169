//! The token that a client calls with.

use std::fmt;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::Error;

/// What the generated clients talk through: one connection, and the token on each call.
pub type Transport = InterceptedService<Channel, Bearer>;

/// Puts the client's token on each call, where it has one. Shows nothing of it.
#[derive(Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    pub(crate) fn new(token: &str) -> Result<Self, Error> {
        let token = token.trim();
        let is_text = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
        let mut value = value.ok().filter(|_| is_text).ok_or(Error::InvalidToken)?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Bearer(..)" } else { "Bearer(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_on_each_call_and_shown_nowhere() {
        let mut bearer = Bearer::new("hkl_id_secret\n").unwrap();
        let request = bearer.call(Request::new(())).unwrap();
        let sent = request.metadata().get("authorization").unwrap();
        assert_eq!(sent.to_str().unwrap(), "Bearer hkl_id_secret");
        let shown = format!("{bearer:?} {:?}", request.metadata());
        assert!(!shown.contains("secret"), "{shown}");
        let without = Bearer::default().call(Request::new(())).unwrap();
        assert!(without.metadata().is_empty());
    }

    #[test]
    fn what_fits_no_header_is_refused_and_not_shown() {
        for bad in ["", " ", "hkl_\nid", "hkl id", "hkl_\u{e9}"] {
            let refused = Bearer::new(bad).unwrap_err();
            assert!(matches!(refused, Error::InvalidToken));
            assert!(!refused.to_string().contains("hkl"), "{refused}");
        }
    }
}
