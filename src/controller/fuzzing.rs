//! The two ways between a stored object and the core, for the fuzz targets: any JSON can stand
//! in a status, and only here does the whole of it reach the core.

use jiff::Timestamp;

use super::status;
use crate::api::{FabricJobCancellation, FabricJobCancellationStatus};
use crate::cancellation::{Cancellation, Facts};

/// The core as a visit to this object begins with it.
///
/// # Errors
/// Why the spec cannot be used.
pub fn begin(resource: &FabricJobCancellation, now: Timestamp) -> Result<Cancellation, String> {
    let wish = status::wish_or_end(resource).map_err(|problem| problem.to_string())?;
    Ok(Cancellation::new(wish, status::facts(resource), now))
}

/// The status that would be written for these facts.
#[must_use]
pub fn document(
    facts: &Facts,
    previous: &FabricJobCancellation,
    now: Timestamp,
) -> FabricJobCancellationStatus {
    status::document(facts, previous, now)
}
