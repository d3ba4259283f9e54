//! The conditions of a `FabricJobCancellation`: their types, the documented reasons, and how a
//! list of them is kept.
//!
//! They follow kstatus, which Flux, Helm and kpt wait with: Ready is Unknown while the operator
//! works, True when the goal is reached, and False only together with Stalled; Reconciling and
//! Stalled are present only when True, and never both.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The summary: True when the goal is reached.
pub const READY: &str = "Ready";
/// Present, and True, while the operator works.
pub const RECONCILING: &str = "Reconciling";
/// Present, and True, when a person must act or the cancellation failed.
pub const STALLED: &str = "Stalled";
/// True when Fabric accepted the cancel request.
pub const ACCEPTED: &str = "Accepted";
/// True when Fabric reports the job as cancelled.
pub const CANCELLED: &str = "Cancelled";

/// All condition types in the order of the list. kstatus walks the list in order, and a list that
/// does not change its order is the same document for a server-side apply.
pub const ORDER: [&str; 5] = [READY, RECONCILING, STALLED, ACCEPTED, CANCELLED];

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It cannot be said yet.
    Unknown,
}

impl Status {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Adds the condition, or changes the one of that type.
///
/// `lastTransitionTime` becomes `now` only when the status flips (or is new): a repeated message
/// must leave the list unchanged, so that applying it again is not a write. Times are stored in
/// whole seconds. The list is kept in [`ORDER`]; types that are not ours come last, untouched.
pub fn upsert(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: Status,
    reason: &str,
    message: &str,
    observed_generation: Option<i64>,
    now: Time,
) {
    let last_transition_time = find(conditions, type_)
        .filter(|before| before.status == status.as_str())
        .map_or(now, |before| before.last_transition_time.clone());
    remove(conditions, type_);
    conditions.push(Condition {
        type_: type_.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation,
        last_transition_time,
    });
    conditions.sort_by_key(|condition| position(&condition.type_));
}

/// Takes the condition of that type away; nothing happens when there is none.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// The condition of that type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// What a reason says about the cancellation as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Under way: Ready is Unknown, and Reconciling is present.
    Working,
    /// Ended: Ready is True, or False where a policy says so.
    Ended,
    /// Ended, and Ready is always False.
    EndedAlwaysFalse,
    /// Not ended: a person must act, and it heals by itself afterwards. Ready is Unknown for two
    /// minutes, then False with Stalled.
    PersonMustAct,
    /// Says only what became of the cancel request; used by the condition Accepted alone.
    RequestOnly,
}

/// One documented reason. A published one never changes its meaning; new ones may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonDoc {
    /// The word in `reason`, in CamelCase.
    pub name: &'static str,
    /// What it says about the cancellation as a whole.
    pub group: Group,
    /// The fact that it names.
    pub meaning: &'static str,
    /// What the reader should do, as a full sentence.
    pub what_to_do: &'static str,
}

/// The description of the field `type` in the schema.
pub(super) fn types_manual() -> String {
    "Which question the condition answers. \
     Ready: is the goal reached? It is Unknown while the operator works, True when the job no \
     longer runs (and the policies agree), False only together with Stalled. \
     Reconciling: present, and True, while the operator works. \
     Stalled: present, and True, when a person must act or the cancellation failed; \
     status.completionTime tells whether it ended. \
     Accepted: did Fabric accept the cancel request? \
     Cancelled: does Fabric report the job as cancelled?"
        .to_owned()
}

/// The description of the field `reason` in the schema: the whole catalogue.
pub(super) fn reasons_manual() -> String {
    let titles = [
        (Group::Working, "Under way (Ready is Unknown)"),
        (
            Group::Ended,
            "Ended (Ready is True, or False where a policy says so)",
        ),
        (Group::EndedAlwaysFalse, "Ended (Ready is False)"),
        (
            Group::PersonMustAct,
            "A person must act (not ended; Stalled after two minutes; the operator keeps trying until the deadline and heals by itself)",
        ),
        (Group::RequestOnly, "Only on the condition Accepted"),
    ];
    let mut text = String::from(
        "Why, in one word, for programs. The list may grow; a published reason never changes its meaning.",
    );
    for (group, title) in titles {
        text.push_str(&format!("\n\n{title}:"));
        for doc in REASONS.iter().filter(|doc| doc.group == group) {
            text.push_str(&format!(
                "\n\n{}: {} {}",
                doc.name, doc.meaning, doc.what_to_do
            ));
        }
    }
    text
}

