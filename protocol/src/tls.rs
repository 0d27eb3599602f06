//! Certificate rules as rustls verifiers (PROTOCOL.md 2.2). TLS 1.3 only, ring only.
//!
//! Invariants:
//! 1. An identity comes out of [`identify`] alone: a chain to a known authority and exactly one
//!    role in the leaf's SAN URIs.
//! 2. A dialling side refuses within the handshake ([`ExpectBroker`]). An accepting side takes any
//!    certificate whose key is proven ([`ProveKeyOnly`]) and must call [`identify`] before it reads
//!    a frame: so a stranger gets an answer with a code and a fingerprint instead of a TLS alert.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::code::Code;
use crate::identity::{Fingerprint, Role};

/// The one cryptographic provider of Fanal.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}

/// A certificate authority that is trusted here.
#[derive(Debug, Clone)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    fingerprint: Fingerprint,
}

impl Authority {
    /// Takes a CA's certificate.
    pub fn new(certificate: CertificateDer<'static>) -> Self {
        let fingerprint = fingerprint(&certificate);
        Authority { certificate, fingerprint }
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

/// SHA-256 of a certificate in DER.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    use rustls::crypto::ring::default_provider;
    let hash = default_provider().cipher_suites.iter().find_map(|suite| match suite {
        rustls::SupportedCipherSuite::Tls13(suite)
            if suite.common.suite == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 =>
        {
            Some(suite.common.hash_provider.hash(certificate.as_ref()))
        }
        _ => None,
    });
    let bytes = hash.and_then(|hash| <[u8; 32]>::try_from(hash.as_ref()).ok());
    Fingerprint(bytes.unwrap_or_default())
}

/// Which side of the handshake showed the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It was dialled.
    Server,
    /// It dialled.
    Client,
}

/// An identity that a certificate proves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it is, and its name.
    pub role: Role,
    /// The CA that vouches for it.
    pub authority: Fingerprint,
}

/// Why a certificate proves nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateRefusal {
    /// None was shown.
    #[error(
        "no certificate was shown: connect with a credentials file (--creds FILE, FANAL_CREDS or --data DIR)"
    )]
    Missing,
    /// Not signed by an authority that is known here.
    #[error(
        "certificate is of an unknown authority (CA fingerprint {fingerprint}; {reason}): use credentials made with this broker's CA"
    )]
    UnknownAuthority {
        /// Of the last certificate in the chain.
        fingerprint: Fingerprint,
        /// What the check found.
        reason: String,
    },
    /// Signed by a known authority, but out of date.
    #[error("certificate is not valid now: {reason}; renew it, or set the clock")]
    OutOfDate {
        /// What the check found.
        reason: String,
    },
    /// Without exactly one Fanal role.
    #[error(
        "certificate carries {found} Fanal roles: exactly one SAN URI fanal://broker/NAME or fanal://client/NAME is needed"
    )]
    Role {
        /// How many were found.
        found: usize,
    },
    /// The role does not fit what was asked for.
    #[error("certificate is for {got}, but {wanted} is needed here")]
    WrongRole {
        /// The role found.
        got: Role,
        /// What would fit.
        wanted: String,
    },
    /// It could not be read.
    #[error("certificate cannot be read: {reason}")]
    Unreadable {
        /// What the parser said.
        reason: String,
    },
}

impl CertificateRefusal {
    /// The code of the answer.
    pub fn code(&self) -> Code {
        match self {
            CertificateRefusal::Missing => Code::Unauthenticated,
            _ => Code::Forbidden,
        }
    }
}

/// Checks a chain (leaf first) and reads its role. O(chain), one signature check per link.
///
/// # Errors
/// [`CertificateRefusal`]; nothing else decides who somebody is.
pub fn identify(
    chain: &[CertificateDer<'_>],
    side: Side,
    authorities: &[Authority],
) -> Result<Identity, CertificateRefusal> {
    let (leaf, rest) = chain.split_first().ok_or(CertificateRefusal::Missing)?;
    let unreadable = |error: webpki::Error| CertificateRefusal::Unreadable { reason: error.to_string() };
    let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(unreadable)?;
    let usage = match side {
        Side::Server => webpki::KeyUsage::server_auth(),
        Side::Client => webpki::KeyUsage::client_auth(),
    };
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let mut refusal = None;
    for authority in authorities {
        let anchor = webpki::anchor_from_trusted_cert(&authority.certificate).map_err(unreadable)?;
        match end_entity.verify_for_usage(algorithms().all, &[anchor], rest, now, usage, None, None) {
            Ok(_) => return Ok(Identity { role: role_of(leaf)?, authority: authority.fingerprint }),
            Err(error @ (webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })) => {
                refusal = Some(CertificateRefusal::OutOfDate { reason: error.to_string() });
            }
            Err(error) => {
                refusal.get_or_insert(CertificateRefusal::UnknownAuthority {
                    fingerprint: fingerprint(rest.last().unwrap_or(leaf)),
                    reason: error.to_string(),
                });
            }
        }
    }
    Err(refusal.unwrap_or(CertificateRefusal::UnknownAuthority {
        fingerprint: fingerprint(rest.last().unwrap_or(leaf)),
        reason: "no authority is trusted here".into(),
    }))
}

