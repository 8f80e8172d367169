//! Counts of bytes as people write them: `25MiB`.

use std::fmt;

/// The units, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads a count of bytes, with a unit or without.
pub(super) fn parse(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text.strip_prefix(digits)?.trim() {
        "" | "B" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// A count of bytes, shown exactly and in the largest unit of which it is a multiple: as it may be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown(pub(super) u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let fits = |unit: &&(&str, u64)| bytes != 0 && bytes.is_multiple_of(unit.1);
        match UNITS.iter().find(fits) {
            Some((name, factor)) => write!(f, "{}{name}", bytes / factor),
            None => write!(f, "{bytes}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        let sizes = [
            ("0", Some(0)),
            ("17 B", Some(17)),
            ("512KiB", Some(524_288)),
            ("16 MiB", Some(16_777_216)),
            ("2GiB", Some(2_147_483_648)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551615KiB", None),
            ("1MB", None),
            ("1.5MiB", None),
            ("-1", None),
            ("MiB", None),
            ("", None),
        ];
        for (text, wanted) in sizes {
            assert_eq!(parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_is_exact() {
        let sizes = [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1KiB"),
            (1_536, "1536B"),
            (64 << 20, "64MiB"),
            (3 << 30, "3GiB"),
            ((1 << 30) + 1_024, "1048577KiB"),
        ];
        for (bytes, wanted) in sizes {
            assert_eq!(Shown(bytes).to_string(), wanted);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_it_was(count in 0_u64..1 << 33, shift in 0..31_u32) {
            let bytes = count << shift;
            prop_assert_eq!(parse(&Shown(bytes).to_string()), Some(bytes));
        }
    }
}
