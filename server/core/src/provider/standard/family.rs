//! Providers that sign by Standard Webhooks: what each puts into its bodies.
//!
//! All keep the message's id in its header, and none tells who did it.
//!
//! Sources: openai-python `types/webhooks`, anthropic-sdk-python `types/beta/beta_webhook_event_data.py`,
//! replicate-python `webhook.py`; docs of Clerk ("Webhooks overview"), Resend ("Webhooks"), Brex ("Webhooks") and
//! Recall.ai ("Webhooks").

use std::borrow::Cow;

use smol_str::{SmolStr, format_smolstr};

use super::{
    super::{Provider, Read},
    PROVIDER,
};
use crate::normalize::{Mapping, Outcome, Post, pick};

/// A user, an organization or a session: `data` with its `object`.
pub(in crate::provider) const CLERK: Provider = Provider {
    name: "clerk",
    title: "Clerk",
    read: Read::Mapping(&Mapping {
        event_type: Cow::Borrowed(&[pick![body "type"]]),
        time: pick![body "timestamp", body "data.updated_at"],
        resource_type: pick![body "data.object", type_head "."],
        resource_id: pick![body "data.id"],
        metadata: Cow::Borrowed(&[(Cow::Borrowed("instance_id"), pick![body "instance_id"])]),
        ..Mapping::EMPTY
    }),
    ..PROVIDER
};

/// An email, a contact or a domain. `from` is an email's sender, which is not who did it.
pub(in crate::provider) const RESEND: Provider = Provider {
    name: "resend",
    title: "Resend",
    read: Read::Mapping(&Mapping {
        event_type: Cow::Borrowed(&[pick![body "type"]]),
        time: pick![body "created_at"],
        resource_type: pick![type_head "."],
        resource_id: pick![body "data.email_id", body "data.id"],
        metadata: Cow::Borrowed(&[(Cow::Borrowed("from"), pick![body "data.from"])]),
        ..Mapping::EMPTY
    }),
    ..PROVIDER
};

/// A response, a batch, a job or a call, which is named by its id only.
pub(in crate::provider) const OPENAI: Provider = Provider {
    name: "openai",
    title: "OpenAI",
    read: Read::Mapping(&Mapping {
        event_type: Cow::Borrowed(&[pick![body "type"]]),
        time: pick![body "created_at"],
        resource_type: pick![type_stem "."],
        resource_id: pick![body "data.id", body "data.call_id", body "data.session_id"],
        metadata: Cow::Borrowed(&[(Cow::Borrowed("event_id"), pick![body "id"])]),
        ..Mapping::EMPTY
    }),
    ..PROVIDER
};

/// The event is the member `data`, with its own type and the id of a session, an agent, a vault and so on.
pub(in crate::provider) const ANTHROPIC: Provider = Provider {
    name: "anthropic",
    title: "Anthropic",
    read: Read::Mapping(&Mapping {
        event_type: Cow::Borrowed(&[pick![body "data.type", body "type"]]),
        time: pick![body "created_at"],
        resource_type: pick![type_stem "."],
        resource_id: pick![body "data.id"],
        metadata: Cow::Borrowed(&[
            (Cow::Borrowed("event_id"), pick![body "id"]),
            (Cow::Borrowed("organization_id"), pick![body "data.organization_id"]),
            (Cow::Borrowed("workspace_id"), pick![body "data.workspace_id"]),
        ]),
        ..Mapping::EMPTY
    }),
    ..PROVIDER
};

/// A type in capitals, `TRANSFER_PROCESSED`, and the id of what it begins with. No time is told.
pub(in crate::provider) const BREX: Provider = Provider {
    name: "brex",
    title: "Brex",
    read: Read::Mapping(&Mapping {
        event_type: Cow::Borrowed(&[pick![body "event_type"]]),
        resource_type: pick![type_stem "_"],
        resource_id: pick![
            body "transfer_id",
            body "expense_id",
            body "referral_id",
            body "user_id",
            body "applicationId",
            body "application_id"
        ],
        metadata: Cow::Borrowed(&[(Cow::Borrowed("company_id"), pick![body "company_id"])]),
        ..Mapping::EMPTY
    }),
    ..PROVIDER
};

/// A prediction as it is now: what happened is its `status`.
pub(in crate::provider) const REPLICATE: Provider = Provider {
    name: "replicate",
    title: "Replicate",
    read: Read::Code(read_replicate),
    ..PROVIDER
};

const PREDICTION: Mapping = Mapping {
    event_type: Cow::Borrowed(&[pick![body "status"]]),
    time: pick![body "completed_at", body "started_at", body "created_at"],
    resource_type: pick![text "prediction"],
    resource_id: pick![body "id"],
    metadata: Cow::Borrowed(&[
        (Cow::Borrowed("model"), pick![body "model"]),
        (Cow::Borrowed("version"), pick![body "version"]),
    ]),
    ..Mapping::EMPTY
};

fn read_replicate(post: &Post<'_>) -> Option<Outcome> {
    let mut reading = PREDICTION.read(post).filter(|it| !it.event_type.is_empty())?;
    reading.event_type = format_smolstr!("prediction.{}", reading.event_type);
    reading.event_type_raw = None;
    Some(Outcome::Event(reading))
}

/// A bot in a call; its recordings and transcripts belong to it.
pub(in crate::provider) const RECALL_AI: Provider = Provider {
    name: "recall-ai",
    title: "Recall.ai",
    read: Read::Code(read_recall_ai),
    ..PROVIDER
};

const BOT: Mapping = Mapping {
    event_type: Cow::Borrowed(&[pick![body "event"]]),
    time: pick![body "data.data.updated_at"],
    resource_type: pick![text "bot"],
    resource_id: pick![body "data.bot.id"],
    metadata: Cow::Borrowed(&[
        (Cow::Borrowed("recording_id"), pick![body "data.recording.id"]),
        (Cow::Borrowed("transcript_id"), pick![body "data.transcript.id"]),
        (Cow::Borrowed("code"), pick![body "data.data.code"]),
        (Cow::Borrowed("sub_code"), pick![body "data.data.sub_code"]),
    ]),
    ..Mapping::EMPTY
};

fn read_recall_ai(post: &Post<'_>) -> Option<Outcome> {
    let mut reading = BOT.read(post)?;
    if reading.resource_id.is_empty() {
        // Made without a bot, by Recall's desktop recorder.
        let recording = reading.metadata.get("recording_id").map(SmolStr::new);
        reading.resource_type = recording.as_ref().map(|_| "recording".into()).unwrap_or_default();
        reading.resource_id = recording.unwrap_or_default();
    }
    Some(Outcome::Event(reading))
}
