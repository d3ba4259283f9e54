//! The certificate authority of one control plane, and the keys that it hands out.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};

use crate::error::Error;

/// Signs the API server's serving certificate and the users' client certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, Error> {
        let subject = "control-plane";
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = KeyPair::generate()
            .and_then(|key| CertifiedIssuer::self_signed(params, key))
            .map_err(failed(subject))?;
        Ok(Self { issuer })
    }

    /// The authority's own certificate, PEM.
    pub(crate) fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A serving certificate for these host names and addresses.
    pub(crate) fn serving(&self, names: &[&str]) -> Result<Certified, Error> {
        let subject = "kube-apiserver";
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(failed(subject))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(subject, params)
    }

    /// A client certificate. To kube-apiserver the common name is the user, each organization a group.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Result<Certified, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        // rcgen keeps one value per attribute type, and has two types for "organization" (by name and by number).
        let organization = [
            DnType::OrganizationName,
            DnType::CustomDnType(ORGANIZATION_NAME.to_vec()),
        ];
        if groups.len() > organization.len() {
            return Err(Error::TooManyGroups {
                user: user.to_owned(),
                count: groups.len(),
            });
        }
        for (attribute, &group) in organization.into_iter().zip(groups) {
            params.distinguished_name.push(attribute, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(user, params)
    }

    fn sign(&self, subject: &str, mut params: CertificateParams) -> Result<Certified, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed(subject))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(failed(subject))?;
        Ok(Certified {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// The key that signs ServiceAccount tokens, PEM. RSA, because managed clusters sign with RS256 and Entra accepts nothing else.
pub(crate) fn service_account_key() -> Result<String, Error> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
        .map_err(failed("ServiceAccount tokens"))?;
    Ok(key.serialize_pem())
}

fn failed(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}

/// The number of "organization" in X.520.
const ORGANIZATION_NAME: [u64; 4] = [2, 5, 4, 10];