fn position(type_: &str) -> usize {
    ORDER
        .iter()
        .position(|known| *known == type_)
        .unwrap_or(ORDER.len())
}

/// Every reason that the operator writes, in the order of a cancellation's life.
pub const REASONS: &[ReasonDoc] = &[
    ReasonDoc {
        name: "Pending",
        group: Group::Working,
        meaning: "The operator has seen the resource and has not begun yet.",
        what_to_do: "Nothing to do; it goes on by itself.",
    },
    ReasonDoc {
        name: "Queued",
        group: Group::Working,
        meaning: "The identity's request quota is used up by other cancellations; the deadline does not run.",
        what_to_do: "Nothing to do; it goes on by itself.",
    },
    ReasonDoc {
        name: "Suspended",
        group: Group::Working,
        meaning: "spec.suspend is true, so no cancel request is sent.",
        what_to_do: "Set spec.suspend to false to let it go on.",
    },
    ReasonDoc {
        name: "ResolvingCredentials",
        group: Group::Working,
        meaning: "The Kubernetes API does not answer when the Secret or ServiceAccount with the identity is read.",
        what_to_do: "Nothing to do; it goes on by itself. When it lasts, look at status.lastError and at the API server.",
    },
    ReasonDoc {
        name: "RequestingCancellation",
        group: Group::Working,
        meaning: "The cancel request is being sent, or its outcome is being found out.",
        what_to_do: "Nothing to do; it goes on by itself.",
    },
    ReasonDoc {
        name: "WaitingForCancellation",
        group: Group::Working,
        meaning: "Fabric accepted the request, or answered that the job was already over (Accepted is then False with NotNeeded), and does not show the end yet; it learns a job's state about once a minute.",
        what_to_do: "Nothing to do; it goes on by itself.",
    },
    ReasonDoc {
        name: "Throttled",
        group: Group::Working,
        meaning: "Fabric answered that there were too many requests and said how long to wait.",
        what_to_do: "Nothing to do; it goes on by itself. When it lasts, use an identity of your own or send fewer requests with this one.",
    },
    ReasonDoc {
        name: "FabricUnavailable",
        group: Group::Working,
        meaning: "Fabric could not be reached or did not give a usable answer.",
        what_to_do: "Nothing to do; it goes on by itself. When it lasts, look at status.lastError and at Fabric's service health.",
    },
    ReasonDoc {
        name: "EntraUnavailable",
        group: Group::Working,
        meaning: "Microsoft Entra could not be reached or did not give a usable answer, so there is no token.",
        what_to_do: "Nothing to do; it goes on by itself. When it lasts, look at status.lastError and at Entra's service health.",
    },
    ReasonDoc {
        name: "JobCancelled",
        group: Group::Ended,
        meaning: "Fabric reports the job as cancelled, after a request of this resource.",
        what_to_do: "Nothing to do; the goal is reached.",
    },
    ReasonDoc {
        name: "JobAlreadyCancelled",
        group: Group::Ended,
        meaning: "The job had been cancelled before a request of this resource could have any effect.",
        what_to_do: "Nothing to do; the goal is reached.",
    },
    ReasonDoc {
        name: "JobAlreadyFinished",
        group: Group::Ended,
        meaning: "The job was over before Fabric accepted a request; status.job says how it ended. Ready follows spec.finishedJobPolicy.",
        what_to_do: "Nothing to do, unless the job should not have got that far.",
    },
    ReasonDoc {
        name: "JobEndedOtherwise",
        group: Group::Ended,
        meaning: "Fabric accepted the request, but the job ended in another way (Completed, Failed, Deduped); status.job says how. Ready follows spec.finishedJobPolicy.",
        what_to_do: "Nothing to do, unless the job should not have got that far.",
    },
    ReasonDoc {
        name: "JobNotFound",
        group: Group::Ended,
        meaning: "Fabric does not know this job instance; it was asked twice, at least a minute apart (in between, Ready is Unknown with this reason). Ready follows spec.missingJobPolicy.",
        what_to_do: "Compare the three ids with those of the run; Fabric forgets old runs.",
    },
    ReasonDoc {
        name: "RequestRejected",
        group: Group::EndedAlwaysFalse,
        meaning: "Fabric refused the request for good, for example because jobs of this item cannot be cancelled; status.lastError says why.",
        what_to_do: "Correct what Fabric complains about and create a new FabricJobCancellation.",
    },
    ReasonDoc {
        name: "DeadlineExceeded",
        group: Group::EndedAlwaysFalse,
        meaning: "spec.activeDeadlineSeconds passed before Fabric reported an end; the job may still run.",
        what_to_do: "Look at the job in Fabric and at status.lastError, then create a new FabricJobCancellation if it still runs.",
    },
    ReasonDoc {
        name: "InvalidSpec",
        group: Group::EndedAlwaysFalse,
        meaning: "The operator cannot read the spec; it was stored under an older CustomResourceDefinition.",
        what_to_do: "Install the CustomResourceDefinition of this operator version and create the resource again.",
    },
    ReasonDoc {
        name: "CredentialsNotFound",
        group: Group::PersonMustAct,
        meaning: "The Secret or ServiceAccount with the identity does not exist in the resource's namespace.",
        what_to_do: "Create it, or correct its name in spec.credentials.",
    },
    ReasonDoc {
        name: "CredentialsInvalid",
        group: Group::PersonMustAct,
        meaning: "The Secret or ServiceAccount exists, but cannot be used: it has another type, or a key or annotation is missing, empty or malformed.",
        what_to_do: "Correct what the message names.",
    },
    ReasonDoc {
        name: "IdentityNotAllowed",
        group: Group::PersonMustAct,
        meaning: "The operator is not allowed to use this identity, for lack of a Kubernetes right or by its configuration.",
        what_to_do: "Name another identity in spec.credentials, or ask the operator's administrator.",
    },
    ReasonDoc {
        name: "WorkspaceNotAllowed",
        group: Group::PersonMustAct,
        meaning: "This namespace may use the operator's own identity, but not for this workspace.",
        what_to_do: "Ask the administrator to add the workspace to the namespace's annotation fabricjobs.dev/operator-identity-workspaces, or name an identity in spec.credentials.",
    },
    ReasonDoc {
        name: "AuthenticationFailed",
        group: Group::PersonMustAct,
        meaning: "Entra does not accept the credentials (a wrong or expired secret, an unknown application or tenant), or Fabric does not accept a fresh token of this identity.",
        what_to_do: "Do what the message says; status.lastError has the code. When Fabric refuses, check that the tenant setting lets service principals use Fabric APIs.",
    },
    ReasonDoc {
        name: "PermissionDenied",
        group: Group::PersonMustAct,
        meaning: "Fabric knows the identity, but it may not cancel this item's jobs or look at them.",
        what_to_do: "Give status.identity.clientId a role in the workspace that may run the item's jobs, for example Contributor.",
    },
    ReasonDoc {
        name: "TargetNotFound",
        group: Group::PersonMustAct,
        meaning: "Fabric does not show this workspace or item to the identity: an id is wrong, or the identity has no role there; Fabric does not say which.",
        what_to_do: "Compare spec.workspaceId and spec.itemId with the portal's address, then give status.identity.clientId a role in the workspace.",
    },
    ReasonDoc {
        name: "CapacityPaused",
        group: Group::PersonMustAct,
        meaning: "The capacity that the workspace runs on is paused, so Fabric answers nothing about its jobs.",
        what_to_do: "Resume the capacity in the Azure portal.",
    },
    ReasonDoc {
        name: "CancelAccepted",
        group: Group::RequestOnly,
        meaning: "Fabric accepted the cancel request.",
        what_to_do: "Nothing to do; the conditions Ready and Cancelled tell how it goes on.",
    },
    ReasonDoc {
        name: "NotNeeded",
        group: Group::RequestOnly,
        meaning: "Fabric answered that the job was already over.",
        what_to_do: "Nothing to do; status.job tells how the job ended.",
    },
    ReasonDoc {
        name: "AnswerLost",
        group: Group::RequestOnly,
        meaning: "A request was sent, and whether Fabric processed it could not be found out.",
        what_to_do: "Nothing to do; the conditions Ready and Cancelled tell what became of the job.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    fn condition(type_: &str, status: &str, reason: &str, since: i64) -> Condition {
        Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message: format!("{reason}."),
            observed_generation: Some(2),
            last_transition_time: at(since),
        }
    }

    fn set(list: &mut Vec<Condition>, type_: &str, status: Status, reason: &str, now: i64) {
        upsert(
            list,
            type_,
            status,
            reason,
            &format!("{reason}."),
            Some(2),
            at(now),
        );
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let mut list = Vec::new();
        set(&mut list, READY, Status::Unknown, "Pending", 10);
        set(&mut list, READY, Status::Unknown, "Throttled", 20);
        assert_eq!(list, [condition(READY, "Unknown", "Throttled", 10)]);
        set(&mut list, READY, Status::True, "JobCancelled", 30);
        assert_eq!(list, [condition(READY, "True", "JobCancelled", 30)]);
    }

    #[test]
    fn saying_the_same_again_changes_nothing() {
        let mut list = Vec::new();
        set(&mut list, READY, Status::Unknown, "Pending", 10);
        set(&mut list, ACCEPTED, Status::Unknown, "Pending", 10);
        let before = list.clone();
        set(&mut list, READY, Status::Unknown, "Pending", 99);
        assert_eq!(list, before);
    }

    #[test]
    fn the_order_is_the_same_whatever_came_first_and_foreign_types_come_last() {
        let mut list = vec![condition("example.com/Approved", "True", "Yes", 1)];
        for type_ in [CANCELLED, STALLED, ACCEPTED, READY, RECONCILING] {
            set(&mut list, type_, Status::Unknown, "Pending", 10);
        }
        let types: Vec<_> = list.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(
            types,
            [
                READY,
                RECONCILING,
                STALLED,
                ACCEPTED,
                CANCELLED,
                "example.com/Approved"
            ]
        );
    }

    #[test]
    fn a_removed_condition_is_gone_and_the_others_stay() {
        let mut list = vec![
            condition(READY, "False", "X", 1),
            condition(STALLED, "True", "X", 1),
        ];
        remove(&mut list, STALLED);
        remove(&mut list, RECONCILING);
        assert_eq!(list, [condition(READY, "False", "X", 1)]);
    }

    #[test]
    fn the_catalogue_names_each_reason_once_in_a_form_that_the_schema_accepts() {
        let names: BTreeSet<_> = REASONS.iter().map(|doc| doc.name).collect();
        assert_eq!(names.len(), REASONS.len(), "a reason is listed twice");
        for doc in REASONS {
            assert!(
                doc.name.starts_with(|c: char| c.is_ascii_uppercase()),
                "{}",
                doc.name
            );
            assert!(
                doc.name.chars().all(|c| c.is_ascii_alphanumeric()),
                "{}",
                doc.name
            );
            assert!(
                doc.meaning.ends_with('.'),
                "{}: a meaning is a sentence",
                doc.name
            );
            assert!(
                doc.what_to_do.ends_with('.'),
                "{}: what to do is a sentence",
                doc.name
            );
        }
    }

    #[test]
    fn the_manual_explains_every_reason_and_every_type() {
        let manual = reasons_manual();
        for doc in REASONS {
            assert!(
                manual.contains(&format!("\n\n{}: {}", doc.name, doc.meaning)),
                "{}",
                doc.name
            );
        }
        for type_ in ORDER {
            assert!(types_manual().contains(&format!("{type_}: ")), "{type_}");
        }
    }
}
