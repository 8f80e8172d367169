//! Every maximum of the server, with its reason. What is not limited here grows with what a stranger sends.

use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

// --- HTTP: one request ---

/// The most bytes of a body, unless `[http] max_body` says otherwise: the most that GitHub and GitLab post.
pub const BODY_BYTES_DEFAULT: usize = 25 * MIB;
/// The least that `[http] max_body` may be: smaller ones refuse ordinary webhooks (a GitHub push has about 10 KB).
pub const BODY_BYTES_LEAST: usize = 64 * KIB;
/// The most that `[http] max_body` may be: half of the budget, so that one sender can't take it all.
pub const BODY_BYTES_MOST: usize = BODY_BUDGET_BYTES / 2;
/// The most bytes of a request line and headers together: providers send about 2 KB, proxies stop at 8 to 16 KB.
pub const HEADER_BYTES_MAX: usize = 16 * KIB;
/// The most header fields: providers send about 20. It is hyper's own default, which keeps them off the heap.
pub const HEADERS_MAX: usize = 100;
/// How long a connection may take to bring the headers of a request, idle time before them included.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a body may go without a byte: a lost sender must not keep its part of the budget.
pub const BODY_PROGRESS_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a body may take in all: one that trickles is a way to keep the budget from others. 25 MiB in ten minutes are
/// 44 KB/s, and every provider gives up long before.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(600);
/// How long an answer may wait for a sender that does not read it.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How many bytes of the budget a body of unknown length takes at a time.
pub const BODY_GROWTH_BYTES: usize = 64 * KIB;
/// Bodies above this are verified and read on a thread of their own: 1 MiB takes about 2 ms, and a worker of the
/// runtime that is busy for longer delays every other connection.
pub const BODY_INLINE_BYTES_MAX: usize = MIB;

// --- Connections ---

/// How long a TLS handshake may take: as long as headers may.
pub const HANDSHAKE_TIME_MAX: Duration = HEADER_TIME_MAX;
/// The most bytes of a file of certificates: the roots that a system trusts have about 220 KiB.
pub const PEM_BYTES_MAX: usize = MIB;
/// How often the files of certificates are looked at: reading three small files costs nothing, and who replaces one wants
/// to see that it was taken.
pub const PEM_INTERVAL: Duration = Duration::from_secs(2);

/// How long a client of gRPC may take to send the first 24 bytes of HTTP/2: as long as headers may.
pub const PREFACE_TIME_MAX: Duration = HEADER_TIME_MAX;
/// How many files the hub may want open: all connections, and some for the store, certificates and the log.
pub const FILES_WANTED: u64 = (CONNECTIONS_MAX + GRPC_CONNECTIONS_MAX + 256) as u64;

// --- HTTP: all requests together ---

