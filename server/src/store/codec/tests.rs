use proptest::prelude::*;

use super::*;
use crate::encoding::tests::entry;

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(entry in entry()) {
        let row = decode_entry(encode_entry(&entry, &entry.packed).into()).unwrap();
        prop_assert_eq!(super::entry(row, None).unwrap(), entry);
    }
}
