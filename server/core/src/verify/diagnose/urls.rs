//! Other addresses, of kinds that sign the one that they post to.

use super::{Case, Diagnosis, Finding, UrlChange};
use crate::{
    source::{PublicUrl, Settings},
    verify::{Request, Scheme},
};

/// Tries the address that was told, and the configured one in the ways in which it is got wrong.
pub(super) fn find(case: &Case<'_>) -> Option<Diagnosis> {
    if !case.source.schemes().iter().any(Scheme::needs_url) {
        return None;
    }
    let told = case.posted_url.map(|url| (Finding::PostedUrl, url.to_owned()));
    let url = case.source.url_of(case.request.target).unwrap_or_default();
    let variants = variants(&url).into_iter().map(|(changes, url)| (Finding::Url(changes), url));
    told.into_iter().chain(variants).find_map(|(finding, url)| judge(case, &url, finding))
}

/// Judges the request as if it was posted at this address.
fn judge(case: &Case<'_>, url: &str, finding: Finding) -> Option<Diagnosis> {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, Some(query)),
        None => (url, None),
    };
    let path = case.request.target.split('?').next().unwrap_or_default();
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let url = Some(PublicUrl::Exact(base.into()));
    let settings = Settings { url, ..case.source.settings().clone() };
    let source = case.with(case.source.secrets().to_vec(), settings)?;
    case.judge(&source, Request { target: &target, ..case.request }, || finding)
}

/// Returns an address in all combinations of what is changed, the fewest changes first.
fn variants(url: &str) -> Vec<(Vec<UrlChange>, String)> {
    let Some((scheme, rest)) = url.split_once("://") else { return Vec::new() };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, format!("?{query}")),
        None => (rest, String::new()),
    };
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, String::new()),
    };
    let other_scheme = match scheme {
        "http" => Some((UrlChange::Https, "https".to_owned())),
        "https" => Some((UrlChange::Http, "http".to_owned())),
        _ => None,
    };
    let bare_host = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let bare_host = bare_host.map(|(host, _)| (UrlChange::WithoutPort, host.to_owned()));
    let other_path = match path.strip_suffix('/') {
        Some(path) => (UrlChange::WithoutSlash, path.to_owned()),
        None => (UrlChange::WithSlash, format!("{path}/")),
    };
    let no_query = (!query.is_empty()).then(|| (UrlChange::WithoutQuery, String::new()));
    let parts = [
        (scheme.to_owned(), other_scheme),
        (host.to_owned(), bare_host),
        (path, Some(other_path)),
        (query, no_query),
    ];
    let mut all = vec![(Vec::new(), Vec::new())];
    for (kept, other) in parts {
        let grown = all.iter().flat_map(|(changes, texts): &(Vec<UrlChange>, Vec<String>)| {
            let with = |change: Option<UrlChange>, text: &String| {
                let changes = changes.iter().copied().chain(change).collect();
                (changes, [texts.clone(), vec![text.clone()]].concat())
            };
            let other = other.as_ref().map(|(change, text)| with(Some(*change), text));
            std::iter::once(with(None, &kept)).chain(other)
        });
        all = grown.collect();
    }
    all.retain(|(changes, _)| !changes.is_empty());
    all.sort_by_key(|(changes, _)| changes.len());
    let joined = |texts: Vec<String>| {
        let (scheme, rest) = texts.split_first().map_or(("", &[][..]), |(it, rest)| (it, rest));
        format!("{scheme}://{}", rest.concat())
    };
    all.into_iter().map(|(changes, texts)| (changes, joined(texts))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_varied_in_every_part_and_in_several() {
        let all = variants("http://h:8080/a?b=c");
        let urls: Vec<_> = all.iter().map(|(_, url)| url.as_str()).collect();
        assert_eq!(urls.len(), 15);
        assert!(urls.starts_with(&["http://h:8080/a", "http://h:8080/a/?b=c"]), "{urls:?}");
        for url in ["https://h:8080/a?b=c", "http://h/a?b=c", "https://h/a/"] {
            assert!(urls.contains(&url), "{urls:?}");
        }
        assert_eq!(variants("https://[::1]").len(), 3);
        assert!(variants("").is_empty());
    }
}