/// The most posts at once; beyond them the answer is 429 before the body is read. Four times what one commit takes.
pub const POSTS_MAX: usize = 1_024;
/// How many bytes of each body are not counted there: ordinary webhooks have about 10 KB, and must come in also while
/// large ones, which may stall, have the whole budget. With all of [`POSTS_MAX`] it is 64 MiB beside the budget.
pub const BODY_FREE_BYTES: usize = 64 * KIB;
/// The most bytes of bodies in memory at once: what keeps memory flat when many large ones come together.
pub const BODY_BUDGET_BYTES: usize = 64 * MIB;
/// How long a body waits for its part of the budget: half of the 10 s that GitHub waits for an answer.
pub const BODY_BUDGET_TIME_MAX: Duration = Duration::from_secs(5);
/// The most open connections; beyond them new ones wait in the listener's queue. Above [`POSTS_MAX`], so that a sender
/// above the limit is told so.
pub const CONNECTIONS_MAX: usize = 4_096;
/// How many connections may wait to be accepted, if the kernel lets as many (Linux: `net.core.somaxconn`, 4,096 by default).
/// One that finds no room is tried again by its sender's kernel after a second.
pub const LISTEN_QUEUE_MAX: u32 = 4_096;
/// How long to wait before accepting again after an accept failed (no free file descriptors): without it the loop spins.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The most bytes that a connection buffers on their way in: with all of [`POSTS_MAX`] it is 64 MiB beside the budget.
pub const CONNECTION_BUFFER_BYTES: usize = 64 * KIB;
/// How long what a sender still sends is read and dropped after it was refused: a connection closed with unread bytes
/// is reset, and the sender never sees the answer.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(5);
/// How many bytes are read and dropped so before there is a pause of [`LINGER_PAUSE`]: who sends without end is read at 8 MiB
/// a second, and costs next to nothing.
pub const LINGER_STEP_BYTES: usize = 64 * KIB;
/// The pause between these.
pub const LINGER_PAUSE: Duration = Duration::from_millis(8);
/// How long a body may still come in once the hub stops: an ordinary one takes milliseconds, and one that stalls must not
/// use up the grace of everything else.
pub const DRAIN_BODY_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a connection may take to end once nothing is in flight and the hub stops.
pub const CLOSE_TIME_MAX: Duration = Duration::from_millis(500);
/// The least that `max_per_second` of a source may be: about 86 a day.
pub const SOURCE_RATE_LEAST: f64 = 0.001;
/// The most that it may be: more than the hub takes.
pub const SOURCE_RATE_MOST: f64 = 100_000.0;
/// The most that `burst` of a source may be.
pub const SOURCE_BURST_MOST: u32 = 100_000;
/// The longest `Retry-After` of a source that posts too often: senders that wait for hours take it for an error.
pub const RETRY_AFTER_RATE_MOST: Duration = Duration::from_secs(3_600);
/// `Retry-After` of 429: a full house empties in a moment.
pub const RETRY_AFTER_OVERLOAD: Duration = Duration::from_secs(1);
/// `Retry-After` of 503: a restart or a disk that was full.
pub const RETRY_AFTER_UNAVAILABLE: Duration = Duration::from_secs(10);
/// How often a refusal of the same source and cause is worth a line of its own at WARN.
pub const REFUSAL_WARN_INTERVAL: Duration = Duration::from_secs(60);

// --- Tokens ---

/// The most bytes of a tokens file: [`TOKENS_MAX`] entries of a few patterns each. It is read whole.
pub const TOKENS_FILE_BYTES_MAX: usize = 4 * MIB;
/// The most tokens: one for each subscription of a large hub.
pub const TOKENS_MAX: usize = 10_000;
/// The most bytes of a token's name, as of a subscription's.
pub const TOKEN_NAME_BYTES_MAX: usize = 64;
/// The most sources that one token publishes as.
pub const TOKEN_SOURCES_MAX: usize = 100;
/// How often the tokens file is looked at, and expiry is: so long may what was revoked or has expired still go on.
pub const TOKENS_INTERVAL: Duration = Duration::from_millis(500);
/// A tokens file that was changed less than this ago is read again: what changes once more in the same tick of a file
/// system's clock looks the same from outside. Two seconds is the coarsest clock.
pub const TOKENS_SETTLED_AFTER: Duration = Duration::from_secs(2);

// --- Broker ---

