//! The bodies: real JSON from a folder, each signed once as GitHub signs.

use std::{fmt::Write as _, fs, path::Path};

use bytes::Bytes;
use hookline_core::{
    source::{Kind, Secret},
    time::Timestamp,
    verify::{Draft, sign},
};
use http::HeaderMap;

use crate::Outcome;

/// What the bodies are signed with.
pub(crate) const SECRET: &str = "compare-secret";
/// Where each HTTP server takes them.
pub(crate) const PATH: &str = "/webhooks/github";

/// One body, and the request that posts it.
pub(crate) struct Prepared {
    pub(crate) body: Bytes,
    /// The request up to where its delivery id comes.
    pub(crate) head: Vec<u8>,
}

/// All bodies of a folder, in the order of their names.
pub(crate) struct Bodies {
    prepared: Vec<Prepared>,
}

impl Bodies {
    /// Reads and signs every `*.json` of a folder; its name up to the first dot is the event's name.
    pub(crate) fn read(folder: &Path) -> Outcome<Self> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .map_err(|error| {
                format!("can't read the folder of bodies `{}`: {error}", folder.display())
            })?
            .map(|file| file.map(|file| file.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        let prepared: Vec<_> = files.iter().map(|file| prepare(file)).collect::<Result<_, _>>()?;
        if prepared.is_empty() {
            return Err(format!("no `*.json` in `{}`", folder.display()).into());
        }
        Ok(Self { prepared })
    }

    pub(crate) fn count(&self) -> usize {
        self.prepared.len()
    }

    pub(crate) fn all(&self) -> &[Prepared] {
        &self.prepared
    }

    pub(crate) fn mean_bytes(&self) -> usize {
        self.prepared.iter().map(|one| one.body.len()).sum::<usize>() / self.count()
    }

    /// Returns the body with this number; they repeat.
    pub(crate) fn body(&self, number: usize) -> Bytes {
        self.at(number).body.clone()
    }

    /// Returns a whole request with this delivery id.
    pub(crate) fn request(&self, number: usize, delivery: &str) -> Vec<u8> {
        let one = self.at(number);
        [&one.head, delivery.as_bytes(), b"\r\n\r\n", &one.body].concat()
    }

    fn at(&self, number: usize) -> &Prepared {
        let at = number % self.prepared.len();
        self.prepared.get(at).expect("there is one at least")
    }
}

fn prepare(file: &Path) -> Outcome<Prepared> {
    let body = Bytes::from(fs::read(file)?);
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("push.json");
    let event = name.split('.').next().unwrap_or("push");
    let mut head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: compare\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         X-GitHub-Event: {event}\r\n",
        body.len(),
    );
    let draft = Draft { url: "", headers: &HeaderMap::new(), body: &body };
    let secret = Secret::new(SECRET)?;
    for (name, value) in sign(Kind::GITHUB.provider().schemes, &secret, draft, Timestamp::EPOCH)? {
        write!(head, "{name}: {}\r\n", value.to_str()?)?;
    }
    head.push_str("X-GitHub-Delivery: ");
    Ok(Prepared { body, head: head.into_bytes() })
}
