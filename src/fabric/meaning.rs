//! The one place that says what an error of Fabric's means.
//!
//! The error code decides, wherever it stands; the HTTP status is the fallback.

use crate::cancellation::{Refusal, Throttle};

/// What an error code or an HTTP status says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The job is over.
    AlreadyCompleted,
    /// Not now.
    Throttled(Throttle),
    /// No, and why.
    Refused(Refusal, Advice),
    /// The answer does not say; the hint names a likely cause.
    Unclear(Hint),
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// The fixed text of the refusal says it all.
    General,
    /// Give the identity a role on the workspace.
    GrantRole,
    /// Give the token the scope for this call.
    GrantScope,
    /// Let service principals call Fabric at all.
    TenantSwitch,
    /// Turn the feature on.
    Feature,
    /// Use an identity of the workspace's tenant.
    TenantNotAllowed,
    /// Give the identity a licence.
    License,
    /// Give the workspace a capacity.
    AssignCapacity,
    /// This kind of identity will never do.
    OtherIdentity,
}

/// What an unclear answer suggests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Fabric's own text says what there is to say.
    None,
    /// The host does not know the route, so it may not be Fabric.
    Route,
    /// The answer points elsewhere.
    Redirect,
}

/// What an error code means, or without a known one the HTTP status.
///
/// Sources: the common codes of Fabric's SDKs (`fabric-sdk-go`, `error_codes.go`) and the codes
/// that the reference lists for the two calls. What ends a cancellation for ever
/// (`RequestRejected`) is listed by name and believed only while Fabric does not call it
/// retriable; whatever is not listed costs another try.
pub(super) fn meaning(code: Option<&str>, status: u16, is_retriable: Option<bool>) -> Meaning {
    use Meaning::{AlreadyCompleted, Refused, Throttled, Unclear};
    use Refusal::{
        AuthenticationFailed, CapacityPaused, JobNotFound, PermissionDenied, RequestRejected,
        TargetNotFound,
    };

    let retriable = is_retriable == Some(true);
    match (code.unwrap_or_default(), status) {
        ("JobAlreadyCompleted", _) => AlreadyCompleted,

        ("CapacityNotActive", _) => Refused(CapacityPaused, Advice::General),
        ("WorkspaceHasNoCapacityAssigned", _) => Refused(CapacityPaused, Advice::AssignCapacity),

        ("TooManyRequestsForCapacity", _) => Throttled(Throttle::Capacity),
        ("RequestBlocked" | "TooManyRequests", status) if status != 430 => {
            Throttled(Throttle::Identity)
        }

        ("Unauthorized" | "InvalidToken" | "TokenIsMissing" | "TokenExpired", _) => {
            Refused(AuthenticationFailed, Advice::General)
        }
        ("TenantNotAllowed", _) => Refused(AuthenticationFailed, Advice::TenantNotAllowed),
        ("UserNotLicensed", _) => Refused(AuthenticationFailed, Advice::License),

        (
            "Forbidden"
            | "InsufficientPrivileges"
            | "InsufficientWorkspaceRole"
            | "MissingMinimalPermissions",
            _,
        ) => Refused(PermissionDenied, Advice::GrantRole),
        ("InsufficientScopes", _) => Refused(PermissionDenied, Advice::GrantScope),
        ("TenantSwitchDisabled", _) => Refused(PermissionDenied, Advice::TenantSwitch),
        ("FeatureNotAvailable", _) => Refused(PermissionDenied, Advice::Feature),

        ("ItemNotFound" | "WorkspaceNotFound", _) => Refused(TargetNotFound, Advice::General),
        ("JobInstanceNotFound", _) => Refused(JobNotFound, Advice::General),

        (
            "BadRequest"
            | "InvalidInput"
            | "InvalidParameter"
            | "InvalidRequestUri"
            | "InvalidItemType"
            | "InvalidJobType"
            | "UnsupportedItemType"
            | "CorruptedPayload"
            | "OperationNotSupportedForItem",
            _,
        ) if !retriable => Refused(RequestRejected, Advice::General),
        ("PrincipalTypeNotSupported", _) if !retriable => {
            Refused(RequestRejected, Advice::OtherIdentity)
        }

        ("EntityNotFound" | "EndpointNotFound", _) => Unclear(Hint::Route),

        (_, 401) => Refused(AuthenticationFailed, Advice::General),
        (_, 403) => Refused(PermissionDenied, Advice::GrantRole),
        (_, 429) => Throttled(Throttle::Identity),
        (_, 430) => Throttled(Throttle::Capacity),
        (_, 300..=399) => Unclear(Hint::Redirect),
        ("", 404) => Unclear(Hint::Route),
        (_, _) => Unclear(Hint::None),
    }
}
