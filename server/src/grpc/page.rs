//! Pages of lists: their size, and the tokens that lead from one to the next.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tonic::Status;

use super::status::invalid;
use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// Reads a page size: unset or 0 is the default, a large one is cut to the most.
pub(super) fn size(page_size: Option<u32>) -> usize {
    match page_size {
        None | Some(0) => PAGE_SIZE_DEFAULT,
        Some(size) => usize::try_from(size).unwrap_or(usize::MAX).min(PAGE_SIZE_MAX),
    }
}

/// Makes the token of a page that begins behind `place`, for the query that `query` stands for.
pub(super) fn token(place: &str, query: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{:08x}{place}", crc32fast::hash(query.as_bytes())))
}

/// Reads a token; `None` for the first page.
///
/// # Errors
///
/// INVALID_ARGUMENT if it is not a token, or belongs to another query.
pub(super) fn place(token: &str, query: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = text.as_deref().and_then(|text| text.split_at_checked(8));
    let Some((fingerprint, place)) = parts else {
        return Err(invalid("page_token", "not a token of this hub"));
    };
    if fingerprint != format!("{:08x}", crc32fast::hash(query.as_bytes())) {
        return Err(invalid("page_token", "the token of another list, or not a token of this hub"));
    }
    Ok(Some(place.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place_for_its_query_only() {
        let made = token("17", "events *");
        assert_eq!(place(&made, "events *").unwrap().as_deref(), Some("17"));
        assert!(place(&made, "events github/*").is_err());
        assert!(place("garbage", "events *").is_err());
        assert_eq!(place("", "events *").unwrap(), None);
    }

    #[test]
    fn a_page_size_is_cut_to_what_is_allowed() {
        assert_eq!([None, Some(0), Some(7), Some(5_000)].map(size), [100, 100, 7, 1_000]);
    }
}
