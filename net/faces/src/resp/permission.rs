//! What a connection may do in a group that asks for passwords.
//!
//! Promises: texts as Redis 7.0 sends them. A key belongs to the database that HTTP would find it in, so
//! that a user's role is the same by both faces. Does not judge passwords: a command that needs a verdict
//! ends with [`CommandOutcome::Judge`](crate::resp::CommandOutcome::Judge), and is run again when there is one.

use crate::auth::password::Secret;
use crate::auth::{Need, ROOT, SYSTEM, Users, allows};
use crate::resp::request::{Keys, Request};
use crate::resp::session::Session;
use crate::resp::table::Spec;
use std::sync::Arc;

pub(super) const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
pub(super) const HELLO_NEEDS_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, \
     otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and \
     select the RESP protocol version at the same time";
const NEEDS_AUTH: &str = "NOAUTH Authentication required.";
/// The user of Redis clients that are given a password only.
const DEFAULT: &str = "default";

/// The user of this name; Redis's `default` is `root`, unless there is a user of that name.
fn resolve<'n>(users: &Users, name: &'n str) -> &'n str {
    if name == DEFAULT && !users.contains_key(DEFAULT) { ROOT } else { name }
}

/// Whether somebody's password is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub user: Arc<str>,
    pub right: bool,
}

/// What `HELLO` is asked for besides the version; of what is said twice, the last.
#[derive(Debug, Default)]
pub(super) struct HelloOptions<'r> {
    /// User and password.
    pub(super) auth: Option<(&'r [u8], &'r [u8])>,
    pub(super) name: Option<&'r [u8]>,
}

impl<'r> HelloOptions<'r> {
    /// Those of a `HELLO`, or the word that is no option.
    pub(super) fn of(request: &'r Request<'_>) -> Result<HelloOptions<'r>, &'r [u8]> {
        let mut options = HelloOptions::default();
        let mut at = 2;
        while at < request.len() {
            let (word, more) = (request.arg(at), request.len() - 1 - at);
            if word.eq_ignore_ascii_case(b"AUTH") && more >= 2 {
                options.auth = Some((request.arg(at + 1), request.arg(at + 2)));
                at += 3;
            } else if word.eq_ignore_ascii_case(b"SETNAME") && more >= 1 {
                options.name = Some(request.arg(at + 1));
                at += 2;
            } else {
                return Err(word);
            }
        }
        Ok(options)
    }
}

/// Whose password a request (`AUTH`, `HELLO … AUTH`) holds, if it does.
pub fn claimed(request: &Request<'_>, users: &Users) -> Option<(Arc<str>, Secret)> {
    let (user, password) = match (request.spec()?.name, request.len()) {
        ("auth", 2) => (DEFAULT.as_bytes(), request.arg(1)),
        ("auth", 3) => (request.arg(1), request.arg(2)),
        ("hello", _) => HelloOptions::of(request).ok()?.auth?,
        _ => return None,
    };
    // What is not UTF-8 is nobody's name or password: HTTP and the command line take text.
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((resolve(users, &text(user)).into(), Secret(text(password))))
}

/// Why the connection may not send this request; `None`: it may. `is_database` says whether a database of
/// that name exists.
pub fn refusal(
    request: &Request<'_>,
    session: &Session,
    users: &Users,
    is_database: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let spec = request.spec()?;
    if spec.needs_no_user() {
        return None;
    }
    let Some(login) = session.user.as_deref().filter(|login| login.holds(users)) else {
        return Some(NEEDS_AUTH.to_owned());
    };
    let user = login.user();
    let denied = |what: &str| Some(format!("NOPERM this user has no permissions to {what}"));
    if let Some(need) = need_without_keys(spec)
        && !allows(users, user, SYSTEM, need)
    {
        return denied(&format!("run the '{}' command", spec.full_name));
    }
    let need = if spec.is_write() { Need::Write } else { Need::Read };
    let may = |key| allows(users, user, database_of(key, is_database), need);
    if Keys::of(request, spec).all(may) {
        return None;
    }
    // Redis tells a command that is refused from a key that is.
    match spec.is_write() && !Keys::of(request, spec).any(may) {
        true => denied(&format!("run the '{}' command", spec.full_name)),
        false => denied("access one of the keys used as arguments"),
    }
}

