//! The targets that are no kind's: patterns, JSON pointers, mappings, forms.

use std::{borrow::Cow, fmt};

use fastrand::Rng;
use hookline_core::{
    event::{EventType, SourceName},
    normalize::{From as Place, Mapping, PATHS_MAX, Pick, Received, pointer},
    pattern::{Matcher, PATTERN_BYTES_MAX, PATTERNS_MAX, Pattern, PatternSet},
    source::{Custom, Kind, Settings, Source},
};
use http::{HeaderMap, HeaderValue};

use super::{driver::Target, mutate, pick, requests::check_event};
use crate::senders::{Seed, Sent, small_seeds, unsigned};

/// A text as a literal.
pub(super) struct Texts(Vec<String>);

impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|text| writeln!(f, "{text:?}"))
    }
}

const PATTERNS: &[&str] = &[
    "*",
    "*/*",
    "*/",
    "github",
    "github/*",
    "github/pull_request.*",
    "!github/push",
    "*/issue*",
    "github/*.opened",
    "x/a*b*c",
    "x/a*a",
    "dead-letter/*",
    "!*/prs",
    "a/b/c",
    "git*/x",
    "!!x",
    "",
    "x/*.",
    "**",
    "github/{a,b}",
    "github/[ab]",
];
const SUBJECTS: &[(&str, &str)] = &[
    ("github", "pull_request.opened"),
    ("github", "push"),
    ("x", "a.b.c"),
    ("x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
    ("dead-letter", "prs"),
];

/// Patterns: what is taken has a normal form that is taken again, and all that match agree.
pub(super) struct Patterns;

impl Target for Patterns {
    type Input = Texts;

    fn name(&self) -> String {
        "pattern".into()
    }

    fn make(&self, rng: &mut Rng) -> Texts {
        let mut one = |_| {
            let (seed, other) = (*pick(rng, PATTERNS), *pick(rng, PATTERNS));
            match rng.u8(0..24) {
                0..8 => seed.to_owned(),
                8 => format!("x/{}b", "a*".repeat(rng.usize(0..130))),
                _ => mutate::text(rng, seed, other),
            }
        };
        let first = one(0);
        let count = first.len() % 4;
        Texts((0..count).map(one).chain([first]).collect())
    }

    fn check(&self, Texts(texts): &Texts) -> &'static str {
        for text in texts {
            if let Ok(pattern) = Pattern::parse(text) {
                let normal = pattern.to_string();
                assert!(normal.len() <= PATTERN_BYTES_MAX + 2, "`{normal}` is longer");
                assert_eq!(Pattern::parse(&normal).as_ref(), Ok(&pattern));
            }
        }
        let Ok(set) = PatternSet::parse(texts) else { return "refused" };
        assert!(set.patterns().len() <= PATTERNS_MAX);
        let matcher = Matcher::new([("key", &set)]).unwrap();
        for (source, event_type) in SUBJECTS {
            let source = SourceName::parse(source).unwrap();
            let event_type = EventType::parse(event_type).unwrap();
            let found = !matcher.matches(&source, &event_type).is_empty();
            assert_eq!(set.matches(&source, &event_type), found, "{source}/{event_type}");
        }
        "parsed"
    }
}

const POINTERS: &[&str] = &[
    "/a",
    "/a/b.c/~1d~0",
    "/data/0/id",
    "",
    "/",
    "a",
    "/a//b",
    "/a~2",
    "/1/2/3/4/5/6/7/8",
    "/~0~1",
];

/// JSON pointers.
pub(super) struct Pointers;

impl Target for Pointers {
    type Input = Texts;

    fn name(&self) -> String {
        "pointer".into()
    }

    fn make(&self, rng: &mut Rng) -> Texts {
        let (seed, other) = (pick(rng, POINTERS), pick(rng, POINTERS));
        Texts(vec![mutate::text(rng, seed, other)])
    }

    fn check(&self, Texts(texts): &Texts) -> &'static str {
        let text = &texts[0];
        match pointer(text) {
            Ok(path) => {
                assert!(path.len() <= text.len());
                assert_eq!(path.matches('\0').count(), text.matches('/').count());
                "parsed"
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                "refused"
            }
        }
    }
}

/// A mapping and what it reads.
pub(super) struct Mapped {
    mapping: Mapping,
    sent: Sent,
}

impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\n{}", self.mapping, self.sent)
    }
}

/// Any mapping that may be configured, on bodies of any shape.
pub(super) struct Mappings(Vec<Seed>);

