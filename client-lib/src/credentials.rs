//! Credentials: where the broker is, which CA to trust, and who we are.
//!
//! One JSON object: `addresses`, `broker` (may be absent), `ca`, `certificate`, `key`; the
//! last three as PEM, `certificate` may hold a chain. Invariant: what is held here is parsed
//! and complete, so that dialling cannot fail on its form.

use std::fmt;
use std::path::Path;

use fanal_protocol::tls::Authority;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use crate::error::CredentialsError;

/// Name of the file that a broker writes into its data directory.
const LOCAL_FILE: &str = "local.json";

#[derive(Deserialize)]
struct Document {
    addresses: Vec<String>,
    #[serde(default)]
    broker: Option<String>,
    ca: String,
    certificate: String,
    key: String,
}

/// Everything that is needed to connect. Cheap to keep; holds a private key, which its
/// `Debug` form leaves out.
pub struct Credentials {
    pub(crate) addresses: Vec<String>,
    pub(crate) broker: Option<String>,
    pub(crate) authorities: Vec<Authority>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Credentials {
            addresses: self.addresses.clone(),
            broker: self.broker.clone(),
            authorities: self.authorities.clone(),
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Credentials");
        out.field("addresses", &self.addresses).field("broker", &self.broker).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads a credentials file.
    ///
    /// # Errors
    /// [`CredentialsError`] naming the file and what is wrong with it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        read(path.as_ref(), "give another file with --creds or FANAL_CREDS")
    }

    /// Reads `local.json` of a broker's data directory, which the broker writes at each start.
    ///
    /// # Errors
    /// [`CredentialsError`] naming the file and what is wrong with it.
    pub fn from_data_dir(dir: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        let hint = "start the broker (`fanal serve`), name its data directory, or give a credentials file";
        read(&dir.as_ref().join(LOCAL_FILE), hint)
    }

    /// Parses the JSON of a credentials file.
    ///
    /// # Errors
    /// [`CredentialsError::Format`].
    pub fn from_json(text: &str) -> Result<Self, CredentialsError> {
        parse(text).map_err(|reason| CredentialsError::Format { place: "given as text".into(), reason })
    }

    /// The same credentials with other addresses (`host:port`), tried in this order.
    pub fn with_addresses(mut self, addresses: Vec<String>) -> Self {
        self.addresses = addresses;
        self
    }

    /// Where the broker is, in the order of trying.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The broker's name, if the credentials tell it; then no other broker is accepted.
    pub fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }
}

fn read(path: &Path, hint: &'static str) -> Result<Credentials, CredentialsError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| CredentialsError::Read { path: path.to_owned(), source, hint })?;
    let place = format!("in {}", path.display());
    parse(&text).map_err(|reason| CredentialsError::Format { place, reason })
}

fn parse(text: &str) -> Result<Credentials, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if document.addresses.is_empty() {
        return Err("`addresses` is empty".into());
    }
    let key = PrivateKeyDer::from_pem_slice(document.key.as_bytes());
    Ok(Credentials {
        addresses: document.addresses,
        broker: document.broker.filter(|name| !name.is_empty()),
        authorities: certificates("ca", &document.ca)?.into_iter().map(Authority::new).collect(),
        chain: certificates("certificate", &document.certificate)?,
        key: key.map_err(|error| format!("`key` holds no private key in PEM: {error}"))?,
    })
}

fn certificates(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match parsed {
        Ok(list) if list.is_empty() => Err(format!("`{field}` holds no certificate in PEM")),
        Ok(list) => Ok(list),
        Err(error) => Err(format!("`{field}` is not PEM: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_the_field() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Credentials::from_data_dir(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("local.json") && missing.contains("fanal serve"), "{missing}");
        let path = dir.path().join("x.json");
        for (text, expected) in [
            ("{", "EOF"),
            ("{}", "addresses"),
            (r#"{"addresses":[],"ca":"","certificate":"","key":""}"#, "`addresses` is empty"),
            (r#"{"addresses":["a:1"],"ca":"","certificate":"","key":""}"#, "`ca` holds no certificate"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Credentials::from_file(&path).unwrap_err().to_string();
            assert!(error.contains("x.json") && error.contains(expected), "{error}");
        }
    }
}
