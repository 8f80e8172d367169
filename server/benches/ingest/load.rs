//! The load: every body signed once, posted over and over under new delivery ids.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hookline_core::{
    source::{Kind, Secret},
    time::Timestamp,
    verify::{Draft, sign},
};
use http::HeaderMap;

use crate::servers::Server;

/// What the bodies are signed with.
pub(crate) const SECRET: &str = "bench-secret";

pub(crate) struct Load {
    script: PathBuf,
    pub(crate) count: usize,
    pub(crate) mean_bytes: usize,
}

impl Load {
    /// Writes the script for wrk, which holds all requests but for their delivery ids.
    pub(crate) fn prepare(folder: &Path, bodies: &Path) -> Result<Self, Box<dyn Error>> {
        let secret = Secret::new(SECRET)?;
        let mut files: Vec<_> = fs::read_dir(bodies)?
            .map(|file| file.map(|file| file.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        let (mut lua, mut total) = (String::from("local heads, tails = {}, {}\n"), 0);
        for (index, file) in files.iter().enumerate() {
            let body = fs::read(file)?;
            total += body.len();
            let event = file.file_name().and_then(|name| name.to_str()).unwrap_or("push.json");
            let event = event.trim_start_matches("gp.").trim_start_matches("ds.");
            let event = event.split('.').next().unwrap_or("push").replace('-', "_");
            let mut head = format!(
                "POST /webhooks/github HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nX-GitHub-Event: {event}\r\n",
                body.len(),
            );
            let draft = Draft { url: "", headers: &HeaderMap::new(), body: &body.clone().into() };
            let schemes = Kind::GITHUB.provider().schemes;
            for (name, value) in sign(schemes, &secret, draft, Timestamp::EPOCH)? {
                write!(head, "{name}: {}\r\n", value.to_str()?)?;
            }
            head.push_str("X-GitHub-Delivery: ");
            writeln!(lua, "heads[{}] = {}", index + 1, quote(head.as_bytes()))?;
            writeln!(
                lua,
                "tails[{}] = {}",
                index + 1,
                quote(&[b"\r\n\r\n", body.as_slice()].concat())
            )?;
        }
        lua.push_str(REQUESTS);
        let script = folder.join("load.lua");
        fs::write(&script, lua)?;
        let count = files.len();
        Ok(Self { script, count, mean_bytes: total / count.max(1) })
    }

    /// Returns how many requests a second were answered 200; anything else is an error.
    pub(crate) fn run(
        &self,
        server: &Server,
        connections: usize,
        seconds: u64,
    ) -> Result<f64, Box<dyn Error>> {
        let output = Command::new("wrk")
            .args([
                "-t1",
                &format!("-c{connections}"),
                &format!("-d{seconds}s"),
                "--timeout",
                "10s",
                "-s",
            ])
            .arg(&self.script)
            .arg(server.url())
            .output()
            .map_err(|error| format!("could not run wrk (apt-get install wrk): {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(line) =
            text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
        {
            return Err(format!("not every request was answered 200: {}", line.trim()).into());
        }
        let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        Ok(rate.ok_or_else(|| format!("wrk said: {text}"))?.trim().parse()?)
    }
}

/// A delivery id never repeats within a run: the time of its start, and a number.
const REQUESTS: &str = r#"
local start, n = os.time() .. "-" .. math.floor(os.clock() * 1e6), 0
request = function()
  n = n + 1
  local i = n % #heads + 1
  return heads[i] .. start .. "-" .. n .. tails[i]
end
"#;

/// Returns bytes as a Lua string.
fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(*byte));
            }
            b' '..=b'~' => quoted.push(char::from(*byte)),
            _ => write!(quoted, "\\{byte:03}").unwrap(),
        }
    }
    quoted.push('"');
    quoted
}
