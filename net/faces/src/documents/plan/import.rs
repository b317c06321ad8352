//! `POST /_api/import`: many documents at once, as lines of JSON or as one array.

use super::super::body::{Body, strip};
use super::super::op::{Action, Expect, OnExisting, Op, Task};
use super::super::work::{ImportRender, Render};
use super::flags::{is_given, is_on};
use super::{Collection, Failure, MAX_OPS, Planned, Planner, batch};
use crate::http::Method;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const EDGES: &str = "fromPrefix and toPrefix are for edges, which Baton does not have";

/// Sent again, it would remove what it wrote, and then find all of it remembered.
const OVERWRITTEN_ONCE: &str =
    "an import with overwrite=true takes no idempotency key: it can be repeated as it is";

/// One line of the input, empty lines left out.
type Line = Result<Map<String, Value>, Failure>;

impl Planner<'_> {
    pub fn import(&self) -> Planned {
        if *self.method() != Method::Post {
            return Err(Failure::MethodNotAllowed);
        }
        let request = self.request;
        if ["fromPrefix", "toPrefix"].iter().any(|name| request.parameter(name).is_some_and(is_given)) {
            return Err(Failure::NotImplemented(EDGES));
        }
        let name = request.parameter("collection").ok_or(Failure::CollectionMissing)?;
        let collection = self.collection(name)?;
        let existing = match request.parameter("onDuplicate").filter(|rule| is_given(rule)) {
            None | Some("error") => OnExisting::Fail,
            Some("update") => OnExisting::Update(self.flags.merge),
            Some("replace") => OnExisting::Replace,
            Some("ignore") => OnExisting::Ignore,
            Some(other) => {
                let text = format!("onDuplicate must be error, update, replace or ignore, not {other:?}");
                return Err(Failure::BadParameter(text));
            }
        };
        if self.once.is_some() && is_on(request, "overwrite") {
            return Err(Failure::BadParameter(OVERWRITTEN_ONCE.to_owned()));
        }
        let (lines, empty) = self.lines()?;
        self.import_lines(name, collection, existing, lines, empty)
    }

    fn import_lines(
        &self,
        name: &str,
        collection: &Collection,
        existing: OnExisting,
        lines: Vec<Line>,
        empty: u64,
    ) -> Planned {
        let complete = is_on(self.request, "complete");
        let overwrite = is_on(self.request, "overwrite");
        let mut ops: Vec<Op> = Vec::with_capacity(lines.len());
        let mut known = Vec::with_capacity(lines.len());
        for (at, line) in lines.into_iter().enumerate() {
            match line.and_then(|object| self.imported(name, collection, existing, object, at)) {
                Ok(op) => {
                    ops.push(op);
                    known.push(None);
                }
                Err(failure) => known.push(Some(failure)),
            }
        }
        let details = is_on(self.request, "details");
        let mut check = Vec::new();
        if complete {
            let twice = existing == OnExisting::Fail && has_twice(&ops);
            if let Some(failure) =
                known.iter().flatten().next().cloned().or(twice.then_some(Failure::KeyExists))
            {
                let render = ImportRender { complete, details, empty, known: vec![Some(failure)] };
                return batch(true, false, Vec::new(), Render::Import(render));
            }
            // Before anything is written: does any of them exist?
            if existing == OnExisting::Fail && !overwrite {
                check = ops.iter().map(look).collect();
            }
        }
        let wait = self.waits(collection);
        let render = Render::Import(ImportRender { complete, details, empty, known });
        let mut plan = batch(true, wait, ops, render)?;
        if !check.is_empty() {
            plan = batch(true, wait, check, Render::IfNoneExists(Box::new(plan)))?;
        }
        if overwrite {
            plan = self.scan(name, Task::Truncate, Render::Then(Box::new(plan)));
        }
        Ok(plan)
    }

    fn imported(
        &self,
        name: &str,
        collection: &Collection,
        existing: OnExisting,
        mut object: Map<String, Value>,
        at: usize,
    ) -> Result<Op, Failure> {
        let key = self.key_for(name, collection, &object, at)?;
        strip(&mut object);
        let action = Action::Insert { body: Body::limited(&object)?, existing, expect: Expect::Any };
        let mut op = self.op(name, key, action, at);
        op.returns = Default::default();
        Ok(op)
    }

    /// The lines of the body by the parameter `type`, and how many were empty.
    fn lines(&self) -> Result<(Vec<Line>, u64), Failure> {
        let body = self.request.body.trim_ascii_start();
        match self.request.parameter("type").unwrap_or_default() {
            "documents" => lines_of_objects(body),
            "auto" if !self.is_array() => lines_of_objects(body),
            "array" | "list" | "auto" => Ok((self.elements()?.into_iter().map(object).collect(), 0)),
            "" | "undefined" => lines_of_values(body),
            other => {
                let text = format!("type must be documents, array, list or auto, not {other:?}");
                Err(Failure::BadParameter(text))
            }
        }
    }
}

/// Whether two of the operations are on one document.
fn has_twice(ops: &[Op]) -> bool {
    let mut seen = BTreeSet::new();
    !ops.iter().all(|op| seen.insert(op.store_key.as_slice()))
}

/// The same operation, but only a look whether it would find its key taken.
fn look(op: &Op) -> Op {
    let (store_key, key, once) = (op.store_key.clone(), op.key.clone(), op.once.clone());
    Op { store_key, key, action: Action::Look, returns: Default::default(), once }
}

fn object(value: Value) -> Line {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Failure::NotAnObject),
    }
}

fn parsed(line: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(line).map_err(|error| Failure::CorruptJson(error.to_string()))
}

/// Lines with text, and how many are empty. The end of the last line is none.
///
/// # Errors
/// More lines than one request may have, not counting the empty ones and the `heads` first ones.
fn split(body: &[u8], heads: usize) -> Result<(impl Iterator<Item = &[u8]>, u64), Failure> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let all = || body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let lines = || all().filter(|line| !line.is_empty());
    if lines().nth(MAX_OPS + heads).is_some() {
        return Err(Failure::TooMany { limit: MAX_OPS });
    }
    let empty = if body.is_empty() { 0 } else { all().filter(|line| line.is_empty()).count() as u64 };
    Ok((lines(), empty))
}

fn lines_of_objects(body: &[u8]) -> Result<(Vec<Line>, u64), Failure> {
    let (lines, empty) = split(body, 0)?;
    Ok((lines.map(|line| parsed(line).and_then(object)).collect(), empty))
}

/// A line with the attributes' names, then one line with the values of each document.
fn lines_of_values(body: &[u8]) -> Result<(Vec<Line>, u64), Failure> {
    let (mut lines, empty) = split(body, 1)?;
    let no_names = || Failure::BadParameter("the first line must be an array of attribute names".to_owned());
    let Value::Array(names) = parsed(lines.next().ok_or_else(no_names)?)? else { return Err(no_names()) };
    let names: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(no_names)?;
    let lines = lines.map(|line| match parsed(line)? {
        Value::Array(values) if values.len() == names.len() => {
            // As ArangoDB does, null says that the document does not have the attribute.
            let pairs = names.iter().cloned().zip(values).filter(|(_, value)| !value.is_null());
            Ok(pairs.collect())
        }
        _ => Err(Failure::BadParameter("expecting one value for each attribute name".to_owned())),
    });
    Ok((lines.collect(), empty))
}
