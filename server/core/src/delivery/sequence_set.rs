//! A set of sequences that is small where they are dense: bitmaps of 4,096.

use std::collections::BTreeMap;

use crate::event::Sequence;

/// How many sequences a page holds.
pub const PAGE_SEQUENCES: u64 = 4_096;
const WORDS: usize = 64;

/// A set of sequences, as bitmaps of 4,096.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SequenceSet {
    /// By `sequence / 4,096`; never empty pages. Boxed, since a map makes room for eleven values with its first, and a set that
    /// empties again and again, as what is finished beyond a floor, pays for that each time.
    pages: BTreeMap<u64, Box<Page>>,
}

/// A bitmap of 4,096 sequences: bit `n % 64` of word `n / 64` stands for the n-th.
pub type Page = [u64; WORDS];

fn place(sequence: u64) -> (u64, usize, u64) {
    let offset = sequence % PAGE_SEQUENCES;
    let word = usize::try_from(offset / 64).expect("an offset within a page");
    (sequence / PAGE_SEQUENCES, word, 1 << (offset % 64))
}

impl SequenceSet {
    /// Makes an empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { pages: BTreeMap::new() }
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Returns how many sequences are in the set, counting page by page.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.pages
            .values()
            .flat_map(|page| page.iter())
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// Whether the sequence is in the set.
    #[must_use]
    pub fn contains(&self, sequence: Sequence) -> bool {
        let (page, word, bit) = place(sequence.get());
        let words = self.pages.get(&page);
        words.and_then(|words| words.get(word)).is_some_and(|word| word & bit != 0)
    }

    /// Puts a sequence in; whether it was not there.
    pub fn insert(&mut self, sequence: Sequence) -> bool {
        let (page, word, bit) = place(sequence.get());
        let words = self.pages.entry(page).or_insert_with(|| Box::new([0; WORDS]));
        let word = words.get_mut(word).expect("a page has all its words");
        let was_out = *word & bit == 0;
        *word |= bit;
        was_out
    }

    /// Takes a sequence out; whether it was there.
    pub fn remove(&mut self, sequence: Sequence) -> bool {
        let (page, word, bit) = place(sequence.get());
        let Some(words) = self.pages.get_mut(&page) else { return false };
        let word = words.get_mut(word).expect("a page has all its words");
        let was_in = *word & bit != 0;
        *word &= !bit;
        if words.iter().all(|word| *word == 0) {
            self.pages.remove(&page);
        }
        was_in
    }

    /// Takes out every sequence up to and including this one.
    pub fn remove_through(&mut self, sequence: u64) {
        let (first_kept, word, bit) = place(sequence);
        while let Some(first) = self.pages.first_entry()
            && *first.key() < first_kept
        {
            first.remove();
        }
        let Some(words) = self.pages.get_mut(&first_kept) else { return };
        for (index, kept) in words.iter_mut().enumerate() {
            if index < word {
                *kept = 0;
            } else if index == word {
                // All bits up to and including `bit`.
                *kept &= !(bit | (bit - 1));
            }
        }
        if words.iter().all(|word| *word == 0) {
            self.pages.remove(&first_kept);
        }
    }

    /// Takes out every sequence beyond this one.
    pub fn remove_after(&mut self, sequence: u64) {
        let (last_kept, word, bit) = place(sequence);
        drop(self.pages.split_off(&(last_kept + 1)));
        let Some(words) = self.pages.get_mut(&last_kept) else { return };
        for (index, kept) in words.iter_mut().enumerate() {
            if index > word {
                *kept = 0;
            } else if index == word {
                // Only bits up to and including `bit` stay.
                *kept &= bit | (bit - 1);
            }
        }
        if words.iter().all(|word| *word == 0) {
            self.pages.remove(&last_kept);
        }
    }

    /// Returns the bitmap that holds the sequences of page `number`: those with `sequence / 4,096 == number`.
    #[must_use]
    pub fn page(&self, number: u64) -> Option<&Page> {
        self.pages.get(&number).map(|page| &**page)
    }

    /// Puts a whole page in place of what was there.
    pub fn set_page(&mut self, number: u64, page: Page) {
        if page.iter().all(|word| *word == 0) {
            self.pages.remove(&number);
        } else {
            self.pages.insert(number, Box::new(page));
        }
    }

    /// Returns the sequences in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.pages.iter().flat_map(|(page, words)| {
            words.iter().zip(0_u64..).flat_map(move |(word, index)| {
                (0..64_u64)
                    .filter(move |bit| word & (1 << bit) != 0)
                    .filter_map(move |bit| Sequence::new(page * PAGE_SEQUENCES + index * 64 + bit))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sequence(n: u64) -> Sequence {
        Sequence::new(n).unwrap()
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_set(steps in prop::collection::vec((0..8_u8, 1..20_000_u64), 0..200)) {
            let mut set = SequenceSet::new();
            let mut model = BTreeSet::new();
            for (step, n) in steps {
                match step {
                    0..=3 => assert_eq!(set.insert(sequence(n)), model.insert(n)),
                    4..=5 => assert_eq!(set.remove(sequence(n)), model.remove(&n)),
                    6 => {
                        set.remove_after(n);
                        model.split_off(&(n + 1));
                    }
                    _ => {
                        set.remove_through(n / 2);
                        model = model.split_off(&(n / 2 + 1));
                    }
                }
                assert_eq!(set.contains(sequence(n)), model.contains(&n));
            }
            assert_eq!(set.is_empty(), model.is_empty());
            assert_eq!(set.count(), model.len() as u64);
            assert_eq!(set.iter().map(Sequence::get).collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }
}
