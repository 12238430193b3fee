//! The API's secret: given, or made once and kept in a file only its owner can read.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The environment variable that gives the secret; it wins over the configuration file.
pub const SECRET_ENV: &str = "REPULL_API_SECRET";

/// The file a made secret is kept in.
pub const SECRET_FILE: &str = "repull.secret";

/// ZLMediaKit's published default: no secret at all.
pub const WELL_KNOWN_SECRET: &str = "035c73f7-bb6b-4889-a715-d9eb2d1925cc";

/// Characters of a made secret: 6 bits each.
const SECRET_CHARS: usize = 32;

/// The longest secret file that is believed, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// Where the secret in force comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// [`SECRET_ENV`].
    Environment,
    /// `api.secret`.
    Config,
    /// A file written by an earlier start.
    File {
        /// Where it is.
        path: PathBuf,
        /// Others than its owner can read it.
        exposed: bool,
    },
    /// A file written just now.
    Made {
        /// Where it is.
        path: PathBuf,
    },
}

/// Returns the secret in force; makes one and writes it to `file` if none is given.
///
/// # Errors
/// The file can neither be read nor written.
pub fn find_secret(
    environment: Option<&str>,
    config: &str,
    file: &Path,
) -> io::Result<(String, SecretSource)> {
    if let Some(secret) = environment.map(str::trim).filter(|secret| is_secret(secret)) {
        return Ok((secret.to_owned(), SecretSource::Environment));
    }
    if is_secret(config) {
        return Ok((config.to_owned(), SecretSource::Config));
    }
    match read(file) {
        Ok((secret, exposed)) if is_secret(&secret) => {
            return Ok((secret, SecretSource::File { path: file.to_owned(), exposed }));
        }
        // An empty file, as an interrupted start may leave it behind.
        Ok(_) => fs::remove_file(file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = make()?;
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(secret.as_bytes())?;
    out.write_all(b"\n")?;
    Ok((secret, SecretSource::Made { path: file.to_owned() }))
}

fn is_secret(text: &str) -> bool {
    !text.is_empty() && text != WELL_KNOWN_SECRET
}

fn read(file: &Path) -> io::Result<(String, bool)> {
    let about = fs::metadata(file)?;
    if about.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no secret file: too long"));
    }
    let exposed = about.permissions().mode() & 0o077 != 0;
    Ok((fs::read_to_string(file)?.trim().to_owned(), exposed))
}

#[expect(clippy::disallowed_methods, reason = "a secret comes from the system, not from the seed")]
fn make() -> io::Result<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut dice = [0; SECRET_CHARS];
    getrandom::fill(&mut dice).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(dice.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect())
}
