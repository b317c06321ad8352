//! The management of users as ArangoDB's drivers do it: `/_open/auth` and `/_api/user`.
//!
//! Promises: [`plan`] only reads. A change becomes a [`UserChange`]; [`UserChange::seal`] hashes its password (slow,
//! see [`password`]), and only what is sealed can be applied, to the newest users, on the leader
//! that keeps the metadata: all of it or nothing. The group never loses its last administrator. Does not ask
//! whether the user may: that is [`permitted`](super::permitted).

use super::password::{self, MAX_PASSWORD_BYTES, Salt, Secret};
use super::user::{Need, SYSTEM, User, UserRole, Users};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Longest user name in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Largest `extra` of a user in bytes of JSON: all users are one small value, which every node holds in memory.
pub const MAX_EXTRA_BYTES: usize = 8 << 10;

/// ArangoDB's numbers of the errors that occur here.
mod number {
    pub const BAD_PARAMETER: u32 = 10;
    pub const FORBIDDEN: u32 = 11;
    pub const NOT_IMPLEMENTED: u32 = 9;
    pub const UNAUTHORIZED: u32 = 401;
    pub const NOT_FOUND: u32 = 404;
    pub const INVALID_NAME: u32 = 1700;
    pub const DUPLICATE: u32 = 1702;
    pub const USER_NOT_FOUND: u32 = 1703;
}

/// A status and a JSON body.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    fn fine(status: u16, mut body: Value) -> Answer {
        body["error"] = false.into();
        body["code"] = status.into();
        Answer { status, body }
    }

    fn error(status: u16, number: u32, message: &str) -> Answer {
        let body = json!({ "error": true, "code": status, "errorNum": number, "errorMessage": message });
        Answer { status, body }
    }

    /// 401: there are no credentials, or they are wrong or expired. Drivers then ask for a new token.
    pub fn unauthorized() -> Answer {
        Answer::error(401, number::FORBIDDEN, "not authorized to execute this request")
    }

    /// 401 of `/_open/auth`.
    pub fn wrong_credentials() -> Answer {
        Answer::error(401, number::UNAUTHORIZED, "Wrong credentials")
    }

    /// 403: the user is known and may not do this.
    pub fn forbidden() -> Answer {
        Answer::error(403, number::FORBIDDEN, "forbidden: the user's role does not allow this")
    }

    /// What `/_open/auth` answers.
    pub fn token(token: &str) -> Answer {
        Answer { status: 200, body: json!({ "jwt": token }) }
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq)]
pub enum UserPlan {
    Answer(Answer),
    /// Check the password, then answer with [`Answer::token`] or [`Answer::wrong_credentials`].
    Login {
        user: String,
        password: Secret,
    },
    /// [Seal](UserChange::seal) it, apply it on the metadata's leader, answer what that answers.
    Change(UserChange),
}

#[derive(Clone, Debug, PartialEq)]
enum ChangeKind<P> {
    Create { password: P, active: bool, extra: Map<String, Value>, databases: BTreeMap<String, UserRole> },
    Replace { password: P, active: bool, extra: Map<String, Value> },
    Update { password: Option<P>, active: Option<bool>, extra: Option<Map<String, Value>> },
    Remove,
    Grant { database: String, role: UserRole },
    Revoke { database: String },
}

/// A change of one user, with a password that is not hashed yet if it sets one.
#[derive(Clone, Debug, PartialEq)]
pub struct UserChange {
    user: String,
    kind: ChangeKind<Secret>,
}

/// A change of one user that can be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    user: String,
    kind: ChangeKind<String>,
}

impl UserChange {
    /// Whether [`UserChange::seal`] is slow.
    pub fn sets_password(&self) -> bool {
        matches!(
            self.kind,
            ChangeKind::Create { .. }
                | ChangeKind::Replace { .. }
                | ChangeKind::Update { password: Some(_), .. }
        )
    }

