//! What is done to inputs.

use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What parsers stumble over.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"-0",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"1e999",
    b"-1e-999",
    b"9223372036854775808",
    b"18446744073709551616",
    b"0.1e",
    b"NaN",
    b"&",
    b"=",
    b"%",
    b"%00",
    b"%ff",
    b"+",
    b";",
    b"*",
    b"**",
    b"/",
    b"//",
    b"~",
    b"~0",
    b"~2",
    b"!",
    b".",
    b"..",
    b" ",
    b"\n",
    b"\r\n",
    b"\t",
    b"2019-02-30T25:61:61Z",
    b"9999-12-31T23:59:60+99:99",
    b"-99999999999999999",
    b"253402300800",
    b"\"\":",
    b"#",
    b"'",
    b"\"\"\"",
    b"env:",
    b"file:",
];

/// What takes a JSON value's place.
const VALUES: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "[[]]",
    "\"\"",
    "\"x\"",
    "0",
    "-1",
    "1.5",
    "1e400",
    "\"\\u0000\"",
    "18446744073709551615",
    "[null,{}]",
    "{\"id\":1}",
    "{\"\":[]}",
    "\"\\ud83d\\ude00\"",
];

/// The most bytes that an input grows to.
const BYTES_MAX: usize = 256 << 10;

/// Does one to four things to an input. Half of what is JSON stays JSON, so that what is behind the parser is met too.
pub(crate) fn bytes(rng: &mut Rng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    if matches!(seed.first(), Some(b'{' | b'[')) && rng.bool() {
        (0..=rng.usize(0..6)).for_each(|_| replace_value(rng, &mut bytes));
        return bytes;
    }
    for _ in 0..=rng.usize(0..4) {
        mutate(rng, &mut bytes, other);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

/// Does the same to text; what is no UTF-8 any more is replaced.
pub(crate) fn text(rng: &mut Rng, seed: &str, other: &str) -> String {
    String::from_utf8_lossy(&bytes(rng, seed.as_bytes(), other.as_bytes())).into_owned()
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.usize(0..=bytes.len());
    let end = at + rng.usize(0..=(bytes.len() - at).min(64));
    match rng.u8(0..12) {
        0 => flip(rng, bytes),
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let part = bytes[at..end].to_vec();
            insert(bytes, end, &part);
        }
        4 => {
            let from = rng.usize(0..=other.len());
            let to = from + rng.usize(0..=(other.len() - from).min(512));
            insert(bytes, at, &other[from..to]);
        }
        5 | 6 => insert(bytes, at, TOKENS[rng.usize(0..TOKENS.len())]),
        7 => nest(rng, bytes, at),
        8 => insert(bytes, at, &digits(rng)),
        _ => replace_value(rng, bytes),
    }
}

fn flip(rng: &mut Rng, bytes: &mut [u8]) {
    for _ in 0..=rng.usize(0..4) {
        if !bytes.is_empty() {
            bytes[rng.usize(0..bytes.len())] ^= 1 << rng.u8(0..8);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    drop(bytes.splice(at..at, part.iter().copied()));
}

/// Puts something deep into it, closed or not. Mostly a little deep: the deepest take their time.
fn nest(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let depth = if rng.u8(0..16) == 0 { 10_000 } else { rng.usize(1..200) };
    let (open, close) = if rng.bool() { ("[", "]") } else { ("{\"id\":", "}") };
    let inner = if rng.bool() { "1" } else { "" };
    let close = if rng.bool() { close.repeat(depth) } else { String::new() };
    insert(bytes, at, format!("{}{inner}{close}", open.repeat(depth)).as_bytes());
}

fn digits(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(1..400)).map(|_| rng.u8(b'0'..=b'9')).collect()
}

/// Puts another value where a JSON value stands.
fn replace_value(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let from = rng.usize(0..=bytes.len());
    let Some(at) = value_start(bytes, from) else { return };
    let end = at + value_len(&bytes[at..]);
    let value = VALUES[rng.usize(0..VALUES.len())];
    drop(bytes.splice(at..end, value.bytes()));
}

/// Returns where the first value of an object or array begins that begins at `from` or after it.
fn value_start(text: &[u8], from: usize) -> Option<usize> {
    let (mut open, mut is_text, mut is_escaped) = (Vec::new(), false, false);
    for (at, byte) in text.iter().enumerate() {
        if is_text {
            is_text = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        let is_start = match byte {
            b':' => true,
            b',' => open.last() == Some(&b'['),
            b'[' => text.get(at + 1) != Some(&b']'),
            _ => false,
        };
        match byte {
            b'"' => is_text = true,
            b'{' | b'[' => open.push(*byte),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
        if is_start && from <= at {
            return Some(at + 1);
        }
    }
    None
}

/// Returns how many bytes the value takes that the text begins with; all of them if it does not end.
fn value_len(text: &[u8]) -> usize {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        if is_text {
            is_text = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => is_text = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Does one or two things to headers: a value is taken away, repeated, changed, no UTF-8, long, or another header's.
pub(crate) fn headers(rng: &mut Rng, seed: &HeaderMap) -> HeaderMap {
    let mut headers = seed.clone();
    for _ in 0..=rng.usize(0..2) {
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        if names.is_empty() {
            break;
        }
        let name = &names[rng.usize(0..names.len())];
        let value = headers[name].clone();
        let other = headers[&names[rng.usize(0..names.len())]].clone();
        match rng.u8(0..10) {
            0 => drop(headers.remove(name)),
            1 => drop(headers.append(name, value)),
            2 => drop(headers.append(name, other)),
            3 => drop(headers.insert(name, other)),
            4 => drop(headers.insert(name, HeaderValue::from_static(""))),
            5 => {
                let bytes = [value.as_bytes(), b"\xff\xfe"].concat();
                headers.insert(name, HeaderValue::from_bytes(&bytes).unwrap());
            }
            6 => {
                let part = [value.as_bytes(), b",", other.as_bytes(), b" "].concat();
                let mut long = part.repeat(rng.usize(1..64));
                long.truncate(16 << 10);
                headers.insert(name, HeaderValue::from_bytes(&long).unwrap());
            }
            _ => {
                let mut bytes = bytes(rng, value.as_bytes(), other.as_bytes());
                bytes.truncate(8 << 10);
                bytes.retain(|&byte| byte == b'\t' || 0x20 <= byte && byte != 0x7f);
                headers.insert(name, HeaderValue::from_bytes(&bytes).unwrap());
            }
        }
    }
    headers
}