impl Mappings {
    pub(super) fn new() -> Self {
        Self(small_seeds(Kind::CUSTOM))
    }
}

impl Target for Mappings {
    type Input = Mapped;

    fn name(&self) -> String {
        "mapping".into()
    }

    fn make(&self, rng: &mut Rng) -> Mapped {
        let seed = pick(rng, &self.0);
        let other = pick(rng, &self.0);
        let body = mutate::bytes(rng, &seed.body, &other.body).into();
        let sent = Sent { target: "/".into(), headers: seed.headers.clone(), body };
        Mapped { mapping: mapping(rng), sent }
    }

    fn check(&self, Mapped { mapping, sent }: &Mapped) -> &'static str {
        let custom = Custom { schemes: Vec::new(), mapping: mapping.clone() };
        let settings = Settings { custom: Some(custom), ..Settings::default() };
        let name = SourceName::parse("acme").unwrap();
        let source = Source::unsigned(name, Kind::CUSTOM, settings).unwrap();
        check_read(&source, sent)
    }
}

fn check_read(source: &Source, sent: &Sent) -> &'static str {
    let Ok(Received::Events { events, .. }) = sent.give_to(source) else {
        panic!("what is not signed is taken, and is no handshake");
    };
    let [event] = events.as_slice() else { panic!("{} events", events.len()) };
    check_event(event, &sent.headers, &sent.body);
    if event.event_type == EventType::unparsed() { "unparsed" } else { "read" }
}

/// Makes a mapping of no more paths than are read.
fn mapping(rng: &mut Rng) -> Mapping {
    let mut mapping = Mapping {
        event_type: (0..rng.usize(0..3)).map(|_| picked(rng)).collect(),
        event_type_prefix: Cow::Borrowed(if rng.bool() { "issue" } else { "" }),
        id: picked(rng),
        time: picked(rng),
        actor: picked(rng),
        actor_type: picked(rng),
        resource_type: picked(rng),
        resource_id: picked(rng),
        metadata: (0..rng.usize(0..10)).map(|at| (at.to_string().into(), picked(rng))).collect(),
    };
    while PATHS_MAX < mapping.path_count() {
        mapping.metadata.to_mut().pop();
    }
    mapping
}

fn picked(rng: &mut Rng) -> Pick {
    const PATHS: &[&str] = &[
        "/type",
        "/id",
        "/data/object/id",
        "/data",
        "/items/0",
        "/items/9/id",
        "/entry/0/changes/0",
        "/sender/login",
        "/created",
        "/~0",
        "/a~1b",
        "/0",
        "/data/at",
    ];
    let mut place = |_| match rng.u8(0..8) {
        0 => Place::Text("text".into()),
        1 => Place::Header("content-type".into()),
        2 => Place::Body("data.object.object".into()),
        3 => {
            let path = *pick(rng, PATHS);
            let text = mutate::text(rng, path, "/a");
            pointer(&text).map_or_else(|_| Place::Header("x-event".into()), Place::Body)
        }
        _ => Place::Body(pointer(pick::<&str>(rng, PATHS)).unwrap()),
    };
    let first = place(0);
    if matches!(first, Place::Body(_)) { vec![first, place(1)].into() } else { vec![first].into() }
}

/// Forms, read by a source that takes anything.
pub(super) struct Forms {
    source: Source,
}

const FORMS: &[&str] = &[
    "payload=%7B%22type%22%3A%22block_actions%22%7D",
    "a=1&payload=%7B%22type%22:+1%7D&payload=2",
    "p%61yload=%7b%22type%22:%22x%22%7d",
    "a=1&b=%C3%A9&a=2&a=3&c",
    "payload=100%",
    "payload=%ff",
    "type=a&id=%5B%5D&type=b",
    "=&=&&&=a",
];

impl Forms {
    pub(super) fn new() -> Self {
        Self { source: unsigned(Kind::CUSTOM) }
    }
}

impl Target for Forms {
    type Input = Sent;

    fn name(&self) -> String {
        "form".into()
    }

    fn make(&self, rng: &mut Rng) -> Sent {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("Application/X-WWW-Form-URLencoded; charset=utf-8");
        headers.insert("content-type", form);
        let (seed, other) = (pick(rng, FORMS), pick(rng, FORMS));
        let body = mutate::bytes(rng, seed.as_bytes(), other.as_bytes()).into();
        Sent { target: "/".into(), headers, body }
    }

    fn check(&self, sent: &Sent) -> &'static str {
        check_read(&self.source, sent)
    }
}
