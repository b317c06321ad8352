//! Query parameters and headers as drivers send them.
//!
//! Booleans come as `true` and `false`, `1` and `0`, in any case; anything else, the literal `undefined` among
//! them, is as if it had not been sent. Revisions in `If-Match` come with quotes or without.

use super::super::body::Merge;
use super::super::op::{Expect, OnExisting, Returns};
use super::Failure;
use crate::http::Request;

/// The parameters that several requests share.
pub(super) struct Flags {
    pub wait_for_sync: bool,
    pub silent: bool,
    pub returns: Returns,
    pub merge: Merge,
    /// Do not compare `_rev` of the body.
    pub ignore_revs: bool,
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
}

impl Flags {
    pub fn of(request: &Request) -> Flags {
        let silent = is_on(request, "silent");
        let returns = Returns {
            new: is_on(request, "returnNew") && !silent,
            old: is_on(request, "returnOld") && !silent,
        };
        let merge = Merge {
            keep_null: boolean(request, "keepNull").unwrap_or(true),
            merge_objects: boolean(request, "mergeObjects").unwrap_or(true),
        };
        Flags {
            wait_for_sync: is_on(request, "waitForSync"),
            silent,
            returns,
            merge,
            ignore_revs: boolean(request, "ignoreRevs").unwrap_or(true),
            if_match: revision(request, "if-match"),
            if_none_match: revision(request, "if-none-match"),
        }
    }

    /// What the headers of a read demand.
    pub fn expected_by_read(&self) -> Expect {
        match (&self.if_match, &self.if_none_match) {
            (Some(wanted), _) => Expect::Is(wanted.clone()),
            (None, Some(known)) => Expect::IsNot(known.clone()),
            (None, None) => Expect::Any,
        }
    }

    /// What a write of one document demands: by its header, else by the body's `_rev`.
    pub fn expected_by_write(&self, body: Option<&str>) -> Expect {
        match &self.if_match {
            Some(wanted) => Expect::Is(wanted.clone()),
            None => self.expected_by_body(body),
        }
    }

    /// What one of several documents demands.
    pub fn expected_by_body(&self, body: Option<&str>) -> Expect {
        match body {
            Some(wanted) if !self.ignore_revs => Expect::Is(wanted.to_owned()),
            _ => Expect::Any,
        }
    }

    /// What an insert does with a document that exists.
    ///
    /// # Errors
    /// The mode is not known.
    pub fn on_existing(&self, request: &Request) -> Result<OnExisting, Failure> {
        match request.parameter("overwriteMode").filter(|mode| is_given(mode)) {
            Some("ignore") => Ok(OnExisting::Ignore),
            Some("replace") => Ok(OnExisting::Replace),
            Some("update") => Ok(OnExisting::Update(self.merge)),
            Some("conflict") => Ok(OnExisting::Fail),
            Some(other) => Err(Failure::BadParameter(format!(
                "overwriteMode must be ignore, replace, update or conflict, not {other:?}"
            ))),
            None if is_on(request, "overwrite") => Ok(OnExisting::Replace),
            None => Ok(OnExisting::Fail),
        }
    }
}

/// A boolean parameter, if it is one.
pub(super) fn boolean(request: &Request, name: &str) -> Option<bool> {
    match request.parameter(name)?.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

/// Whether a parameter that is off by default is on.
pub(super) fn is_on(request: &Request, name: &str) -> bool {
    boolean(request, name).unwrap_or(false)
}

/// Whether a parameter has a value.
pub(super) fn is_given(value: &str) -> bool {
    !value.is_empty() && value != "undefined"
}

fn revision(request: &Request, name: &str) -> Option<String> {
    let value = request.headers.get(name)?.trim();
    let value = value.strip_prefix("W/").unwrap_or(value).trim_matches('"');
    (is_given(value) && value != "*").then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;

    #[test]
    fn booleans_as_drivers_write_them() {
        for (text, expected) in [
            ("x=true", Some(true)),
            ("x=True", Some(true)),
            ("x=1", Some(true)),
            ("x=false", Some(false)),
            ("x=0", Some(false)),
            ("x=undefined", None),
            ("x=", None),
            ("x", None),
            ("", None),
        ] {
            let request = Request::new(Method::Get, &format!("/p?{text}"));
            assert_eq!(boolean(&request, "x"), expected, "{text}");
        }
    }

    #[test]
    fn revisions_with_and_without_quotes() {
        for (text, expected) in [
            ("1-8", Some("1-8")),
            ("\"1-8\"", Some("1-8")),
            ("W/\"1-8\"", Some("1-8")),
            ("*", None),
            ("\"\"", None),
            ("undefined", None),
        ] {
            let mut request = Request::new(Method::Get, "/");
            request.headers.push("If-Match", text);
            assert_eq!(Flags::of(&request).if_match.as_deref(), expected, "{text}");
        }
    }
}
