//! The README shows files that tests run, as they are.

/// Returns a file without what only the repository needs: its doc comment and its lints.
fn shown(file: &str) -> String {
    let lines = file.lines().skip_while(|line| {
        line.is_empty()
            || ["//!", "#![expect", "\"\"\""].iter().any(|start| line.starts_with(start))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_agents_of_the_readme_are_the_examples() {
    let readme = include_str!("../../README.md");
    for (name, file) in [
        ("quickstart.rs", include_str!("../../client/examples/quickstart.rs")),
        ("quickstart.py", include_str!("../../client/examples/python/quickstart.py")),
    ] {
        assert!(readme.contains(&shown(file)), "the README shows another {name}");
    }
}