/// The most subscriptions, ephemeral ones included: each is a task with what it read ahead.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// How many messages may wait for a subscription's task before those who ask wait themselves.
pub const SUBSCRIPTION_MESSAGES_MAX: usize = 256;
/// How long a subscription may take to answer before who asked is told that there is no answer: a commit may take
/// seconds, and most clients wait for half a minute.
pub const SUBSCRIPTION_ANSWER_TIME_MAX: Duration = Duration::from_secs(25);
/// How many messages a subscription takes in before it carries out what follows: what they write goes into one commit.
pub const SUBSCRIPTION_MESSAGES_AT_ONCE: usize = 256;
/// How many events a subscription reads from the log at a time: half of what it reads ahead.
pub const FETCH_READ_ENTRIES: usize = 512;
/// How many bytes it reads at a time.
pub const FETCH_READ_BYTES: usize = MIB;
/// The most bytes of events that a subscription keeps of what it has read ahead: beyond that they are read again when
/// they are handed out.
pub const AHEAD_BYTES_MAX: usize = 4 * MIB;
/// The most bytes that all subscriptions together keep so: a hub with a thousand of them must stay small.
pub const AHEAD_BYTES_ALL_MAX: usize = 64 * MIB;
/// How many events are matched for all subscriptions at a time, at the end of the log.
pub const ROUTE_READ_ENTRIES: usize = 512;
/// How many bytes of them are read at a time.
pub const ROUTE_READ_BYTES: usize = 4 * MIB;
/// How many events are kept for a subscription that does not take them, since nobody waits: what it reads ahead. Beyond
/// that it reads the log by itself.
pub const FEED_MAX: usize = 1_024;
/// Payloads above this are parsed for filters on a thread of their own: 512 KiB take about 3 ms, and a worker of the
/// runtime that is busy for longer delays every stream.
pub const FACTS_INLINE_BYTES_MAX: usize = 512 * KIB;
/// How many earlier rules of a subscription are kept: each change of its patterns or filter makes one. Above that, those
/// whose events are all done are forgotten; with more still open, a change is refused.
pub const RULES_MAX: usize = 16;
/// With more deliveries ready than this, nothing more is looked back at: each of them has a record in the ledger.
pub const LOOK_BACK_READY_MAX: u64 = 10_000;
/// How many dead letters are announced at a time: one append and one mark.
pub const ANNOUNCED_AT_ONCE: usize = 64;
/// How many dead letters a redrive reads at a time: they go back in one commit.
pub const REDRIVE_READ_ENTRIES: usize = 256;
/// How many bytes of them it reads at a time: a row holds its event.
pub const REDRIVE_READ_BYTES: usize = 4 * MIB;
/// The most keys that one commit of a purge deletes: four of each dead letter, and one for each 64 KiB of a large payload.
/// With more in one batch, sled's garbage grows faster than it is collected.
pub const PURGE_KEYS_MAX: u64 = 1_024;
/// How many bytes of a payload take a key of their own, where it is not kept in the row of its dead letter.
pub const LETTER_KEY_BYTES: u64 = 64 << 10;
/// How often dead letters are read anew that changed while they were to be purged: it takes a seek in that moment.
pub const PURGE_TRIES: u32 = 3;
/// The most causes that dead letters are grouped by: more than a person reads, and with all their texts they fit a message.
/// Those that come later are one group.
pub const CAUSES_MAX: usize = 500;
/// The most ids that a group of dead letters shows: enough to look at one, and at another where that says too little.
pub const CAUSE_SAMPLES_MAX: usize = 3;
/// The most bytes that a group of dead letters shows of an error as it was said.
pub const CAUSE_TEXT_BYTES_MAX: usize = KIB;
/// The most subscriptions that a group of dead letters names.
pub const CAUSE_SUBSCRIPTIONS_MAX: usize = 10;
/// The most bytes that the texts of a group of dead letters take: the cause (256), the error type (256), an error as it was
/// said, the names of subscriptions (64), ids and numbers.
const CAUSE_BYTES: usize = 2 * 256 + CAUSE_TEXT_BYTES_MAX + CAUSE_SUBSCRIPTIONS_MAX * 66 + 512;
/// How long dead letters are read to be summed up: most clients wait for half a minute.
pub const SUMMARY_TIME_MAX: Duration = Duration::from_secs(20);
/// With so many deliveries ready nothing more is replayed: as many as may wait for their next attempt, and each has a record in
/// memory and in the ledger.
pub const REPLAY_READY_MAX: usize = 1_000_000;
/// How often a replay asks a subscription that can't do it now: the log is trimmed within seconds.
pub const REPLAY_TRIES: u32 = 5;
/// The most events that one call replays, as of a redrive.
pub const REPLAY_MAX: u32 = REDRIVE_MAX;
/// The events that one call replays when the request does not say.
pub const REPLAY_DEFAULT: u32 = REDRIVE_DEFAULT;
/// The wait before something that the store could not do is tried again, and when a client is told to come back after
/// UNAVAILABLE: a failed store looks each second whether it can be opened, and a restart takes about as long.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The most dead letters that one call redrives or purges: a mistake stays small, and a call short.
pub const REDRIVE_MAX: u32 = 10_000;
/// The dead letters that one call redrives or purges when the request does not say.
pub const REDRIVE_DEFAULT: u32 = 1_000;

// --- gRPC ---

/// The most bytes of a request: a published event has at most the payload of a webhook, and some metadata.
pub const REQUEST_BYTES_MAX: usize = 26 * MIB;
/// The most bytes of requests in memory at once, as of webhooks' bodies ([`BODY_BUDGET_BYTES`]): two of the largest.
pub const REQUEST_BUDGET_BYTES: usize = 64 * MIB;
/// How many bytes of each request are not counted there, so that acks go on while large requests have all of it.
pub const REQUEST_FREE_BYTES: usize = 16 * KIB;
/// The most bytes that are kept of what a consumer says about its progress: a line or two for people.
pub const PROGRESS_BYTES_MAX: usize = 1_024;
/// The most keys of a published event's metadata.
pub const METADATA_KEYS_MAX: usize = 64;
/// The most bytes of a published event's actor, resource, delivery key, or of one metadata key or value.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The deepest nesting of a payload that is returned as a value: prost refuses to decode messages nested deeper than
/// 100, and a JSON level takes up to three.
pub const STRUCT_DEPTH_MAX: usize = 25;

