//! The trace that a request belongs to (W3C Trace Context, section 3.2).

use http::HeaderMap;

/// Returns the `traceparent` of a request if it is valid.
pub(super) fn of(headers: &HeaderMap) -> Option<&str> {
    super::header(headers, "traceparent").filter(|text| is_valid(text))
}

/// Whether the text is `version-trace-parent-flags` in lower-case hexadecimal. Versions after 00 may have more parts.
fn is_valid(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut next = |len: usize| {
        parts.next().filter(|part| {
            part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let (Some(version), Some(trace), Some(parent), Some(_)) =
        (next(2), next(32), next(16), next(2))
    else {
        return false;
    };
    let is_nonzero = |part: &str| part.bytes().any(|byte| byte != b'0');
    let is_complete = version != "00" || text.len() == 55;
    version != "ff" && is_complete && is_nonzero(trace) && is_nonzero(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_kept() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_valid(valid));
        assert!(is_valid(&format!("{}-more", valid.replacen("00", "01", 1))));
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert!(!is_valid(text), "{text}");
        }
    }
}
