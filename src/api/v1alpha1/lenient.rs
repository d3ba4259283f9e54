//! Decoding that never fails over a value that only informs.
//!
//! A status can come from a newer operator, an older one or a backup. What it says about the job,
//! the identity and the last error is shown, not acted on: one odd value there must not make the
//! whole resource unreadable. What the protocol rests on (attempts and times) is decoded strictly,
//! because a lost `completionTime` would let a cancellation that ended start again.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

/// The value, or the default when it is null or of another shape.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// The elements that can be read; the others are left out.
pub(super) fn elements<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let Value::Array(items) = Value::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    Ok(items
        .into_iter()
        .filter_map(|item| serde_json::from_value(item).ok())
        .collect())
}
