//! Which of several replicas may call Fabric: the fence.

use std::time::Duration;

use crate::history::{History, Kind};
use crate::property::{Property, Violation};
use crate::status::plus;

/// A leader's fence closes so long after it sent its last renewal that was stored.
const OPEN: Duration = Duration::from_secs(10);

/// Whoever creates the Lease leads when its claim has stood for so long.
const CLAIM: Duration = Duration::from_secs(15);

/// Nothing is sent to Fabric but by the process that holds the Lease, for as long as its last
/// renewal is good for. Who creates it only claims it at first.
#[must_use]
pub fn fence(history: &History) -> Vec<Violation> {
    let facts = &history.facts;
    let Some(first) = history.leases.first() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for request in history.requests.iter().filter(|request| !request.duplicate) {
        let (sent, Some(process)) = (request.sent, &request.process) else {
            continue;
        };
        let what = match request.kind {
            Kind::Cancel => "a cancel request",
            Kind::Look => "a look",
        };
        let mut broken = |since, why: &str| {
            found.push(Violation::new(
                Property::Fence,
                process.clone(),
                [sent, since],
                format!("{what} ({}) was sent {why}", request.sequence),
            ));
        };
        let mut before = history.leases.iter().filter(|write| write.sent <= sent);
        let Some(own) = before.rfind(|it| it.process == *process) else {
            broken(facts.until, "by a process that never held the Lease");
            continue;
        };
        // A write whose answer is still on its way may have been stored already.
        let taken = history.leases.iter().find(|write| {
            write.process != *process
                && write.stored > own.stored
                && facts.before(write.stored, sent)
        });
        if let Some(taken) = taken {
            broken(taken.stored, "after another process had taken the Lease");
        } else if !own.holds {
            broken(own.sent, "after the Lease was given up");
        } else if facts.before(plus(own.sent, OPEN), sent) {
            broken(own.sent, "when the last renewal was too old");
        } else if first.process == *process && facts.before(sent, plus(first.stored, CLAIM)) {
            broken(first.stored, "before the claim had stood for a whole lease");
        }
    }
    found
}
