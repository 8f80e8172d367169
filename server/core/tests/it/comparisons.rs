//! Looks at the source: secrets are compared in one file only, in constant time, and bodies are parsed in two.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hookline_core::source::{LiveSecret, Secret};

/// Where signatures and secrets are compared, by what takes the same time wherever the first difference is.
const KEEPER: &str = "core/src/verify/key.rs";
/// What compares them there. No other file names one of these.
const COMPARERS: [&str; 5] = ["verify_slice", "verify_strict", "ct_eq", ".verify(", "ConstantTime"];
/// Parts of the names of what must not be compared in another way.
const SECRETS: [&str; 16] = [
    "secret",
    "secrets",
    "token",
    "mac",
    "hmac",
    "signature",
    "sig",
    "digest",
    "candidate",
    "candidates",
    "password",
    "credential",
    "credentials",
    "bearer",
    "hash",
    "key_bytes",
];
/// What compares as `==` does, by its argument.
const METHODS: [&str; 8] = [
    ".eq(",
    ".ne(",
    ".cmp(",
    ".contains(",
    ".starts_with(",
    ".ends_with(",
    ".strip_prefix(",
    ".find(",
];
/// What a value ends with that is a fact about a secret which may be known.
const FACTS: [&str; 4] = ["len()", "count()", "is_empty()", "is_some()"];

/// The folders and files that are looked at, below `server`.
const LOOKED_AT: [&str; 6] = [
    "core/src/verify",
    "core/src/provider",
    "core/src/normalize",
    "core/src/source.rs",
    "src/http",
    "src/auth",
];

/// Returns the sources, without comments, texts and tests, each with its path below `server`.
fn sources(roots: &[&str]) -> Vec<(String, String)> {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths: Vec<PathBuf> = roots.iter().map(|root| server.join(root)).collect();
    let mut found = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            paths.extend(entries.filter(|path| !path.ends_with("tests")));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(&server).unwrap().to_str().unwrap().to_owned();
            found.push((name, code(&text)));
        }
    }
    found
}

/// Returns what the compiler sees of a file that is not for tests. Texts become `""`.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut code = String::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(at) = rest.find(['"', '/']) {
            let (before, after) = rest.split_at(at);
            code.push_str(before);
            if after.starts_with("//") {
                rest = "";
            } else if let Some(after) = after.strip_prefix('/') {
                code.push('/');
                rest = after;
            } else {
                code.push_str("\"\"");
                rest = after_text(&after[1..]);
            }
        }
        code.push_str(rest);
        code.push('\n');
    }
    code
}

/// Returns what follows a text after its first quote; nothing if it goes on in the next line, which is rare enough.
fn after_text(text: &str) -> &str {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or("", |end| &text[end + 1..])
}

/// Returns the comparisons in which something named as a secret stands.
fn comparisons(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, operator) in code.match_indices("==").chain(code.match_indices("!=")) {
        let (left, right) = (operand_before(&code[..at]), operand_after(&code[at + 2..]));
        let is_bytes = |operand: &str| operand.trim().ends_with("as_bytes()");
        if [left, right].into_iter().any(|operand| is_secret(operand) || is_bytes(operand)) {
            found.push(format!("{} {operator} {}", left.trim(), right.trim()));
        }
    }
    for method in METHODS {
        for (at, _) in code.match_indices(method) {
            let argument = operand_after(&code[at + method.len()..]);
            let is_own = method.len() == ".eq(".len() || method == ".cmp(";
            let receiver = operand_before(&code[..at]);
            if is_secret(argument) || is_own && is_secret(receiver) {
                found.push(format!("{}{method}{argument})", receiver.trim()));
            }
        }
    }
    found
}

fn operand_before(code: &str) -> &str {
    let mut depth = 0_usize;
    let start = code.char_indices().rev().find(|&(_, c)| match c {
        ')' | ']' => {
            depth += 1;
            false
        }
        '(' | '[' if 0 < depth => {
            depth -= 1;
            false
        }
        _ => {
            depth == 0
                && matches!(c, ';' | '{' | '}' | '(' | '[' | ',' | '&' | '|' | '=' | '<' | '>')
        }
    });
    start.map_or(code, |(at, _)| &code[at + 1..])
}

fn operand_after(code: &str) -> &str {
    let code = code.trim_start_matches(['&', '*', ' ', '\n']);
    let mut depth = 0_usize;
    let end = code.char_indices().find(|&(_, c)| match c {
        '(' | '[' => {
            depth += 1;
            false
        }
        ')' | ']' if 0 < depth => {
            depth -= 1;
            false
        }
        _ => depth == 0 && matches!(c, ';' | '{' | '}' | ')' | ']' | ',' | '&' | '|' | '='),
    });
    end.map_or(code, |(at, _)| &code[..at])
}

