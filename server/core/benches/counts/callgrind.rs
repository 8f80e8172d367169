//! Instructions, counted by callgrind: this executable once more, for one unit, in which only one function counts.

use std::process::Command;

/// Says in the command line that a unit is to be run.
pub(crate) const RUN: &str = "--run";
/// The function whose instructions count, with all that it calls.
pub(crate) const COUNTED: &str = "counted_rounds";

/// Returns how many instructions the counted rounds of a unit take: the median of so many processes.
///
/// # Errors
///
/// If valgrind is not there, or fails; says why.
pub(crate) fn instructions(unit: &str, processes: usize) -> Result<f64, String> {
    let mut counts: Vec<_> = (0..processes).map(|_| of_process(unit)).collect::<Result<_, _>>()?;
    counts.sort_by(f64::total_cmp);
    Ok(counts[processes / 2])
}

fn of_process(unit: &str) -> Result<f64, String> {
    let executable = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        // The name is found in the middle of what the compiler makes of it.
        .arg(format!("--toggle-collect=*{COUNTED}*"))
        .arg("--callgrind-out-file=/dev/null")
        .arg(executable)
        .args([RUN, unit])
        .output()
        .map_err(|error| format!("valgrind could not be started: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let collected =
        told.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match collected {
        Some(count) if output.status.success() && 0.0 < count => Ok(count),
        Some(_) | None => Err(format!("callgrind did not count `{unit}`:\n{told}")),
    }
}
