//! The command `hookline`.

use std::process::ExitCode;

use hookline_server::cli;

fn main() -> ExitCode {
    cli::main()
}
