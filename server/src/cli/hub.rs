//! The hub that a command talks to over gRPC.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use hookline_client::{Client, ClientBuilder};
use tonic::{Code, Status};

use super::CommandError;
use crate::{
    config::{Environment as _, Process},
    limits::SECRET_FILE_BYTES_MAX,
};

/// Over what every command has of its own.
const HEADING: &str = "Connection";

/// Which hub.
#[derive(Debug, clap::Args)]
pub(super) struct Address {
    /// The hub's gRPC address
    #[arg(
        long,
        env = "HOOKLINE_ADDRESS",
        value_name = "URL",
        help_heading = HEADING,
        default_value = "http://127.0.0.1:4160"
    )]
    address: String,
    /// Who may have signed the certificate of an `https://` address, in PEM [default: whom the system trusts]
    #[arg(long, env = "HOOKLINE_CA_CERT", value_name = "FILE", help_heading = HEADING)]
    ca_cert: Option<PathBuf>,
    /// The certificate to show to a hub that asks for one, in PEM
    #[arg(long, env = "HOOKLINE_CLIENT_CERT", value_name = "FILE", requires = "client_key", help_heading = HEADING)]
    client_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, env = "HOOKLINE_CLIENT_KEY", value_name = "FILE", requires = "client_cert", help_heading = HEADING)]
    client_key: Option<PathBuf>,
    /// The token to call with, as `hookline tokens create` prints it. Others may see a command line: better in the environment,
    /// or in a file
    #[arg(long, env = "HOOKLINE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<Token>,
    /// A file with the token, which goes before `--token`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A token on the command line, of which nothing is shown.
#[derive(Clone)]
pub(super) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl AsRef<str> for Token {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Address {
    /// Makes a client. Does not connect yet.
    pub(super) fn client(&self) -> Result<Client, CommandError> {
        self.connect(|builder| builder)
    }

    /// Returns the token to call with, if there is one.
    fn token(&self) -> Result<Option<Token>, CommandError> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let unreadable =
            |source| CommandError::Input { what: format!("`{}`", path.display()), source };
        let bytes = Process.read(path, SECRET_FILE_BYTES_MAX).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
        })?;
        Ok(Some(Token(text)))
    }

    /// Makes a client for calls that are to be answered soon. Does not connect yet.
    pub(super) fn client_within(&self, time: Duration) -> Result<Client, CommandError> {
        self.connect(|builder| builder.connect_timeout(time).answer_timeout(time))
    }

    fn connect(
        &self,
        with: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Client, CommandError> {
        let mut builder = Client::builder(&self.address);
        if let Some(path) = &self.ca_cert {
            builder = builder.ca_certificates(read(path)?);
        }
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            builder = builder.identity(read(certificate)?, read(key)?);
        }
        if let Some(token) = self.token()? {
            builder = builder.token(token.0);
        }
        with(builder).connect().map_err(|error| CommandError::Usage(super::chain(&error)))
    }

    /// Makes an error of what a call was answered.
    pub(super) fn refused(&self, attempted: &'static str, status: Status) -> CallError {
        CallError { attempted, address: self.address.clone(), status: status.into() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let failed = |source| CommandError::Input { what: format!("`{}`", path.display()), source };
    fs::read(path).map_err(failed)
}

/// A call that the hub did not answer with what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("could not {attempted} at `{address}`: {}", told(.status))]
pub(super) struct CallError {
    attempted: &'static str,
    address: String,
    status: Box<Status>,
}

impl CallError {
    /// Whether the token lacks a scope that the call needs.
    pub(super) fn is_out_of_scope(&self) -> bool {
        self.status.code() == Code::PermissionDenied
    }
}

/// Returns what a status says to people: the words of the hub; where it was not reached, the innermost cause.
pub(super) fn told(status: &Status) -> String {
    if let Some(cause) = transport_cause(status) {
        return format!("the hub can't be reached: {cause}");
    }
    match status.message() {
        "" => status.code().description().to_owned(),
        message => super::text::clean(message),
    }
}

/// Whether the hub may be back in a moment.
pub(super) fn is_away(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // A connection that broke in the middle of a stream.
        Code::Unknown | Code::Cancelled | Code::Internal => transport_cause(status).is_some(),
        Code::Ok
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

fn transport_cause(status: &Status) -> Option<String> {
    let mut cause = std::error::Error::source(status)?;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Some(cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;

    fn broken(code: Code) -> Status {
        let mut status = Status::new(code, "transport error");
        status.set_source(Arc::new(io::Error::other("connection reset")));
        status
    }

    #[test]
    fn a_refusal_is_told_in_the_hubs_words() {
        let address = Address {
            address: "http://hub:4160".to_owned(),
            ca_cert: None,
            client_cert: None,
            client_key: None,
            token: None,
            token_file: None,
        };
        let error = address.refused("list dead letters", Status::not_found("no such `x`\nreally"));
        assert_eq!(
            error.to_string(),
            "could not list dead letters at `http://hub:4160`: no such `x`\\nreally"
        );
    }

    #[test]
    fn a_token_comes_from_a_file_first_and_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hkl_of_the_file\n").unwrap();
        let mut address = Address {
            address: "hub".to_owned(),
            ca_cert: None,
            client_cert: None,
            client_key: None,
            token: Some("hkl_of_the_line".to_owned().into()),
            token_file: None,
        };
        assert_eq!(address.token().unwrap().unwrap().0, "hkl_of_the_line");
        assert!(!format!("{address:?}").contains("hkl_"));
        address.token_file = Some(file.path().to_owned());
        assert_eq!(address.token().unwrap().unwrap().0.trim(), "hkl_of_the_file");
        address.token_file = Some("/nowhere".into());
        assert!(matches!(address.token(), Err(CommandError::Input { .. })));
    }

    #[test]
    fn a_hub_that_is_away_is_told_by_the_cause() {
        assert_eq!(told(&broken(Code::Unavailable)), "the hub can't be reached: connection reset");
    }

    #[test]
    fn only_what_may_pass_is_worth_coming_back_for() {
        assert!(is_away(&Status::unavailable("the hub is stopping")));
        assert!(is_away(&broken(Code::Unknown)));
        assert!(!is_away(&Status::unknown("a bug")));
        assert!(!is_away(&Status::out_of_range("beyond the end")));
    }
}
