//! From a request's credentials to a user, without hashing a password twice.
//!
//! Promises: [`authenticate`] and [`CredentialCache::ask`] cost some microseconds. A password that nobody
//! has judged yet becomes one [`Claim`], however many requests carry it; they wait and ask again when its
//! verdict is there. A verdict is bound to the user's stored hash: it is forgotten with the old password.
//! Memory is bounded; what does not fit is judged again. Whoever guesses cannot push out what is known to be
//! right: that is kept apart.

use super::api::MAX_NAME_BYTES;
use super::password::{self, MAX_PASSWORD_BYTES, Secret};
use super::token::{self, Holder};
use super::user::Users;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::BTreeSet;

/// Right passwords that are kept in mind; with one more all are forgotten. There is one per user.
const MAX_RIGHT: usize = 1024;
/// The same of wrong ones.
const MAX_WRONG: usize = 256;
/// Claims that are being judged at a time; further ones wait for their turn.
const MAX_JUDGED_AT_ONCE: usize = 16;

/// Longest text of basic authentication that is decoded: name, colon and password in base64.
const MAX_BASIC_BYTES: usize = (MAX_NAME_BYTES + 1 + MAX_PASSWORD_BYTES).div_ceil(3) * 4;

/// What a client says about who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    Password { user: String, password: Secret },
    Token(Secret),
}

impl Credentials {
    /// Those of an `Authorization` header; the scheme in any case. `None`: not understood.
    pub fn of_header(header: &str) -> Option<Credentials> {
        let (scheme, rest) = header.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Credentials::Token(Secret(rest.to_owned())));
        }
        if !scheme.eq_ignore_ascii_case("basic") || rest.len() > MAX_BASIC_BYTES {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Credentials::Password { user: user.to_owned(), password: Secret(password.to_owned()) })
    }
}

/// A password that has to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    password: Secret,
    /// The hash to compare with; `None`: there is no such user.
    hashed: Option<String>,
    print: Print,
}

impl Claim {
    /// Whether the password is the user's. Slow: see [`password::verify`].
    pub fn judge(&self) -> bool {
        password::verify(self.hashed.as_deref(), &self.password)
    }
}

/// A keyed hash of stored hash, user and password.
type Print = [u8; 32];

/// What is known about a password.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Right,
    Wrong,
    /// Have this judged, then [`CredentialCache::learn`] the verdict and ask again.
    Judge(Claim),
    /// Ask again when a verdict was learnt.
    Wait,
}

/// The verdicts of one thread.
pub struct CredentialCache {
    key: [u8; 32],
    right: BTreeSet<Print>,
    wrong: BTreeSet<Print>,
    pending: BTreeSet<Print>,
}

impl CredentialCache {
    /// Empty. `key` is random and lives only in this process.
    pub fn new(key: [u8; 32]) -> CredentialCache {
        CredentialCache { key, right: BTreeSet::new(), wrong: BTreeSet::new(), pending: BTreeSet::new() }
    }

    /// Whether this is the password of an active user, as far as it is known.
    pub fn ask(&mut self, users: &Users, user: &str, password: &Secret) -> Asked {
        // Nobody has these; and whoever waits is asked about again and again.
        if user.len() > MAX_NAME_BYTES || password.0.len() > MAX_PASSWORD_BYTES {
            return Asked::Wrong;
        }
        // One who is unknown or inactive costs the same time as one whose password is wrong.
        let hashed = users.get(user).filter(|found| found.active).map(|found| found.password.clone());
        let print = self.print(hashed.as_deref().unwrap_or(""), user, &password.0);
        if self.right.contains(&print) {
            Asked::Right
        } else if self.wrong.contains(&print) {
            Asked::Wrong
        } else if self.pending.contains(&print) || self.pending.len() >= MAX_JUDGED_AT_ONCE {
            Asked::Wait
        } else {
            self.pending.insert(print);
            assert!(self.pending.len() <= MAX_JUDGED_AT_ONCE, "more is judged at once than may be");
            Asked::Judge(Claim { password: password.clone(), hashed, print })
        }
    }