/// The most lease ids, nacks or extensions in one request.
pub const SETTLE_BATCH_MAX: usize = 1_000;
/// The entries of a page when the request does not say.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// The most entries of a page.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// A page ends early here: most gRPC clients refuse a message above 4 MiB.
pub const PAGE_BYTES_MAX: usize = 3 * MIB;
/// The most bytes of a payload in a delivery, watch or list when the request does not say: it must fit a message.
pub const PAYLOAD_BYTES_DEFAULT: usize = 3 * MIB;
/// The most bytes of a message that most gRPC clients take.
pub const CLIENT_MESSAGE_BYTES: usize = 4 * MIB;
/// The most unsettled leases of one consumer.
pub const IN_FLIGHT_MAX: u32 = 1_000;
/// How often a stream without deliveries sends a heartbeat: below the idle limit of ordinary proxies (60 s).
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// The most bytes of a payload that is returned as a value, in whatever call: its tree takes about thirty times that in
/// memory, and who reads more than this in a terminal wants the file.
pub const STRUCT_BYTES_MAX: usize = 3 * MIB;
/// Payloads above this are made into values on a thread of their own: 1 MiB takes about 10 ms, and a worker of the
/// runtime that is busy for longer delays every other stream.
pub const STRUCT_INLINE_BYTES_MAX: usize = 512 * KIB;
/// How many bytes of deliveries a stream gathers, as far as they are there, before it hands them on to be sent.
pub const STREAM_CHUNK_BYTES: usize = 40 * KIB;
/// How much more room a stream asks for at once where a delivery does not fit what it has: what it gathers, and one of ordinary
/// size. It keeps the last room that it got.
pub const STREAM_BUFFER_BYTES: usize = 52 * KIB;
/// How many bytes an answer hands on before the task that sends them gets its turn: else the two, and with them the client,
/// would work one after the other, up to 400 KiB at a time (what the HTTP library takes in).
pub const STREAM_TURN_BYTES: usize = 64 * KIB;
/// What a consumer holds takes at most this of `ready`, which also has to fit a message: beyond it, leases come without
/// the attempts before them and without metadata, which GetEvent brings.
pub const HELD_BYTES_MAX: usize = 3 * MIB;
/// What each of these leases has of it in any case: what names it and its event, at their longest, is below.
pub const HELD_BARE_BYTES: usize = KIB;
/// The most consumers that a subscription is shown with: with names of 128 bytes they take 128 KiB of a page that may
/// have 3 MiB, and nobody reads more.
pub const CONSUMERS_SHOWN_MAX: usize = 1_000;
/// The most bytes of a request without a payload: 1,000 acks take about 200 KiB, 1,000 nacks with a reason
/// of 2 KiB each about 2.5 MiB, and it is what gRPC servers take by default.
pub const CALL_BYTES_MAX: usize = 4 * MIB;
/// The most calls at once on one connection: a process with this many streams and calls open wants a second
/// connection, and one that opens them without end must not fill the memory.
pub const CALLS_PER_CONNECTION_MAX: u32 = 1_000;
/// The most bytes of the headers of one call, as HTTP/2 counts them: clients send about 500, tokens have some hundred. A
/// call with more is answered 431; one with four times as many ends its connection.
pub const CALL_HEADER_BYTES_MAX: u32 = 16 << 10;
/// The most calls of a connection that were reset before the hub looked at them (rapid reset, CVE-2023-44487); beyond
/// it the connection ends. It is h2's own default, set so that it stays.
pub const RESETS_PENDING_MAX: usize = 20;
/// The most calls of a connection that the hub reset for frames that were wrong (RUSTSEC-2024-0003); beyond it the
/// connection ends. It is hyper's own default.
pub const RESETS_OF_BAD_FRAMES_MAX: usize = 1_024;
/// How many frames without data a connection may send in [`EMPTY_FRAMES_INTERVAL`] before it is read more slowly: pings,
/// settings, windows, resets. With windows of 64 KiB, which are the smallest in use, and two frames for each half of one, a
/// client that sends as many reads 320 MB a second.
pub const EMPTY_FRAMES_MAX: usize = 2_000;
/// Of the headers of a call, so many bytes cost nothing there, and each [`HEADER_BYTES_PER_FRAME`] beyond them as much as a
/// frame without data: they take long to decode, and the headers of few calls are larger.
pub const HEADER_BYTES_FREE: usize = KIB;
/// See [`HEADER_BYTES_FREE`]. A connection whose calls all have 16 KiB of headers makes ten a second.
pub const HEADER_BYTES_PER_FRAME: usize = 8;
/// The interval in which these are counted.
pub const EMPTY_FRAMES_INTERVAL: Duration = Duration::from_millis(100);
/// A frame of data with fewer bytes counts as one without: an ack takes about 60.
pub const EMPTY_FRAME_BYTES: usize = 5;
/// How many bytes of answers may wait for the reader of one connection before its calls give no more: some messages of
/// the size that most clients take. Each call that is answered at that moment may add one message.
pub const PENDING_BYTES_PER_CONNECTION_MAX: usize = 16 * MIB;
/// How many bytes of answers may wait on all connections before each has only [`PENDING_BYTES_PER_CONNECTION_LEAST`].
pub const PENDING_BYTES_MAX: usize = 256 * MIB;
/// How many bytes may always wait on a connection: a message goes on while less waits, so that nobody stands still because of
/// others.
pub const PENDING_BYTES_PER_CONNECTION_LEAST: usize = MIB;
/// How many calls of one connection may read events at once to answer with them; the others wait. An answer is in memory
/// before it is known how large it is, and the largest takes twice the 25 MiB of its payload.
pub const LOADING_PER_CONNECTION_MAX: usize = 4;
/// The most connections to the gRPC port; what comes beyond them is closed at once, so that clients know to come back
/// later. As many as HTTP has.
pub const GRPC_CONNECTIONS_MAX: usize = CONNECTIONS_MAX;
/// How often an idle connection is pinged: below the idle limit of ordinary proxies (60 s).
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A peer that does not answer a ping for this long is gone: with the interval, half-open peers are found within 45 s.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How many events ListEvents reads from the log at a time, enough for a page of the default size in one read.
pub const LIST_READ_ENTRIES: usize = 256;
/// How many bytes it reads at a time: they are in memory once for each call that runs.
pub const LIST_READ_BYTES: usize = MIB;
/// How much work one call of ListEvents does, in events that are read: a page that matches little ends here, with a token, so
/// that no call takes long. A row of the index, which tells of 512 events, counts as 4.
pub const LIST_WORK_MAX: usize = 20_000;
/// What judging an event by a filter counts there: its payload may have to be unpacked and parsed.
pub const LIST_FILTER_WORK: usize = 8;
/// How many dead letters one call of ListDeadLetters looks at: a page that its selector takes little of ends here, with a token.
pub const DEAD_LETTERS_LOOKED_AT_MAX: usize = 10_000;
/// How many events one call of TestFilter looks at, so that no call reads for minutes.
pub const LIST_LOOKED_AT_MAX: usize = 100_000;
/// How many samples TestFilter returns when the request does not say: a screen of them.
pub const SAMPLES_DEFAULT: usize = 10;
/// The most samples that TestFilter returns.
pub const SAMPLES_MAX: usize = 100;
/// How many events a watch reads ahead: it sends one at a time, and holds these while its reader is slow.
pub const WATCH_READ_ENTRIES: usize = 64;
/// How many bytes a watch reads ahead.
pub const WATCH_READ_BYTES: usize = MIB;
/// The most bytes of patterns, and of a filter, that a message shows: statuses travel in headers, and proxies and clients refuse
/// headers above 8 KiB, where a hundred patterns can take 25 KB.
pub const SHOWN_RULE_BYTES_MAX: usize = KIB;

