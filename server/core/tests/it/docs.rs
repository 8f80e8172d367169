//! The table of kinds in the docs says of each what the code does.

use std::{fs, path::Path};

use hookline_core::{
    provider::Kind,
    verify::{Scheme, scheme::SignedTime},
};

/// The columns that the code knows: signature, age, handshake.
fn told(kind: Kind) -> [String; 3] {
    let provider = kind.provider();
    let mut signatures: Vec<String> = Vec::new();
    for scheme in provider.schemes {
        let text = scheme.to_string();
        let legacy = if scheme.legacy { " (`legacy_signatures`)" } else { "" };
        let text = format!("{text}{legacy}");
        if !signatures.contains(&text) {
            signatures.push(text);
        }
    }
    let mut ages: Vec<String> = Vec::new();
    for age in provider.schemes.iter().filter(|scheme| !scheme.legacy).map(age) {
        if !ages.contains(&age) {
            ages.push(age);
        }
    }
    [signatures, ages, vec![provider.handshake.what.to_owned()]].map(|texts| {
        let text = texts.join("; ");
        if text.is_empty() { "-".to_owned() } else { text }
    })
}

fn age(scheme: &Scheme) -> String {
    match &scheme.time {
        None => "no time".to_owned(),
        Some(SignedTime { past: None, .. }) => "any".to_owned(),
        Some(SignedTime { past: Some(past), future: true, .. }) => format!("{} s", past.as_secs()),
        Some(SignedTime { past: Some(past), future: false, .. }) => {
            format!("{} s, any time ahead", past.as_secs())
        }
    }
}

#[test]
fn the_table_of_kinds_says_what_the_code_does() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sources.md");
    let text = fs::read_to_string(file).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .filter(|cells: &Vec<_>| cells.len() == 9)
        .collect();
    let mut wrong = Vec::new();
    for kind in Kind::all() {
        let [signature, age, handshake] = told(kind);
        let row = rows.iter().find(|cells| cells[0] == format!("`{kind}`"));
        let found = row.map(|cells| [cells[2], cells[3], cells[4]]);
        if found != Some([&signature, &age, &handshake]) {
            wrong.push(format!("{kind}\t{signature}\t{age}\t{handshake}"));
        }
    }
    assert!(wrong.is_empty(), "not in the table so:\n{}", wrong.join("\n"));
    assert_eq!(rows.len(), Kind::all().count(), "rows of kinds that are none");
}