    /// The verdict on a claim that [`CredentialCache::ask`] gave out. Those who wait ask again now.
    pub fn learn(&mut self, claim: &Claim, right: bool) {
        self.pending.remove(&claim.print);
        let (known, most) = if right { (&mut self.right, MAX_RIGHT) } else { (&mut self.wrong, MAX_WRONG) };
        if known.len() >= most {
            known.clear();
        }
        known.insert(claim.print);
        assert!(known.len() <= most, "more verdicts are kept than may be");
    }

    fn print(&self, hashed: &str, user: &str, password: &str) -> Print {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length is allowed");
        for part in [hashed, user, password] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

/// Whose request it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Gate {
    /// An existing, active user's.
    User(String),
    /// Nobody's: there was no `Authorization` header.
    Nobody,
    /// See [`Asked::Judge`]; the request waits.
    Judge(Claim),
    /// See [`Asked::Wait`].
    Wait,
    /// The credentials are wrong, have expired or are not understood: 401.
    Refused,
}

/// Who sends a request with this `Authorization` header. A token is good as long as the user has the password
/// that it was issued for; without a `token_key` no token is good. `now_s` is wall time in seconds.
pub fn authenticate(
    header: Option<&str>,
    users: &Users,
    token_key: Option<&[u8]>,
    cache: &mut CredentialCache,
    now_s: u64,
) -> Gate {
    let Some(header) = header else { return Gate::Nobody };
    match Credentials::of_header(header) {
        Some(Credentials::Token(token)) => {
            let Some(key) = token_key else { return Gate::Refused };
            let Ok(Holder { user, credential }) = token::verify(key, &token.0, now_s) else {
                return Gate::Refused;
            };
            let found = users.get(&user).filter(|found| found.active);
            match found.is_some_and(|found| token::fingerprint(key, &found.password) == credential) {
                true => Gate::User(user),
                false => Gate::Refused,
            }
        }
        Some(Credentials::Password { user, password }) => match cache.ask(users, &user, &password) {
            Asked::Right => Gate::User(user),
            Asked::Wrong => Gate::Refused,
            Asked::Judge(claim) => Gate::Judge(claim),
            Asked::Wait => Gate::Wait,
        },
        None => Gate::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::user::User;

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    fn users(password: &str) -> Users {
        let hashed = password::hash(&secret(password), &[1; 16]);
        Users::from([("ann".to_owned(), User::administrator(hashed))])
    }

    fn basic(user: &str, password: &str) -> String {
        format!("bAsIc {}", STANDARD.encode(format!("{user}:{password}")))
    }

    #[test]
    fn headers_are_taken_apart() {
        let password = Credentials::Password { user: "ann".into(), password: secret("a:b") };
        assert_eq!(Credentials::of_header(&basic("ann", "a:b")), Some(password));
        assert_eq!(Credentials::of_header("bearer x.y.z"), Some(Credentials::Token(secret("x.y.z"))));
        for bad in ["", "Basic", "Basic !!!", "Digest x", "Basic YWJj"] {
            assert_eq!(Credentials::of_header(bad), None, "{bad}");
        }
        let long = |bytes| "x".repeat(bytes);
        assert!(Credentials::of_header(&basic(&long(MAX_NAME_BYTES), &long(MAX_PASSWORD_BYTES))).is_some());
        assert_eq!(Credentials::of_header(&basic("ann", &long(2 * MAX_PASSWORD_BYTES))), None);
        let mut cache = CredentialCache::new([9; 32]);
        let asked = cache.ask(&Users::new(), &long(MAX_NAME_BYTES + 1), &secret("pw"));
        assert_eq!(asked, Asked::Wrong, "nothing is judged, nothing is kept");
    }

    #[test]
    fn a_password_is_judged_once() {
        let users = users("pw");
        let mut cache = CredentialCache::new([9; 32]);
        let header = basic("ann", "pw");
        let mut gate = || authenticate(Some(&header), &users, None, &mut cache, 0);
        let Gate::Judge(claim) = gate() else { panic!("nobody knows it yet") };
        assert_eq!(gate(), Gate::Wait);
        assert!(claim.judge());
        cache.learn(&claim, true);
        assert_eq!(authenticate(Some(&header), &users, None, &mut cache, 0), Gate::User("ann".into()));
        assert_eq!(authenticate(None, &users, None, &mut cache, 0), Gate::Nobody);
    }

    #[test]
    fn a_verdict_dies_with_the_password_and_with_the_user() {
        let mut known = users("pw");
        let mut cache = CredentialCache::new([9; 32]);
        let ask = |cache: &mut CredentialCache, users: &Users| cache.ask(users, "ann", &secret("pw"));
        let Asked::Judge(claim) = ask(&mut cache, &known) else { panic!("nobody knows it yet") };
        cache.learn(&claim, true);
        assert_eq!(ask(&mut cache, &known), Asked::Right);
        known.get_mut("ann").unwrap().active = false;
        let Asked::Judge(inactive) = ask(&mut cache, &known) else { panic!("an inactive user is unknown") };
        assert!(!inactive.judge());
        let other = users("new");
        let Asked::Judge(changed) = ask(&mut cache, &other) else { panic!("another hash, another verdict") };
        assert!(!changed.judge());
        cache.learn(&changed, false);
        assert_eq!(ask(&mut cache, &other), Asked::Wrong);
    }

    #[test]
    fn a_token_needs_its_user_and_its_password() {
        let known = users("pw");
        let mut cache = CredentialCache::new([9; 32]);
        let mut gate = |key: &[u8], users: &Users, now_s| {
            let header = format!("BEARER {}", token::issue(key, "ann", &known["ann"].password, 1000));
            authenticate(Some(&header), users, Some(b"key"), &mut cache, now_s)
        };
        assert_eq!(gate(b"key", &known, 1000), Gate::User("ann".into()));
        assert_eq!(gate(b"key", &known, 9000), Gate::Refused);
        assert_eq!(gate(b"", &known, 1000), Gate::Refused);
        assert_eq!(gate(b"key", &Users::new(), 1000), Gate::Refused);
        let mut changed = known.clone();
        changed.get_mut("ann").unwrap().active = false;
        assert_eq!(gate(b"key", &changed, 1000), Gate::Refused);
        // The same password again is another hash: one who was removed and made anew is somebody else.
        changed.insert("ann".to_owned(), User::administrator(password::hash(&secret("pw"), &[2; 16])));
        assert_eq!(gate(b"key", &changed, 1000), Gate::Refused);
    }

    #[test]
    fn without_a_key_no_token_is_good() {
        let known = users("pw");
        let mut cache = CredentialCache::new([9; 32]);
        let header = format!("bearer {}", token::issue(b"", "ann", &known["ann"].password, 1000));
        assert_eq!(authenticate(Some(&header), &known, None, &mut cache, 1000), Gate::Refused);
    }

    #[test]
    fn guesses_are_bounded_and_do_not_push_out_what_is_right() {
        let users = users("pw");
        let mut cache = CredentialCache::new([9; 32]);
        let Asked::Judge(right) = cache.ask(&users, "ann", &secret("pw")) else {
            panic!("nobody knows it yet")
        };
        cache.learn(&right, true);
        let mut claims = Vec::new();
        for guess in 0..2 * MAX_JUDGED_AT_ONCE {
            match cache.ask(&users, "ann", &secret(&guess.to_string())) {
                Asked::Judge(claim) => claims.push(claim),
                other => assert_eq!(other, Asked::Wait),
            }
        }
        assert_eq!(claims.len(), MAX_JUDGED_AT_ONCE);
        claims.iter().for_each(|claim| cache.learn(claim, false));
        for guess in 0..2 * MAX_RIGHT {
            if let Asked::Judge(claim) = cache.ask(&users, "eve", &secret(&guess.to_string())) {
                cache.learn(&claim, false);
            }
        }
        assert!(cache.wrong.len() <= MAX_WRONG && cache.pending.is_empty());
        assert_eq!(cache.ask(&users, "ann", &secret("pw")), Asked::Right);
    }
}
