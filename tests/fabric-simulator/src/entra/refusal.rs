//! Entra's refusals and their bodies.

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// A reason for which Entra gives no token.
///
/// The codes are the documented ones (\[DOC\] Microsoft identity platform, error codes); texts,
/// `error` and HTTP status follow answers that users have posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EntraRefusal {
    /// AADSTS90002, 400.
    UnknownTenant,
    /// AADSTS700016, 400 `unauthorized_client`.
    UnknownClient,
    /// AADSTS7000215, 401 `invalid_client`.
    WrongSecret,
    /// AADSTS7000222, 401 `invalid_client`.
    ExpiredSecret,
    /// AADSTS7000218, 401 `invalid_client`: neither a secret nor an assertion.
    MissingCredential,
    /// AADSTS700027, 401 `invalid_client`: the assertion's certificate is not registered.
    UnknownCertificate,
    /// AADSTS900144, 400 `invalid_request`: a form field is missing.
    MissingParameter(
        /// The field's name.
        String,
    ),
    /// AADSTS70003, 400 `unsupported_grant_type`.
    UnsupportedGrant,
    /// AADSTS70011, 400 `invalid_scope`.
    InvalidScope,
    /// AADSTS500011, 400 `invalid_resource`: nobody has heard of what the scope names.
    UnknownResource,
    /// AADSTS90055, 429 `temporarily_unavailable`, with these seconds in `Retry-After`.
    Throttled(
        /// `Retry-After`; none when `None`.
        Option<u64>,
    ),
    /// AADSTS90033, 503 `temporarily_unavailable`.
    Unavailable,
}

/// What the texts of a refusal name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) tenant: String,
    pub(crate) client: String,
    pub(crate) scope: String,
}

impl EntraRefusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::WrongSecret
            | Self::ExpiredSecret
            | Self::MissingCredential
            | Self::UnknownCertificate => 401,
            Self::UnknownTenant
            | Self::UnknownClient
            | Self::MissingParameter(_)
            | Self::UnsupportedGrant
            | Self::InvalidScope
            | Self::UnknownResource => 400,
            Self::Throttled(_) => 429,
            Self::Unavailable => 503,
        }
    }

    /// The number behind `AADSTS`.
    pub fn code(&self) -> u32 {
        match self {
            Self::UnknownTenant => 90002,
            Self::UnknownClient => 700016,
            Self::WrongSecret => 7000215,
            Self::ExpiredSecret => 7000222,
            Self::MissingCredential => 7000218,
            Self::UnknownCertificate => 700027,
            Self::MissingParameter(_) => 900144,
            Self::UnsupportedGrant => 70003,
            Self::InvalidScope => 70011,
            Self::UnknownResource => 500011,
            Self::Throttled(_) => 90055,
            Self::Unavailable => 90033,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttled(after) => *after,
            _ => None,
        }
    }

    /// The `error` of the body. The discovery document names an unknown tenant `invalid_tenant`,
    /// the token endpoint `invalid_request`.
    fn error(&self, discovery: bool) -> &'static str {
        match self {
            Self::UnknownTenant if discovery => "invalid_tenant",
            Self::UnknownTenant | Self::MissingParameter(_) => "invalid_request",
            Self::UnknownClient => "unauthorized_client",
            Self::WrongSecret
            | Self::ExpiredSecret
            | Self::MissingCredential
            | Self::UnknownCertificate => "invalid_client",
            Self::UnsupportedGrant => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::UnknownResource => "invalid_resource",
            Self::Throttled(_) | Self::Unavailable => "temporarily_unavailable",
        }
    }

    fn text(&self, subject: &Subject) -> String {
        let Subject {
            tenant,
            client,
            scope,
        } = subject;
        match self {
            Self::UnknownTenant => format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."
            ),
            Self::UnknownClient => format!(
                "Application with identifier '{client}' was not found in the directory '{tenant}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."
            ),
            Self::WrongSecret => format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{client}'."
            ),
            Self::ExpiredSecret => format!(
                "The provided client secret keys for app '{client}' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds."
            ),
            Self::MissingCredential => {
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.".into()
            }
            Self::UnknownCertificate => {
                "The certificate with identifier used to sign the client assertion is not registered on application.".into()
            }
            Self::MissingParameter(name) => format!(
                "The request body must contain the following parameter: '{name}'."
            ),
            Self::UnsupportedGrant => {
                "The app requested an unsupported grant type.".into()
            }
            Self::InvalidScope => format!(
                "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
            ),
            Self::UnknownResource => format!(
                "The resource principal named {scope} was not found in the tenant named {tenant}. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant."
            ),
            Self::Throttled(_) => {
                "The server has terminated the request as there are too many incoming requests.".into()
            }
            Self::Unavailable => "A transient error has occurred. Please try again.".into(),
        }
    }

    /// The body; ids and time change with every answer, as they do at Entra.
    pub(crate) fn body(
        &self,
        subject: &Subject,
        discovery: bool,
        trace: Uuid,
        correlation: Uuid,
        now: Timestamp,
    ) -> Value {
        let code = self.code();
        let time = now
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%d %H:%M:%SZ")
            .to_string();
        json!({
            "error": self.error(discovery),
            "error_description": format!(
                "AADSTS{code}: {}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {time}",
                self.text(subject)
            ),
            "error_codes": [code],
            "timestamp": time,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        })
    }
}
