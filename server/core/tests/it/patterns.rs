//! Patterns: the table of the design (scenario F1), refusals with their place, and two properties.

use hookline_core::{
    event::{EventType, SourceName},
    pattern::{Matcher, PATTERN_BYTES_MAX, PATTERNS_MAX, Pattern, PatternSet, PatternSetError},
};
use proptest::{collection::vec, prelude::*};

fn subject(text: &str) -> (SourceName, EventType) {
    let (source, event_type) = text.split_once('/').expect("a subject has a `/`");
    (SourceName::parse(source).unwrap(), EventType::parse(event_type).unwrap())
}

fn takes(set: &PatternSet, text: &str) -> bool {
    let (source, event_type) = subject(text);
    set.matches(&source, &event_type)
}

#[test]
fn f1_each_row_of_the_table_of_patterns_holds() {
    let rows: &[(&[&str], &[&str], &[&str])] = &[
        (
            &["github/pull_request.*"],
            &["github/pull_request.opened", "github/pull_request."],
            &["github/pull_request_review.submitted", "github/pull_request"],
        ),
        (&["github"], &["github/push", "github/issues.opened"], &["gitlab/push"]),
        (&["github/"], &["github/push", "github/issues.opened"], &["gitlab/push"]),
        (&["github/*"], &["github/push", "github/issues.opened"], &["gitlab/push"]),
        (&["*"], &["github/push", "agent/done"], &["dead-letter/prs"]),
        (&["*/"], &["github/push", "agent/done"], &["dead-letter/prs"]),
        (&["*/*"], &["github/push", "agent/done"], &["dead-letter/prs"]),
        (
            &["*/issue*"],
            &["github/issues.opened", "jira/issue_updated", "x/issue"],
            &["github/reissue", "dead-letter/issue"],
        ),
        (
            &["github/*.opened"],
            &["github/issues.opened", "github/a.b.opened", "github/.opened"],
            &["github/opened", "github/issues.opened.x", "jira/issues.opened"],
        ),
        (&["github/*", "!github/push"], &["github/issues.opened"], &["github/push"]),
        (&["!github/push", "github/*"], &["github/issues.opened"], &["github/push"]),
        (&["!*/push", "*"], &["github/issues.opened"], &["github/push", "gitlab/push"]),
        (&["dead-letter/prs"], &["dead-letter/prs"], &["dead-letter/other", "github/prs"]),
        (&["dead-letter/*", "!*/prs"], &["dead-letter/prs", "dead-letter/x"], &["github/x"]),
        (&["stripe/invoice.*"], &["stripe/invoice.paid"], &["stripe/invoiceitem.created"]),
        (&["x/a*b*c"], &["x/abc", "x/a.b.b.c", "x/abcbc"], &["x/ab", "x/acb", "x/bac"]),
        (&["x/a*a"], &["x/aa", "x/aba"], &["x/a"]),
        (&["x/*."], &["x/a.", "x/.", "x/.."], &["x/a", "x/a.b"]),
    ];
    for (patterns, taken, not_taken) in rows {
        let set = PatternSet::parse(*patterns).unwrap();
        let matcher = Matcher::new([("key", &set)]).unwrap();
        let cases = taken.iter().map(|s| (s, true)).chain(not_taken.iter().map(|s| (s, false)));
        for (text, want) in cases {
            let (source, event_type) = subject(text);
            assert_eq!(takes(&set, text), want, "{patterns:?} and {text}");
            let found = matcher.matches(&source, &event_type);
            assert_eq!(!found.is_empty(), want, "the matcher: {patterns:?} and {text}");
        }
    }
}

