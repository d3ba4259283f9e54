//! What stands in the way of a token, as the observation that the core records.

use crate::cancellation::{Observation, Refusal, ServiceError, Source};
use crate::entra::{AccessToken, TokenError};
use crate::telemetry::metrics::TokenResult;

/// The longest `lastError.message`, in characters.
const LONGEST_MESSAGE: usize = 256;

/// How a token request is counted.
pub(super) fn token_result(result: &Result<AccessToken, TokenError>) -> TokenResult {
    match result {
        Ok(_) => TokenResult::Issued,
        Err(TokenError::Refused { .. }) => TokenResult::Refused,
        Err(TokenError::Throttled { .. } | TokenError::Unavailable { .. }) => {
            TokenResult::Unavailable
        }
    }
}

/// A source that cannot be used: who must act, and what to do about it.
pub(super) fn refused(refusal: Refusal, code: &'static str, advice: String) -> Box<Observation> {
    Box::new(Observation::Refused {
        refusal,
        retry_after: None,
        error: service_error(code, advice.clone()),
        advice: Some(advice),
    })
}

/// A trouble of our own naming, where no service answered.
pub(super) fn service_error(code: &str, message: String) -> ServiceError {
    ServiceError {
        code: code.to_owned(),
        message: message.chars().take(LONGEST_MESSAGE).collect(),
        http_status: None,
        request_id: None,
    }
}

/// What Entra's answer means for the cancellation.
pub(super) fn observation_of(error: TokenError) -> Observation {
    match error {
        TokenError::Refused {
            code,
            message,
            advice,
            http_status,
            correlation_id,
        } => Observation::Refused {
            refusal: Refusal::AuthenticationFailed,
            retry_after: None,
            error: ServiceError {
                code,
                message,
                http_status,
                request_id: correlation_id,
            },
            advice: Some(advice),
        },
        TokenError::Throttled {
            code,
            message,
            retry_after,
            http_status,
            correlation_id,
        }
        | TokenError::Unavailable {
            code,
            message,
            retry_after,
            http_status,
            correlation_id,
        } => Observation::Inconclusive {
            from: Source::Entra,
            retry_after,
            error: ServiceError {
                code,
                message,
                http_status,
                request_id: correlation_id,
            },
        },
    }
}