    /// Hash the password, if it sets one. `salt` is random and used once.
    pub fn seal(self, salt: &Salt) -> Sealed {
        let hash = |secret: Secret| password::hash(&secret, salt);
        let kind = match self.kind {
            ChangeKind::Create { password, active, extra, databases } => {
                ChangeKind::Create { password: hash(password), active, extra, databases }
            }
            ChangeKind::Replace { password, active, extra } => {
                ChangeKind::Replace { password: hash(password), active, extra }
            }
            ChangeKind::Update { password, active, extra } => {
                ChangeKind::Update { password: password.map(hash), active, extra }
            }
            ChangeKind::Remove => ChangeKind::Remove,
            ChangeKind::Grant { database, role } => ChangeKind::Grant { database, role },
            ChangeKind::Revoke { database } => ChangeKind::Revoke { database },
        };
        Sealed { user: self.user, kind }
    }
}

impl Sealed {
    /// Change the users and say what the client is answered. An error has changed nothing.
    pub fn apply(&self, users: &mut Users) -> Answer {
        let before = users.get(&self.user).cloned();
        let administered = has_administrator(users);
        let answer = self.change(users);
        if administered && !has_administrator(users) {
            match before {
                Some(user) => users.insert(self.user.clone(), user),
                None => users.remove(&self.user),
            };
            return Answer::error(403, number::FORBIDDEN, "the group would have no administrator left");
        }
        answer
    }

    fn change(&self, users: &mut Users) -> Answer {
        if let ChangeKind::Create { password, active, extra, databases } = &self.kind {
            if users.contains_key(&self.user) {
                return Answer::error(409, number::DUPLICATE, "duplicate user");
            }
            let (password, extra, databases) = (password.clone(), extra.clone(), databases.clone());
            let user = User { password, active: *active, extra, databases };
            let answer = Answer::fine(201, shown(&self.user, &user));
            users.insert(self.user.clone(), user);
            return answer;
        }
        let Some(user) = users.get_mut(&self.user) else { return unknown_user() };
        match &self.kind {
            ChangeKind::Create { .. } => unreachable!("dealt with above"),
            ChangeKind::Replace { password, active, extra } => {
                user.password.clone_from(password);
                user.active = *active;
                user.extra.clone_from(extra);
                Answer::fine(200, shown(&self.user, user))
            }
            ChangeKind::Update { password, active, extra } => {
                if let Some(password) = password {
                    user.password.clone_from(password);
                }
                user.active = active.unwrap_or(user.active);
                if let Some(extra) = extra {
                    user.extra.clone_from(extra);
                }
                Answer::fine(200, shown(&self.user, user))
            }
            ChangeKind::Remove => {
                users.remove(&self.user);
                Answer::fine(202, json!({}))
            }
            ChangeKind::Grant { database, role } => {
                user.databases.insert(database.clone(), *role);
                Answer::fine(200, json!({ database: role.as_grant() }))
            }
            ChangeKind::Revoke { database } => {
                user.databases.remove(database);
                Answer::fine(202, json!({}))
            }
        }
    }
}

fn has_administrator(users: &Users) -> bool {
    users.values().any(|user| user.active && user.role(SYSTEM).covers(Need::Admin))
}

fn unknown_user() -> Answer {
    Answer::error(404, number::USER_NOT_FOUND, "user not found")
}

fn shown(name: &str, user: &User) -> Value {
    json!({ "user": name, "active": user.active, "extra": user.extra })
}

/// What a request is about; `None` if it is about something else. `segments` are those of the path, without
/// `/_db/<database>`, percent-decoded; `full` is the query parameter of that name; `databases` are those
/// that exist.
pub fn plan(
    method: &str,
    segments: &[&str],
    full: bool,
    body: &[u8],
    users: &Users,
    databases: &[&str],
) -> Option<UserPlan> {
    let planned = match segments {
        ["_open", "auth"] => login(method, body),
        ["_api", "user"] => all_users(method, body, users),
        ["_api", "user", name] => one_user(method, name, body, users),
        ["_api", "user", name, "database"] if method == "GET" => roles(name, full, users, databases),
        ["_api", "user", name, "database", database, collection @ ..] => {
            grant(method, name, database, collection, body, users)
        }
        ["_api", "user", ..] => Err(not_allowed()),
        _ => return None,
    };
    Some(planned.unwrap_or_else(UserPlan::Answer))
}

