//! Bodies made up like GitHub's: their sizes, what they are made of, and how well they compress. The same seed gives the
//! same bodies.

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::bodies::Body;

/// How many bodies are made: a load goes through them in turn.
const COUNT: usize = 256;

/// How large 231 real bodies are: a part of them, and the most bytes that it has. In between it is a straight line.
const SIZES: [(f64, f64); 9] = [
    (0.0, 455.0),
    (0.05, 1_850.0),
    (0.10, 2_930.0),
    (0.25, 6_985.0),
    (0.50, 8_670.0),
    (0.75, 11_863.0),
    (0.90, 27_949.0),
    (0.95, 29_114.0),
    (1.0, 31_910.0),
];

/// The events, and for each the action and the object that it is about.
const EVENTS: [(&str, &str, &str); 8] = [
    ("pull_request", "opened", "pull_request"),
    ("issues", "labeled", "issue"),
    ("push", "", "head_commit"),
    ("check_run", "completed", "check_run"),
    ("issue_comment", "created", "comment"),
    ("pull_request_review", "submitted", "review"),
    ("workflow_job", "in_progress", "workflow_job"),
    ("release", "published", "release"),
];

/// The addresses that a repository has, and a user, as the last parts of their paths.
const REPOSITORY_URLS: [&str; 36] = [
    "archive",
    "assignees",
    "blobs",
    "branches",
    "collaborators",
    "comments",
    "commits",
    "compare",
    "contents",
    "contributors",
    "deployments",
    "downloads",
    "events",
    "forks",
    "git_commits",
    "git_refs",
    "git_tags",
    "hooks",
    "issue_comment",
    "issue_events",
    "issues",
    "keys",
    "labels",
    "languages",
    "merges",
    "milestones",
    "notifications",
    "pulls",
    "releases",
    "stargazers",
    "statuses",
    "subscribers",
    "subscription",
    "tags",
    "teams",
    "trees",
];
const USER_URLS: [&str; 9] = [
    "followers",
    "following",
    "gists",
    "starred",
    "subscriptions",
    "orgs",
    "repos",
    "events",
    "received_events",
];

/// What texts are made of.
const WORDS: [&str; 24] = [
    "the", "parser", "fails", "when", "a", "branch", "has", "no", "upstream", "and", "tests",
    "for", "this", "case", "release", "after", "merge", "update", "cache", "of", "workflow",
    "runs", "again", "fix",
];

/// Makes bodies. Their sizes are spread as those of real ones, in an order of chance.
pub(super) fn bodies(seed: u64) -> Vec<Body> {
    let mut random = Rng::with_seed(seed);
    let mut places: Vec<usize> = (0..COUNT).collect();
    random.shuffle(&mut places);
    places.into_iter().map(|place| body(&mut random, size_at(place))).collect()
}

/// Returns the size of the body at this place of all, the smallest first.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousand bytes"
)]
fn size_at(place: usize) -> usize {
    let part = (place as f64 + 0.5) / COUNT as f64;
    let between = SIZES.iter().zip(SIZES.iter().skip(1)).find(|(_, (end, _))| part <= *end);
    let ((from, least), (to, most)) = between.expect("the last part is all of them");
    ((part - from) / (to - from)).mul_add(most - least, *least) as usize
}

fn body(random: &mut Rng, size: usize) -> Body {
    let (event, action, object) = *random.choice(EVENTS.iter()).expect("there are events");
    let names = Names::new(random);
    let mut about = Map::new();
    for (name, value) in [
        ("id", id(random).into()),
        ("node_id", base64(random, 24).into()),
        ("number", random.u32(1..20_000).into()),
        ("sha", hex(random, 40).into()),
        ("state", "open".into()),
        ("created_at", time(random).into()),
        ("url", format!("{}/{object}s/{}", names.api(), random.u32(1..20_000)).into()),
    ] {
        about.insert(name.to_owned(), value);
    }
    let mut root = Map::new();
    if !action.is_empty() {
        root.insert("action".to_owned(), action.into());
    }
    let mut room = Room { left: size.saturating_sub(400) };
    room.put(&mut root, "sender", || user(random, names.login));
    room.put(&mut root, "repository", || repository(random, &names));
    for part in ["user", "head", "base", "assignee", "merged_by"] {
        room.put(&mut about, part, || match part {
            "head" | "base" => {
                json!({"ref": "main", "sha": hex(random, 40), "repo": repository(random, &names)})
            }
            _ => user(random, names.login),
        });
    }
    about.insert("body".to_owned(), text(random, room.left).into());
    root.insert(object.to_owned(), about.into());
    if !root.contains_key("repository") {
        root.insert("repository".to_owned(), json!({"full_name": names.full()}));
    }
    Body { event: event.to_owned(), bytes: Bytes::from(Value::from(root).to_string()) }
}

/// How many bytes a body may still grow.
struct Room {
    left: usize,
}

