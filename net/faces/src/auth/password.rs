//! Passwords: argon2id with the parameters that OWASP recommends (19 MiB, 2 passes, 1 lane), as PHC strings.
//!
//! Promises: [`hash`] and [`verify`] take some 20 ms and 19 MiB each, whatever the outcome: also for a user
//! that does not exist. Never call them on a shard thread.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use std::fmt;

/// Length of a salt: 128 bits, fresh random ones for each hash.
pub const SALT_BYTES: usize = 16;
/// Longest password that is looked at.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// A salt.
pub type Salt = [u8; SALT_BYTES];

/// A text that never shows in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The PHC string of a password.
pub fn hash(password: &Secret, salt: &Salt) -> String {
    let hashed: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.0.as_bytes(), salt)
        .expect("the default parameters and a salt of 16 bytes are sound");
    let hashed = hashed.to_string();
    assert!(is_hash(&hashed), "what is stored is a hash, never a password");
    hashed
}

/// Whether this is the password that was hashed. Without a hash (no such user) the answer is no, after the
/// same work.
pub fn verify(hashed: Option<&str>, password: &Secret) -> bool {
    match hashed.map(PasswordHash::new) {
        Some(Ok(hashed)) => Argon2::default().verify_password(password.0.as_bytes(), &hashed).is_ok(),
        Some(Err(_)) | None => {
            hash(password, &[0; SALT_BYTES]);
            false
        }
    }
}

/// Whether a text is the PHC string of an argon2id hash.
pub fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_right() {
        let right = Secret("correct horse".to_owned());
        let hashed = hash(&right, &[7; SALT_BYTES]);
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(is_hash(&hashed) && !is_hash("correct horse"));
        assert!(verify(Some(&hashed), &right));
        assert!(!verify(Some(&hashed), &Secret("correct house".to_owned())));
        assert!(!verify(None, &right) && !verify(Some("nonsense"), &right));
        assert_ne!(hash(&right, &[8; SALT_BYTES]), hashed);
        assert_eq!(format!("{right:?}"), "(secret)");
    }
}
