//! Changes of the metadata: what each does, and what is answered.

use crate::subrequest::{Edit, Work};
use faces::auth::{ROOT, User};
use faces::documents::{self, Changed, Metadata};
use faces::http::Response;
use faces::store::Store;
use serde_json::json;

/// Whether it may be done although clients may only read.
pub(crate) fn is_always_allowed(work: &Work) -> bool {
    matches!(work, Work::Edit(Edit::ReadOnly(_) | Edit::Users { then: None, .. } | Edit::FirstUser { .. }))
}

/// Makes a change, against the store of shard 0.
pub(crate) fn edit(edit: &Edit, store: &mut dyn Store) -> Changed {
    match edit {
        Edit::Documents(change) => documents::change(change, store),
        Edit::Users { users, then } => documents::with_users(users, then.as_ref(), store),
        Edit::ReadOnly(read_only) => documents::edit(store, |metadata| {
            metadata.read_only = *read_only;
            Response::json(200, &json!({ "error": false, "code": 200, "mode": mode(metadata) }))
        }),
        Edit::FirstUser { root_password_hash, token_key } => documents::edit(store, |metadata| {
            if metadata.token_key.is_some() {
                return Response::empty(409);
            }
            metadata.token_key = Some(token_key.clone());
            if metadata.users.is_empty() {
                metadata.users.insert(ROOT.to_owned(), User::administrator(root_password_hash.clone()));
            }
            Response::empty(200)
        }),
    }
}

/// What `/_admin/server/mode` says.
pub(crate) fn mode(metadata: &Metadata) -> &'static str {
    if metadata.read_only { "readonly" } else { "default" }
}