impl Room {
    /// Puts a part in, if it fits.
    fn put(&mut self, into: &mut Map<String, Value>, name: &str, make: impl FnOnce() -> Value) {
        let value = make();
        let size = value.to_string().len() + name.len() + 4;
        if size <= self.left {
            self.left -= size;
            into.insert(name.to_owned(), value);
        }
    }
}

/// Whose repository it is.
struct Names {
    login: &'static str,
    repository: String,
}

impl Names {
    fn new(random: &mut Rng) -> Self {
        let login = ["octocat", "hubot", "monalisa", "codertocat"];
        let login = random.choice(login).expect("there are names");
        Self { login, repository: format!("hello-{}", random.u32(1..500)) }
    }

    fn full(&self) -> String {
        format!("{}/{}", self.login, self.repository)
    }

    fn api(&self) -> String {
        format!("https://api.github.com/repos/{}", self.full())
    }
}

fn user(random: &mut Rng, login: &str) -> Value {
    let mut user = Map::new();
    for url in USER_URLS {
        user.insert(
            format!("{url}_url"),
            format!("https://api.github.com/users/{login}/{url}").into(),
        );
    }
    for (name, value) in [
        ("login", login.into()),
        ("id", id(random).into()),
        ("node_id", base64(random, 20).into()),
        (
            "avatar_url",
            format!("https://avatars.githubusercontent.com/u/{}?v=4", id(random)).into(),
        ),
        ("type", "User".into()),
        ("site_admin", false.into()),
    ] {
        user.insert(name.to_owned(), value);
    }
    user.into()
}

fn repository(random: &mut Rng, names: &Names) -> Value {
    let mut repository = Map::new();
    for url in REPOSITORY_URLS {
        let address = format!("{}/{}{{/{}}}", names.api(), url.replace('_', "/"), url);
        repository.insert(format!("{url}_url"), address.into());
    }
    for (name, value) in [
        ("id", id(random).into()),
        ("node_id", base64(random, 24).into()),
        ("name", names.repository.clone().into()),
        ("full_name", names.full().into()),
        ("owner", user(random, names.login)),
        ("description", text(random, 80).into()),
        ("created_at", time(random).into()),
        ("updated_at", time(random).into()),
        ("pushed_at", time(random).into()),
        ("size", random.u32(1..90_000).into()),
        ("stargazers_count", random.u32(0..9_000).into()),
        ("open_issues_count", random.u32(0..900).into()),
        ("private", false.into()),
        ("default_branch", "main".into()),
    ] {
        repository.insert(name.to_owned(), value);
    }
    repository.into()
}

/// Makes a text of words, commit hashes among them, at most so long.
fn text(random: &mut Rng, bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        if random.u8(..) < 8 {
            text.push_str(&hex(random, 40));
        } else {
            text.push_str(random.choice(WORDS).expect("there are words"));
        }
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

fn id(random: &mut Rng) -> u64 {
    random.u64(10_000_000..900_000_000)
}

fn hex(random: &mut Rng, digits: usize) -> String {
    std::iter::repeat_with(|| char::from_digit(random.u32(..16), 16))
        .take(digits)
        .flatten()
        .collect()
}

fn base64(random: &mut Rng, digits: usize) -> String {
    std::iter::repeat_with(|| random.alphanumeric()).take(digits).collect()
}

fn time(random: &mut Rng) -> String {
    let (month, day) = (random.u8(1..=12), random.u8(1..=28));
    let (hour, minute, second) = (random.u8(..24), random.u8(..60), random.u8(..60));
    format!("2026-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_bodies_and_another_others() {
        assert_eq!(bodies(1), bodies(1));
        assert_ne!(bodies(1), bodies(2));
    }

    #[test]
    fn sizes_are_spread_as_those_of_real_bodies() {
        let mut sizes: Vec<usize> = bodies(7).iter().map(|body| body.bytes.len()).collect();
        sizes.sort_unstable();
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((10_000..12_500).contains(&mean), "mean {mean}");
        for (part, bytes) in &SIZES[1..8] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let (at, wanted) = (sizes[(part * sizes.len() as f64) as usize], *bytes);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let off = (at as f64 - wanted).abs() / wanted;
            assert!(off < 0.15, "{at} bytes at {part}, and not {wanted}");
        }
    }

    #[test]
    fn bodies_are_json_that_compresses_as_real_ones_do() {
        let (mut raw, mut packed) = (0, 0);
        for body in bodies(7) {
            let read: Value = serde_json::from_slice(&body.bytes).unwrap();
            assert!(read["repository"]["full_name"].as_str().unwrap().contains('/'));
            raw += body.bytes.len();
            packed += zstd::bulk::compress(&body.bytes, 1).unwrap().len();
        }
        // 231 real bodies: 5.9.
        assert!((50..70).contains(&(10 * raw / packed)), "{raw} to {packed} bytes");
    }
}
