//! JSON as other libraries would have written it: the same members in the same order, and numbers digit by digit.

use std::{fmt, iter::Peekable, str::Chars};

use serde::de::IgnoredAny;

/// Where white space stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Nowhere.
    Compact,
    /// A space after each comma and colon, as Python writes.
    Spaced,
    /// A line for each member, indented by two spaces.
    Indent2,
    /// A line for each member, indented by four spaces.
    Indent4,
    /// A line for each member, indented by tabs.
    Tabs,
}

/// What is escaped in texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// What was escaped.
    Kept,
    /// What has to be.
    Least,
    /// What is not ASCII too, as Python writes.
    Ascii,
    /// What is not ASCII, and slashes, as PHP writes.
    AsciiAndSlash,
    /// What HTML gives a meaning, as Go writes.
    Html,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Compact, Self::Spaced, Self::Indent2, Self::Indent4, Self::Tabs];

    const fn indent(self) -> Option<&'static str> {
        match self {
            Self::Compact | Self::Spaced => None,
            Self::Indent2 => Some("  "),
            Self::Indent4 => Some("    "),
            Self::Tabs => Some("\t"),
        }
    }
}

impl Escapes {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Kept, Self::Least, Self::Ascii, Self::AsciiAndSlash, Self::Html];
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compact => "compact JSON",
            Self::Spaced => "JSON with a space after each `,` and `:`",
            Self::Indent2 => "JSON indented by 2 spaces",
            Self::Indent4 => "JSON indented by 4 spaces",
            Self::Tabs => "JSON indented by tabs",
        })
    }
}

impl fmt::Display for Escapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "",
            Self::Least => " without needless escapes",
            Self::Ascii => " with \\u escapes for what is not ASCII",
            Self::AsciiAndSlash => " with \\u escapes for what is not ASCII and \\/ for slashes",
            Self::Html => " with \\u003c, \\u003e and \\u0026 for <, > and &",
        })
    }
}

/// Whether a text is JSON.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// How deep lines are indented at most: deeper JSON is read by few parsers, and the indents would grow with the square of
/// the depth.
const INDENTS_MAX: usize = 128;

/// Writes JSON anew. Of a text that is not JSON it makes something, of bounded size: to each of its characters it adds a
/// line's indent at most.
pub(super) fn json(text: &str, layout: Layout, escapes: Escapes) -> String {
    let mut writer = Writer { out: String::with_capacity(text.len()), layout, depth: 0 };
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' => write_text(&token(&mut chars), escapes, &mut writer.out),
            '{' | '[' => {
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                writer.out.push(char);
                match chars.next_if(|char| matches!(char, '}' | ']')) {
                    // What is empty stays on its line.
                    Some(end) => writer.out.push(end),
                    None => writer.open(),
                }
            }
            '}' | ']' => writer.close(char),
            ',' => writer.comma(),
            ':' => writer.out.push_str(if layout == Layout::Compact { ":" } else { ": " }),
            char if char.is_ascii_whitespace() => {}
            char => writer.out.push(char),
        }
    }
    writer.out
}

struct Writer {
    out: String,
    layout: Layout,
    depth: usize,
}

impl Writer {
    fn open(&mut self) {
        self.depth += 1;
        self.line();
    }

    fn close(&mut self, char: char) {
        self.depth = self.depth.saturating_sub(1);
        self.line();
        self.out.push(char);
    }

    fn comma(&mut self) {
        self.out.push(',');
        match self.layout {
            Layout::Spaced => self.out.push(' '),
            Layout::Compact | Layout::Indent2 | Layout::Indent4 | Layout::Tabs => self.line(),
        }
    }

    fn line(&mut self) {
        if let Some(indent) = self.layout.indent() {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent, self.depth.min(INDENTS_MAX)));
        }
    }
}

/// Returns a text as it is written, with its quotes; the first one is read already.
fn token(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut token = String::from('"');
    while let Some(char) = chars.next() {
        token.push(char);
        match char {
            '"' => break,
            '\\' => token.extend(chars.next()),
            _ => {}
        }
    }
    token
}

fn write_text(token: &str, escapes: Escapes, out: &mut String) {
    if escapes == Escapes::Kept {
        out.push_str(token);
        return;
    }
    // Half of a surrogate pair is no text.
    let Ok(text) = serde_json::from_str::<String>(token) else {
        out.push_str(token);
        return;
    };
    out.push('"');
    text.chars().for_each(|char| write_char(char, escapes, out));
    out.push('"');
}

fn write_char(char: char, escapes: Escapes, out: &mut String) {
    let is_ascii = matches!(escapes, Escapes::Ascii | Escapes::AsciiAndSlash);
    match char {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '/' if escapes == Escapes::AsciiAndSlash => out.push_str("\\/"),
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if escapes == Escapes::Html => unit(char, out),
        char if char < ' ' || (is_ascii && !char.is_ascii()) => unit(char, out),
        char => out.push(char),
    }
}

/// Writes `\u` and four hexadecimal digits, twice for what is beyond the first 65,536 characters.
fn unit(char: char, out: &mut String) {
    for unit in char.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_anew_in_each_layout() {
        let text = "{ \"a\":[1.50,{}, [ ]],\r\n\"b\" : {\"c\": \"x, y: {z}\"}}\n";
        let of = |layout| json(text, layout, Escapes::Kept);
        assert_eq!(of(Layout::Compact), r#"{"a":[1.50,{},[]],"b":{"c":"x, y: {z}"}}"#);
        assert_eq!(of(Layout::Spaced), r#"{"a": [1.50, {}, []], "b": {"c": "x, y: {z}"}}"#);
        assert_eq!(
            of(Layout::Indent2),
            "{\n  \"a\": [\n    1.50,\n    {},\n    []\n  ],\n  \"b\": {\n    \"c\": \"x, y: {z}\"\n  }\n}"
        );
        assert!(of(Layout::Tabs).starts_with("{\n\t\"a\": [\n\t\t1.50,\n"));
    }

    #[test]
    fn texts_are_escaped_as_each_library_does() {
        let text = "\"\\u00e9\u{1f525}\\/<&\\n\\\"\\u0001\"";
        let of = |escapes| json(text, Layout::Compact, escapes);
        assert_eq!(of(Escapes::Kept), text);
        assert_eq!(of(Escapes::Least), "\"\u{e9}\u{1f525}/<&\\n\\\"\\u0001\"");
        assert_eq!(of(Escapes::Ascii), "\"\\u00e9\\ud83d\\udd25/<&\\n\\\"\\u0001\"");
        assert_eq!(of(Escapes::AsciiAndSlash), "\"\\u00e9\\ud83d\\udd25\\/<&\\n\\\"\\u0001\"");
        assert_eq!(of(Escapes::Html), "\"\u{e9}\u{1f525}/\\u003c\\u0026\\n\\\"\\u0001\"");
        assert_eq!(json("\"\\ud83d\"", Layout::Compact, Escapes::Ascii), "\"\\ud83d\"");
    }
}