// --- Store ---

/// How much of the store is kept in memory, unless `[store] cache` says otherwise.
pub const STORE_CACHE_BYTES_DEFAULT: usize = 64 * MIB;
/// Events are refused while less than this part of the store's disk is free, in percent, unless `[store] keep_free` says
/// otherwise: commits of acks go on, and need room too.
pub const STORE_FREE_PERCENT_DEFAULT: u8 = 5;
/// The largest part that `[store] keep_free` may ask for.
pub const STORE_FREE_PERCENT_MOST: u8 = 90;
/// As above, in bytes, where that is less: sixteen segments of the store's file, and twice what it needs to be opened
/// again after a failed write.
pub const STORE_FREE_BYTES_MIN: u64 = 128 << 20;
/// The least that `[store] cache` may be: one segment.
pub const STORE_CACHE_BYTES_LEAST: usize = 8 * MIB;
/// The most that `[store] cache` may be: more than a log of months has.
pub const STORE_CACHE_BYTES_MOST: usize = 16 * 1_024 * MIB;

// --- Metrics and traces ---

/// How long one part of the hub may take to tell its figures: Prometheus waits for ten seconds by default.
pub const SCRAPE_TIME_MAX: Duration = Duration::from_secs(2);
/// How many subscriptions have series of their own, the oldest; the others are told as one: a series takes Prometheus some
/// KiB, and a subscription has about forty.
pub const SUBSCRIPTIONS_MEASURED_MAX: usize = 1_000;
/// How many events one scrape reads to find out how old they are; those beyond it are read by the next one.
pub const AGES_READ_MAX: usize = 1_000;
/// How often the files of the store are looked at for their size.
pub const DISK_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How many spans may wait to be sent, about 5 MiB: what comes in a second of an ordinary day. More are dropped, since
/// nothing waits for traces.
pub const SPANS_QUEUED_MAX: usize = 8_192;
/// How many spans are sent together: about 300 KiB, where receivers take 4 MiB.
pub const SPANS_PER_EXPORT_MAX: usize = 512;
/// How long a span waits for others to be sent with.
pub const SPANS_WAIT: Duration = Duration::from_millis(500);
/// How long a receiver may take for them.
pub const EXPORT_TIME_MAX: Duration = Duration::from_secs(5);

