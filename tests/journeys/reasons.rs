//! Which journey reaches each reason that the operator documents.

use std::path::Path;

use control_plane::{ControlPlane, Suite};
use fabric_job_operator::api::conditions::REASONS;

pub fn journeys(suite: Suite) -> Suite {
    suite.test(
        "every_documented_reason_has_a_journey_that_reaches_it",
        every_documented_reason_has_a_journey_that_reaches_it,
    )
}

/// A journey that asserts the reason, or why there is none yet.
enum Reached {
    By(&'static str),
    NotYet(&'static str),
}

use Reached::{By, NotYet};

const TABLE: &[(&str, Reached)] = &[
    (
        "Pending",
        By("resumed_while_the_identity_is_throttled_it_is_pending"),
    ),
    (
        "Queued",
        By("a_cancellation_beyond_the_quota_is_queued_and_its_deadline_does_not_run"),
    ),
    (
        "Suspended",
        By("suspended_from_the_start_it_shows_the_job_and_sends_nothing"),
    ),
    (
        "ResolvingCredentials",
        By("a_secret_that_the_api_server_does_not_serve_is_read_again"),
    ),
    (
        "RequestingCancellation",
        By("a_job_that_somebody_else_cancelled_was_already_cancelled"),
    ),
    (
        "WaitingForCancellation",
        By("suspended_after_acceptance_it_goes_on"),
    ),
    (
        "Throttled",
        By("resumed_while_the_identity_is_throttled_it_is_pending"),
    ),
    (
        "FabricUnavailable",
        By("fabric_and_entra_out_of_order_are_shown_and_waited_for"),
    ),
    (
        "EntraUnavailable",
        By("fabric_and_entra_out_of_order_are_shown_and_waited_for"),
    ),
    (
        "JobCancelled",
        By("a_cancellation_ends_in_cancelled_within_its_budget"),
    ),
    (
        "JobAlreadyCancelled",
        By("a_job_that_somebody_else_cancelled_was_already_cancelled"),
    ),
    (
        "JobAlreadyFinished",
        By("a_job_that_was_over_before_counts_as_the_policy_says"),
    ),
    (
        "JobEndedOtherwise",
        By("an_accepted_job_that_ends_otherwise_counts_as_the_policy_says"),
    ),
    (
        "JobNotFound",
        By("an_unknown_job_is_believed_after_a_second_look_a_minute_later"),
    ),
    (
        "RequestRejected",
        By("a_request_that_fabric_rejects_for_good_ends_at_once"),
    ),
    (
        "DeadlineExceeded",
        By("the_deadline_ends_what_fabric_does_not"),
    ),
    (
        "InvalidSpec",
        By("what_passed_an_older_crd_ends_as_invalid_and_the_others_go_on"),
    ),
    (
        "CredentialsNotFound",
        By("a_missing_secret_stalls_and_heals"),
    ),
    (
        "CredentialsInvalid",
        By("an_unusable_secret_stalls_with_object_key_and_fix_and_heals"),
    ),
    (
        "IdentityNotAllowed",
        By("a_secret_of_another_name_needs_a_role"),
    ),
    (
        "WorkspaceNotAllowed",
        NotYet("the operator has no identity of its own yet"),
    ),
    (
        "AuthenticationFailed",
        By("a_token_that_fabric_refuses_stalls_and_heals"),
    ),
    (
        "PermissionDenied",
        By("a_missing_right_in_fabric_stalls_and_heals"),
    ),
    (
        "TargetNotFound",
        By("an_unknown_workspace_or_item_stalls_and_heals"),
    ),
    ("CapacityPaused", By("a_paused_capacity_stalls_and_heals")),
    (
        "CancelAccepted",
        By("a_cancellation_ends_in_cancelled_within_its_budget"),
    ),
    (
        "NotNeeded",
        By("a_job_that_was_over_before_counts_as_the_policy_says"),
    ),
    (
        "AnswerLost",
        By("suspended_with_an_open_attempt_it_looks_and_asks_no_more"),
    ),
];

async fn every_documented_reason_has_a_journey_that_reaches_it(_: &ControlPlane) {
    let documented: Vec<_> = REASONS.iter().map(|doc| doc.name).collect();
    let listed: Vec<_> = TABLE.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(listed, documented, "the table follows the catalogue");

    let sources = sources();
    let squeezed: String = sources.split_whitespace().collect();
    for (reason, reached) in TABLE {
        match reached {
            By(journey) => {
                let start = format!("async fn {journey}(");
                let (_, rest) = sources
                    .split_once(&start)
                    .unwrap_or_else(|| panic!("{reason}: there is no journey {journey}"));
                let body = rest.split("\nasync fn ").next().unwrap_or_default();
                let named = body.contains(&format!("\"{reason}\""));
                assert!(named, "{journey} asserts nothing about {reason}");
                let listed = format!(".test(\"{journey}\",{journey}");
                assert!(squeezed.contains(&listed), "{journey} is not run");
            }
            NotYet(why) => assert!(!why.is_empty(), "{reason}"),
        }
    }
}

/// The source of all journeys but this file, whose table names them without running them.
fn sources() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journeys");
    let files = std::fs::read_dir(folder).expect("the folder of this file");
    let mut sources = String::new();
    for file in files {
        let path = file.expect("a file").path();
        if path.ends_with("reasons.rs") {
            continue;
        }
        sources.push_str(&std::fs::read_to_string(path).expect("a source file"));
    }
    sources
}
