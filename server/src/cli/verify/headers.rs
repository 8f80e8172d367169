//! A file with the headers of a request, as people copy them.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// What stands before a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the request line, if it is there.
    pub(super) method: Option<Method>,
    /// Path and query of the request line, if it is there.
    pub(super) target: Option<String>,
    pub(super) headers: HeaderMap,
}

/// A line is no header. It is not shown: it may hold a credential.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not `Name: value`")]
pub(super) struct NoHeader(usize);

impl Head {
    /// Reads lines `Name: value`. What tools add is passed over: the marks `> ` before what `curl -v` has sent, its
    /// other lines, HTTP/2's pseudo-headers.
    pub(super) fn parse(file: &[u8]) -> Result<Self, NoHeader> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        let file = file.strip_prefix(MARK).unwrap_or(file);
        let mut head = Self::default();
        for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_prefix(b">").unwrap_or(line).trim_ascii();
            let is_of_tool = line.first().is_none_or(|first| b"*<{}:".contains(first));
            if is_of_tool || head.take_request_line(line) {
                continue;
            }
            let (name, value) = header(line).ok_or(NoHeader(index + 1))?;
            head.headers.append(name, value);
        }
        Ok(head)
    }

    /// Takes `POST /webhooks/github HTTP/1.1` before the first header.
    fn take_request_line(&mut self, line: &[u8]) -> bool {
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let [method, target, version] = words.as_slice() else { return false };
        if !self.headers.is_empty() || !version.starts_with(b"HTTP/") {
            return false;
        }
        let target = str::from_utf8(target).ok().map(str::to_owned);
        // The absolute form is for proxies.
        self.target = target.filter(|target| target.starts_with('/'));
        self.method = Method::from_bytes(method).ok();
        true
    }
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
    let value = value.strip_prefix(b":")?.trim_ascii();
    Some((HeaderName::from_bytes(name.trim_ascii()).ok()?, HeaderValue::from_bytes(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_people_copy_them() {
        for file in [
            "X-A: 1\nX-B: b: c",
            "\u{feff}x-a:1\r\nx-b:  b: c  \r\n\r\n",
            "> POST /in?a HTTP/1.1\r\n> X-A: 1\r\n> X-B: b: c\r\n>\r\n* sent\n< HTTP/1.1 401\n",
            ":method: POST\nx-a: 1\nx-b: b: c\n",
        ] {
            let head = Head::parse(file.as_bytes()).unwrap();
            let has_line = file.contains("POST /in");
            assert_eq!(head.method, has_line.then_some(Method::POST));
            assert_eq!(head.target.as_deref(), has_line.then_some("/in?a"));
            assert_eq!(head.headers.len(), 2, "{file:?}");
            assert_eq!(
                (&head.headers["x-a"], &head.headers["x-b"]),
                (&"1".parse().unwrap(), &"b: c".parse().unwrap())
            );
        }
    }

    #[test]
    fn a_line_that_is_no_header_is_told_by_its_number_only() {
        let error = Head::parse(b"x-a: 1\nhunter2\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not `Name: value`");
        assert!(Head::parse(b"POST / HTTP/1.1\nx-a: 1\nGET / HTTP/1.1").is_err());
    }
}
