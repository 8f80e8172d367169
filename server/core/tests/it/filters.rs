//! Filters: what matches and what does not, what is refused, and what holds for any text and any payload.

use bytes::Bytes;
use hookline_core::{
    event::{Event, EventId, EventType, NewEvent, Sequence, SourceName},
    filter::{FAILURE_BYTES_MAX, FILTER_BYTES_MAX, Facts, Filter, FilterError, Mismatch, Verdict},
    time::Timestamp,
};
use proptest::prelude::*;

use crate::ingest_support::payloads;

/// An event without its payload, as the store hands it out.
fn event(event_type: &str) -> Event {
    Event {
        id: EventId::from_bytes([7; 16]),
        sequence: Sequence::new(42).unwrap(),
        received_at: Timestamp::from_micros(1_800_000_000_250_000).unwrap(),
        content: NewEvent {
            source: SourceName::parse("github").unwrap(),
            event_type: EventType::parse(event_type).unwrap(),
            timestamp: Timestamp::from_secs(1_800_000_000).unwrap(),
            actor: "octocat".into(),
            resource_type: "pull_request".into(),
            resource_id: "octo/repo#7".into(),
            payload: Bytes::new(),
            metadata: [("x-team", "core")].into(),
            delivery_key: "d-1".into(),
            replay_window: None,
        },
    }
}

fn facts(payload: &str) -> Facts {
    Facts::with_payload(&event("pull_request.opened"), payload.as_bytes(), payload.len() as u64)
}

fn compile(text: &str) -> Filter {
    Filter::compile(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

/// A verdict as a word of a table: `yes`, `no: <why>` or `failed: <what>`.
fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Match => "yes".to_owned(),
        Verdict::NoMatch(why) => format!("no: {why}"),
        Verdict::Failed(what) => format!("failed: {what}"),
    }
}

fn check(rows: &[(&str, &str, &str)]) {
    for (text, payload, want) in rows {
        let verdict = said(&compile(text).evaluate(&facts(payload)));
        assert_eq!(&verdict, want, "`{text}` on {payload}");
    }
}

fn check_refused(rows: &[(&str, &str)]) {
    for (text, message) in rows {
        assert_eq!(Filter::compile(text).unwrap_err().to_string(), *message, "`{text}`");
    }
}

