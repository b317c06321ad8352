//! `/_api/database`.

use super::super::answer::success;
use super::super::change::MetadataChange;
use super::super::metadata::{Metadata, SYSTEM};
use super::super::op::{Selection, Task};
use super::super::work::{Plan, Render};
use super::handle::text;
use super::{Failure, Planned, Planner, scan};
use crate::auth::{Need, UserRole, allows, api};
use crate::http::{Method, Response};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most users of a request for a new database: hashing a password takes long.
const MAX_USERS: usize = 16;

/// The databases that a user may read.
pub fn databases_of(metadata: &Metadata, user: &str) -> Response {
    let names = metadata.databases.keys();
    let names: Vec<&String> = names.filter(|name| allows(&metadata.users, user, name, Need::Read)).collect();
    success(200, json!({ "result": names }))
}

impl Planner<'_> {
    pub fn databases(&self, path: &[&str]) -> Planned {
        let in_system = self.database == SYSTEM;
        match (path, self.method()) {
            (["current"], Method::Get | Method::Head) => {
                let id = self.metadata.database(&self.database).map_or(0, |found| found.id).to_string();
                let (name, path) = (&self.database, format!("baton/{id}"));
                let result = json!({ "name": name, "id": id, "path": path, "isSystem": in_system });
                Ok(Plan::Reply(success(200, json!({ "result": result }))))
            }
            (["user"], Method::Get | Method::Head) => Ok(self.database_names()),
            ([], Method::Get | Method::Head) if in_system => Ok(self.database_names()),
            ([], Method::Post) if in_system => {
                let object = self.object()?;
                let Some(name) = text(&object, "name") else {
                    return Err(Failure::BadDatabase(String::new()));
                };
                self.new_database(name, &object)
            }
            ([name], Method::Delete) if in_system => {
                if *name == SYSTEM {
                    return Err(Failure::NotForSystem);
                }
                self.metadata.database(name).ok_or(Failure::NoDatabase)?;
                let dropped = MetadataChange::DropDatabase { name: (*name).to_owned() };
                let render = Render::Then(Box::new(Plan::Metadata(dropped)));
                Ok(scan(Selection::Database((*name).to_owned()), Task::Truncate, false, render))
            }
            ([], Method::Get | Method::Head | Method::Post) | ([_], Method::Delete) => {
                Err(Failure::OnlyInSystem)
            }
            ([] | [_], _) => Err(Failure::MethodNotAllowed),
            _ => Err(Failure::UnknownPath(self.request.path.clone())),
        }
    }

    /// A database, and the users who may write in it: those who exist, and those who are made for it.
    fn new_database(&self, name: &str, object: &Map<String, Value>) -> Planned {
        let wrong = || Failure::BadParameter("users must be an array of objects".to_owned());
        let given = match object.get("users") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(given)) if given.len() > MAX_USERS => {
                return Err(Failure::BadParameter(format!("users may be {MAX_USERS} in one request")));
            }
            Some(Value::Array(given)) => given.as_slice(),
            Some(_) => return Err(wrong()),
        };
        let (mut known, mut made) = (Vec::new(), Vec::new());
        for user in given {
            let user = user.as_object().ok_or_else(wrong)?;
            let named = text(user, "user").or_else(|| text(user, "username"));
            match named.filter(|named| self.metadata.users.contains_key(*named)) {
                Some(named) => known.push(named.to_owned()),
                None => match api::creation(user, BTreeMap::from([(name.to_owned(), UserRole::Write)])) {
                    Ok(change) => made.push(change),
                    Err(answer) => return Ok(Plan::Reply(Response::json(answer.status, &answer.body))),
                },
            }
        }
        let change = MetadataChange::CreateDatabase { name: name.to_owned(), users: known };
        Ok(match made.is_empty() {
            true => Plan::Metadata(change),
            false => Plan::WithUsers { users: made, change },
        })
    }

    fn database_names(&self) -> Plan {
        let names: Vec<&String> = self.metadata.databases.keys().collect();
        Plan::Reply(success(200, json!({ "result": names })))
    }
}