/// What a command needs whatever its keys are.
fn need_without_keys(spec: &Spec) -> Option<Need> {
    match () {
        () if spec.is_admin() => Some(Need::Admin),
        () if spec.has_keys() => None,
        () if spec.is_write() => Some(Need::Write),
        () if spec.is_read() => Some(Need::Read),
        () => None,
    }
}

/// The database whose document `key` is: `db/collection/key` of `db` if that exists, all else of `_system`.
fn database_of<'k>(key: &'k [u8], is_database: &dyn Fn(&str) -> bool) -> &'k str {
    let mut parts = key.split(|byte| *byte == b'/');
    let (first, rest) = (parts.next(), parts.count());
    match first.map(std::str::from_utf8) {
        Some(Ok(name)) if rest == 2 && is_database(name) => name,
        _ => SYSTEM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Login, User, UserRole};

    fn users() -> Users {
        let with = |roles: &[(&str, UserRole)]| {
            let mut user = User::administrator(String::new());
            user.databases = roles.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect();
            user
        };
        Users::from([
            (ROOT.to_owned(), User::administrator(String::new())),
            ("reader".to_owned(), with(&[(SYSTEM, UserRole::Read)])),
            ("shop".to_owned(), with(&[("shop", UserRole::Write)])),
        ])
    }

    fn refused(user: Option<&str>, line: &str) -> Option<String> {
        let args = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let mut session = Session::new(1, String::new(), String::new(), 0);
        let mut known = users();
        known.insert("removed".to_owned(), User::administrator("hash".to_owned()));
        session.user = user.and_then(|user| Login::of(&known, user)).map(Arc::new);
        refusal(&Request::from_owned(args), &session, &users(), &|name| name == "shop")
    }

    #[test]
    fn who_has_not_said_who_it_is_may_only_say_it() {
        for line in ["auth pw", "hello 3", "quit", "reset"] {
            assert_eq!(refused(None, line), None, "{line}");
        }
        for line in ["get k", "ping", "cluster slots", "info"] {
            assert_eq!(refused(None, line).as_deref(), Some(NEEDS_AUTH), "{line}");
        }
        assert_eq!(refused(Some("removed"), "get k").as_deref(), Some(NEEDS_AUTH));
    }

    #[test]
    fn roles_hold_for_keys_as_for_documents() {
        for (user, line, fine) in [
            ("root", "set k v", true),
            ("root", "shutdown", true),
            ("reader", "get users/ann", true),
            ("reader", "mget a b", true),
            ("reader", "ping", true),
            ("reader", "cluster slots", true),
            ("reader", "dbsize", true),
            ("reader", "set users/ann v", false),
            ("reader", "get shop/orders/1", false),
            ("reader", "shutdown", false),
            ("shop", "set shop/orders/1 v", true),
            ("shop", "del shop/orders/1 users/ann", false),
            ("shop", "get shop/orders", false),
            ("shop", "get other/orders/1", false),
            ("shop", "dbsize", false),
        ] {
            let refused = refused(Some(user), line);
            assert_eq!(refused.is_none(), fine, "{user}: {line}: {refused:?}");
            assert!(refused.is_none_or(|text| text.starts_with("NOPERM ")));
        }
    }

    #[test]
    fn passwords_are_found_in_requests() {
        let claim = |line: &str| {
            let args = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            claimed(&Request::from_owned(args), &users())
        };
        let is = |user: &str, password: &str| Some((user.into(), Secret(password.to_owned())));
        assert_eq!(claim("auth pw"), is("root", "pw"));
        assert_eq!(claim("AUTH default pw"), is("root", "pw"));
        assert_eq!(claim("auth reader pw"), is("reader", "pw"));
        assert_eq!(claim("hello 3 setname x auth reader pw"), is("reader", "pw"));
        // What is named like an option is none; of two users the last one counts, as it does for the command.
        assert_eq!(claim("hello 3 setname auth auth reader pw"), is("reader", "pw"));
        assert_eq!(claim("hello 3 auth root x auth reader pw"), is("reader", "pw"));
        for line in ["hello 3", "hello 3 auth x", "get auth pw"] {
            assert_eq!(claim(line), None, "{line}");
        }
    }
}
