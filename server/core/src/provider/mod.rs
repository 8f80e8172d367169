//! The providers that are built in: a row each in `PROVIDERS`, and a small file that says how the provider signs and
//! what its requests mean.

use std::fmt;

use http::Method;

use crate::{
    normalize::{Answer, Mapping, Outcome, Post},
    source::Source,
    verify::{
        Request, Scheme, VerifyError,
        scheme::{Encoding, Proof},
    },
};

mod bitbucket;
mod bitbucket_server;
mod calendly;
mod cloudevents;
mod custom;
mod discord;
mod gitea;
mod github;
mod gitlab;
mod hubspot;
mod intercom;
mod jira;
mod linear;
mod microsoft_graph;
mod notion;
mod paddle;
mod pagerduty;
mod sendgrid;
mod sentry;
mod shopify;
mod slack;
mod square;
mod standard;
mod stripe;
mod telegram;
mod twilio;
mod typeform;
mod whatsapp;
mod zendesk;
mod zoom;

/// All of them, by name.
const PROVIDERS: &[&Provider] = &[
    &standard::family::ANTHROPIC,
    &bitbucket::PROVIDER,
    &bitbucket_server::PROVIDER,
    &standard::family::BREX,
    &calendly::PROVIDER,
    &standard::family::CLERK,
    &cloudevents::PROVIDER,
    &custom::PROVIDER,
    &discord::PROVIDER,
    &gitea::FORGEJO,
    &gitea::GITEA,
    &github::PROVIDER,
    &gitlab::PROVIDER,
    &hubspot::PROVIDER,
    &intercom::PROVIDER,
    &jira::PROVIDER,
    &linear::PROVIDER,
    &microsoft_graph::PROVIDER,
    &notion::PROVIDER,
    &standard::family::OPENAI,
    &paddle::PROVIDER,
    &pagerduty::PROVIDER,
    &standard::family::RECALL_AI,
    &standard::family::REPLICATE,
    &standard::family::RESEND,
    &sendgrid::PROVIDER,
    &sentry::PROVIDER,
    &shopify::PROVIDER,
    &slack::PROVIDER,
    &square::PROVIDER,
    &standard::PROVIDER,
    &stripe::PROVIDER,
    &telegram::PROVIDER,
    &twilio::PROVIDER,
    &typeform::PROVIDER,
    &whatsapp::PROVIDER,
    &zendesk::PROVIDER,
    &zoom::PROVIDER,
];

/// A provider: how its requests are signed, and what their parts mean.
pub struct Provider {
    /// The name, as in the configuration.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// How it signs, the strongest way first; of `custom` none, which has its own.
    pub schemes: &'static [Scheme],
    /// The header that names the event, if there is one: what `hookline send --event` sets.
    pub event_header: Option<&'static str>,
    /// The headers with the id that the provider keeps when it sends a delivery again; the first that is there counts.
    pub id_headers: &'static [&'static str],
    /// What it asks for before it posts events.
    pub handshake: Handshake,
    /// How its requests are read.
    pub(crate) read: Read,
}

/// What a provider asks for before, or between, its events.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// In a few words, for people; empty if there is none.
    pub what: &'static str,
    /// Methods beside POST that it comes with.
    pub methods: &'static [Method],
    /// Whether it brings a token that the source is configured with: `verify_token`.
    pub has_token: bool,
    /// Answers what comes unsigned; `None`: the request is an ordinary one.
    pub(crate) probe: fn(&Source, Request<'_>) -> Option<Result<Answer, VerifyError>>,
}

impl Handshake {
    /// Nothing is asked for.
    pub(crate) const NONE: Self = Self::signed("");

    /// Describes a handshake that is signed as an event is, so that the reader answers it.
    pub(crate) const fn signed(what: &'static str) -> Self {
        Self { what, methods: &[], has_token: false, probe: |_, _| None }
    }
}

/// How requests are read.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// Things stand where a table says.
    Mapping(&'static Mapping),
    /// By code; `None`: it can't be read.
    Code(fn(&Post<'_>) -> Option<Outcome>),
    /// As the source's own description says.
    Custom,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.name)
    }
}

/// `X-Hub-Signature: sha256=<hex>` over the raw body, as WebSub has it: what Atlassian's products sign with. Nothing
/// signs a time or the delivery's id, and a webhook without a secret has no signature.
///
/// Sources: nango, argo-events and CodeRabbit, which check it.
const WEBSUB: Scheme =
    Scheme::over_body("x-hub-signature", Some('='), WEBSUB_PROOFS, Encoding::Hex);
const WEBSUB_PROOFS: &[Proof] = &[Proof::sha256("sha256")];

/// Returns what a Git ref is and its name: `refs/heads/main` is the branch `main`. `None` for one that is neither branch
/// nor tag.
fn split_ref(name: &str) -> Option<(&'static str, &str)> {
    let branch = name.strip_prefix("refs/heads/").map(|name| ("branch", name));
    branch.or_else(|| name.strip_prefix("refs/tags/").map(|name| ("tag", name)))
}

/// The kind of a source: which provider it is.
#[derive(Clone, Copy)]
pub struct Kind(&'static Provider);

/// The text is not the name of a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind `{0}`: `hookline sources kinds` lists all")]
pub struct UnknownKind(pub String);

impl Kind {
    /// github.com and GitHub Enterprise: repository, organization and app webhooks.
    pub const GITHUB: Self = Self(&github::PROVIDER);
    /// Stripe: snapshot and thin events.
    pub const STRIPE: Self = Self(&stripe::PROVIDER);
    /// A sender that the configuration describes.
    pub const CUSTOM: Self = Self(&custom::PROVIDER);

    /// Returns all kinds, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        PROVIDERS.iter().copied().map(Self)
    }

    /// Parses the name of a kind, as in the configuration.
    ///
    /// # Errors
    ///
    /// If there is no such kind.
    pub fn parse(text: &str) -> Result<Self, UnknownKind> {
        Self::all().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }

    /// Returns the name of the kind, as in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Returns the provider's description.
    #[must_use]
    pub const fn provider(self) -> &'static Provider {
        self.0
    }

    /// Whether requests with this method may come.
    #[must_use]
    pub fn takes(self, method: &Method) -> bool {
        method == Method::POST || self.0.handshake.methods.contains(method)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Kind {}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