#[test]
fn f1_what_is_no_pattern_is_refused_with_the_place() {
    let long_source = format!("{}/x", "a".repeat(65));
    let long = format!("x/{}", "a".repeat(PATTERN_BYTES_MAX));
    for (text, message) in [
        ("", "at byte 0: the source is empty; `*` stands for any source"),
        ("!", "at byte 1: the source is empty; `*` stands for any source"),
        ("/x", "at byte 0: the source is empty; `*` stands for any source"),
        ("git*/x", "at byte 3: `*` must stand alone as source"),
        ("**", "at byte 0: `*` must stand alone as source"),
        ("a/b/c", "at byte 3: a second `/`; a pattern is `source/type`"),
        ("a//", "at byte 2: a second `/`; a pattern is `source/type`"),
        ("github/issues?", "at byte 13: `?` in the type, outside [a-z0-9_.-] and `*`"),
        ("github/[ab]", "at byte 7: `[` in the type, outside [a-z0-9_.-] and `*`"),
        ("github/a]", "at byte 8: `]` in the type, outside [a-z0-9_.-] and `*`"),
        ("github/{a,b}", "at byte 7: `{` in the type, outside [a-z0-9_.-] and `*`"),
        ("github/a}", "at byte 8: `}` in the type, outside [a-z0-9_.-] and `*`"),
        ("github/a\\b", "at byte 8: `\\` in the type, outside [a-z0-9_.-] and `*`"),
        ("github/Push", "at byte 7: `P` in the type, outside [a-z0-9_.-] and `*`"),
        ("!github/push ", "at byte 12: ` ` in the type, outside [a-z0-9_.-] and `*`"),
        ("Github", "at byte 0: `G` in the source, outside [a-z0-9_-]"),
        ("git.hub/x", "at byte 3: `.` in the source, outside [a-z0-9_-]"),
        ("!!x", "at byte 1: `!` in the source, outside [a-z0-9_-]"),
        ("x/!y", "at byte 2: `!` in the type, outside [a-z0-9_.-] and `*`"),
        ("x/\u{e9}", "at byte 2: `\u{e9}` in the type, outside [a-z0-9_.-] and `*`"),
        (&long_source, "at byte 64: the source has more than 64 bytes"),
        (&long, "at byte 256: the pattern has more than 256 bytes"),
    ] {
        assert_eq!(Pattern::parse(text).unwrap_err().to_string(), message, "{text:?}");
    }
}

#[test]
fn a_pattern_has_one_normal_form() {
    for (text, want) in [
        ("github", "github/*"),
        ("github/", "github/*"),
        ("github/*", "github/*"),
        ("*", "*/*"),
        ("*/", "*/*"),
        ("*/*", "*/*"),
        ("!github", "!github/*"),
        ("x/a**b***", "x/a*b*"),
    ] {
        assert_eq!(Pattern::parse(text).unwrap().to_string(), want, "{text}");
    }
}

#[test]
fn sets_are_compared_in_normal_form() {
    let a = PatternSet::parse(["github", "!github/push", "*/x"]).unwrap();
    let b = PatternSet::parse(["*/x", "github/*", "github/", "!github/push"]).unwrap();
    assert_eq!(a, b);
    assert_eq!(a.to_string(), "*/x, github/*, !github/push");
    assert_ne!(a, PatternSet::parse(["github", "*/x"]).unwrap());
}

#[test]
fn a_set_has_bounds() {
    assert_eq!(PatternSet::parse::<&str>([]), Err(PatternSetError::Empty));
    assert_eq!(PatternSet::parse(["!github", "!x"]), Err(PatternSetError::NothingTaken));
    let many: Vec<_> = (0..=PATTERNS_MAX).map(|index| format!("x/{index}")).collect();
    assert_eq!(PatternSet::parse(&many), Err(PatternSetError::TooMany));
    assert_eq!(PatternSet::parse(&many[1..]).unwrap().patterns().len(), PATTERNS_MAX);
    let error = PatternSet::parse(["x", "y/?"]).unwrap_err();
    assert!(matches!(error, PatternSetError::Invalid { index: 1, .. }), "{error}");
}

