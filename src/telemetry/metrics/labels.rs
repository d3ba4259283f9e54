//! The values that labels can have.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Declares a label with a closed set of values, each written as given.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $value,)+ }

        impl $name {
            /// Every value, so that each series exists, at zero, from the start.
            pub(super) const ALL: &'static [Self] = &[$(Self::$value,)+];

            /// The value as it stands in the label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                self.as_str().encode(encoder)
            }
        }
    };
}

label! {
    /// Which call to Fabric.
    Operation {
        /// POST, asks for the cancellation.
        Cancel = "cancel",
        /// GET, looks at the job instance.
        Get = "get",
    }
}

label! {
    /// What a call to Fabric came to, as classified (`docs/architecture.md`).
    FabricOutcome {
        /// The cancel request was accepted.
        Accepted = "accepted",
        /// The job was already over when it was asked to stop.
        AlreadyCompleted = "already_completed",
        /// A look that showed the job.
        Seen = "seen",
        /// Fabric asked for a pause and did nothing: 429 or 430. A 503 with `Retry-After` leaves
        /// open what was done and counts as `unknown`.
        Throttled = "throttled",
        /// A definite no that somebody has to act on.
        Refused = "refused",
        /// It cannot be told what Fabric did, or nothing could be learned: a timeout, a broken
        /// connection, a 5xx (with `Retry-After` or not), an unreadable body.
        Unknown = "unknown",
    }
}

label! {
    /// Why a request to Fabric was not sent yet.
    HeldBy {
        /// Fabric answered 429 to its identity.
        Throttled = "throttled",
        /// The identity's own quota is used up, or not known yet after a start.
        Queued = "queued",
    }
}

label! {
    /// Where the credential of a token request came from.
    TokenSource {
        /// A Kubernetes Secret with a client secret.
        Secret = "secret",
    }
}

label! {
    /// How a token request ended.
    TokenResult {
        /// A token was issued.
        Issued = "issued",
        /// Entra refused the credential.
        Refused = "refused",
        /// Entra did not give a usable answer.
        Unavailable = "unavailable",
    }
}

label! {
    /// How one reconcile ended, in controller-runtime's words.
    ReconcileResult {
        /// Nothing to do until something changes.
        Success = "success",
        /// Our own work failed; tried again with back-off.
        Error = "error",
        /// To be looked at again after a known time.
        RequeueAfter = "requeue_after",
    }
}

label! {
    /// How one write of a resource's status ended.
    WriteResult {
        /// Stored.
        Stored = "stored",
        /// Somebody else wrote in between (409).
        Conflict = "conflict",
        /// The object no longer exists (404).
        Gone = "gone",
        /// Any other failure, a timeout among them.
        Failed = "failed",
    }
}
