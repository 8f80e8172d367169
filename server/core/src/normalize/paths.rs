//! The members of a body that a reader asks for, made ready once: a tree by keys, so that a member is looked for among
//! its siblings only.

use std::sync::LazyLock;

use super::json::{DEPTH_MAX, PATHS_MAX};

/// Paths that are built in, made ready when they are first used.
pub(crate) type Static = LazyLock<Paths<'static>>;

/// Makes [`Static`] paths: `static PATHS: paths::Static = paths!["id", "data.id"];`.
macro_rules! paths {
    ($($path:expr),+ $(,)?) => {
        std::sync::LazyLock::new(|| $crate::normalize::paths::Paths::new(&[$($path),+]))
    };
}
pub(crate) use paths;

/// A set of paths.
#[derive(Debug)]
pub(crate) struct Paths<'p> {
    /// By length and then by text, each with the place of what it finds: lengths are told apart sooner than texts, which
    /// begin alike.
    by_text: Vec<(&'p str, usize)>,
    /// The root first; the children of a node stand together.
    nodes: Vec<Node<'p>>,
}

#[derive(Debug)]
struct Node<'p> {
    key: &'p str,
    /// The place of what a path finds that ends here.
    leaf: Option<usize>,
    /// The places of what the paths find that go on from here, one bit each.
    below: u64,
    children: std::ops::Range<usize>,
}

impl<'p> Paths<'p> {
    /// Takes paths apart, whose keys are separated by dots, or by what [`super::pointer`] puts between them.
    ///
    /// Paths must differ, have at most [`DEPTH_MAX`] keys, and be at most [`PATHS_MAX`]; further ones are not read.
    pub(crate) fn new(texts: &[&'p str]) -> Self {
        debug_assert!(texts.len() <= PATHS_MAX, "at most {PATHS_MAX} paths");
        let texts = texts.iter().take(PATHS_MAX).copied().enumerate();
        let mut by_text: Vec<_> = texts.map(|(place, text)| (text, place)).collect();
        by_text.sort_unstable_by_key(|&(text, _)| (text.len(), text));
        let mut by_keys: Vec<_> =
            by_text.iter().map(|&(text, place)| (keys(text), place)).collect();
        by_keys.sort_unstable();
        let mut nodes = vec![Node { key: "", leaf: None, below: 0, children: 0..0 }];
        // The paths that go through each node, as a range, and how many keys lead there.
        let mut ranges = vec![(0..by_keys.len(), 0_usize)];
        let mut index = 0;
        while let Some((range, depth)) = ranges.get(index).cloned() {
            let first = nodes.len();
            let mut rest = by_keys.get(range).unwrap_or_default();
            let mut start = ranges.get(index).map_or(0, |(range, _)| range.start);
            while let Some((keys, place)) = rest.first() {
                let Some(key) = keys.get(depth).copied().filter(|key| !key.is_empty()) else {
                    // It ends here.
                    if let Some(node) = nodes.get_mut(index) {
                        node.leaf = Some(*place);
                    }
                    (rest, start) = (rest.get(1..).unwrap_or_default(), start + 1);
                    continue;
                };
                let count = rest.iter().take_while(|(it, _)| it.get(depth) == Some(&key)).count();
                let (group, others) = rest.split_at(count);
                let below = group.iter().fold(0, |bits, (_, place)| bits | bit(*place));
                nodes.push(Node { key, leaf: None, below: 0, children: 0..0 });
                ranges.push((start..start + count, depth + 1));
                if let Some(node) = nodes.get_mut(index) {
                    node.below |= below;
                }
                (rest, start) = (others, start + count);
            }
            let last = nodes.len();
            if let Some(node) = nodes.get_mut(index) {
                node.children = first..last;
            }
            index += 1;
        }
        Self { by_text, nodes }
    }

    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Returns the place of what a path finds.
    pub(crate) fn place(&self, text: &str) -> Option<usize> {
        let wanted = (text.len(), text);
        let index = self.by_text.binary_search_by(|&(it, _)| (it.len(), it).cmp(&wanted)).ok()?;
        self.by_text.get(index).map(|(_, place)| *place)
    }

    /// Returns the node that a member leads to from a node.
    pub(crate) fn child(&self, node: usize, key: &str) -> Option<usize> {
        let children = self.nodes.get(node)?.children.clone();
        let first = children.start;
        let found = self.nodes.get(children)?.iter().position(|child| child.key == key)?;
        Some(first + found)
    }

    /// Whether paths go on from a node.
    pub(crate) fn goes_on(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| !node.children.is_empty())
    }

    /// Returns the place of what a path finds that ends at a node.
    pub(crate) fn leaf(&self, node: usize) -> Option<usize> {
        self.nodes.get(node)?.leaf
    }

    /// Returns the places of what the paths find that go on from a node.
    pub(crate) fn below(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let mut bits = self.nodes.get(node).map_or(0, |node| node.below);
        std::iter::from_fn(move || {
            let index = usize::try_from(bits.trailing_zeros()).ok().filter(|_| bits != 0)?;
            bits &= bits - 1;
            Some(index)
        })
    }
}

/// The node where all paths begin.
pub(crate) const ROOT: usize = 0;

/// Returns the keys of a path, padded with empty ones.
fn keys(path: &str) -> [&str; DEPTH_MAX] {
    // A JSON pointer's keys may have dots, so they are separated by what no key has.
    let (path, separator) = path.strip_prefix('\0').map_or((path, '.'), |path| (path, '\0'));
    debug_assert!(path.split(separator).count() <= DEPTH_MAX, "`{path}` has too many keys");
    let mut keys = [""; DEPTH_MAX];
    for (key, part) in keys.iter_mut().zip(path.split(separator)) {
        *key = part;
    }
    keys
}

fn bit(index: usize) -> u64 {
    u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_a_tree_by_their_keys() {
        let paths = Paths::new(&["b.c", "a", "b.a.x", "b"]);
        assert_eq!(paths.len(), 4);
        assert_eq!(paths.place("b.a.x"), Some(2));
        assert_eq!(paths.place("x"), None);
        let b = paths.child(ROOT, "b").unwrap();
        assert_eq!(paths.leaf(b), Some(3));
        assert_eq!(paths.below(b).collect::<Vec<_>>(), [0, 2]);
        let a = paths.child(b, "a").unwrap();
        assert!(paths.goes_on(a) && paths.leaf(a).is_none());
        assert_eq!(paths.leaf(paths.child(a, "x").unwrap()), Some(2));
        assert_eq!(paths.child(ROOT, "c"), None);
        assert_eq!(paths.below(ROOT).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_pointer_may_have_dots_in_its_keys() {
        let paths = Paths::new(&["\0a.b\0c", "a.b"]);
        let dotted = paths.child(ROOT, "a.b").unwrap();
        assert_eq!(paths.leaf(paths.child(dotted, "c").unwrap()), Some(0));
        assert_eq!(paths.leaf(paths.child(paths.child(ROOT, "a").unwrap(), "b").unwrap()), Some(1));
    }
}