#[test]
fn the_largest_sets_compile() {
    let sets: Vec<_> = (0..20)
        .map(|set| {
            let pattern = |index| format!("x/{}{index:04}", "a*".repeat(125));
            PatternSet::parse((0..PATTERNS_MAX).map(|n| pattern(set * PATTERNS_MAX + n))).unwrap()
        })
        .collect();
    let matcher = Matcher::new(sets.iter().enumerate()).unwrap();
    let (source, event_type) = subject(&format!("x/{}1234", "a".repeat(124)));
    assert_eq!(matcher.matches(&source, &event_type), Vec::<usize>::new());
    let (source, event_type) = subject("x/a");
    assert_eq!(matcher.matches(&source, &event_type), Vec::<usize>::new());
}

#[test]
fn a_set_lies_within_another_if_that_takes_all_it_takes() {
    let is_within = |inner: &[&str], outer: &[&str]| {
        PatternSet::parse(inner).unwrap().is_within(&PatternSet::parse(outer).unwrap())
    };
    let yes: [(&[&str], &[&str]); 16] = [
        (&["github"], &["github"]),
        (&["github"], &["*"]),
        (&["github/push"], &["github/*"]),
        (&["github/pull_request.*"], &["github/pull_request.*", "stripe"]),
        (&["github/pull_request.opened"], &["github/*.opened"]),
        (&["github/pull*.opened"], &["github/p*.*"]),
        (&["*/issue*"], &["*"]),
        (&["github", "stripe"], &["stripe", "github"]),
        (&["dead-letter/prs"], &["dead-letter/*"]),
        (&["github/push"], &["github", "!github/issues*"]),
        (&["github", "!github/push"], &["github", "!github/push"]),
        (&["github", "!github"], &["github", "!github/push"]),
        (&["github", "!*/push"], &["*", "!github/push"]),
        (&["github/issues*"], &["github", "!github/push*"]),
        (&["github/*.closed"], &["github", "!github/*.opened"]),
        (&["github"], &["*", "!stripe", "!dead-letter"]),
    ];
    for (inner, outer) in yes {
        assert!(is_within(inner, outer), "{inner:?} is within {outer:?}");
    }
    let no: [(&[&str], &[&str]); 16] = [
        (&["github"], &["github/push"]),
        (&["*"], &["github"]),
        (&["github", "stripe"], &["github"]),
        (&["github/pull*"], &["github/pull_request*"]),
        (&["github/*.opened"], &["github/issues.*"]),
        (&["dead-letter"], &["*"]),
        (&["*", "dead-letter/prs"], &["*"]),
        (&["github"], &["dead-letter"]),
        (&["github"], &["github", "!github/push"]),
        (&["github/push"], &["github", "!github/push"]),
        (&["github", "!github/push"], &["github", "!github/push*"]),
        (&["*"], &["*", "!github"]),
        (&["*", "!github/push"], &["*", "!*/push"]),
        (&["github/p*"], &["github", "!github/push"]),
        (&["github/*a"], &["github/a"]),
        (&["github/issues"], &["github/issues*x"]),
    ];
    for (inner, outer) in no {
        assert!(!is_within(inner, outer), "{inner:?} is not within {outer:?}");
    }
}

#[test]
fn the_largest_sets_are_compared_in_no_time() {
    let set = |end: &str| {
        let pattern = |n| format!("x/{}{n:04}{end}", "a*".repeat(120));
        PatternSet::parse(
            (0..PATTERNS_MAX)
                .map(|n| if n % 2 == 0 { pattern(n) } else { format!("!{}", pattern(n)) }),
        )
        .unwrap()
    };
    assert!(set("").is_within(&set("")) && !set("b").is_within(&set("")));
}

/// The meaning of patterns as the design words it, without regard to speed.
fn reference(patterns: &[String], source: &str, event_type: &str) -> bool {
    fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                wildcard(rest, text) || (!text.is_empty() && wildcard(pattern, &text[1..]))
            }
            ([p, pattern @ ..], [t, text @ ..]) => p == t && wildcard(pattern, text),
            _ => false,
        }
    }
    let covers = |pattern: &str| {
        let (of_source, of_type) = pattern.split_once('/').unwrap_or((pattern, ""));
        let of_type = if of_type.is_empty() { "*" } else { of_type };
        let is_source = of_source == source || (of_source == "*" && source != "dead-letter");
        is_source && wildcard(of_type.as_bytes(), event_type.as_bytes())
    };
    let takes_away = patterns.iter().filter_map(|p| p.strip_prefix('!')).any(covers);
    patterns.iter().any(|pattern| covers(pattern)) && !takes_away
}

