//! Passwords on the command line: read from files, never from arguments, which every user of a machine sees.
//!
//! `baton hash-password` prints the argon2id hash that `root_password_hash` takes.

use crate::cli::{AskAs, HashPasswordOptions};
use crate::failure::{Failure, not_fine};
use faces::auth::password::{self, MAX_PASSWORD_BYTES, Salt, Secret};
use std::io::{self, Read};
use std::path::Path;

/// A user and a password, for a node that asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: Secret,
}

impl AskAs {
    /// As whom to ask; `None`: as nobody.
    pub fn login(&self) -> Result<Option<Login>, Failure> {
        let password = self.password_file.as_deref().map(|path| read(Some(path))).transpose()?;
        Ok(password.map(|password| Login { user: self.user.clone(), password }))
    }
}

/// Runs `baton hash-password`.
pub fn run(options: &HashPasswordOptions) -> Result<(), Failure> {
    let password = read(options.password_file.as_deref())?;
    println!("{}", hash(&password)?);
    Ok(())
}

/// The password in a file, or on standard input. A line end at its end is not part of it.
pub fn read(path: Option<&Path>) -> Result<Secret, Failure> {
    let name = path.map_or("standard input".to_owned(), |path| path.display().to_string());
    let text = match path {
        Some(path) => std::fs::read_to_string(path),
        None => io::read_to_string(io::stdin()),
    };
    let text = text.map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(Failure::Usage(format!("{name}: there is no password in it"))),
        long if long.len() > MAX_PASSWORD_BYTES => {
            Err(Failure::Usage(format!("{name}: a password may have {MAX_PASSWORD_BYTES} bytes")))
        }
        password => Ok(Secret(password.to_owned())),
    }
}

/// The argon2id hash of a password, under a fresh salt.
pub fn hash(password: &Secret) -> Result<String, Failure> {
    Ok(password::hash(password, &random::<{ size_of::<Salt>() }>()?))
}

/// A password that nobody will guess: 32 hexadecimal digits.
pub fn made_up() -> Result<Secret, Failure> {
    Ok(Secret(format!("{:032x}", u128::from_le_bytes(random()?))))
}

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| not_fine(format!("/dev/urandom: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "two words \r\n").unwrap();
        let password = read(Some(&file)).unwrap();
        assert_eq!(password, Secret("two words ".into()));
        assert!(password::verify(Some(&hash(&password).unwrap()), &password));
        std::fs::write(&file, "\n").unwrap();
        let empty = read(Some(&file)).unwrap_err().to_string();
        assert!(empty.contains("password:"), "{empty}");
        assert_ne!(made_up().unwrap(), made_up().unwrap());
    }
}