type Planned = Result<UserPlan, Answer>;

fn not_allowed() -> Answer {
    Answer::error(405, 405, "method not supported")
}

fn bad(message: &str) -> Answer {
    Answer::error(400, number::BAD_PARAMETER, message)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Answer> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(bad("expecting a JSON object in the body")),
    }
}

fn text(object: &Map<String, Value>, name: &str) -> Result<Option<String>, Answer> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(&format!("{name} must be a string"))),
    }
}

fn secret(object: &Map<String, Value>, name: &str) -> Result<Option<Secret>, Answer> {
    match text(object, name)? {
        Some(password) if password.len() > MAX_PASSWORD_BYTES => {
            Err(bad(&format!("{name} may have {MAX_PASSWORD_BYTES} bytes")))
        }
        found => Ok(found.map(Secret)),
    }
}

fn active(object: &Map<String, Value>) -> Result<Option<bool>, Answer> {
    match object.get("active") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(active)) => Ok(Some(*active)),
        Some(_) => Err(bad("active must be true or false")),
    }
}

fn extra(object: &Map<String, Value>) -> Result<Option<Map<String, Value>>, Answer> {
    match object.get("extra") {
        None | Some(Value::Null) => Ok(None),
        Some(extra) if extra.to_string().len() > MAX_EXTRA_BYTES => {
            Err(bad(&format!("extra may have {MAX_EXTRA_BYTES} bytes")))
        }
        Some(Value::Object(extra)) => Ok(Some(extra.clone())),
        Some(_) => Err(bad("extra must be an object")),
    }
}

fn login(method: &str, body: &[u8]) -> Planned {
    if method != "POST" {
        return Err(not_allowed());
    }
    let object = object(body)?;
    match (text(&object, "username")?, secret(&object, "password")?) {
        (Some(user), Some(password)) => Ok(UserPlan::Login { user, password }),
        _ => Err(bad("username and password are needed")),
    }
}