// --- Configuration and shutdown ---

/// The most bytes of a configuration file.
pub const CONFIG_BYTES_MAX: usize = MIB;
/// The most bytes of a file that holds a secret: keys in text form have a few hundred.
pub const SECRET_FILE_BYTES_MAX: usize = 64 * KIB;
/// The most bytes of a file with a request's headers: four times what the hub takes.
pub const HEADER_FILE_BYTES_MAX: usize = 4 * HEADER_BYTES_MAX;
/// The most configured sources: each has counters, and its name is in memory.
pub const SOURCES_MAX: usize = 1_000;
/// The least that `tolerance` may be: clocks differ by about that, and a queue in front of the hub takes as long.
pub const TOLERANCE_LEAST: Duration = Duration::from_secs(1);
/// The most that `tolerance` may be: no provider sends the same signature longer.
pub const TOLERANCE_MOST: Duration = Duration::from_secs(86_400);
/// The least that `replay_window` may be: a shorter one catches nothing.
pub const REPLAY_WINDOW_LEAST: Duration = Duration::from_secs(1);
/// The most that `replay_window` may be: what is looked through is remembered for seven days.
pub const REPLAY_WINDOW_MOST: Duration = Duration::from_secs(7 * 86_400);
/// How long a stop may take unless `[shutdown] grace` says otherwise: Kubernetes kills after 30 s, systemd after 90 s.
pub const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// The most that `[shutdown] grace` may be.
pub const SHUTDOWN_GRACE_MOST: Duration = Duration::from_secs(600);

// --- retention ---

const DAY: Duration = Duration::from_secs(86_400);

