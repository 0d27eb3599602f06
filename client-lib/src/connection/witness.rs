//! Checks a broker's certificate and remembers why one was refused: QUIC's own error carries the
//! reason only in a form for developers.

use std::sync::{Arc, Mutex};

use fanal_protocol::tls::ExpectBroker;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::credentials::Credentials;
use crate::sync::lock;

/// A verifier for one dial.
#[derive(Debug)]
pub(crate) struct Witness {
    inner: Arc<ExpectBroker>,
    refusal: Mutex<Option<String>>,
}

impl Witness {
    pub(crate) fn new(credentials: &Credentials) -> Arc<Self> {
        let inner = ExpectBroker::new(credentials.authorities.clone(), credentials.broker.clone());
        Arc::new(Witness { inner, refusal: Mutex::new(None) })
    }

    /// Why the broker's certificate was refused, if it was.
    pub(crate) fn refusal(&self) -> Option<String> {
        lock(&self.refusal).clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if let Err(Error::InvalidCertificate(CertificateError::Other(other))) = &checked {
            *lock(&self.refusal) = Some(format!("the broker's {}", other.0));
        }
        checked
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
