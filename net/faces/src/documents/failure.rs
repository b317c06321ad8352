//! Every way a request about documents can fail: its status, ArangoDB's number for it, its text.

use crate::http::Response;
use crate::store::{ReadFault, WriteError};
use engine::ids::Revision;

/// Why a request, or one of its operations, was refused. Its `Display` is the `errorMessage`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("unique constraint violated")]
    KeyExists,
    #[error("document not found")]
    NotFound,
    /// The document has this other revision.
    #[error("conflict, _rev values do not match")]
    Conflict(Revision),
    #[error("illegal document key")]
    BadKey,
    #[error("illegal document identifier")]
    BadHandle,
    #[error("this collection makes its keys itself: leave out _key")]
    KeyUnexpected,
    #[error("invalid document type: an object is needed")]
    NotAnObject,
    #[error("the value under this key is no document: it was not written as a JSON object of at most 2 MiB")]
    NotADocument,
    #[error("the request has more than {limit} documents: send several requests")]
    TooMany { limit: usize },
    #[error("the document is larger than the limit of {limit} bytes")]
    TooLarge { limit: usize },
    #[error(
        "document and patch together are larger than {limit} bytes, or have too many parts: replace the \
        document with PUT"
    )]
    TooLargeToMerge { limit: usize },
    #[error("the answer would be too large: ask for fewer documents at once")]
    AnswerTooLarge,
    #[error("disk full: the log cannot grow, reads go on; free space on the device of the data directory")]
    DiskFull,
    #[error("the attribute is not a number, or would be out of range")]
    NotANumber,
    #[error("{0}")]
    Unreadable(String),
    /// The shard lost its leadership before this was done; it was not done.
    #[error("not a leader")]
    NotLeader,
    #[error("this idempotency key was used for another request")]
    OnceReused,
    #[error("the idempotency key must have 1 to {limit} bytes of visible ASCII")]
    BadOnce { limit: usize },
    #[error("VPackError error: {0}")]
    CorruptJson(String),
    #[error("{0}")]
    BadParameter(String),
    #[error("collection or view not found: {0}")]
    NoCollection(String),
    #[error("parameter 'collection' is missing")]
    CollectionMissing,
    #[error("duplicate name: {0}")]
    DuplicateName(String),
    #[error("a group may have {limit} {what}: drop one first")]
    NoMore { what: &'static str, limit: usize },
    #[error("illegal name: {0:?}")]
    IllegalName(String),
    #[error("database not found")]
    NoDatabase,
    #[error("database name invalid: {0:?}")]
    BadDatabase(String),
    #[error("this is only allowed in the database _system")]
    OnlyInSystem,
    #[error("this is not allowed for the database _system")]
    NotForSystem,
    #[error("cursor not found: ask for the listing again")]
    CursorNotFound,
    #[error("unknown path '{0}'")]
    UnknownPath(String),
    #[error("method not supported")]
    MethodNotAllowed,
    /// What Baton does not have, and what to use instead.
    #[error("{0}")]
    NotImplemented(&'static str),
}

impl From<ReadFault> for Failure {
    fn from(fault: ReadFault) -> Failure {
        Failure::Unreadable(fault.to_string())
    }
}

impl Failure {
    /// Why a write was refused; `None`: it was not, there is no room for the moment.
    pub(super) fn of_write(error: WriteError) -> Option<Failure> {
        match error {
            WriteError::Busy => None,
            WriteError::DiskFull => Some(Failure::DiskFull),
            WriteError::ValueTooLarge { limit }
            | WriteError::KeyTooLarge { limit }
            | WriteError::BatchTooLarge { limit } => Some(Failure::TooLarge { limit }),
        }
    }

    /// The HTTP status and ArangoDB's error number.
    pub fn codes(&self) -> (u16, u32) {
        match self {
            Failure::KeyExists => (409, 1210),
            Failure::NotFound => (404, 1202),
            Failure::Conflict(_) => (412, 1200),
            Failure::BadKey => (400, 1221),
            Failure::BadHandle => (400, 1205),
            Failure::KeyUnexpected => (400, 1222),
            Failure::NotAnObject => (400, 1227),
            Failure::NotADocument => (409, 1227),
            Failure::TooMany { .. }
            | Failure::TooLarge { .. }
            | Failure::TooLargeToMerge { .. }
            | Failure::AnswerTooLarge => (413, 32),
            Failure::DiskFull => (507, 1104),
            Failure::NotANumber => (409, 1504),
            Failure::Unreadable(_) => (500, 4),
            Failure::NotLeader => (503, 1496),
            Failure::OnceReused => (422, 10),
            Failure::BadOnce { .. } | Failure::BadParameter(_) => (400, 10),
            Failure::CorruptJson(_) => (400, 600),
            Failure::NoCollection(_) => (404, 1203),
            Failure::CollectionMissing => (400, 1204),
            Failure::DuplicateName(_) => (409, 1207),
            Failure::NoMore { .. } => (403, 32),
            Failure::IllegalName(_) => (400, 1208),
            Failure::NoDatabase => (404, 1228),
            Failure::BadDatabase(_) => (400, 1229),
            Failure::OnlyInSystem => (403, 1230),
            Failure::NotForSystem => (403, 11),
            Failure::CursorNotFound => (404, 1600),
            Failure::UnknownPath(_) => (404, 404),
            Failure::MethodNotAllowed => (405, 405),
            Failure::NotImplemented(_) => (501, 9),
        }
    }

    /// The answer to a request that failed as a whole.
    pub fn response(&self) -> Response {
        let (status, number) = self.codes();
        Response::error(status, number, &self.to_string())
    }
}
