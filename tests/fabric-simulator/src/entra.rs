//! Entra: tenants, applications, their secrets, and the tokens that were given out, as pure state.

pub(crate) mod refusal;

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::refusal::EntraRefusal;
use crate::fabric::{error::FabricError, job::later};

/// Who acts: an application in a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The tenant's id, lower case.
    pub tenant_id: String,
    /// The application's (client) id, lower case.
    pub client_id: String,
}

impl Identity {
    /// Ids are compared without regard to case.
    pub fn new(tenant_id: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            tenant_id: tenant_id.into().to_ascii_lowercase(),
            client_id: client_id.into().to_ascii_lowercase(),
        }
    }

    /// The same with lower-case ids; what is read from JSON may have others.
    pub(crate) fn normalised(&self) -> Self {
        Self::new(&self.tenant_id, &self.client_id)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Entra {
    tenants: HashMap<String, HashMap<String, Vec<Secret>>>,
    tokens: HashMap<String, Token>,
}

#[derive(Debug)]
struct Secret {
    value: String,
    expires: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Token {
    identity: Identity,
    audience: String,
    expires: Timestamp,
    revoked: bool,
}

/// The fields of a token request that decide.
#[derive(Clone, Default)]
pub(crate) struct TokenRequest {
    pub(crate) tenant: String,
    pub(crate) grant_type: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
    pub(crate) has_assertion: bool,
    pub(crate) scope: Option<String>,
}

impl Entra {
    pub(crate) fn add_tenant(&mut self, tenant: &str) {
        self.tenants.entry(tenant.to_ascii_lowercase()).or_default();
    }

    pub(crate) fn has_tenant(&self, tenant: &str) -> bool {
        self.tenants.contains_key(&tenant.to_ascii_lowercase())
    }

    /// Creates tenant and application as needed.
    pub(crate) fn add_application(&mut self, identity: &Identity) {
        self.secrets(identity);
    }

    pub(crate) fn add_secret(
        &mut self,
        identity: &Identity,
        value: &str,
        expires: Option<Timestamp>,
    ) {
        self.secrets(identity).push(Secret {
            value: value.into(),
            expires,
        });
    }

    pub(crate) fn remove_secrets(&mut self, identity: &Identity) {
        self.secrets(identity).clear();
    }

    pub(crate) fn expire_secrets(&mut self, identity: &Identity, now: Timestamp) {
        for secret in self.secrets(identity) {
            secret.expires = Some(now);
        }
    }

    pub(crate) fn remove_application(&mut self, identity: &Identity) -> bool {
        self.tenants
            .get_mut(&identity.tenant_id)
            .is_some_and(|applications| applications.remove(&identity.client_id).is_some())
    }

    /// How many tokens were made worthless.
    pub(crate) fn revoke_tokens(&mut self, identity: &Identity) -> usize {
        let mut revoked = 0;
        for token in self
            .tokens
            .values_mut()
            .filter(|token| token.identity == *identity)
        {
            revoked += usize::from(!token.revoked);
            token.revoked = true;
        }
        revoked
    }

    /// Whether a value is one of the registered secrets.
    pub(crate) fn is_secret(&self, value: &str) -> bool {
        self.tenants
            .values()
            .flat_map(HashMap::values)
            .flatten()
            .any(|secret| secret.value == value)
    }

    /// The text with every token and secret in it blotted out. Very short secrets are let pass, or
    /// they would blot out innocent text.
    pub(crate) fn without_credentials(&self, text: &str) -> String {
        let secrets = self.tenants.values().flat_map(HashMap::values).flatten();
        let secrets = secrets
            .map(|secret| secret.value.as_str())
            .filter(|value| value.len() >= 8);
        let mut clean = text.to_owned();
        for credential in secrets.chain(self.tokens.keys().map(String::as_str)) {
            if clean.contains(credential) {
                clean = clean.replace(credential, "[credential]");
            }
        }
        clean
    }

    /// The client-credentials grant; `token` is the value to give out when all is well.
    pub(crate) fn issue(
        &mut self,
        request: &TokenRequest,
        token: String,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(), EntraRefusal> {
        let missing = |name: &str| EntraRefusal::MissingParameter(name.into());
        let tenant = request.tenant.to_ascii_lowercase();
        let applications = self
            .tenants
            .get(&tenant)
            .ok_or(EntraRefusal::UnknownTenant)?;
        match request.grant_type.as_deref() {
            None | Some("") => return Err(missing("grant_type")),
            Some("client_credentials") => {}
            Some(_) => return Err(EntraRefusal::UnsupportedGrant),
        }
        let client = request.client_id.as_deref().filter(|id| !id.is_empty());
        let identity = Identity::new(tenant, client.ok_or_else(|| missing("client_id"))?);
        let secrets = applications
            .get(&identity.client_id)
            .ok_or(EntraRefusal::UnknownClient)?;
        let scope = request.scope.as_deref().filter(|scope| !scope.is_empty());
        let audience = audience(scope.ok_or_else(|| missing("scope"))?)?;
        match request.client_secret.as_deref() {
            // No certificate can be registered, so an assertion is always by an unknown one.
            _ if request.has_assertion => return Err(EntraRefusal::UnknownCertificate),
            None | Some("") => return Err(EntraRefusal::MissingCredential),
            Some(value) => {
                let secret = secrets.iter().find(|secret| secret.value == value);
                let secret = secret.ok_or(EntraRefusal::WrongSecret)?;
                if secret.expires.is_some_and(|expires| expires <= now) {
                    return Err(EntraRefusal::ExpiredSecret);
                }
            }
        }
        let expires = later(now, lifetime);
        self.tokens.insert(
            token,
            Token {
                identity,
                audience,
                expires,
                revoked: false,
            },
        );
        Ok(())
    }

    /// Whose token this is, valid or not.
    pub(crate) fn owner(&self, token: &str) -> Option<&Identity> {
        self.tokens.get(token).map(|token| &token.identity)
    }

    /// What Fabric thinks of a bearer token.
    pub(crate) fn check(
        &self,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Identity, FabricError> {
        let token = token.ok_or_else(FabricError::token_is_missing)?;
        let token = self
            .tokens
            .get(token)
            .ok_or_else(FabricError::invalid_token)?;
        if token.revoked || !FABRIC_AUDIENCES.contains(&token.audience.as_str()) {
            return Err(FabricError::invalid_token());
        }
        if token.expires <= now {
            return Err(FabricError::token_expired());
        }
        Ok(token.identity.clone())
    }

    fn secrets(&mut self, identity: &Identity) -> &mut Vec<Secret> {
        self.tenants
            .entry(identity.tenant_id.clone())
            .or_default()
            .entry(identity.client_id.clone())
            .or_default()
    }
}

/// The resource that a scope asks a token for. Microsoft's own clients send a list such as
/// `https://api.fabric.microsoft.com/.default openid offline_access profile`.
fn audience(scope: &str) -> Result<String, EntraRefusal> {
    let mut resources = scope
        .split_whitespace()
        .filter_map(|one| one.strip_suffix("/.default"));
    let (Some(resource), None) = (resources.next(), resources.next()) else {
        return Err(EntraRefusal::InvalidScope);
    };
    let resource = resource.trim_end_matches('/');
    if FABRIC_AUDIENCES.contains(&resource) || OTHER_RESOURCES.contains(&resource) {
        Ok(resource.to_owned())
    } else {
        Err(EntraRefusal::UnknownResource)
    }
}

/// Fabric's own audience (\[SDK\]), and Power BI's, with which other clients call Fabric too.
const FABRIC_AUDIENCES: [&str; 2] = [
    "https://api.fabric.microsoft.com",
    "https://analysis.windows.net/powerbi/api",
];

/// Resources that every tenant knows; Fabric refuses a token for them.
const OTHER_RESOURCES: [&str; 2] = [
    "https://management.azure.com",
    "https://graph.microsoft.com",
];

#[cfg(test)]
mod tests {
    use super::*;

    const FABRIC: &str = "https://api.fabric.microsoft.com/.default";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn entra() -> Entra {
        let mut entra = Entra::default();
        entra.add_secret(&Identity::new("T1", "C1"), "good", None);
        entra.add_secret(&Identity::new("T1", "C1"), "old", Some(at(-1)));
        entra
    }

    fn request(change: impl FnOnce(&mut TokenRequest)) -> TokenRequest {
        let mut request = TokenRequest {
            tenant: "t1".into(),
            grant_type: Some("client_credentials".into()),
            client_id: Some("c1".into()),
            client_secret: Some("good".into()),
            has_assertion: false,
            scope: Some(FABRIC.into()),
        };
        change(&mut request);
        request
    }

    #[test]
    fn every_way_to_ask_wrongly_has_its_own_refusal() {
        let rows: Vec<(TokenRequest, EntraRefusal)> = vec![
            (
                request(|r| r.tenant = "t2".into()),
                EntraRefusal::UnknownTenant,
            ),
            (
                request(|r| r.client_id = Some("c2".into())),
                EntraRefusal::UnknownClient,
            ),
            (
                request(|r| r.client_secret = Some("bad".into())),
                EntraRefusal::WrongSecret,
            ),
            (
                request(|r| r.client_secret = Some("old".into())),
                EntraRefusal::ExpiredSecret,
            ),
            (
                request(|r| r.client_secret = None),
                EntraRefusal::MissingCredential,
            ),
            (
                request(|r| r.has_assertion = true),
                EntraRefusal::UnknownCertificate,
            ),
            (
                request(|r| r.grant_type = Some("password".into())),
                EntraRefusal::UnsupportedGrant,
            ),
            (
                request(|r| r.grant_type = None),
                EntraRefusal::MissingParameter("grant_type".into()),
            ),
            (
                request(|r| r.scope = None),
                EntraRefusal::MissingParameter("scope".into()),
            ),
            (
                request(|r| r.scope = Some("Item.Execute.All".into())),
                EntraRefusal::InvalidScope,
            ),
            (
                request(|r| r.scope = Some("https://evil.example/.default".into())),
                EntraRefusal::UnknownResource,
            ),
        ];
        for (request, refusal) in rows {
            let answer = entra().issue(&request, "x".into(), Duration::from_secs(60), at(0));
            assert_eq!(answer, Err(refusal));
        }
    }

    #[test]
    fn a_token_is_good_until_it_expires_is_revoked_or_was_meant_for_another() {
        let mut entra = entra();
        let hour = Duration::from_secs(3_600);
        entra
            .issue(&request(|_| ()), "fabric".into(), hour, at(0))
            .unwrap();
        let arm = "https://management.azure.com//.default openid".to_owned();
        entra
            .issue(&request(|r| r.scope = Some(arm)), "arm".into(), hour, at(0))
            .unwrap();

        let codes = |entra: &Entra, token: Option<&str>, now| {
            entra.check(token, now).map_err(|error| error.code).err()
        };
        assert_eq!(codes(&entra, Some("fabric"), at(3_599)), None);
        assert_eq!(
            codes(&entra, Some("fabric"), at(3_600)).as_deref(),
            Some("TokenExpired")
        );
        assert_eq!(
            codes(&entra, Some("arm"), at(1)).as_deref(),
            Some("InvalidToken")
        );
        assert_eq!(
            codes(&entra, Some("who"), at(1)).as_deref(),
            Some("InvalidToken")
        );
        assert_eq!(
            codes(&entra, None, at(1)).as_deref(),
            Some("TokenIsMissing")
        );
        assert_eq!(entra.revoke_tokens(&Identity::new("t1", "C1")), 2);
        assert_eq!(
            codes(&entra, Some("fabric"), at(1)).as_deref(),
            Some("InvalidToken")
        );
    }
}
