//! Text that is bounded: what is beyond the bound is cut off.

/// Cuts text to at most `bytes_max` bytes, at the boundary of a character, and gives back the memory of the rest.
#[must_use]
pub fn cut(mut text: String, bytes_max: usize) -> String {
    if bytes_max < text.len() {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.shrink_to_fit();
    }
    text
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