fn any_set() -> impl Strategy<Value = Vec<String>> {
    let pattern = "!?(\\*|a|ab|dead-letter)(/[ab.*]{0,5})?";
    vec(pattern, 1..6).prop_filter("a set takes something", |patterns| {
        patterns.iter().any(|pattern| !pattern.starts_with('!'))
    })
}

proptest! {
    #[test]
    fn a_set_matches_as_the_naive_reference_does(
        patterns in any_set(),
        source in "a|ab|b|dead-letter",
        event_type in "[ab.]{1,6}",
    ) {
        let set = PatternSet::parse(&patterns).unwrap();
        let want = reference(&patterns, &source, &event_type);
        let (source, event_type) = subject(&format!("{source}/{event_type}"));
        prop_assert_eq!(set.matches(&source, &event_type), want);
    }

    #[test]
    fn the_matcher_finds_the_sets_that_match(
        sets in vec(any_set(), 0..8),
        source in "a|ab|b|dead-letter",
        event_type in "[ab.]{1,6}",
    ) {
        let (source, event_type) = subject(&format!("{source}/{event_type}"));
        let sets: Vec<_> = sets.iter().map(|set| PatternSet::parse(set).unwrap()).collect();
        let want: Vec<usize> = sets.iter().enumerate()
            .filter(|(_, set)| set.matches(&source, &event_type)).map(|(key, _)| key).collect();
        // Given in another order than that of the keys, which come back in order.
        let matcher = Matcher::new(sets.iter().enumerate().rev()).unwrap();
        prop_assert_eq!(matcher.matches(&source, &event_type), want);
    }

    #[test]
    fn nothing_that_a_set_takes_is_outside_of_what_it_lies_within(
        inner in any_set(),
        outer in any_set(),
        subjects in vec(("a|ab|b|dead-letter", "[ab.]{1,6}"), 32),
    ) {
        let (inner, outer) = (PatternSet::parse(&inner).unwrap(), PatternSet::parse(&outer).unwrap());
        prop_assert!(inner.is_within(&inner));
        if inner.is_within(&outer) {
            for (source, event_type) in subjects {
                let (source, event_type) = subject(&format!("{source}/{event_type}"));
                let is_taken = inner.matches(&source, &event_type);
                prop_assert!(!is_taken || outer.matches(&source, &event_type));
            }
        }
    }

    #[test]
    fn a_set_without_what_another_takes_away_lies_within_it(
        outer in any_set(),
        event_type in "[ab.*]{1,6}",
    ) {
        let outer_set = PatternSet::parse(&outer).unwrap();
        // One pattern that an outer one includes, with all that the outer set takes away.
        let taken = outer.iter().find(|pattern| !pattern.starts_with('!')).unwrap();
        let away = outer.iter().filter(|pattern| pattern.starts_with('!')).cloned();
        let source = taken.split('/').next().unwrap();
        let narrow: Vec<_> = std::iter::once(taken.clone()).chain(away).collect();
        prop_assert!(PatternSet::parse(&narrow).unwrap().is_within(&outer_set));
        let all = PatternSet::parse([source]).unwrap();
        let one = PatternSet::parse([format!("{source}/{event_type}")]).unwrap();
        prop_assert!(one.is_within(&all));
    }

    #[test]
    fn the_normal_form_is_a_fixed_point(text in "!?(\\*|[a-z]{1,3})(/[a-z.*]{0,8})?") {
        let pattern = Pattern::parse(&text).unwrap();
        let again = Pattern::parse(&pattern.to_string()).unwrap();
        prop_assert_eq!(pattern, again);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,300}") {
        if let Err(error) = Pattern::parse(&text) {
            prop_assert!(error.position <= text.len());
        }
    }
}
