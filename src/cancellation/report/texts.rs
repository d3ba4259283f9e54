//! What each trouble means and what to do about it.

use super::{Reason, Trouble};

/// What a refusal by the capacity means: another fix than for the identity's quota.
pub(in crate::cancellation) const CAPACITY_IS_BUSY: &str = "Fabric's capacity takes no more requests for now; the operator waits as long as Fabric asks. If \
     this lasts, let fewer jobs run on the capacity, or give it a larger size.";

pub(super) fn trouble_text(trouble: &Trouble) -> String {
    match &trouble.advice {
        Some(advice) => sentence(advice),
        None => fixed_text(trouble.reason).to_owned(),
    }
}

/// Advice comes as errors do, without a capital and a full stop; a message is read by people.
/// What is a sentence already stays as it is: advice may have been read back from a message.
fn sentence(advice: &str) -> String {
    let advice = advice.trim();
    let mut rest = advice.chars();
    let mut text: String = rest
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    text.push_str(rest.as_str());
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

/// What a lasting trouble means and what to do about it.
fn fixed_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Queued => {
            "Waiting for this identity's share of Fabric's request quota. The deadline does not \
             start before that; if this lasts, use more identities."
        }
        Reason::ResolvingCredentials => {
            "The Kubernetes API did not answer when the credentials were read; the operator keeps \
             trying. If this lasts, check the API server."
        }
        Reason::Throttled => {
            "Fabric asked for a pause before the next request, which the operator keeps. If this \
             lasts, let fewer tools share this identity."
        }
        Reason::FabricUnavailable => {
            "Fabric did not give a usable answer; the operator keeps trying. If this lasts, see \
             `status.lastError`, Fabric's service health, and the operator's `--fabric-endpoint`."
        }
        Reason::EntraUnavailable => {
            "Microsoft Entra ID did not give a usable answer; the operator keeps trying. If this \
             lasts, see `status.lastError` and the operator's `--entra-authority`."
        }
        Reason::JobNotFound => {
            "Fabric does not know this job instance; that is believed when Fabric says so again a \
             minute later. Check `spec.workspaceId`, `spec.itemId` and `spec.jobInstanceId`."
        }
        Reason::CredentialsNotFound => {
            "No credentials were found. Create the Secret `fabric-credentials` in this namespace \
             with the keys AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or name one \
             in `spec.credentials`."
        }
        Reason::CredentialsInvalid => {
            "The credentials cannot be used as they are. Correct them as `status.lastError` says; \
             the operator reads them again by itself."
        }
        Reason::IdentityNotAllowed => {
            "The operator may not use these credentials here. Ask the administrator of the cluster \
             to allow it as `status.lastError` says, or name others in `spec.credentials`."
        }
        Reason::WorkspaceNotAllowed => {
            "The operator's own identity may not be used for this workspace. Ask the administrator \
             of the cluster to add `spec.workspaceId` to the annotation \
             `fabricjobs.dev/operator-identity-workspaces` of this namespace, or name credentials \
             of your own in `spec.credentials`."
        }
        Reason::AuthenticationFailed => {
            "This identity is refused with fresh credentials; `status.lastError` says by whom. If \
             by Microsoft Entra ID, correct the credentials. If by Fabric, allow service \
             principals to call Fabric public APIs in the tenant settings, and give the identity \
             a role in the workspace."
        }
        Reason::PermissionDenied => {
            "The identity lacks a right in Fabric. Give it the Contributor role in the workspace, \
             or the Execute and Read permissions on the item."
        }
        Reason::TargetNotFound => {
            "Fabric does not know the workspace or the item, or hides it from this identity. Check \
             `spec.workspaceId` and `spec.itemId`, and give the identity a role in the workspace."
        }
        Reason::CapacityPaused => {
            "The capacity of the workspace is paused, so Fabric answers nothing about its jobs. \
             Resume the capacity."
        }
        Reason::Pending
        | Reason::Suspended
        | Reason::RequestingCancellation
        | Reason::WaitingForCancellation
        | Reason::CancelAccepted
        | Reason::NotNeeded
        | Reason::AnswerLost
        | Reason::JobCancelled
        | Reason::JobAlreadyCancelled
        | Reason::JobAlreadyFinished
        | Reason::JobEndedOtherwise
        | Reason::RequestRejected
        | Reason::DeadlineExceeded
        | Reason::InvalidSpec => reason.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn advice_is_shown_as_a_sentence_and_a_sentence_as_it_is() {
        let shown = "Tenant t has no application c: check Secret a/b.";
        assert_eq!(
            sentence("tenant t has no application c: check Secret a/b"),
            shown
        );
        assert_eq!(sentence(shown), shown);
        assert_eq!(
            sentence("`spec.itemId` is wrong"),
            "`spec.itemId` is wrong."
        );
    }
}
