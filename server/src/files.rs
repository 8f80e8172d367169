//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::FILES_WANTED;

/// Raises the limit to the most that the process may have, and logs what it is: many systems begin with 1,024, for the
/// sake of programs that use `select`.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = match raised {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "raising the limit of open files");
            current
        }
    };
    // Without a limit there is none.
    let limit = limit.unwrap_or(u64::MAX);
    tracing::info!(limit, before = current.unwrap_or(u64::MAX), "open files");
    if limit < FILES_WANTED {
        tracing::warn!(
            limit,
            wanted = FILES_WANTED,
            "fewer files may be open than there may be connections: beyond the limit new ones wait; \
             raise it with `ulimit -n` or `LimitNOFILE=`"
        );
    }
}
