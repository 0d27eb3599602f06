//! Certificates that tests show: of the brokers' own CA, and of strangers.

use std::path::Path;

use fanal_protocol::tls;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate and its key.
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The one in a broker's `local.json`.
    ///
    /// # Panics
    /// When the file is not there or not as documented.
    pub fn local(data: &Path) -> Identity {
        let text = std::fs::read_to_string(data.join("local.json")).expect("local.json");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let pem = |field: &str| json[field].as_str().expect("PEM").as_bytes().to_vec();
        let chain = CertificateDer::pem_slice_iter(&pem("certificate")).collect::<Result<_, _>>();
        Identity {
            chain: chain.expect("certificates"),
            key: PrivateKeyDer::from_pem_slice(&pem("key")).expect("a key"),
        }
    }
}

/// A CA that issues what a test wants.
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A stranger.
    ///
    /// # Panics
    /// When it cannot be made.
    #[allow(clippy::new_without_default, reason = "it makes a key")]
    pub fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        Authority { certificate, pem, issuer: Issuer::new(params, key) }
    }

    /// The brokers' own, from their CA directory.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn of(ca: &Path) -> Authority {
        let pem = std::fs::read_to_string(ca.join("ca.pem")).expect("ca.pem");
        let key = std::fs::read_to_string(ca.join("ca.key")).expect("ca.key");
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        let key = KeyPair::from_pem(&key).expect("a key");
        let issuer = Issuer::from_ca_cert_der(&certificate, key).expect("a CA");
        Authority { certificate, pem, issuer }
    }

    /// Its certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// SHA-256 of its certificate, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        tls::fingerprint(&self.certificate).to_string()
    }

    /// A certificate for a role, such as `fanal://client/till`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn issue(&self, role: &str) -> Identity {
        let (chain, key) = self.leaf(role);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Identity { chain: vec![chain.der().clone(), self.certificate.clone()], key }
    }

    /// A credentials file for a client of this CA, for a broker that trusts `ca`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn credentials(&self, client: &str, address: std::net::SocketAddr, ca: &Authority) -> String {
        let (certificate, key) = self.leaf(&format!("fanal://client/{client}"));
        let json = serde_json::json!({
            "addresses": [address.to_string()], "ca": ca.pem,
            "certificate": format!("{}{}", certificate.pem(), self.pem), "key": key.serialize_pem(),
        });
        json.to_string()
    }

    fn leaf(&self, role: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.subject_alt_names = vec![SanType::URI(role.try_into().expect("a URI"))];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }
}
