//! What each request needs of its user.
//!
//! Promises: what is not known to be harmless needs rights. Paths come without `/_db/<database>`.

use super::user::{Need, SYSTEM, Users, allows};

/// What a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing, not even credentials: what load balancers and drivers ask before they have any.
    Nothing,
    /// Any user.
    AnyUser,
    /// This in the request's own database.
    Here(Need),
    /// This in `_system`.
    System(Need),
    /// To be this very user, or an administrator.
    Oneself(String),
}

/// What a request needs. `reads`: it changes nothing.
pub fn requirement(method: &str, path: &str, reads: bool) -> Requirement {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match (method, parts.as_slice()) {
        (_, ["_open", ..]) | (_, ["_admin", "server", "availability"]) => Requirement::Nothing,
        ("GET" | "HEAD", ["_admin", "baton", "status"]) => Requirement::Nothing,
        ("GET" | "PUT" | "PATCH", ["_api", "user", name])
        | ("GET", ["_api", "user", name, "database", ..]) => Requirement::Oneself((*name).to_owned()),
        (_, ["_api", "user", ..]) => Requirement::System(Need::Admin),
        ("GET" | "HEAD", ["_api", "database", "user"]) => Requirement::AnyUser,
        ("GET" | "HEAD", ["_api", "database", "current"]) => Requirement::Here(Need::Read),
        ("GET" | "HEAD", ["_api", "database", ..]) => Requirement::System(Need::Read),
        (_, ["_api", "database", ..]) => Requirement::System(Need::Admin),
        ("GET" | "HEAD", ["_admin", ..] | ["_api", "version" | "cluster" | "engine" | "replication", ..]) => {
            Requirement::AnyUser
        }
        (_, ["_admin", ..] | ["_api", "cluster" | "engine" | "replication", ..]) => {
            Requirement::System(Need::Admin)
        }
        _ if reads => Requirement::Here(Need::Read),
        _ => Requirement::Here(Need::Write),
    }
}

/// Whether `user` (`None`: no credentials) may do what needs `requirement` in `database`.
pub fn permitted(users: &Users, user: Option<&str>, database: &str, requirement: &Requirement) -> bool {
    let Some(user) = user else { return *requirement == Requirement::Nothing };
    match requirement {
        Requirement::Nothing | Requirement::AnyUser => true,
        Requirement::Here(need) => allows(users, user, database, *need),
        Requirement::System(need) => allows(users, user, SYSTEM, *need),
        Requirement::Oneself(name) => name == user || allows(users, user, SYSTEM, Need::Admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::user::{User, UserRole};

    #[test]
    fn each_request_has_its_requirement() {
        use Requirement::{AnyUser, Here, Nothing, Oneself, System};
        for (method, path, reads, expected) in [
            ("POST", "/_open/auth", false, Nothing),
            ("GET", "/_admin/server/availability", true, Nothing),
            ("GET", "/_admin/baton/status", true, Nothing),
            ("POST", "/_admin/baton/handoff", false, System(Need::Admin)),
            ("POST", "/_admin/baton/promote", false, System(Need::Admin)),
            ("DELETE", "/_admin/shutdown", false, System(Need::Admin)),
            ("GET", "/_admin/server/role", true, AnyUser),
            ("GET", "/_api/version", true, AnyUser),
            ("GET", "/_api/user", true, System(Need::Admin)),
            ("PATCH", "/_api/user/ann", false, Oneself("ann".into())),
            ("DELETE", "/_api/user/ann", false, System(Need::Admin)),
            ("PUT", "/_api/user/ann/database/x", false, System(Need::Admin)),
            ("GET", "/_api/user/ann/database", true, Oneself("ann".into())),
            ("POST", "/_api/database", false, System(Need::Admin)),
            ("GET", "/_api/database/user", true, AnyUser),
            ("PUT", "/_api/document/c", true, Here(Need::Read)),
            ("POST", "/_api/document/c", false, Here(Need::Write)),
            ("POST", "/_api/collection", false, Here(Need::Write)),
            ("BREW", "/anything", false, Here(Need::Write)),
        ] {
            assert_eq!(requirement(method, path, reads), expected, "{method} {path}");
        }
    }

    #[test]
    fn without_credentials_only_the_open_doors_are_open() {
        let mut writer = User::administrator(String::new());
        writer.databases = [("shop".to_owned(), UserRole::Write)].into();
        let users = Users::from([("ann".to_owned(), writer)]);
        let may = |user, requirement| permitted(&users, user, "shop", &requirement);
        assert!(may(None, Requirement::Nothing) && !may(None, Requirement::AnyUser));
        assert!(may(Some("ann"), Requirement::Here(Need::Write)));
        assert!(!may(Some("ann"), Requirement::System(Need::Read)));
        assert!(may(Some("ann"), Requirement::Oneself("ann".into())));
        assert!(!may(Some("ann"), Requirement::Oneself("root".into())));
    }
}
