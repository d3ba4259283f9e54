//! The reasons that conditions carry: facts with stable names.

use super::observation::Refusal;

/// Why a condition has its value. A published reason never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "api::conditions::REASONS documents each for users; a second text would drift"
)]
pub enum Reason {
    Pending,
    Queued,
    Suspended,
    ResolvingCredentials,
    RequestingCancellation,
    WaitingForCancellation,
    Throttled,
    FabricUnavailable,
    EntraUnavailable,
    CancelAccepted,
    NotNeeded,
    AnswerLost,
    JobCancelled,
    JobAlreadyCancelled,
    JobAlreadyFinished,
    JobEndedOtherwise,
    JobNotFound,
    RequestRejected,
    DeadlineExceeded,
    InvalidSpec,
    CredentialsNotFound,
    CredentialsInvalid,
    IdentityNotAllowed,
    WorkspaceNotAllowed,
    AuthenticationFailed,
    PermissionDenied,
    TargetNotFound,
    CapacityPaused,
}

impl Reason {
    /// Every reason, in the order of the catalogue.
    pub const ALL: [Self; 28] = [
        Self::Pending,
        Self::Queued,
        Self::Suspended,
        Self::ResolvingCredentials,
        Self::RequestingCancellation,
        Self::WaitingForCancellation,
        Self::Throttled,
        Self::FabricUnavailable,
        Self::EntraUnavailable,
        Self::CancelAccepted,
        Self::NotNeeded,
        Self::AnswerLost,
        Self::JobCancelled,
        Self::JobAlreadyCancelled,
        Self::JobAlreadyFinished,
        Self::JobEndedOtherwise,
        Self::JobNotFound,
        Self::RequestRejected,
        Self::DeadlineExceeded,
        Self::InvalidSpec,
        Self::CredentialsNotFound,
        Self::CredentialsInvalid,
        Self::IdentityNotAllowed,
        Self::WorkspaceNotAllowed,
        Self::AuthenticationFailed,
        Self::PermissionDenied,
        Self::TargetNotFound,
        Self::CapacityPaused,
    ];

    /// The name as it stands in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Queued => "Queued",
            Self::Suspended => "Suspended",
            Self::ResolvingCredentials => "ResolvingCredentials",
            Self::RequestingCancellation => "RequestingCancellation",
            Self::WaitingForCancellation => "WaitingForCancellation",
            Self::Throttled => "Throttled",
            Self::FabricUnavailable => "FabricUnavailable",
            Self::EntraUnavailable => "EntraUnavailable",
            Self::CancelAccepted => "CancelAccepted",
            Self::NotNeeded => "NotNeeded",
            Self::AnswerLost => "AnswerLost",
            Self::JobCancelled => "JobCancelled",
            Self::JobAlreadyCancelled => "JobAlreadyCancelled",
            Self::JobAlreadyFinished => "JobAlreadyFinished",
            Self::JobEndedOtherwise => "JobEndedOtherwise",
            Self::JobNotFound => "JobNotFound",
            Self::RequestRejected => "RequestRejected",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::InvalidSpec => "InvalidSpec",
            Self::CredentialsNotFound => "CredentialsNotFound",
            Self::CredentialsInvalid => "CredentialsInvalid",
            Self::IdentityNotAllowed => "IdentityNotAllowed",
            Self::WorkspaceNotAllowed => "WorkspaceNotAllowed",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::PermissionDenied => "PermissionDenied",
            Self::TargetNotFound => "TargetNotFound",
            Self::CapacityPaused => "CapacityPaused",
        }
    }

    /// Reads a stored reason; `None` for one that a newer version wrote.
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == raw)
    }

    /// Whether a person must act, and the operator heals by itself once somebody did.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        self.kind() == Kind::NeedsAPerson
    }

    /// Whether it names a trouble that passes without a person.
    #[must_use]
    pub fn is_passing_trouble(self) -> bool {
        matches!(self.kind(), Kind::OwnQuota | Kind::Passing)
    }

    /// Whether the deadline's clock runs: not while the cancellation waits for our own quota,
    /// or for its author.
    pub(super) fn starts_the_clock(self) -> bool {
        !matches!(self.kind(), Kind::OwnQuota | Kind::Suspended)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Queued => Kind::OwnQuota,
            Self::Suspended => Kind::Suspended,
            Self::ResolvingCredentials
            | Self::Throttled
            | Self::FabricUnavailable
            | Self::EntraUnavailable => Kind::Passing,
            Self::CredentialsNotFound
            | Self::CredentialsInvalid
            | Self::IdentityNotAllowed
            | Self::WorkspaceNotAllowed
            | Self::AuthenticationFailed
            | Self::PermissionDenied
            | Self::TargetNotFound
            | Self::CapacityPaused => Kind::NeedsAPerson,
            Self::Pending
            | Self::RequestingCancellation
            | Self::WaitingForCancellation
            | Self::CancelAccepted
            | Self::NotNeeded
            | Self::AnswerLost
            | Self::JobCancelled
            | Self::JobAlreadyCancelled
            | Self::JobAlreadyFinished
            | Self::JobEndedOtherwise
            | Self::JobNotFound
            | Self::RequestRejected
            | Self::DeadlineExceeded
            | Self::InvalidSpec => Kind::NoTrouble,
        }
    }
}

/// What a reason asks of the operator and of people. Each reason has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Our own quota is used up: it passes, and the deadline does not run.
    OwnQuota,
    /// The author holds it back: the deadline does not run.
    Suspended,
    /// A trouble that passes without a person.
    Passing,
    /// A trouble that a person must end.
    NeedsAPerson,
    /// Ordinary work, or an end.
    NoTrouble,
}

/// How a cancellation can end: the reasons that end one here. (`InvalidSpec` ends one that never
/// gets here.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    JobCancelled,
    JobAlreadyCancelled,
    JobAlreadyFinished,
    JobEndedOtherwise,
    JobNotFound,
    RequestRejected,
    DeadlineExceeded,
}

impl From<End> for Reason {
    fn from(end: End) -> Self {
        match end {
            End::JobCancelled => Self::JobCancelled,
            End::JobAlreadyCancelled => Self::JobAlreadyCancelled,
            End::JobAlreadyFinished => Self::JobAlreadyFinished,
            End::JobEndedOtherwise => Self::JobEndedOtherwise,
            End::JobNotFound => Self::JobNotFound,
            End::RequestRejected => Self::RequestRejected,
            End::DeadlineExceeded => Self::DeadlineExceeded,
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::RequestRejected => Self::RequestRejected,
            Refusal::JobNotFound => Self::JobNotFound,
            Refusal::TargetNotFound => Self::TargetNotFound,
            Refusal::CapacityPaused => Self::CapacityPaused,
            Refusal::PermissionDenied => Self::PermissionDenied,
            Refusal::AuthenticationFailed => Self::AuthenticationFailed,
            Refusal::CredentialsNotFound => Self::CredentialsNotFound,
            Refusal::CredentialsInvalid => Self::CredentialsInvalid,
            Refusal::IdentityNotAllowed => Self::IdentityNotAllowed,
            Refusal::WorkspaceNotAllowed => Self::WorkspaceNotAllowed,
        }
    }
}
