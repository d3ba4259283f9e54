//! A Secret read as a credential, and every way in which it can be wrong.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;
use uuid::Uuid;

use crate::entra::{Credential, Proof, SourceKey};

const TENANT_ID: &str = "AZURE_TENANT_ID";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
const CLIENT_SECRET: &str = "AZURE_CLIENT_SECRET";
const CLIENT_CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE";
const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";

/// What is wrong with a Secret: names the object, the key and the fix, never a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Secret {name} {problem}")]
pub(super) struct Problem {
    name: String,
    problem: String,
}

/// Reads a Secret of type Opaque with the keys of a client secret.
pub(super) fn credential(secret: &Secret) -> Result<Credential, Problem> {
    let metadata = &secret.metadata;
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let full_name = format!("{namespace}/{name}");
    let wrong = |problem: String| Problem {
        name: full_name.clone(),
        problem,
    };
    let type_ = secret.type_.as_deref().unwrap_or("Opaque");
    if type_ != "Opaque" {
        return Err(wrong(format!(
            "has the type {type_}, which serves another purpose. Create one of type Opaque with \
             the keys {TENANT_ID}, {CLIENT_ID} and {CLIENT_SECRET}."
        )));
    }
    let data = secret.data.as_ref();
    let value = |key: &str| data.and_then(|data| data.get(key));
    if value(AUTHORITY_HOST).is_some() {
        return Err(wrong(format!(
            "has the key {AUTHORITY_HOST}. Where tokens are asked for is a setting of the \
             operator (`--entra-authority`): taken from a Secret, it would send the client secret \
             to a host of anybody's choice. Remove the key."
        )));
    }
    let text = |key: &str| -> Result<String, Problem> {
        let Some(ByteString(raw)) = value(key) else {
            return Err(wrong(format!(
                "lacks the key {key}. Add it; needed are {TENANT_ID}, {CLIENT_ID} and \
                 {CLIENT_SECRET}."
            )));
        };
        let raw = std::str::from_utf8(raw).map_err(|_| {
            wrong(format!(
                "has a value that is not text at the key {key}. Set it again, as plain text."
            ))
        })?;
        let trimmed = raw.trim_end_matches(['\n', '\r']);
        if trimmed.len() != raw.len() {
            tracing::warn!(
                secret = %full_name,
                key,
                "ignored a newline at the end of the value; `echo -n` or --from-literal avoids it"
            );
        }
        if trimmed.trim().is_empty() {
            return Err(wrong(format!(
                "has an empty value at the key {key}. Set it."
            )));
        }
        Ok(trimmed.to_owned())
    };
    let id = |key: &str, what: &str| {
        Uuid::parse_str(text(key)?.trim()).map_err(|_| {
            wrong(format!(
                "has a value at the key {key} that is not a UUID. Set it to the {what} ID that \
                 the app registration shows in Entra."
            ))
        })
    };
    let tenant_id = id(TENANT_ID, "Directory (tenant)")?;
    let client_id = id(CLIENT_ID, "Application (client)")?;
    if value(CLIENT_SECRET).is_none() && value(CLIENT_CERTIFICATE).is_some() {
        return Err(wrong(format!(
            "has the key {CLIENT_CERTIFICATE}: this version of the operator uses client secrets \
             only. Add the key {CLIENT_SECRET}."
        )));
    }
    Ok(Credential {
        source: SourceKey {
            kind: "Secret",
            namespace,
            name,
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
        },
        tenant_id,
        client_id,
        proof: Proof::ClientSecret(SecretString::from(text(CLIENT_SECRET)?)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::api::ObjectMeta;
    use secrecy::ExposeSecret;

    use super::*;

    const ID: &str = "0e4e7e39-1d3a-4d5c-9a3f-6f6c2f1f0a11";

    fn secret(type_: &str, entries: &[(&str, &str)]) -> Secret {
        Secret {
            metadata: ObjectMeta {
                namespace: Some("team-a".into()),
                name: Some("fabric-credentials".into()),
                ..ObjectMeta::default()
            },
            type_: Some(type_.into()),
            data: Some(
                entries
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), ByteString((*value).into())))
                    .collect::<BTreeMap<_, _>>(),
            ),
            ..Secret::default()
        }
    }

    #[test]
    fn each_way_to_be_wrong_names_the_object_the_key_and_the_fix() {
        let good = [(TENANT_ID, ID), (CLIENT_ID, ID), (CLIENT_SECRET, "s3cret")];
        let with = |key: &'static str, value: Option<&'static str>| {
            let mut entries: Vec<_> = good.into_iter().filter(|(k, _)| *k != key).collect();
            entries.extend(value.map(|value| (key, value)));
            secret("Opaque", &entries)
        };
        let rows = [
            (secret("kubernetes.io/tls", &good), "type kubernetes.io/tls"),
            (secret("Opaque", &[]), "lacks the key AZURE_TENANT_ID"),
            (with(CLIENT_ID, None), "lacks the key AZURE_CLIENT_ID"),
            (
                with(CLIENT_SECRET, None),
                "lacks the key AZURE_CLIENT_SECRET",
            ),
            (
                with(CLIENT_SECRET, Some("")),
                "empty value at the key AZURE_CLIENT_SECRET",
            ),
            (
                with(CLIENT_SECRET, Some("\n")),
                "empty value at the key AZURE_CLIENT_SECRET",
            ),
            (
                with(TENANT_ID, Some("contoso")),
                "AZURE_TENANT_ID that is not a UUID",
            ),
            (with(AUTHORITY_HOST, Some("https://x")), "Remove the key"),
        ];
        for (secret, expected) in rows {
            let problem = credential(&secret).expect_err(expected).to_string();
            assert!(
                problem.starts_with("Secret team-a/fabric-credentials ")
                    && problem.contains(expected),
                "{problem}"
            );
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        let certificate = secret(
            "Opaque",
            &[
                (TENANT_ID, ID),
                (CLIENT_ID, ID),
                (CLIENT_CERTIFICATE, "pem"),
            ],
        );
        let problem = credential(&certificate).expect_err("no secret").to_string();
        assert!(problem.contains("client secrets only"), "{problem}");
    }

    #[test]
    fn a_newline_at_the_end_is_not_part_of_the_value() {
        let secret = secret(
            "Opaque",
            &[
                (TENANT_ID, &format!("{ID}\n")),
                (CLIENT_ID, ID),
                (CLIENT_SECRET, "s3cret\r\n"),
            ],
        );
        let credential = credential(&secret).expect("a usable Secret");
        let Proof::ClientSecret(value) = credential.proof;
        assert_eq!(value.expose_secret(), "s3cret");
    }
}
