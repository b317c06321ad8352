//! What a connection may do in a group that asks for passwords.
//!
//! Promises: texts as Redis 7.0 sends them. A key belongs to the database that HTTP would find it in, so
//! that a user's role is the same by both faces. Does not judge passwords: a command that needs a verdict
//! ends with [`Outcome::Judge`](crate::resp::Outcome::Judge), and is run again when there is one.

use crate::auth::password::Secret;
use crate::auth::{Need, ROOT, SYSTEM, Users, allows};
use crate::resp::request::{Keys, Request};
use crate::resp::session::Session;
use crate::resp::table::Spec;
use std::borrow::Cow;

pub(super) const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
pub(super) const HELLO_NEEDS_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, \
     otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and \
     select the RESP protocol version at the same time";
const NEEDS_AUTH: &str = "NOAUTH Authentication required.";
/// The user of Redis clients that are given a password only.
const DEFAULT: &str = "default";

/// The user of this name; Redis's `default` is `root`, unless there is a user of that name.
pub(super) fn resolve<'n>(users: &Users, name: &'n str) -> &'n str {
    if name == DEFAULT && !users.contains_key(DEFAULT) { ROOT } else { name }
}

/// Whose password a request (`AUTH`, `HELLO … AUTH`) holds, if it does.
pub fn claimed(request: &Request<'_>, users: &Users) -> Option<(String, Secret)> {
    let spec = request.spec()?;
    let (user, password) = match (spec.name, request.len()) {
        ("auth", 2) => (DEFAULT.into(), request.arg(1)),
        ("auth", 3) => (String::from_utf8_lossy(request.arg(1)), request.arg(2)),
        ("hello", _) => {
            let at = last_auth(request)?;
            (String::from_utf8_lossy(request.arg(at + 1)), request.arg(at + 2))
        }
        _ => return None,
    };
    let user: Cow<'_, str> = user;
    // A password that is not UTF-8 was never set by anybody: HTTP and the command line take text.
    let password = String::from_utf8_lossy(password).into_owned();
    Some((resolve(users, &user).to_owned(), Secret(password)))
}

/// The place of `AUTH` among the options of a `HELLO`. The last one counts, as it does when `HELLO` is run: what
/// is judged must be whom the connection becomes.
fn last_auth(request: &Request<'_>) -> Option<usize> {
    let (mut at, mut last) = (2, None);
    while at < request.len() {
        let more = request.len() - 1 - at;
        match request.arg(at) {
            word if word.eq_ignore_ascii_case(b"AUTH") && more >= 2 => {
                last = Some(at);
                at += 3;
            }
            word if word.eq_ignore_ascii_case(b"SETNAME") && more >= 1 => at += 2,
            // A syntax error, which `HELLO` finds too.
            _ => break,
        }
    }
    last
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
    let Some(user) = session.user.as_deref() else { return Some(NEEDS_AUTH.to_owned()) };
    if !users.get(user).is_some_and(|found| found.active) {
        return Some(NEEDS_AUTH.to_owned());
    }
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
    use crate::auth::{Role, User};

    fn users() -> Users {
        let with = |roles: &[(&str, Role)]| {
            let mut user = User::administrator(String::new());
            user.databases = roles.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect();
            user
        };
        Users::from([
            (ROOT.to_owned(), User::administrator(String::new())),
            ("reader".to_owned(), with(&[(SYSTEM, Role::Read)])),
            ("shop".to_owned(), with(&[("shop", Role::Write)])),
        ])
    }

    fn refused(user: Option<&str>, line: &str) -> Option<String> {
        let args = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let mut session = Session::new(1, String::new(), String::new(), 0);
        session.user = user.map(Into::into);
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
        let is = |user: &str, password: &str| Some((user.to_owned(), Secret(password.to_owned())));
        assert_eq!(claim("auth pw"), is("root", "pw"));
        assert_eq!(claim("AUTH default pw"), is("root", "pw"));
        assert_eq!(claim("auth reader pw"), is("reader", "pw"));
        assert_eq!(claim("hello 3 setname x auth reader pw"), is("reader", "pw"));
        assert_eq!(claim("hello 3 auth reader pw auth root x"), is("root", "x"));
        assert_eq!(claim("hello 3 auth reader pw oops"), is("reader", "pw"));
        assert_eq!(claim("hello 3 setname auth auth root x"), is("root", "x"));
        for line in ["hello 3", "hello 3 auth x", "get auth pw"] {
            assert_eq!(claim(line), None, "{line}");
        }
    }
}