/// A user to be created from `{user | username, passwd, active, extra}`, with these roles.
///
/// # Errors
/// What to answer instead.
pub fn creation(
    object: &Map<String, Value>,
    databases: BTreeMap<String, UserRole>,
) -> Result<UserChange, Answer> {
    let name = match text(object, "user")? {
        Some(name) => name,
        None => text(object, "username")?.unwrap_or_default(),
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.starts_with(':') || name.contains(['/', '\0']) {
        return Err(Answer::error(400, number::INVALID_NAME, "invalid user name"));
    }
    let password = secret(object, "passwd")?.unwrap_or(Secret(String::new()));
    let active = active(object)?.unwrap_or(true);
    let extra = extra(object)?.unwrap_or_default();
    Ok(UserChange { user: name, kind: ChangeKind::Create { password, active, extra, databases } })
}

fn all_users(method: &str, body: &[u8], users: &Users) -> Planned {
    match method {
        "GET" => {
            let list: Vec<Value> = users.iter().map(|(name, user)| shown(name, user)).collect();
            Ok(UserPlan::Answer(Answer::fine(200, json!({ "result": list }))))
        }
        "POST" => creation(&object(body)?, BTreeMap::new()).map(UserPlan::Change),
        _ => Err(not_allowed()),
    }
}

fn one_user(method: &str, name: &str, body: &[u8], users: &Users) -> Planned {
    let user = users.get(name).ok_or_else(unknown_user)?;
    let kind = match method {
        "GET" => return Ok(UserPlan::Answer(Answer::fine(200, shown(name, user)))),
        "PUT" => {
            let object = object(body)?;
            let password = secret(&object, "passwd")?.unwrap_or(Secret(String::new()));
            let active = active(&object)?.unwrap_or(true);
            ChangeKind::Replace { password, active, extra: extra(&object)?.unwrap_or_default() }
        }
        "PATCH" => {
            let object = object(body)?;
            let password = secret(&object, "passwd")?;
            ChangeKind::Update { password, active: active(&object)?, extra: extra(&object)? }
        }
        "DELETE" => ChangeKind::Remove,
        _ => return Err(not_allowed()),
    };
    Ok(UserPlan::Change(UserChange { user: name.to_owned(), kind }))
}

fn roles(name: &str, full: bool, users: &Users, databases: &[&str]) -> Planned {
    let user = users.get(name).ok_or_else(unknown_user)?;
    let every = user.databases.keys().map(String::as_str).filter(|n| *n == "*");
    let rows = databases.iter().copied().chain(every).filter_map(|database| {
        let role = user.role(database);
        let shown = match full {
            // Without `*`, which no driver lists among collections.
            true => json!({ "permission": role.as_grant(), "collections": { "*": "undefined" } }),
            false if role == UserRole::None => return None,
            false => role.as_grant().into(),
        };
        Some((database.to_owned(), shown))
    });
    let result: Map<String, Value> = rows.collect();
    Ok(UserPlan::Answer(Answer::fine(200, json!({ "result": result }))))
}

fn grant(
    method: &str,
    name: &str,
    database: &str,
    collection: &[&str],
    body: &[u8],
    users: &Users,
) -> Planned {
    let user = users.get(name).ok_or_else(unknown_user)?;
    if method == "GET" && collection.len() <= 1 {
        return Ok(UserPlan::Answer(Answer::fine(200, json!({ "result": user.role(database).as_grant() }))));
    }
    match collection {
        [] => {}
        [_] => {
            let message = "roles are per database, not per collection: grant one on the database";
            return Err(Answer::error(501, number::NOT_IMPLEMENTED, message));
        }
        _ => return Err(Answer::error(404, number::NOT_FOUND, "unknown path")),
    }
    let database = database.to_owned();
    let kind = match method {
        "PUT" => {
            let wanted = text(&object(body)?, "grant")?.unwrap_or_default();
            let role = UserRole::of_grant(&wanted, &database);
            let role = role.ok_or_else(|| bad("grant must be rw, ro, none, read, write or admin"))?;
            ChangeKind::Grant { database, role }
        }
        "DELETE" => ChangeKind::Revoke { database },
        _ => return Err(not_allowed()),
    };
    Ok(UserPlan::Change(UserChange { user: name.to_owned(), kind }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{ROOT, allows};

    fn asked(users: &Users, method: &str, path: &str, body: Value) -> UserPlan {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let body = body.to_string();
        plan(method, &segments, path.contains("database"), body.as_bytes(), users, &[SYSTEM, "shop"]).unwrap()
    }

    fn done(users: &mut Users, method: &str, path: &str, body: Value) -> (u16, Value) {
        let answer = match asked(users, method, path, body) {
            UserPlan::Answer(answer) => answer,
            UserPlan::Change(change) => change.seal(&[5; password::SALT_BYTES]).apply(users),
            login => panic!("{login:?}"),
        };
        assert_eq!(answer.body["error"], json!(answer.status >= 400));
        assert_eq!(answer.body["code"], json!(answer.status));
        (answer.status, answer.body)
    }

    fn only_root() -> Users {
        Users::from([(ROOT.to_owned(), User::administrator(String::new()))])
    }

    #[test]
    fn a_user_lives() {
        let mut users = only_root();
        let new = json!({ "user": "ann", "passwd": "pw", "extra": { "a": 1 } });
        let (status, body) = done(&mut users, "POST", "/_api/user", new.clone());
        assert_eq!((status, &body["user"], &body["active"]), (201, &json!("ann"), &json!(true)));
        let (status, body) = done(&mut users, "POST", "/_api/user", new);
        assert_eq!((status, &body["errorNum"]), (409, &json!(1702)));
        assert!(password::verify(Some(&users["ann"].password), &Secret("pw".into())));

        let (_, body) = done(&mut users, "PATCH", "/_api/user/ann", json!({ "extra": { "b": 2 } }));
        assert_eq!(body["extra"], json!({ "b": 2 }));
        assert!(password::verify(Some(&users["ann"].password), &Secret("pw".into())));
        done(&mut users, "PUT", "/_api/user/ann", json!({ "passwd": "new", "active": false }));
        assert!(!users["ann"].active && users["ann"].extra.is_empty());
        assert!(password::verify(Some(&users["ann"].password), &Secret("new".into())));

        assert_eq!(done(&mut users, "GET", "/_api/user", json!(null)).1["result"][0]["user"], "ann");
        assert_eq!(done(&mut users, "DELETE", "/_api/user/ann", json!(null)).0, 202);
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            let (status, body) = done(&mut users, method, "/_api/user/ann", json!({}));
            assert_eq!((status, &body["errorNum"]), (404, &json!(1703)), "{method}");
        }
    }

    #[test]
    fn roles_are_granted_and_revoked() {
        let mut users = only_root();
        done(&mut users, "POST", "/_api/user", json!({ "user": "ann" }));
        let path = "/_api/user/ann/database/shop";
        assert_eq!(done(&mut users, "GET", path, json!(null)).1["result"], "none");
        assert_eq!(done(&mut users, "PUT", path, json!({ "grant": "rw" })).1["shop"], "rw");
        assert!(allows(&users, "ann", "shop", Need::Write) && !allows(&users, "ann", SYSTEM, Need::Read));
        assert_eq!(done(&mut users, "GET", path, json!(null)).1["result"], "rw");
        let (_, body) = done(&mut users, "GET", "/_api/user/ann/database", json!(null));
        assert_eq!(body["result"]["shop"]["permission"], "rw");
        assert_eq!(done(&mut users, "DELETE", path, json!(null)).0, 202);
        assert!(!allows(&users, "ann", "shop", Need::Read));
        assert_eq!(done(&mut users, "PUT", path, json!({ "grant": "all" })).0, 400);
        assert_eq!(done(&mut users, "PUT", &format!("{path}/c"), json!({ "grant": "rw" })).0, 501);
    }

    #[test]
    fn the_last_administrator_stays() {
        let mut users = only_root();
        for (method, path, body) in [
            ("DELETE", "/_api/user/root", json!(null)),
            ("PATCH", "/_api/user/root", json!({ "active": false })),
            ("PUT", "/_api/user/root/database/_system", json!({ "grant": "ro" })),
        ] {
            assert_eq!(done(&mut users, method, path, body).0, 403);
            assert_eq!(users, only_root());
        }
    }

    #[test]
    fn a_login_is_taken_apart_and_nonsense_is_refused() {
        let users = Users::new();
        let login = asked(&users, "POST", "/_open/auth", json!({ "username": "a", "password": "b" }));
        assert_eq!(login, UserPlan::Login { user: "a".into(), password: Secret("b".into()) });
        for (method, path, body, status) in [
            ("POST", "/_open/auth", json!({ "username": 1 }), 400),
            ("GET", "/_open/auth", json!(null), 405),
            ("POST", "/_api/user", json!([]), 400),
            ("POST", "/_api/user", json!({ "user": "" }), 400),
            ("POST", "/_api/user", json!({ "user": "a", "active": "yes" }), 400),
            (
                "POST",
                "/_api/user",
                json!({ "user": "a", "extra": { "x": "y".repeat(MAX_EXTRA_BYTES) } }),
                400,
            ),
            ("DELETE", "/_api/user", json!(null), 405),
            ("GET", "/_api/user/x/y/z", json!(null), 405),
        ] {
            match asked(&users, method, path, body) {
                UserPlan::Answer(answer) => assert_eq!(answer.status, status, "{method} {path}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(plan("GET", &["_api", "version"], false, b"", &users, &[]), None);
    }
}