fn role_of(leaf: &CertificateDer<'_>) -> Result<Role, CertificateRefusal> {
    let unreadable = |reason: String| CertificateRefusal::Unreadable { reason };
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
    let names = certificate.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
    let mut roles: Vec<Role> = Vec::new();
    for name in names.iter().flat_map(|extension| &extension.value.general_names) {
        if let GeneralName::URI(uri) = name
            && let Ok(role) = uri.parse()
        {
            roles.push(role);
        }
    }
    match roles.len() {
        1 => Ok(roles.remove(0)),
        found => Err(CertificateRefusal::Role { found }),
    }
}

/// For a dialling side: the other must be a broker of a known authority, and have the name that
/// was asked for, if one was.
#[derive(Debug)]
pub struct ExpectBroker {
    authorities: Vec<Authority>,
    name: Option<String>,
}

impl ExpectBroker {
    /// A verifier for one dial or many.
    pub fn new(authorities: Vec<Authority>, name: Option<String>) -> Arc<Self> {
        Arc::new(ExpectBroker { authorities, name })
    }

    fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), CertificateRefusal> {
        let identity = identify(chain, Side::Server, &self.authorities)?;
        match (&identity.role, &self.name) {
            (Role::Broker(got), Some(name)) if got != name => Err(CertificateRefusal::WrongRole {
                got: identity.role.clone(),
                wanted: format!("broker {name}"),
            }),
            (Role::Broker(_), _) => Ok(()),
            (got, _) => Err(CertificateRefusal::WrongRole { got: got.clone(), wanted: "a broker".into() }),
        }
    }
}

/// A refusal whose debug form is its message: rustls shows errors by that.
#[derive(Error)]
#[error("{0}")]
struct Shown(CertificateRefusal);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".into())
}

/// The three methods on signatures, alike for both verifiers: TLS 1.3 only, ring's algorithms.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(only_tls13())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, cert, dss, &algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

impl ServerCertVerifier for ExpectBroker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut chain = vec![end_entity.clone()];
        chain.extend_from_slice(intermediates);
        match self.check(&chain) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(refusal) => {
                let other = rustls::OtherError(Arc::new(Shown(refusal)));
                Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            }
        }
    }

    signatures!();
}

/// For an accepting side: the other proves the key of whatever certificate it shows, if it shows
/// one; [`identify`] decides afterwards.
#[derive(Debug)]
pub struct ProveKeyOnly;

impl ClientCertVerifier for ProveKeyOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    };

    fn authority(name: &str) -> (Authority, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        (Authority::new(certificate.der().clone()), Issuer::new(params, key))
    }

    fn leaf(issuer: &Issuer<'static, KeyPair>, uris: &[&str]) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    #[test]
    fn an_identity_needs_a_known_authority_and_one_role() {
        let (ours, issuer) = authority("ours");
        let (theirs, foreign) = authority("theirs");
        let good = leaf(&issuer, &["fanal://client/till", "https://example.org/x"]);
        let known = std::slice::from_ref(&ours);
        let identity = identify(&[good, ours.certificate().clone()], Side::Client, known).unwrap();
        assert_eq!(identity, Identity { role: Role::Client("till".into()), authority: ours.fingerprint() });

        let stranger = [leaf(&foreign, &["fanal://client/till"]), theirs.certificate().clone()];
        let refusal = identify(&stranger, Side::Client, known).unwrap_err();
        assert!(
            matches!(&refusal, CertificateRefusal::UnknownAuthority { fingerprint, .. } if *fingerprint == theirs.fingerprint())
        );
        assert_eq!(refusal.code(), Code::Forbidden);

        let two = leaf(&issuer, &["fanal://client/a", "fanal://broker/a"]);
        assert_eq!(identify(&[two], Side::Client, known), Err(CertificateRefusal::Role { found: 2 }));
        assert_eq!(
            identify(&[leaf(&issuer, &[])], Side::Client, known),
            Err(CertificateRefusal::Role { found: 0 })
        );
        assert_eq!(identify(&[], Side::Client, known).unwrap_err().code(), Code::Unauthenticated);
    }

    #[test]
    fn a_dialled_broker_must_have_the_role_and_the_name() {
        let (ours, issuer) = authority("ours");
        let expect = |name: Option<&str>| ExpectBroker {
            authorities: vec![ours.clone()],
            name: name.map(str::to_owned),
        };
        let broker = [leaf(&issuer, &["fanal://broker/ewr"])];
        assert!(expect(Some("ewr")).check(&broker).is_ok());
        assert!(expect(None).check(&broker).is_ok());
        assert!(matches!(expect(Some("jfk")).check(&broker), Err(CertificateRefusal::WrongRole { .. })));
        let client = [leaf(&issuer, &["fanal://client/ewr"])];
        assert!(matches!(expect(None).check(&client), Err(CertificateRefusal::WrongRole { .. })));
    }
}
