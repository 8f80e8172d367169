//! The environment of the process, as an argument.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::Path,
};

/// What a configuration is read from beside the command line.
pub trait Environment {
    /// Returns all environment variables.
    fn variables(&self) -> Vec<(OsString, OsString)>;

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it can't be read, or has more than `most` bytes.
    fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>>;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Environment for Process {
    fn variables(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().collect()
    }

    fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path)?.take(read).read_to_end(&mut bytes)?;
        if most < bytes.len() {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {most} bytes"),
            ));
        }
        Ok(bytes)
    }
}
