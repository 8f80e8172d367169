//! The table of metrics: each name, its type, its labels and its help, once.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rises, from 0 at the start.
    Counter,
    /// Is what it is now.
    Gauge,
    /// How often what was how long, since the start.
    Histogram,
}

impl Kind {
    /// Returns the word of the text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, as Prometheus knows it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// A sentence for people.
    pub help: &'static str,
}

/// Writes the table: a constant for each row, and [`ALL`].
macro_rules! families {
    ($($row:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal,)*) => {
        $(
            #[doc = $help]
            pub const $row: Family = Family {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All metrics, in the order in which they are written.
        pub const ALL: &[Family] = &[$($row),*];
    };
}

families! {
    WEBHOOK_ANSWERS: Counter "hookline_webhook_answers_total" ["source", "status"]
        "Requests to configured sources, by the HTTP status of the answer.",
    WEBHOOK_EVENTS: Counter "hookline_webhook_events_total" ["source", "outcome"]
        "Events of verified webhooks by what became of them, and handshakes.",
    WEBHOOKS_REFUSED: Counter "hookline_webhooks_refused_total" ["source", "cause"]
        "Webhooks that were refused, by cause.",
    WEBHOOKS_UNKNOWN_SOURCE: Counter "hookline_webhooks_unknown_source_total" []
        "Requests to sources that are not configured.",
    WEBHOOK_LAST_EVENT: Gauge "hookline_webhook_last_event_timestamp_seconds" ["source"]
        "When the newest event of a source came, in seconds since the epoch.",
    WEBHOOK_DURATION: Histogram "hookline_webhook_duration_seconds" []
        "How long requests to configured sources took, from their headers to the answer.",
    LOG_FIRST: Gauge "hookline_log_first_sequence" []
        "The sequence of the first event that the log keeps.",
    LOG_HEAD: Gauge "hookline_log_head_sequence" []
        "The sequence of the newest durable event.",
    LOG_EVENTS: Gauge "hookline_log_events" []
        "How many events the log keeps.",
    LOG_APPEND: Histogram "hookline_log_append_duration_seconds" []
        "How long appends took: the wait for the writer, and the commit.",
    LEDGER_COMMIT: Histogram "hookline_ledger_commit_duration_seconds" []
        "How long commits of subscriptions took: the wait for the writer, and the commit.",
    STORE_SYNC: Histogram "hookline_store_sync_duration_seconds" []
        "How long the disk took to make a commit durable.",
    STORE_BYTES: Gauge "hookline_store_bytes" []
        "What the files of the store take on its disk; looked at every few seconds.",
    STORE_FREE: Gauge "hookline_store_disk_free_bytes" []
        "What is free on the disk of the store.",
    STORE_DISK: Gauge "hookline_store_disk_size_bytes" []
        "How large the disk of the store is.",
    STORE_FULL: Gauge "hookline_store_full" []
        "1 while events are refused since too little of the disk is free.",
    SUBSCRIPTIONS: Gauge "hookline_subscriptions" ["kind"]
        "Subscriptions, durable and ephemeral.",
    SUBSCRIPTION_LAG: Gauge "hookline_subscription_lag_events" ["subscription"]
        "Events of the log beyond the place up to which all is finished.",
    SUBSCRIPTION_UNSCANNED: Gauge "hookline_subscription_unscanned_events" ["subscription"]
        "Events of the log that the subscription has not looked at.",
    SUBSCRIPTION_OLDEST: Gauge "hookline_subscription_oldest_age_seconds" ["subscription"]
        "The age of the oldest open event; 0 if none is open.",
    SUBSCRIPTION_DELIVERIES: Gauge "hookline_subscription_deliveries" ["subscription", "state"]
        "Open deliveries by state.",
    SUBSCRIPTION_DEAD_LETTERS: Gauge "hookline_subscription_dead_letters" ["subscription"]
        "Dead letters that were neither redriven nor purged.",
    SUBSCRIPTION_CONSUMERS: Gauge "hookline_subscription_consumers" ["subscription"]
        "Consumers with an open stream.",
    SUBSCRIPTION_PAUSED: Gauge "hookline_subscription_paused" ["subscription"]
        "1 while the subscription is paused.",
    SUBSCRIPTION_BREAKER: Gauge "hookline_subscription_breaker_open" ["subscription"]
        "1 while the breaker holds leases back, or tries one.",
    DELIVERIES_STARTED: Counter "hookline_deliveries_started_total" ["subscription"]
        "Attempts that were handed to a stream.",
    REDELIVERIES: Counter "hookline_redeliveries_total" ["subscription"]
        "Attempts beyond the first one that were handed to a stream.",
    DELIVERIES_ENDED: Counter "hookline_deliveries_ended_total" ["subscription", "outcome"]
        "How attempts, and deliveries without one, ended; once that is durable.",
    LEASES_LOST: Counter "hookline_leases_lost_total" ["subscription", "reason"]
        "Leases that ended without their consumer's word.",
    DEAD_LETTERS: Counter "hookline_dead_letters_total" ["subscription", "reason"]
        "Deliveries that were given up, by reason.",
    DEAD_LETTERS_REDRIVEN: Counter "hookline_dead_letters_redriven_total" ["subscription"]
        "Dead letters that went back to their subscription.",
    DEAD_LETTERS_PURGED: Counter "hookline_dead_letters_purged_total" ["subscription"]
        "Dead letters that were deleted.",
    GRPC_CALLS: Counter "hookline_grpc_calls_total" ["method", "code"]
        "Calls that ended, by method and status code.",
    GRPC_OPEN: Gauge "hookline_grpc_open_calls" ["method"]
        "Calls and streams that are open.",
    SPANS_EXPORTED: Counter "hookline_trace_spans_exported_total" []
        "Spans that the receiver took.",
    SPANS_DROPPED: Counter "hookline_trace_spans_dropped_total" ["cause"]
        "Spans that were dropped, by cause.",
    BUILD: Gauge "hookline_build_info" ["version"]
        "1, with the version of the hub.",
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the hub started, in seconds since the epoch.",
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" []
        "Resident memory of the process.",
    PROCESS_FDS: Gauge "process_open_fds" []
        "Open file descriptors of the process.",
    PROCESS_FDS_MAX: Gauge "process_max_fds" []
        "How many file descriptors the process may open.",
}
