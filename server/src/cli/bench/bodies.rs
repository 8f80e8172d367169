//! What is posted: bodies of a folder or made up, each signed once, in requests that lack only their delivery's id.

use std::{fs, path::Path};

use bytes::Bytes;
use hookline_core::{
    source::{Kind, Secret},
    time::Timestamp,
    verify::{Draft, sign},
};
use http::{HeaderMap, Uri};

use super::{super::CommandError, generator};

/// The most files of a folder that are read: all of them are kept in memory.
const FILE_COUNT_MAX: usize = 10_000;

/// A body, and the name of the event that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// What GitHub sends as `X-GitHub-Event`.
    pub(super) event: String,
    /// The body.
    pub(super) bytes: Bytes,
}

/// A request but for its delivery's id, which stands between the two parts.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) head: Bytes,
    pub(super) tail: Bytes,
}

/// Reads all `*.json` of a folder, in the order of their names, or makes bodies up.
///
/// # Errors
///
/// If the folder can't be read, or has none.
pub(super) fn bodies(folder: Option<&Path>, seed: u64) -> Result<Vec<Body>, CommandError> {
    let Some(folder) = folder else { return Ok(generator::bodies(seed)) };
    let failed = |source| CommandError::Input { what: format!("`{}`", folder.display()), source };
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.truncate(FILE_COUNT_MAX);
    if paths.is_empty() {
        return Err(CommandError::Usage(format!("no `*.json` in `{}`", folder.display())));
    }
    let read = |path: &std::path::PathBuf| {
        let bytes = fs::read(path).map_err(failed)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Body { event: event_of(&name.unwrap_or_default()), bytes: bytes.into() })
    };
    paths.iter().map(read).collect()
}

/// Returns the event that a file's name says: `pull_request.opened.json` is a `pull_request`. One or two letters in
/// front, such as `gp.`, say where a collection has it from.
fn event_of(file: &str) -> String {
    let mut parts = file.split('.');
    let event = parts.find(|part| 2 < part.chars().count()).unwrap_or("push");
    event
        .replace('-', "_")
        .chars()
        .filter(|char| matches!(char, 'a'..='z' | '_' | '0'..='9'))
        .collect()
}

/// Makes the requests that post these bodies to a source of GitHub.
///
/// # Errors
///
/// If the secret does not sign.
pub(super) fn templates(
    bodies: &[Body],
    url: &Uri,
    secret: &Secret,
) -> Result<Vec<Template>, CommandError> {
    let schemes = Kind::GITHUB.provider().schemes;
    let host = url.authority().map_or("localhost", http::uri::Authority::as_str);
    let template = |body: &Body| {
        let draft = Draft { url: "", headers: &HeaderMap::new(), body: &body.bytes };
        let signed = sign(schemes, secret, draft, Timestamp::EPOCH)
            .map_err(|error| CommandError::Usage(format!("could not sign: {error}")))?;
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             X-GitHub-Event: {}\r\n",
            url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
            body.bytes.len(),
            body.event,
        );
        for (name, value) in signed {
            head.extend([name.as_str(), ": ", value.to_str().unwrap_or_default(), "\r\n"]);
        }
        head.push_str("X-GitHub-Delivery: ");
        let tail = [b"\r\n\r\n", &body.bytes[..]].concat();
        Ok(Template { head: head.into(), tail: tail.into() })
    };
    bodies.iter().map(template).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_stands_in_the_name_of_the_file() {
        for (file, event) in [
            ("pull_request.opened.json", "pull_request"),
            ("gp.check-run.json", "check_run"),
            ("push.json", "push"),
            ("a.b", "push"),
        ] {
            assert_eq!(event_of(file), event);
        }
    }

    #[test]
    fn a_request_is_whole_but_for_its_id() {
        let body = Body { event: "push".to_owned(), bytes: Bytes::from_static(b"{}") };
        let url = "http://hub:80/webhooks/github".parse().unwrap();
        let made = templates(&[body], &url, &Secret::new("secret").unwrap()).unwrap();
        let text = [&made[0].head[..], b"id", &made[0].tail[..]].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("POST /webhooks/github HTTP/1.1\r\nHost: hub:80\r\n"), "{text}");
        assert!(text.contains("\r\nx-hub-signature-256: sha256="), "{text}");
        assert!(text.ends_with("\r\nX-GitHub-Delivery: id\r\n\r\n{}"), "{text}");
    }
}