/// Whether a value is named as a secret.
fn is_secret(operand: &str) -> bool {
    let operand = operand.trim();
    if FACTS.iter().any(|fact| operand.ends_with(fact)) {
        return false;
    }
    let names = operand.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_one =
        |name: &str| SECRETS.contains(&name) || name.split('_').any(|part| SECRETS.contains(&part));
    names.into_iter().any(is_one)
}

#[test]
fn secrets_are_compared_in_one_file_only() {
    let sources = sources(&LOOKED_AT);
    assert!(sources.len() > 15, "only {} files", sources.len());
    let is_keeper = |name: &str| name == KEEPER;
    for (name, code) in sources.iter().filter(|(name, _)| !is_keeper(name)) {
        for comparer in COMPARERS {
            assert!(!code.contains(comparer), "{name} has `{comparer}`: ask `verify::is_same`");
        }
    }
    let keeper = sources.iter().find(|(name, _)| is_keeper(name)).expect("the keeper is there");
    assert!(["verify_slice", "ct_eq"].iter().all(|comparer| keeper.1.contains(comparer)));
}

#[test]
fn nothing_named_as_a_secret_is_compared_as_other_values_are() {
    for (name, code) in sources(&LOOKED_AT) {
        let found = comparisons(&code);
        assert!(found.is_empty(), "{name}: {found:#?}: ask `verify::is_same`");
        let owns =
            ["PartialEq for Secret", "PartialEq for Key", "Ord for Secret", "Hash for Secret"];
        assert!(!owns.iter().any(|own| code.contains(own)), "{name} makes secrets comparable");
    }
}

#[test]
fn the_look_at_the_source_sees_what_it_looks_for() {
    for bad in [
        "if given == secret { }",
        "if held.secret.as_bytes() != given { }",
        "let is_it = a.as_bytes() == b.as_bytes();",
        "found.iter().any(|it| it == &self.verify_token)",
        "candidates.iter().any(|candidate| candidate == &mac.finalize()[..])",
        "if is_new && expected_signature\n    == given\n{ }",
        "(hex::encode(digest) == header).then_some(())",
        "if token.eq(given) { }",
        "if body_tokens.contains(&token) { }",
        "given.strip_prefix(secret)",
        "Some(x) if sha_digest(x) != y => {}",
        "assert!(hmac != 5);",
    ] {
        assert_eq!(comparisons(&code(bad)).len(), 1, "{bad}");
    }
    for good in [
        "if secrets.len() == 0 { }",
        "// secret == given",
        "let text = \"token == x\";",
        "if proof.primitive == Primitive::Token { }",
        "Prefix::Not(prefix) if secret.starts_with(prefix.as_bytes()) => None,",
        "items.find(|(key, _)| key == name)",
        "fn f(secret: &str) -> bool { a == b }",
        "let secret = x; if a == b { secret }",
        "#[cfg(test)]\nmod tests { secret == given }",
    ] {
        assert_eq!(comparisons(&code(good)), [""; 0], "{good}");
    }
}

/// Where JSON is parsed: everything else asks these, so that what is parsed can be counted. What is said offline of a
/// request that fails takes bodies apart as it likes.
const PARSERS: [&str; 3] =
    ["core/src/normalize/json.rs", "core/src/normalize/batch.rs", "core/src/normalize/reads.rs"];

#[test]
fn bodies_are_parsed_where_it_is_counted() {
    for (name, code) in sources(&["core/src"]) {
        let is_parsed = ["serde_json::from_", "Deserializer::from_", "from_str::<"];
        let is_offline = name.starts_with("core/src/verify/diagnose");
        let is_parser = is_offline || PARSERS.contains(&name.as_str());
        for parser in is_parsed {
            assert!(is_parser || !code.contains(parser), "{name} has `{parser}`");
        }
    }
}

/// Does not compile if the type can be compared with its like: then there are two to choose from.
macro_rules! assert_not_comparable {
    ($type:ty) => {
        const _: fn() = || {
            trait Choice<Of> {
                fn choose() {}
            }
            struct Comparable;
            impl<T: ?Sized> Choice<()> for T {}
            impl<T: ?Sized + PartialEq> Choice<Comparable> for T {}
            <$type as Choice<_>>::choose();
        };
    };
}
assert_not_comparable!(Secret);
assert_not_comparable!(LiveSecret);
