//! Text that is bounded: what is beyond the bound is cut off.

pub use smol_str::SmolStr;
use smol_str::SmolStrBuilder;

/// Cuts text to at most `bytes_max` bytes, at the boundary of a character, and gives back the memory of the rest.
#[must_use]
pub fn cut<T: AsRef<str> + for<'t> From<&'t str>>(text: T, bytes_max: usize) -> T {
    let whole = text.as_ref();
    let (kept, rest) = whole.split_at(whole.floor_char_boundary(bytes_max));
    if rest.is_empty() { text } else { kept.into() }
}

/// Puts parts together.
pub(crate) fn join<const N: usize>(parts: [&str; N]) -> SmolStr {
    let mut text = SmolStrBuilder::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.push_str(part));
    text.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("abc".to_owned(), 3), "abc");
        assert_eq!(cut("ab\u{e9}".to_owned(), 3), "ab");
        assert_eq!(cut("a\u{e9}b".to_owned(), 2), "a");
        assert_eq!(cut("a\u{e9}b".to_owned(), 3), "a\u{e9}");
        assert_eq!(cut("\u{1f525}".to_owned(), 0), "");
    }
}
