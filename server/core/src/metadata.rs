//! Facts beside an event, by their names.

use std::ops::Index;

use smol_str::SmolStr;

/// How many pairs most events of most providers have.
const PAIRS: usize = 10;

/// Texts by keys. They stand in the order of the keys, each key once, so that an event has one encoding. All are in one
/// piece of memory, but for texts of more than 23 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(Vec<(SmolStr, SmolStr)>);

impl Metadata {
    /// Puts a text in; returns the one that the key had.
    pub fn insert(&mut self, key: impl Into<SmolStr>, text: impl Into<SmolStr>) -> Option<SmolStr> {
        let (key, text) = (key.into(), text.into());
        match self.place(&key) {
            Ok(place) => self.0.get_mut(place).map(|(_, of_key)| std::mem::replace(of_key, text)),
            Err(place) => {
                if self.0.capacity() == 0 {
                    self.0.reserve_exact(PAIRS);
                }
                self.0.insert(place, (key, text));
                None
            }
        }
    }

    /// Returns the text of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.text(key).map(SmolStr::as_str)
    }

    /// Whether a key has a text.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.text(key).is_some()
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns keys and texts, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn text(&self, key: &str) -> Option<&SmolStr> {
        self.0.get(self.place(key).ok()?).map(|(_, text)| text)
    }

    /// Returns where a key stands, or belongs.
    fn place(&self, key: &str) -> Result<usize, usize> {
        // They mostly come in their order.
        if self.0.last().is_none_or(|(last, _)| last.as_str() < key) {
            return Err(self.0.len());
        }
        self.0.binary_search_by(|(it, _)| it.as_str().cmp(key))
    }
}

impl<K: Into<SmolStr>, V: Into<SmolStr>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let mut metadata = Self(Vec::with_capacity(pairs.size_hint().0));
        for (key, text) in pairs {
            metadata.insert(key, text);
        }
        metadata
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Metadata {
    fn from(pairs: [(&str, &str); N]) -> Self {
        pairs.into_iter().collect()
    }
}

/// The text of a key that is there.
impl Index<&str> for Metadata {
    type Output = SmolStr;

    fn index(&self, key: &str) -> &SmolStr {
        self.text(key).expect("the key is there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_in_the_order_of_their_keys_each_key_once() {
        let mut metadata = Metadata::from([("b", "1"), ("a", "2"), ("c", "3"), ("a", "4")]);
        assert_eq!(metadata.insert("b", "5").as_deref(), Some("1"));
        metadata.insert("", "6");
        let pairs: Vec<_> = metadata.iter().collect();
        assert_eq!(pairs, [("", "6"), ("a", "4"), ("b", "5"), ("c", "3")]);
        assert_eq!((metadata.get("c"), metadata.get("d"), metadata.len()), (Some("3"), None, 4));
        assert_eq!(metadata, [("c", "3"), ("b", "5"), ("a", "4"), ("", "6")].into());
    }
}
