//! Messages written field by field from what is borrowed. One that is made to be encoded would have to own all that it
//! holds: for an event a copy of each of its texts.

/// A message as it is written, the same bytes as an encoded one: fields in the order of their calls, and none with the
/// default of its type.
pub(super) struct Writer<'b>(pub(super) &'b mut Vec<u8>);

/// How a value is written behind its field's number.
const VARINT: u32 = 0;
const DELIMITED: u32 = 2;

impl Writer<'_> {
    pub(super) fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.varint(u64::from(field << 3 | VARINT));
            self.varint(number);
        }
    }

    pub(super) fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.delimited(field, text.len());
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    /// Writes a message that is there, even if all that it holds are defaults. It has at most [`SMALL_BYTES_MAX`].
    pub(super) fn small_message(&mut self, field: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.varint(u64::from(field << 3 | DELIMITED));
        let place = self.0.len();
        self.0.push(0);
        write(&mut Writer(self.0));
        let length = self.0.len() - place - 1;
        assert!(length <= SMALL_BYTES_MAX, "a small message is small");
        if let Some(byte) = self.0.get_mut(place) {
            *byte = u8::try_from(length).expect("it was looked at just now");
        }
    }

    /// Writes one pair of a map.
    pub(super) fn pair(&mut self, field: u32, key: &str, value: &str) {
        self.delimited(field, text_len(key) + text_len(value));
        self.text(1, key);
        self.text(2, value);
    }

    fn delimited(&mut self, field: u32, len: usize) {
        self.varint(u64::from(field << 3 | DELIMITED));
        self.varint(u64::try_from(len).expect("a length fits 64 bits"));
    }

    fn varint(&mut self, mut number: u64) {
        while 0x80 <= number {
            let [low, ..] = number.to_le_bytes();
            self.0.push(low | 0x80);
            number >>= 7;
        }
        let [last, ..] = number.to_le_bytes();
        self.0.push(last);
    }
}

/// The most bytes of a message whose length is written in one byte.
const SMALL_BYTES_MAX: usize = 0x7f;

/// Returns how many bytes a text takes as a field with a number below 16.
fn text_len(text: &str) -> usize {
    match text.len() {
        0 => 0,
        len => 1 + prost::length_delimiter_len(len) + len,
    }
}
