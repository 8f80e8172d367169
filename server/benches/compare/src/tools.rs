//! Where the programs are that are not Hookline's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Outcome;

pub(crate) struct Tools {
    folder: PathBuf,
    pub(crate) hookline: PathBuf,
}

impl Tools {
    /// Looks for programs below this folder, as `setup.sh` puts them there, and on the `PATH`.
    pub(crate) fn new(folder: PathBuf, hookline: PathBuf) -> Outcome<Self> {
        if !hookline.is_file() {
            let path = hookline.display();
            return Err(format!(
                "no hub at `{path}`: `cargo build --release -p hookline-server` in the checkout makes it, `--hookline` \
                 names another"
            )
            .into());
        }
        Ok(Self { folder, hookline })
    }

    pub(crate) fn wrk(&self) -> Outcome<PathBuf> {
        self.find("wrk")
    }

    pub(crate) fn nats_server(&self) -> Outcome<PathBuf> {
        self.find("nats-server")
    }

    /// Returns what starts Redis; where it was only unpacked, its libraries are beside it.
    pub(crate) fn redis_command(&self) -> Outcome<Command> {
        let below = fs::read_dir(self.folder.join("redis/usr/lib")).into_iter().flatten().flatten();
        let libraries = env::join_paths(below.map(|folder| folder.path()))?;
        let mut command = Command::new(self.find("redis-server")?);
        if !libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        Ok(command)
    }

    pub(crate) fn uvicorn(&self) -> Outcome<PathBuf> {
        self.find("uvicorn")
    }

    pub(crate) fn python(&self) -> Outcome<PathBuf> {
        self.find("python")
    }

    fn find(&self, name: &str) -> Outcome<PathBuf> {
        let own = ["venv/bin", "redis/usr/bin"].map(|folder| self.folder.join(folder));
        let path = env::var_os("PATH").unwrap_or_default();
        let found = own.into_iter().chain(env::split_paths(&path)).map(|folder| folder.join(name));
        found.into_iter().find(|file| file.is_file()).ok_or_else(|| {
            format!(
                "`{name}` is missing: `./setup.sh` beside this program's Cargo.toml brings it, `--skip` leaves out what \
                 needs it"
            )
            .into()
        })
    }
}

/// Returns the first line that a program prints, such as its version.
pub(crate) fn first_line(program: &Path, args: &[&str]) -> String {
    first_line_of(Command::new(program).args(args))
}

/// Returns the first line that a command prints.
pub(crate) fn first_line_of(command: &mut Command) -> String {
    let output = command.output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}
