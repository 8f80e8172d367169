use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::*;
use crate::encoding::tests::entry;

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(entry in entry()) {
        let row = decode_entry(encode_entry(&entry, &entry.packed).into()).unwrap();
        prop_assert_eq!(super::entry(row, None).unwrap(), entry);
    }

    #[test]
    fn a_part_of_an_event_is_damage(entry in entry(), place in any::<prop::sample::Index>()) {
        let whole = event_bytes(&entry);
        let part = &whole[..place.index(whole.len())];
        prop_assert!(matches!(event::read_event(part), Err(ReadError::Damaged(_))));
    }
}

fn event_bytes(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_event(&mut bytes, &entry.event, entry.payload_size);
    bytes
}

/// Returns the bytes of an event, with a field behind it.
fn with_field(field: &[u8]) -> (Entry, Vec<u8>) {
    let entry = entry().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let bytes = [&event_bytes(&entry), field].concat();
    (entry, bytes)
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    for field in [
        &[0xf8, 0x01, 0x96, 0x01][..],         // 31: a number
        &[0xfa, 0x01, 0x02, b'h', b'i'],       // 31: a text
        &[0xf9, 0x01, 1, 2, 3, 4, 5, 6, 7, 8], // 31: eight bytes
        &[0xfd, 0x01, 1, 2, 3, 4],             // 31: four bytes
        &[0xfb, 0x01, 0x08, 7, 0xfc, 0x01],    // 31: a group
    ] {
        let (entry, bytes) = with_field(field);
        let read = event::read_event(&bytes).unwrap();
        assert_eq!(read, (entry.event, entry.payload_size), "{field:02x?}");
    }
}

#[test]
fn what_is_no_event_is_damage() {
    for field in [
        &[0x32, 0x01, 0xff][..], // an actor that is no text
        &[0x32, 0x05, b'a'],     // an actor that ends too early
        &[0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // one as long as there is no memory
        &[0x2a, 0x0b, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x10], // a time beyond all
        &[0x68 | 2, 0x00], // a size that is a text
        &[0xfb, 0x01],     // a group without an end
        &[0x00],           // a field without a number
        &[0x10, 0x00],     // a sequence of 0
    ] {
        let (_, bytes) = with_field(field);
        let read = event::read_event(&bytes);
        assert!(matches!(read, Err(ReadError::Damaged(_))), "{field:02x?}: {read:?}");
    }
}