/// How long events are kept that nobody waits for, unless `[retention] max_age` says otherwise: long enough to find out
/// what went wrong before a holiday.
pub const MAX_AGE_DEFAULT: Duration = DAY.saturating_mul(14);
/// How long events are kept that are still to be delivered, unless `[retention] open_max_age` says otherwise.
pub const OPEN_MAX_AGE_DEFAULT: Duration = DAY.saturating_mul(30);
/// How long dead letters are kept, unless `[retention] dead_letters_max_age` says otherwise.
pub const DEAD_LETTERS_MAX_AGE_DEFAULT: Duration = DAY.saturating_mul(30);
/// How often dead letters are looked at for their age: all of them are read.
pub const DEAD_LETTERS_INTERVAL: Duration = Duration::from_secs(3_600);
/// How many are deleted before it is looked whether there are more.
pub const PURGED_AT_ONCE: u64 = 10_000;
/// The most that ages of `[retention]` may be: ten years.
pub const AGE_MOST: Duration = DAY.saturating_mul(3_660);
/// The least that `[retention] max_bytes` may be: what is kept is known to about a MiB.
pub const KEPT_BYTES_LEAST: usize = 16 * MIB;
/// The most that `[retention] max_bytes` may be.
pub const KEPT_BYTES_MOST: usize = 64 * 1024 * 1024 * MIB;
/// How often the log is trimmed by age.
pub const RETENTION_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is trimmed by bytes, and at most by short ages: 100 MB come in about 10 s at full speed.
pub const RETENTION_INTERVAL_BYTES: Duration = Duration::from_secs(1);
/// Into how many intervals a short age is divided: so much more than asked for may be kept.
pub const RETENTION_INTERVALS_PER_AGE: u32 = 20;
/// How many deliveries are given up in one commit: their rows are about 1 KB each, and others wait for the commit.
pub const RETIRED_AT_ONCE: usize = 1_000;
/// How long to wait for a subscription that reads the log on, before it is asked again.
pub const RETIRE_WAIT: Duration = Duration::from_millis(50);
/// How often it is waited for without anything given up; then the log is kept until the next time.
pub const RETIRE_WAITS_MAX: usize = 100;

const _: () = {
    assert!(BODY_BYTES_LEAST <= BODY_BYTES_DEFAULT);
    assert!(BODY_BYTES_DEFAULT <= BODY_BYTES_MOST);
    // A body that waits for its part must be able to get it.
    assert!(BODY_BYTES_MOST <= BODY_BUDGET_BYTES);
    // The budget is counted in permits of a semaphore, asked for by `u32`.
    assert!(BODY_BUDGET_BYTES <= u32::MAX as usize);
    assert!(BODY_GROWTH_BYTES <= BODY_BYTES_LEAST);
    assert!(BODY_FREE_BYTES * POSTS_MAX <= BODY_BUDGET_BYTES);
    // hyper's read buffer can't be smaller than 8 KiB.
    assert!(8 * KIB <= CONNECTION_BUFFER_BYTES);
    assert!(HEADER_BYTES_MAX <= CONNECTION_BUFFER_BYTES);
    // Who is refused must have been accepted.
    assert!(POSTS_MAX < CONNECTIONS_MAX);
    // What a sender may post it must be able to finish posting after a refusal.
    let pauses = LINGER_TIME_MAX.as_millis() / LINGER_PAUSE.as_millis();
    assert!(BODY_BYTES_MOST as u128 <= LINGER_STEP_BYTES as u128 * pauses);
    assert!(BODY_PROGRESS_TIME_MAX.as_secs() <= BODY_TIME_MAX.as_secs());
    assert!(STREAM_CHUNK_BYTES < STREAM_BUFFER_BYTES);
    // What one read brings must fit what is kept.
    assert!(FETCH_READ_BYTES <= AHEAD_BYTES_MAX);
    assert!(PAGE_SIZE_DEFAULT <= PAGE_SIZE_MAX);
    assert!(PAYLOAD_BYTES_DEFAULT < CLIENT_MESSAGE_BYTES);
    assert!(PAGE_BYTES_MAX < CLIENT_MESSAGE_BYTES);
    assert!(HELD_BYTES_MAX < CLIENT_MESSAGE_BYTES);
    assert!((CAUSES_MAX + 1) * CAUSE_BYTES < PAGE_BYTES_MAX);
    assert!((IN_FLIGHT_MAX as usize) * HELD_BARE_BYTES < HELD_BYTES_MAX);
    assert!(CALL_BYTES_MAX <= REQUEST_BYTES_MAX);
    assert!(2 * REQUEST_BYTES_MAX <= REQUEST_BUDGET_BYTES);
    assert!(REQUEST_BUDGET_BYTES <= u32::MAX as usize);
    assert!(MAX_AGE_DEFAULT.as_secs() <= OPEN_MAX_AGE_DEFAULT.as_secs());
    assert!(OPEN_MAX_AGE_DEFAULT.as_secs() <= AGE_MOST.as_secs());
    assert!(SHUTDOWN_GRACE_DEFAULT.as_secs() <= SHUTDOWN_GRACE_MOST.as_secs());
};
