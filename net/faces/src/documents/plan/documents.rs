//! `/_api/document`: one document, or an array of them.

use super::super::body::{Body, SYSTEM_ATTRIBUTES, strip};
use super::super::op::{Action, Expect, OnExisting, Op, Returns};
use super::super::work::{BatchKind, Render};
use super::flags::{boolean, is_given};
use super::handle::{checked, key_of, named, named_in, text};
use super::{Collection, Failure, MAX_OPS, Planned, Planner, batch};
use crate::http::Method;
use serde_json::{Map, Number, Value};

/// Longest name of an attribute that is incremented, in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 1024;

impl Planner<'_> {
    pub fn documents(&self, path: &[&str]) -> Planned {
        let version = self.request.parameter("versionAttribute");
        if version.is_some_and(is_given) {
            let instead = "versionAttribute is not supported: send If-Match with the revision you have read";
            return Err(Failure::NotImplemented(instead));
        }
        match path {
            [] if *self.method() == Method::Post => {
                let name = self.request.parameter("collection").ok_or(Failure::CollectionMissing)?;
                self.insert(name)
            }
            [name] => self.some_documents(name),
            [name, key] => self.one_document(name, key),
            _ => Err(Failure::BadHandle),
        }
    }

    fn some_documents(&self, name: &str) -> Planned {
        match self.method() {
            Method::Post => self.insert(name),
            Method::Put if boolean(self.request, "onlyget") == Some(true) => self.read_many(name),
            Method::Put | Method::Patch => self.change_many(name),
            Method::Delete => self.remove_many(name),
            Method::Get | Method::Head => Err(Failure::BadHandle),
            _ => Err(Failure::MethodNotAllowed),
        }
    }

    fn one_document(&self, name: &str, key: &str) -> Planned {
        let (write, action) = match self.method() {
            Method::Get | Method::Head => (false, Action::Read { expect: self.flags.expected_by_read() }),
            Method::Delete => (true, Action::Remove { expect: self.flags.expected_by_write(None) }),
            Method::Put | Method::Patch => {
                self.collection(name)?;
                let Value::Object(mut body) = self.json()? else { return Err(Failure::NotAnObject) };
                let expect = self.flags.expected_by_write(text(&body, "_rev"));
                strip(&mut body);
                (true, self.change(Body::limited(&body)?, expect))
            }
            _ => return Err(Failure::MethodNotAllowed),
        };
        let collection = self.collection(name)?;
        let op = self.op(name, checked(key)?, action, 0);
        batch(write, write && self.waits(collection), vec![op], self.one(name))
    }

    /// A replacement or an update, by the method.
    fn change(&self, body: Body, expect: Expect) -> Action {
        match self.method() {
            Method::Patch => Action::Update { patch: body, merge: self.flags.merge, expect },
            _ => Action::Replace { body, expect },
        }
    }

    pub fn op(&self, name: &str, key: String, action: Action, element: usize) -> Op {
        let reads = matches!(action, Action::Read { .. });
        Op {
            store_key: self.store_key(name, &key),
            key,
            action,
            returns: if reads { Returns::default() } else { self.flags.returns },
            once: if reads { None } else { self.once_for(element) },
        }
    }

    fn one(&self, name: &str) -> Render {
        let (database, collection) = (self.database.clone(), name.to_owned());
        Render::One { database, collection, silent: self.flags.silent }
    }

    fn insert(&self, name: &str) -> Planned {
        let collection = self.collection(name)?;
        let existing = self.flags.on_existing(self.request)?;
        let inserted = |element, at| match element {
            Value::Object(object) => self.inserted(name, collection, existing, object, at),
            _ => Err(Failure::NotAnObject),
        };
        if self.is_array() {
            return self.each(name, collection, self.elements()?, BatchKind::Write, inserted);
        }
        batch(true, self.waits(collection), vec![inserted(self.json()?, 0)?], self.one(name))
    }

    fn inserted(
        &self,
        name: &str,
        collection: &Collection,
        existing: OnExisting,
        mut object: Map<String, Value>,
        element: usize,
    ) -> Result<Op, Failure> {
        let key = self.key_for(name, collection, &object, element)?;
        let expect = self.flags.expected_by_body(text(&object, "_rev"));
        strip(&mut object);
        let body = Body::limited(&object)?;
        Ok(self.op(name, key, Action::Insert { body, existing, expect }, element))
    }

    /// One operation for each element; what is wrong with an element is said in its place.
    fn each(
        &self,
        name: &str,
        collection: &Collection,
        elements: Vec<Value>,
        kind: BatchKind,
        op: impl Fn(Value, usize) -> Result<Op, Failure>,
    ) -> Planned {
        let mut ops = Vec::with_capacity(elements.len());
        let mut known = Vec::with_capacity(elements.len());
        for (at, element) in elements.into_iter().enumerate() {
            match op(element, at) {
                Ok(op) => {
                    ops.push(op);
                    known.push(None);
                }
                Err(failure) => known.push(Some(failure)),
            }
        }
        let write = kind != BatchKind::Read;
        let render = Render::Many { collection: name.to_owned(), silent: self.flags.silent, kind, known };
        batch(write, write && self.waits(collection), ops, render)
    }

    fn read_many(&self, name: &str) -> Planned {
        let collection = self.collection(name)?;
        self.each(name, collection, self.elements()?, BatchKind::Read, |element, at| {
            let named = named(name, &element)?;
            let expect = self.flags.expected_by_body(named.revision.as_deref());
            Ok(self.op(name, named.key, Action::Read { expect }, at))
        })
    }

    fn change_many(&self, name: &str) -> Planned {
        let collection = self.collection(name)?;
        self.each(name, collection, self.elements()?, BatchKind::Write, |element, at| {
            let Value::Object(mut body) = element else { return Err(Failure::NotAnObject) };
            let named = named_in(name, &body)?;
            let expect = self.flags.expected_by_body(named.revision.as_deref());
            strip(&mut body);
            Ok(self.op(name, named.key, self.change(Body::limited(&body)?, expect), at))
        })
    }

    fn remove_many(&self, name: &str) -> Planned {
        let collection = self.collection(name)?;
        self.each(name, collection, self.elements()?, BatchKind::Remove, |element, at| {
            let named = named(name, &element)?;
            let expect = self.flags.expected_by_body(named.revision.as_deref());
            Ok(self.op(name, named.key, Action::Remove { expect }, at))
        })
    }

    /// `POST /_api/baton/increment/c/k`: `{attribute, by, create}`.
    pub fn increment(&self, name: &str, key: &str) -> Planned {
        if *self.method() != Method::Post {
            return Err(Failure::MethodNotAllowed);
        }
        let collection = self.collection(name)?;
        let object = self.object()?;
        let bad = |text: &str| Failure::BadParameter(text.to_owned());
        let attribute = text(&object, "attribute").ok_or_else(|| bad("attribute must be a string"))?;
        if attribute.len() > MAX_ATTRIBUTE_BYTES {
            return Err(Failure::BadParameter(format!("attribute may have {MAX_ATTRIBUTE_BYTES} bytes")));
        }
        if SYSTEM_ATTRIBUTES.contains(&attribute) {
            return Err(bad("this attribute belongs to the server"));
        }
        let by = match object.get("by") {
            None | Some(Value::Null) => Number::from(1),
            Some(Value::Number(by)) => by.clone(),
            Some(_) => return Err(bad("by must be a number")),
        };
        let create = object.get("create").and_then(Value::as_bool).unwrap_or(false);
        let action = Action::Increment { attribute: attribute.to_owned(), by, create };
        let op = self.op(name, checked(key)?, action, 0);
        batch(true, self.waits(collection), vec![op], self.one(name))
    }

    /// `PUT /_api/simple/lookup-by-keys` and `remove-by-keys`: `{collection, keys}`. What is not there is left
    /// out.
    pub fn by_keys(&self, removal: bool) -> Planned {
        let object = self.object()?;
        let name = text(&object, "collection").ok_or(Failure::CollectionMissing)?;
        let collection = self.collection(name)?;
        let Some(Value::Array(keys)) = object.get("keys") else {
            return Err(Failure::BadParameter("keys must be an array".to_owned()));
        };
        if keys.len() > MAX_OPS {
            return Err(Failure::TooMany { limit: MAX_OPS });
        }
        let options = object.get("options").and_then(Value::as_object);
        let option = |name| options.and_then(|options| options.get(name)).and_then(Value::as_bool);
        let returns_old = option("returnOld").unwrap_or(false);
        let mut ops = Vec::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            let Some(Ok(key)) = key.as_str().map(|key| key_of(name, key)) else { continue };
            let action = match removal {
                true => Action::Remove { expect: Expect::Any },
                false => Action::Read { expect: Expect::Any },
            };
            let mut op = self.op(name, key, action, at);
            op.returns.old = returns_old && removal;
            ops.push(op);
        }
        let collection_name = name.to_owned();
        let render = match removal {
            true => Render::Removed { collection: collection_name, returns_old },
            false => Render::Found { collection: collection_name },
        };
        let wait = option("waitForSync").unwrap_or(false) || self.waits(collection);
        batch(removal, removal && wait, ops, render)
    }
}
