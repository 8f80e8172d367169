//! The hub that is measured, as a process of its own.

use std::{
    error::Error,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

pub(crate) struct Server {
    child: Child,
    url: String,
    grpc: String,
}

impl Server {
    pub(crate) fn hub(data: &Path, secret: &str) -> Result<Self, Box<dyn Error>> {
        Self::hub_with(data, secret, &[])
    }

    /// As [`Server::hub`], with more of its environment.
    pub(crate) fn hub_with(
        data: &Path,
        secret: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, Box<dyn Error>> {
        let any = "127.0.0.1:0";
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookline"));
        command
            .args(["serve", "--http-listen", any, "--grpc-listen", any, "--log", "warn", "--data"])
            .arg(data)
            .envs(variables.iter().copied())
            .env("HOOKLINE_SOURCES__GITHUB__KIND", "github")
            .env("HOOKLINE_SOURCES__GITHUB__SECRETS", format!("plain:{secret}"));
        Self::spawn(&mut command)
    }

    /// Starts a process that says `ready http=URL ...` on its standard output.
    fn spawn(command: &mut Command) -> Result<Self, Box<dyn Error>> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line)?;
        let said = |name: &str| {
            let address = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            address.map(ToOwned::to_owned)
        };
        let url = said("http=").ok_or_else(|| format!("not ready: `{line}`"))?;
        let grpc = said("grpc=").unwrap_or_default();
        Ok(Self { child, url, grpc })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns where agents connect.
    pub(crate) fn grpc(&self) -> &str {
        &self.grpc
    }

    /// Returns how much memory of the process is resident.
    pub(crate) fn resident_kib(&self) -> Result<u64, Box<dyn Error>> {
        self.memory_kib("VmRSS:")
    }

    /// Returns the most memory that the process ever had resident.
    pub(crate) fn peak_resident_kib(&self) -> Result<u64, Box<dyn Error>> {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, name: &str) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix(name));
        Ok(kib.ok_or("the system does not say")?.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
