//! Who calls, and what they may do: bearer tokens with scopes, kept as hashes in a file (DESIGN: section 9).
//!
//! [`Tokens`] is the file as it is now: it is looked at twice a second, taken as a whole or not at all, and says who a
//! token belongs to. [`Caller`] is the answer: with few well-named questions about what it may do. Where nobody is asked
//! for a token, everybody is [`Caller::ANYONE`].

mod caller;

mod file;

mod scopes;

mod token;

mod tokens;

pub(crate) use self::file::time_text;
pub use self::{
    caller::Caller,
    file::{Entry, FileError, NameProblem, State, edit, read, token_name},
    scopes::{Scope, Scopes, ScopesError},
    token::Minted,
    tokens::{Refused, Tokens, Until},
};
