//! Users and their roles per database, as the group's metadata keeps them.
//!
//! Promises: a user who is unknown or inactive has no role anywhere. Roles are explicit: the administrator
//! of `_system` has no rights in another database unless they are granted, but may grant them.

use super::password::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The user that exists from the first start with `auth = true` on.
pub const ROOT: &str = "root";
/// The database that always exists; its administrators administer the group.
pub const SYSTEM: &str = "_system";
/// Stands for every database without a role of its own.
pub const EVERY_DATABASE: &str = "*";

/// All users by name.
pub type Users = BTreeMap<String, User>;

/// What a user may do in one database. Each role includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    #[default]
    None,
    /// Read documents and keys, list collections.
    Read,
    /// Write documents and keys, create and drop collections.
    Write,
    /// On `_system`: users, databases, handoff, shutdown. Elsewhere the same as `Write`.
    Admin,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Read,
    Write,
    Admin,
}

/// A user as kept in the metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// The argon2id hash as a PHC string.
    pub password: String,
    pub active: bool,
    /// Whatever the application keeps with the user.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Roles by database; [`EVERY_DATABASE`] for those that are not listed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub databases: BTreeMap<String, UserRole>,
}

impl User {
    /// A user who may do everything: `root`, with this PHC string.
    pub fn administrator(password: String) -> User {
        let databases = BTreeMap::from([(EVERY_DATABASE.to_owned(), UserRole::Admin)]);
        User { password, active: true, extra: Map::new(), databases }
    }

    /// The role in a database.
    pub fn role(&self, database: &str) -> UserRole {
        let found = self.databases.get(database).or_else(|| self.databases.get(EVERY_DATABASE));
        found.copied().unwrap_or_default()
    }
}

/// Somebody who has given a user's password. Ends with the user, and with that password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    user: String,
    stored: Secret,
}

impl Login {
    /// Of a user whose password was found right.
    pub fn of(users: &Users, user: &str) -> Option<Login> {
        let stored = Secret(users.get(user)?.password.clone());
        Some(Login { user: user.to_owned(), stored })
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether the user is still there, active and with the same password.
    pub fn holds(&self, users: &Users) -> bool {
        users.get(&self.user).is_some_and(|user| user.active && user.password == self.stored.0)
    }
}

impl UserRole {
    /// Whether the role is enough.
    pub fn covers(self, need: Need) -> bool {
        self >= match need {
            Need::Read => UserRole::Read,
            Need::Write => UserRole::Write,
            Need::Admin => UserRole::Admin,
        }
    }

    /// The role that a grant gives: ArangoDB's `rw`, `ro`, `none`, where `rw` on `_system` makes an
    /// administrator; or, beyond ArangoDB, a role by its own name.
    pub fn of_grant(grant: &str, database: &str) -> Option<UserRole> {
        match grant {
            "rw" if database == SYSTEM || database == EVERY_DATABASE => Some(UserRole::Admin),
            "rw" | "write" => Some(UserRole::Write),
            "ro" | "read" => Some(UserRole::Read),
            "none" => Some(UserRole::None),
            "admin" => Some(UserRole::Admin),
            _ => None,
        }
    }

    /// As ArangoDB's drivers read it.
    pub fn as_grant(self) -> &'static str {
        match self {
            UserRole::None => "none",
            UserRole::Read => "ro",
            UserRole::Write | UserRole::Admin => "rw",
        }
    }
}

/// Whether `user` may do in `database` what needs `need`.
pub fn allows(users: &Users, user: &str, database: &str, need: Need) -> bool {
    users.get(user).is_some_and(|found| found.active && found.role(database).covers(need))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_explicit_and_end_with_the_user() {
        let mut users = Users::from([(ROOT.to_owned(), User::administrator(String::new()))]);
        assert!(allows(&users, ROOT, SYSTEM, Need::Admin) && allows(&users, ROOT, "shop", Need::Write));
        assert!(!allows(&users, "nobody", SYSTEM, Need::Read));
        let mut reader = User::administrator(String::new());
        reader.databases =
            BTreeMap::from([("*".to_owned(), UserRole::Read), ("shop".to_owned(), UserRole::None)]);
        users.insert("reader".to_owned(), reader);
        assert!(allows(&users, "reader", "other", Need::Read));
        assert!(!allows(&users, "reader", "other", Need::Write));
        assert!(!allows(&users, "reader", "shop", Need::Read));
        users.get_mut(ROOT).unwrap().active = false;
        assert!(!allows(&users, ROOT, SYSTEM, Need::Read));
    }

    #[test]
    fn a_login_ends_with_the_password_and_with_the_user() {
        let mut users = Users::from([(ROOT.to_owned(), User::administrator("one".to_owned()))]);
        let login = Login::of(&users, ROOT).unwrap();
        assert!(login.holds(&users) && Login::of(&users, "nobody").is_none());
        users.get_mut(ROOT).unwrap().active = false;
        assert!(!login.holds(&users));
        users.insert(ROOT.to_owned(), User::administrator("other".to_owned()));
        assert!(!login.holds(&users));
        users.clear();
        assert!(!login.holds(&users));
    }

    #[test]
    fn grants_map_to_roles() {
        assert_eq!(UserRole::of_grant("rw", SYSTEM), Some(UserRole::Admin));
        assert_eq!(UserRole::of_grant("rw", "shop"), Some(UserRole::Write));
        assert_eq!(UserRole::of_grant("write", SYSTEM), Some(UserRole::Write));
        assert_eq!(UserRole::of_grant("ro", "shop").map(UserRole::as_grant), Some("ro"));
        assert_eq!(UserRole::of_grant("RW", "shop"), None);
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let mut user = User::administrator("$argon2id$…".to_owned());
        user.extra.insert("team".to_owned(), "blue".into());
        let text = serde_json::to_string(&user).unwrap();
        assert_eq!(serde_json::from_str::<User>(&text).unwrap(), user, "{text}");
    }
}