#[test]
fn a_filter_reads_every_field_of_an_event() {
    let rows = [
        "event.id == '07070707-0707-0707-0707-070707070707'",
        "event.sequence > 5 && event.sequence == 42",
        "event.source == 'github'",
        "event.event_type == 'pull_request.opened'",
        "event.event_type.startsWith('pull_request.')",
        "event.subject == event.source + '/' + event.event_type",
        "event.timestamp == '2027-01-15T08:00:00.000000Z'",
        "event.received_at == '2027-01-15T08:00:00.250000Z'",
        "event.timestamp < event.received_at && event.timestamp >= '2027'",
        "event.actor != 'dependabot[bot]'",
        "event.resource_type == 'pull_request'",
        "event.resource_id.endsWith('#7')",
        "event.metadata['x-team'] == 'core' && !has(event.metadata.other)",
        "event.delivery_key.matches('^d-[0-9]+$')",
        "event.payload_size == 9",
        "event['source'] == 'github' && size(event) == 14",
    ];
    check(&rows.map(|text| (text, r#"{"a": 1} "#, "yes")));
}

#[test]
fn realistic_filters_match_what_they_say() {
    let body = r#"{
        "pull_request": {"draft": false, "title": "Fix it", "user": {"login": "octocat", "bio": null}},
        "labels": [{"name": "bug"}, {"name": "p1"}, {}],
        "commits": [1, 2, 3, 4], "amount": 250.5, "count": 3, "big": 18446744073709551615, "sender": {"login": "octocat"}
    }"#;
    let rows = [
        ("event.payload.pull_request.draft == false", "yes"),
        ("!event.payload.pull_request.draft", "yes"),
        ("event.payload.labels.exists(l, l.name == \"bug\")", "yes"),
        ("event.payload.labels.exists(l, l.name in ['feature', 'p1'])", "yes"),
        ("event.payload.labels.exists(l, l.name == 'none')", "no: `l.name` is absent"),
        (
            "event.payload.labels.exists(l, has(l.name) && l.name == 'none')",
            "no: the expression is false",
        ),
        ("event.payload.labels.all(l, !has(l.name) || size(l.name) < 4)", "yes"),
        ("event.payload.labels.exists_one(l, has(l.name) && l.name == 'p1')", "yes"),
        ("size(event.payload.labels.filter(l, has(l.name))) == 2", "yes"),
        ("event.payload.labels.map(l, has(l.name), l.name) == ['bug', 'p1']", "yes"),
        ("size(event.payload.commits) > 3", "yes"),
        ("event.payload.commits[0] + event.payload.commits[1] == 3", "yes"),
        ("event.payload.amount > 100", "yes"),
        ("100 < event.payload.amount && event.payload.amount < 250.6", "yes"),
        ("event.payload.count == 3.0 && event.payload.count < 3u + 1u", "yes"),
        ("event.payload.big > 9223372036854775807", "yes"),
        ("event.payload.count >= 2.5", "yes"),
        (
            "event.payload.labels.exists(l, l.name == event.payload.sender.login)",
            "no: `l.name` is absent",
        ),
        ("['octocat'].exists(x, x == event.payload.sender.login)", "yes"),
        ("event.payload.pull_request.user.exists(k, k == 'login')", "yes"),
        ("event.payload.pull_request.title.matches('(?i)^fix\\\\b')", "yes"),
        ("event.payload.pull_request.user == event.payload.pull_request.user", "yes"),
        ("event.payload.pull_request.user.bio == null", "yes"),
        ("type(event.payload.count) == int && type(event.payload.labels) == list", "yes"),
        ("event.payload.count > 2 ? event.source == 'github' : false", "yes"),
        ("'login' in event.payload.sender && !('x' in event.payload.sender)", "yes"),
        ("event.payload['sender']['login'] == 'octocat'", "yes"),
        ("string(event.payload.count) == '3'", "yes"),
        ("double(event.payload.count) * 1.5 == 4.5", "yes"),
    ];
    check(&rows.map(|(text, want)| (text, body, want)));
}

#[test]
fn what_is_missing_does_not_match_unless_the_rest_decides() {
    let absent = "no: `event.payload.a.b` is absent";
    check(&[
        ("event.payload.a.b == 1", r#"{"a": {}}"#, absent),
        ("event.payload.a.b == 1", "{}", "no: `event.payload.a` is absent"),
        ("event.payload.a.b == 1", r#"{"a": null}"#, "no: the path goes through a null"),
        ("event.payload.a['b'] == 1", r#"{"a": null}"#, "no: the path goes through a null"),
        ("event.payload.a['b'] == 1", r#"{"a": {}}"#, "no: `event.payload.a[\"b\"]` is absent"),
        ("event.payload.a[2] == 1", r#"{"a": [1, 2]}"#, "no: the array has no element 2"),
        ("event.payload.a[-1] == 1", r#"{"a": [1, 2]}"#, "no: the array has no element -1"),
        ("!(event.payload.a.b == 1)", r#"{"a": {}}"#, absent),
        ("event.payload.a.b != 1", r#"{"a": {}}"#, absent),
        ("event.payload.a.b == 1 || event.source == 'github'", "{}", "yes"),
        ("event.source == 'github' || event.payload.a.b == 1", "{}", "yes"),
        ("event.payload.a.b == 1 || event.source == 'x'", r#"{"a": {}}"#, absent),
        ("event.payload.a.b == 1 && event.source == 'x'", "{}", "no: the expression is false"),
        ("event.source == 'x' && event.payload.a.b == 1", "{}", "no: the expression is false"),
        ("!(event.payload.a.b == 1 && event.source == 'x')", "{}", "yes"),
        ("event.payload.a.b == 1 && event.source == 'github'", r#"{"a": {}}"#, absent),
        ("event.payload.a.b ? true : true", r#"{"a": {}}"#, absent),
        ("event.source == 'x' ? event.payload.a.b : true", "{}", "yes"),
        ("has(event.payload.a)", "{}", "no: the expression is false"),
        ("has(event.payload.a) && event.payload.a.b == 1", "{}", "no: the expression is false"),
        ("has(event.payload.a.b)", "{}", "no: `event.payload.a` is absent"),
        ("has(event.payload.a.b)", r#"{"a": null}"#, "no: the path goes through a null"),
        ("event.payload.a == 1 || event.payload.b.a == 1", "{}", "no: `event.payload.b` is absent"),
        (
            "event.payload.a.x == 1 || event.payload.b.x == 1",
            r#"{"a": {}, "b": {}}"#,
            "no: `x` is absent",
        ),
        ("event.metadata.nope == 'x'", "{}", "no: `event.metadata.nope` is absent"),
        ("event.payload.a == 1", "not json", "no: the payload is not JSON"),
        ("event.payload.a == 1", "", "no: the payload is not JSON"),
        ("event.payload.a == 1 || true", "not json", "yes"),
        (
            "size(event.payload) == 0 || event.payload.payload == 1",
            r#"{"a": 1}"#,
            "no: `event.payload.payload` is absent",
        ),
        ("event.source == 'github'", "not json", "yes"),
    ]);
}

#[test]
fn what_goes_wrong_is_a_failure_and_not_silence() {
    check(&[
        (
            "event.payload.a < 'x'",
            r#"{"a": 1}"#,
            "failed: found no matching overload for '_<_' applied to '(int, string)'",
        ),
        ("event.payload.a == 'x'", r#"{"a": 1}"#, "no: the expression is false"),
        (
            "event.payload.a > 1",
            r#"{"a": null}"#,
            "failed: found no matching overload for '_>_' applied to '(null_type, int)'",
        ),
        ("event.payload.a / 0 == 1", r#"{"a": 1}"#, "failed: division by zero"),
        ("event.payload.a % 0 == 1", r#"{"a": 1}"#, "failed: division by zero"),
        (
            "event.payload.a + 1 == 1",
            r#"{"a": "secret"}"#,
            "failed: the operator `add` does not take string and int",
        ),
        (
            "event.payload.a * 2.5 > 1.0",
            r#"{"a": 1}"#,
            "failed: the operator `mul` does not take int and float",
        ),
        (
            "event.payload.a.b == 1",
            r#"{"a": "text"}"#,
            "failed: found no matching overload for '_._' applied to '(string, string)'",
        ),
        ("event.payload.a", r#"{"a": 1}"#, "failed: the result is not a bool but of type int"),
        ("event.payload", "{}", "failed: the result is not a bool but of type map"),
        (
            "event.payload.a && true",
            r#"{"a": 1}"#,
            "failed: found no matching overload for '_&&_' applied to '(int, bool)'",
        ),
        ("event.payload.a ? true : true", r#"{"a": 1}"#, "failed: found int where bool is needed"),
        (
            "event.payload.a.matches('x')",
            r#"{"a": 1}"#,
            "failed: found no matching overload for 'matches' applied to 'int.(string)'",
        ),
        (
            "event.payload.a.exists(x, true)",
            r#"{"a": 1}"#,
            "failed: found int where iterable is needed",
        ),
        (
            "event.payload.a + event.payload.a == []",
            r#"{"a": [1]}"#,
            "failed: found a list where a short value is needed",
        ),
        (
            "event.payload == 1 || event.payload.a < 'x'",
            r#"{"a": 1}"#,
            "failed: found no matching overload for '_<_' applied to '(int, string)'",
        ),
        (
            "int(event.payload.a) == 1",
            r#"{"a": "x"}"#,
            "failed: `int`: string parse error: invalid digit found in string",
        ),
    ]);
    let without = Facts::new(&event("push"), 2);
    let verdict = compile("event.payload.a == 1").evaluate(&without);
    assert_eq!(said(&verdict), "failed: the payload was not given");
    assert_eq!(compile("event.payload_size == 2").evaluate(&without), Verdict::Match);
    let verdict = compile("event.metadata.payload == 'x'").evaluate(&without);
    assert_eq!(said(&verdict), "no: `event.metadata.payload` is absent");
}

#[test]
fn a_failure_is_short_whatever_the_payload_holds() {
    let payload = serde_json::json!({"a": "\u{e9}".repeat(500_000), "b": vec![0; 10_000]});
    let facts = facts(&payload.to_string());
    for text in
        ["event.payload[event.payload.a]", "int(event.payload.a) == 1", "event.payload.b[0.5] == 1"]
    {
        match compile(text).evaluate(&facts) {
            Verdict::Failed(text) => assert!(text.len() <= FAILURE_BYTES_MAX),
            Verdict::NoMatch(Mismatch::Absent(_)) => {}
            Verdict::Match | Verdict::NoMatch(_) => panic!("`{text}` should fail"),
        }
    }
}

#[test]
fn what_is_no_filter_is_refused_with_the_place() {
    check_refused(&[
        ("", "the filter is empty"),
        (" \n\t", "the filter is empty"),
        ("event.source ==", "at line 1, column 16: mismatched input the end"),
        ("event.source = 'x'", "at line 1, column 14: token recognition error at: '= '"),
        ("event.source == 'x", "at line 1, column 17: token recognition error at: ''x'"),
        (
            "true\n&& evnt.source == 'x'",
            "at line 2, column 4: there is no variable `evnt`, only `event`",
        ),
        (
            "'\u{e9}\u{e9}' == evnt",
            "at line 1, column 9: there is no variable `evnt`, only `event`",
        ),
        ("l.name == 'x'", "at line 1, column 1: there is no variable `l`, only `event`"),
        (
            ".event.source == 'x'",
            "at line 1, column 2: there is no variable `.event`, only `event`",
        ),
        ("event.typ == 'x'", "at line 1, column 6: `event` has no field `typ`"),
        ("has(event.typ)", "at line 1, column 4: `event` has no field `typ`"),
        (
            "event.payload.a.startswith('x')",
            "at line 1, column 27: there is no function `startswith`",
        ),
        ("lower(event.source) == 'x'", "at line 1, column 6: there is no function `lower`"),
        (
            "timestamp(event.timestamp) < timestamp('x')",
            "at line 1, column 10: there is no function `timestamp`",
        ),
        (
            "event.source.contains('a', 'b')",
            "at line 1, column 22: `contains` is called as `text.contains(part)`",
        ),
        (
            "startsWith(event.source, 'a')",
            "at line 1, column 11: `startsWith` is called as `text.startsWith(start)`",
        ),
        (
            "event.payload.exists(true)",
            "at line 1, column 21: `exists` is called as `list.exists(x, condition)`",
        ),
        ("has(event)", "at line 1, column 5: invalid argument to has() macro"),
        ("event.payload.a.exists(1, true)", "at line 1, column 24: argument must be a simple name"),
    ]);
}

#[test]
fn what_filters_leave_out_of_the_language_is_refused_with_the_place() {
    check_refused(&[
        (
            "event.payload.a.all(x, x.all(y, y))",
            "at line 1, column 29: `all`, `exists`, `exists_one`, `map` and `filter` can't be nested",
        ),
        (
            "event.payload.a.filter(x, x > 1).exists(y, y)",
            "at line 1, column 23: `all`, `exists`, `exists_one`, `map` and `filter` can't be nested",
        ),
        (
            "event.payload.a.all(event, event)",
            "at line 1, column 20: the variable of a comprehension can't be named `event`",
        ),
        (
            "{'a': 1}['a'] == 1",
            "at line 1, column 2: literals of maps and messages are not supported",
        ),
        (
            "{} == event.payload",
            "at line 1, column 1: literals of maps and messages are not supported",
        ),
        ("Foo{a: 1} == 1", "at line 1, column 4: literals of maps and messages are not supported"),
        (
            "event.source.matches(event.actor)",
            "at line 1, column 21: the pattern of `matches` must be a literal",
        ),
        (
            "event.source.matches('(')",
            "at line 1, column 21: the pattern is not valid: unclosed group",
        ),
        (
            "event.source.matches('(\\\\w{100}){100}')",
            "at line 1, column 21: the pattern is too big when compiled",
        ),
        ("event.payload.?a == 1", "at line 1, column 14: unsupported syntax '.?'"),
    ]);
}

#[test]
fn what_could_cost_too_much_is_refused() {
    let costly = [
        "event.payload.a.exists(x, x in event.payload.b)",
        "event.payload.a.exists(x, event.payload.a == event.payload.b)",
        "event.payload.a.exists(x, event.payload.t.contains(x))",
        "event.payload.a.exists(x, size(event.payload.t) > 1)",
        "event.payload.a.exists(x, x < event.payload.t)",
        "event.payload.a.exists(x, x + event.actor == 'x')",
        "event.payload.a.exists(x, [event.payload.a] == x)",
        "event.payload.a.exists(x, event.payload.a[x] == 1)",
        "size(event.payload.a.map(x, event.payload.a)) == 1",
        "event.payload.a.exists(x, dyn(event.payload.t) == event.payload.u)",
        "event.payload.a.exists(x, (x.b ? event.payload.t : event.actor) == event.payload.u)",
    ];
    for text in costly {
        let error = Filter::compile(text).unwrap_err();
        assert!(matches!(error, FilterError::CostlyRead { .. }), "`{text}`: {error}");
    }
    let many = |part: &str, between: &str, count| vec![part; count].join(between);
    for (text, want) in [
        ("x".repeat(FILTER_BYTES_MAX + 1), "the filter has 2049 bytes, at most 2048 are allowed"),
        (
            format!("{}1{}", "(".repeat(40), ")".repeat(40)),
            "the expression is nested deeper than 32",
        ),
        (format!("event.payload{}", ".a".repeat(900)), "the expression is nested deeper than 32"),
        (many("1", "+", 1000), "the expression is nested deeper than 32"),
        (many("event.actor.matches('x')", "||", 9), "more than 8 calls of `matches`"),
        (
            many("event.actor.contains('x')", "||", 40),
            "more than 32 calls and calculations with event data",
        ),
    ] {
        assert_eq!(Filter::compile(&text).unwrap_err().to_string(), want, "`{text}`");
    }
    let error = Filter::compile(&many("1 in event.payload.a", "||", 5)).unwrap_err();
    assert_eq!(error, FilterError::TooManyScans);
    compile(&many("event.actor in ['a', 'b']", "||", 9));
    // 64 conditions are no depth: the parser makes a balanced tree of them.
    compile(&many("event.actor == 'x'", "||", 64));
}

#[test]
fn a_comprehension_goes_through_as_many_elements_as_its_steps_allow() {
    let list = |count: usize| serde_json::json!({"a": vec!["x"; count]}).to_string();
    let short = "event.payload.a.exists(l, l == 'bug')";
    assert_eq!(
        said(&compile(short).evaluate(&facts(&list(50_000)))),
        "no: the expression is false"
    );
    let long = vec![short; 20].join("||");
    let verdict = said(&compile(&long).evaluate(&facts(&list(50_000))));
    assert!(
        verdict.starts_with("failed: found 50000 elements, this expression may go"),
        "{verdict}"
    );
    assert_eq!(said(&compile(&long).evaluate(&facts(&list(1_000)))), "no: the expression is false");
}

#[test]
fn a_pattern_takes_so_many_steps_and_no_more() {
    let facts = |count| facts(&serde_json::json!({"t": "ab".repeat(count)}).to_string());
    let simple = compile("event.payload.t.matches('a[ab]{4}[^ab]')");
    assert_eq!(said(&simple.evaluate(&facts(50_000))), "no: the expression is false");
    // Without a bound, this one takes seconds.
    let costly = compile("event.payload.t.matches('a[ab]{1000}[^ab]')");
    assert_eq!(said(&costly.evaluate(&facts(500))), "no: the expression is false");
    let too_long = "failed: the texts given to `matches` are too long for its patterns";
    assert_eq!(said(&costly.evaluate(&facts(50_000))), too_long);
}

#[test]
fn only_filters_that_may_read_the_payload_need_it() {
    for (text, want) in [
        ("event.source == 'github'", false),
        ("event.payload_size > 5", false),
        ("event.metadata.a == 'payload'", false),
        ("event.payload.a == 1", true),
        ("has(event.payload)", true),
        ("event['source'] == 'x'", true),
        ("size(event) == 1", true),
        ("['a'].exists(x, x == event.payload)", true),
    ] {
        assert_eq!(compile(text).reads_payload(), want, "`{text}`");
    }
}

#[test]
fn filters_are_equal_by_their_text_and_shared_between_threads() {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<(Filter, Facts, Verdict)>();
    assert_eq!(compile("true"), compile("true"));
    assert_ne!(compile("true"), compile("true "));
    assert_eq!(format!("{:?} {}", compile("true"), compile("false").text()), "`true` false");
}

#[test]
fn one_parse_serves_any_number_of_filters() {
    // The facts are all that an evaluation is given: the payload can't be parsed again.
    let facts = facts(r#"{"n": 7}"#);
    for n in 0..100 {
        let matches =
            compile(&format!("event.payload.n == {n}")).evaluate(&facts) == Verdict::Match;
        assert_eq!(matches, n == 7);
    }
}

#[test]
fn a_deep_payload_is_not_json_and_does_no_harm() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(said(&compile("size(event.payload) == 1").evaluate(&facts(&deep(127)))), "yes");
    let verdict = compile("size(event.payload) == 1").evaluate(&facts(&deep(100_000)));
    assert_eq!(verdict, Verdict::NoMatch(Mismatch::NotJson));
}

#[test]
fn compiling_takes_little_stack() {
    let texts = [
        format!("{}1{}", "(".repeat(32), ")".repeat(32)),
        format!("{}1{}", "[".repeat(32), "]".repeat(32)),
        format!("event.payload{}", ".a".repeat(1000)),
        format!("event.payload{}", "[0]".repeat(670)),
        vec!["1"; 1000].join("+"),
        vec!["1"; 650].join("=="),
        format!("{}true", "!".repeat(2000)),
        format!("{}1", "-".repeat(2000)),
        format!("{}1", "1?1:".repeat(500)),
        format!("{}1", "a.all(x,".repeat(250)),
        vec!["a"; 600].join("||"),
        "(".repeat(2048),
        "{".repeat(32),
    ];
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let work = move || texts.iter().filter(|text| Filter::compile(text).is_ok()).count();
    thread.spawn(work).unwrap().join().unwrap();
}

#[test]
fn real_github_bodies_are_filtered() {
    let Some(folder) = payloads() else { return };
    let mut bodies = 0;
    let draft = compile("event.payload.pull_request.draft == false");
    let sender =
        compile("has(event.payload.sender) && event.payload.sender.login != 'dependabot[bot]'");
    let labels = compile("event.payload.issue.labels.exists(l, l.name == 'bug')");
    for path in json_files(&folder.join("github")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        bodies += 1;
        let facts = facts(&text);
        let want = json.pointer("/pull_request/draft") == Some(&serde_json::json!(false));
        assert_eq!(draft.evaluate(&facts) == Verdict::Match, want, "{}", path.display());
        let login = json.pointer("/sender/login").and_then(serde_json::Value::as_str);
        let want = login.is_some_and(|login| login != "dependabot[bot]");
        assert_eq!(sender.evaluate(&facts) == Verdict::Match, want, "{}", path.display());
        let named = json.pointer("/issue/labels").and_then(serde_json::Value::as_array);
        let want = named.is_some_and(|labels| labels.iter().any(|label| label["name"] == "bug"));
        assert_eq!(labels.evaluate(&facts) == Verdict::Match, want, "{}", path.display());
    }
    assert!(bodies > 0, "no bodies in {}", folder.display());
}

fn json_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(json_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files
}

/// Text that is often an expression: pieces of the language in any order.
fn expression() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "event",
        ".payload",
        ".a",
        "[0]",
        "['a']",
        "(",
        ")",
        " == ",
        " != ",
        " < ",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "?",
        ":",
        "1",
        "1u",
        "2.5",
        "'x'",
        "b'x'",
        "null",
        "true",
        "[",
        "]",
        ",",
        "{",
        "}",
        " in ",
        "size(",
        "has(",
        ".exists(x, ",
        ".map(x, ",
        ".filter(x, ",
        ".all(x,",
        "x",
        ".matches('a+')",
        "string(",
        "int(",
        "type(",
        "event.payload.a",
        "event.source",
        ".contains('x')",
        "\u{e9}",
        "\n",
        "//",
        "@result",
        "`a`",
        ".?",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..25).prop_map(|pieces| pieces.concat())
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-z]{0,3}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[abx]", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_refused_or_gives_the_same_verdict_twice(
        text in prop_oneof![expression(), "\\PC{0,60}", any::<String>()],
        payload in json(),
    ) {
        if let Ok(filter) = Filter::compile(&text) {
            let payload = payload.to_string();
            let first = filter.evaluate(&facts(&payload));
            let second = Filter::compile(&text).unwrap().evaluate(&facts(&payload));
            prop_assert_eq!(first, second);
        }
    }

    #[test]
    fn a_path_of_any_payload_is_read_or_missing(payload in json()) {
        let verdict = compile("event.payload.a == event.payload.a").evaluate(&facts(&payload.to_string()));
        let want = match &payload {
            serde_json::Value::Object(object) if object.contains_key("a") => Verdict::Match,
            serde_json::Value::Object(_) => Verdict::NoMatch(Mismatch::Absent("event.payload.a".into())),
            serde_json::Value::Null => Verdict::NoMatch(Mismatch::Null),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_)
            | serde_json::Value::Array(_) => {
                prop_assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
                return Ok(());
            }
        };
        prop_assert_eq!(verdict, want);
    }
}
