//! Places in a trace (W3C Trace Context).

use hookline_core::delivery::LeaseId;

/// A span's place: its trace, itself, and what it hangs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The span; never 0.
    pub span: u64,
    /// The span above; `None`: it is the first.
    pub parent: Option<u64>,
    /// Whether that one is of another process.
    pub parent_is_remote: bool,
}

impl Context {
    /// Makes the first span of a new trace.
    #[must_use]
    pub fn root() -> Self {
        let (trace, span) = (uuid::Uuid::new_v4().as_u128(), random());
        Self { trace, span, parent: None, parent_is_remote: false }
    }

    /// Makes a span below this one.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: random(), parent: Some(self.span), parent_is_remote: false, ..self }
    }

    /// As [`Context::child`], where this one is of another process.
    #[must_use]
    pub fn child_of_another(self) -> Self {
        Self { parent_is_remote: true, ..self.child() }
    }

    /// Returns the place of an attempt below this one. The same lease has the same place, also after a restart.
    #[must_use]
    pub fn of_lease(self, lease: &LeaseId) -> Self {
        let parts = [lease.creation.0, lease.stamp.epoch.0, lease.stamp.counter];
        let span = parts.into_iter().fold(self.span, |hash, part| mix(hash ^ mix(part)));
        Self { span: span.max(1), parent: Some(self.span), parent_is_remote: false, ..self }
    }

    /// Reads a `traceparent`: whose place it is, and whether it is recorded. `None` if it is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, bool)> {
        let mut parts = text.split('-');
        let mut part = |len: usize| {
            parts.next().filter(|part| {
                part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            })
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let is_known = version != "ff" && (version != "00" || text.len() == 55);
        let context = Self { trace, span, parent: None, parent_is_remote: false };
        is_known.then_some((context, flags & 1 == 1))
    }

    /// Writes it as a `traceparent` that is recorded.
    #[must_use]
    pub fn traceparent(self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace, self.span)
    }

    /// Whether the trace is one of the part that is recorded: the same for all who ask.
    #[must_use]
    pub fn is_within(self, ratio: f64) -> bool {
        // Of the id's last 32 bits, which are random.
        let part = f64::from(u32::try_from(self.trace & u128::from(u32::MAX)).unwrap_or(u32::MAX));
        part < ratio * (f64::from(u32::MAX) + 1.0)
    }
}

fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

/// Spreads what differs in a bit over all bits (the end of splitmix64).
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use hookline_core::{
        delivery::{Creation, Epoch, Stamp},
        event::Sequence,
    };

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let (context, is_sampled) = Context::parse(VALID).unwrap();
        assert!(is_sampled);
        assert_eq!(context.traceparent(), VALID);
        let unsampled = VALID.replace("-01", "-00");
        assert_eq!(Context::parse(&unsampled), Some((context, false)));
        for bad in ["", "00-1-2-01", &VALID.to_uppercase(), &format!("{VALID}-x"), "ff"] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_ratio_of_a_half_takes_about_half_and_the_ends_all_and_none() {
        let within = |ratio| (0..2_000).filter(|_| Context::root().is_within(ratio)).count();
        assert_eq!((within(0.0), within(1.0)), (0, 2_000));
        assert!((800..1_200).contains(&within(0.5)));
    }

    #[test]
    fn each_lease_has_a_place_of_its_own_and_always_the_same() {
        let (event, _) = Context::parse(VALID).unwrap();
        let lease = |epoch, counter| LeaseId {
            creation: Creation(1),
            sequence: Sequence::FIRST,
            generation: 0,
            attempt: 1,
            stamp: Stamp { epoch: Epoch(epoch), counter },
            consumer: Arc::from("one"),
        };
        let places = (0..10).flat_map(|epoch| (0..10).map(move |counter| (epoch, counter)));
        let spans: BTreeSet<_> =
            places.map(|(epoch, counter)| event.of_lease(&lease(epoch, counter)).span).collect();
        assert_eq!(spans.len(), 100);
        let one = event.of_lease(&lease(3, 4));
        assert_eq!((one, one.parent), (event.of_lease(&lease(3, 4)), Some(event.span)));
    }
}
