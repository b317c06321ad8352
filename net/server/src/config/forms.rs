//! How the configuration writes what is no plain number: `respawn_after = "never"`, a group's 32 hex digits.

use super::Respawn;
use engine::ids::GroupId;
use node::units::UnitError;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl<'de> Deserialize<'de> for Respawn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Respawn, D::Error> {
        let text = String::deserialize(from)?;
        match text.as_str() {
            "never" => Ok(Respawn::Never),
            _ => text.parse().map(Respawn::After).map_err(|error: UnitError| {
                D::Error::custom(format!("respawn_after = {text:?}: {error}, or \"never\""))
            }),
        }
    }
}

impl Serialize for Respawn {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Respawn::After(span) => span.serialize(to),
            Respawn::Never => to.serialize_str("never"),
        }
    }
}

/// A group's identity as exactly 32 hexadecimal digits.
pub mod hex_group {
    use super::*;

    pub fn serialize<S: Serializer>(group: &GroupId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(group)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GroupId, D::Error> {
        let text = String::deserialize(from)?;
        let whole = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u128::from_str_radix(&text, 16) {
            Ok(number) if whole => Ok(GroupId(number)),
            _ => Err(D::Error::custom(format!("group = {text:?}: expected 32 hexadecimal digits"))),
        }
    }
}
