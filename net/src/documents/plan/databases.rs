//! `/_api/database`.

use super::super::change::MetadataChange;
use super::super::metadata::SYSTEM;
use super::super::op::{Plan, Selection, Task};
use super::super::render::{Render, success};
use super::handle::text;
use super::{Asked, Failure, Planned, scan};
use crate::http::Method;
use serde_json::{Value, json};

impl Asked<'_> {
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
                let users = object.get("users").and_then(Value::as_array);
                let named = |user: &Value| {
                    let name = user.get("username").or_else(|| user.get("user"))?;
                    name.as_str().map(str::to_owned)
                };
                let users = users.into_iter().flatten().filter_map(named).collect();
                Ok(Plan::Metadata(MetadataChange::CreateDatabase { name: name.to_owned(), users }))
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

    fn database_names(&self) -> Plan {
        let names: Vec<&String> = self.metadata.databases.keys().collect();
        Plan::Reply(success(200, json!({ "result": names })))
    }
}
