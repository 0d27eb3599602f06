//! Certificates: the broker's own CA, its leaf, and credentials for this machine.
//!
//! Invariants:
//! 1. A CA is made at most once per directory, under a lock, however many brokers start at once.
//! 2. Keys and credentials are readable by their owner only; files appear whole or not at all.
//! 3. The leaf carries the role `fanal://broker/NAME`; it is issued anew at each start where the
//!    CA's key is at hand.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fanal_protocol::tls::{Authority, ExpectBroker, ProveKeyOnly, provider};
use fanal_protocol::{ALPN_CLIENT, ALPN_PEER, Role};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use thiserror::Error;

const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const LEAF_CERTIFICATE: &str = "broker.pem";
const LEAF_KEY: &str = "broker.key";
const RESET_SECRET: &str = "reset.key";
/// Name of the client that `local.json` stands for.
const LOCAL_CLIENT: &str = "admin";
const CA_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 365;

/// Why certificates cannot be had.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file or directory cannot be used.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no certificate or key.
    #[error("{} cannot be read as {what}: {reason}; restore it, or remove ca.pem and ca.key together for a new CA, which no client or peer will know", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// One of the CA's two files is missing.
    #[error("{} is missing beside {}: restore it; a new CA would lock out every client and peer", missing.display(), present.display())]
    Half {
        /// The missing file.
        missing: PathBuf,
        /// The other one.
        present: PathBuf,
    },
    /// The CA's key is not here, and no leaf either.
    #[error("neither {} nor {} is there: bring the CA's key, or a certificate and key for this broker", ca_key.display(), leaf.display())]
    NoLeaf {
        /// Where the CA's key would be.
        ca_key: PathBuf,
        /// Where the leaf would be.
        leaf: PathBuf,
    },
    /// A certificate is to be issued without the CA's key.
    #[error("the CA's key is not here ({}): issue certificates where it is", ca_key.display())]
    NoKey {
        /// Where it would be.
        ca_key: PathBuf,
    },
    /// The library refuses.
    #[error("cannot make {what}: {reason}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrustError {
    let path = path.to_owned();
    move |source| TrustError::Io { operation, path, source }
}

fn make_error(what: &'static str) -> impl Fn(rcgen::Error) -> TrustError {
    move |error| TrustError::Make { what, reason: error.to_string() }
}

/// A certificate with its key, as PEM.
struct Leaf {
    certificate: String,
    key: String,
}

/// See the module.
pub(crate) struct Trust {
    authority: Authority,
    authority_pem: String,
    issuer: Option<Issuer<'static, KeyPair>>,
    ca_key: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Trust {
    /// Reads the CA in `ca_dir`, or makes it; issues this broker's leaf.
    ///
    /// # Errors
    /// [`TrustError`]; what exists is never overwritten.
    pub(crate) fn open_or_create(ca_dir: &Path, broker: &str, data_dir: &Path) -> Result<Trust, TrustError> {
        fs::create_dir_all(ca_dir).map_err(io_error("make the CA's directory", ca_dir))?;
        let lock = lock(ca_dir)?;
        let (certificate, key) = (ca_dir.join(CA_CERTIFICATE), ca_dir.join(CA_KEY));
        let own_leaf = data_dir.join(LEAF_CERTIFICATE);
        match (certificate.exists(), key.exists()) {
            (false, false) => create_ca(ca_dir)?,
            (false, true) => return Err(TrustError::Half { missing: certificate, present: key }),
            (true, false) if !own_leaf.exists() => {
                return Err(TrustError::NoLeaf { ca_key: key, leaf: own_leaf });
            }
            _ => {}
        }
        drop(lock);
        let authority_pem = read(&certificate)?;
        let der = parse_certificates(&certificate, &authority_pem)?.swap_remove(0);
        let issuer = if key.exists() { Some(load_issuer(&certificate, &key, &der)?) } else { None };
        let leaf = match &issuer {
            Some(issuer) => issue(issuer, &Role::Broker(broker.to_owned()))?,
            None => Leaf { certificate: read(&own_leaf)?, key: read(&data_dir.join(LEAF_KEY))? },
        };
        let mut chain = parse_certificates(&own_leaf, &leaf.certificate)?;
        chain.truncate(1);
        chain.push(der.clone());
        let key_der = PrivatePkcs8KeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(|error| {
            TrustError::Unreadable {
                path: data_dir.join(LEAF_KEY),
                what: "a private key",
                reason: error.to_string(),
            }
        })?;
        Ok(Trust { authority: Authority::new(der), authority_pem, issuer, ca_key: key, chain, key: key_der })
    }

    /// The CA of this broker's owner.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The CAs whose certificates are admitted.
    pub(crate) fn authorities(&self) -> Vec<Authority> {
        vec![self.authority.clone()]
    }

    /// A credentials file for a client of this broker.
    pub(crate) fn credentials_json(
        &self,
        addresses: &[SocketAddr],
        admin: SocketAddr,
        broker: &str,
        client: &str,
    ) -> Result<String, TrustError> {
        let Some(issuer) = &self.issuer else {
            return Err(TrustError::NoKey { ca_key: self.ca_key.clone() });
        };
        let leaf = issue(issuer, &Role::Client(client.to_owned()))?;
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let credentials = json!({
            "addresses": addresses,
            "broker": broker,
            "ca": self.authority_pem,
            "certificate": format!("{}{}", leaf.certificate, self.authority_pem),
            "key": leaf.key,
            "admin": admin.to_string(),
        });
        Ok(format!("{credentials:#}\n"))
    }

    /// Writes the credentials file for this machine; where it is.
    pub(crate) fn write_local_json(
        &self,
        data_dir: &Path,
        addresses: &[SocketAddr],
        admin: SocketAddr,
        broker: &str,
    ) -> Result<PathBuf, TrustError> {
        let path = data_dir.join("local.json");
        let reachable: Vec<SocketAddr> = addresses.iter().map(|address| dialable(*address)).collect();
        let text = self.credentials_json(&reachable, dialable(admin), broker, LOCAL_CLIENT)?;
        write_whole(&path, text.as_bytes(), 0o600)?;
        Ok(path)
    }

    /// A secret of this data directory that survives restarts, made at its first use.
    pub(crate) fn reset_secret(&self, data_dir: &Path) -> Result<[u8; 32], TrustError> {
        let path = data_dir.join(RESET_SECRET);
        match fs::read(&path).map(<[u8; 32]>::try_from) {
            Ok(Ok(secret)) => return Ok(secret),
            Ok(Err(_)) => {
                tracing::warn!(path = %path.display(), "the reset secret is damaged: a new one is made")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read", &path)(error)),
        }
        let secret: [u8; 32] = rand::random();
        write_whole(&path, &secret, 0o600)?;
        Ok(secret)
    }

    /// TLS of the listener, for clients and peers.
    pub(crate) fn server_config(&self) -> Result<rustls::ServerConfig, TrustError> {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls_error)?
            .with_client_cert_verifier(std::sync::Arc::new(ProveKeyOnly))
            .with_single_cert(self.chain.clone(), PrivateKeyDer::Pkcs8(self.key.clone_key()))
            .map_err(tls_error)?;
        config.alpn_protocols = vec![ALPN_CLIENT.to_vec(), ALPN_PEER.to_vec()];
        // Nothing resumes yet, and each ticket costs memory and bytes.
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// TLS of a dial to a peer of a name.
    pub(crate) fn peer_client_config(&self, expected: &str) -> Result<rustls::ClientConfig, TrustError> {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls_error)?
            .dangerous()
            .with_custom_certificate_verifier(ExpectBroker::new(
                self.authorities(),
                Some(expected.to_owned()),
            ))
            .with_client_auth_cert(self.chain.clone(), PrivateKeyDer::Pkcs8(self.key.clone_key()))
            .map_err(tls_error)?;
        config.alpn_protocols = vec![ALPN_PEER.to_vec()];
        Ok(config)
    }
}

/// An address that a client on this machine can dial.
fn dialable(address: SocketAddr) -> SocketAddr {
    let mut out = address;
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => out.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => out.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    out
}

fn tls_error(error: rustls::Error) -> TrustError {
    TrustError::Make { what: "the TLS configuration", reason: error.to_string() }
}

fn lock(ca_dir: &Path) -> Result<File, TrustError> {
    let path = ca_dir.join(".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(io_error("open", &path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| io_error("lock", &path)(error.into()))?;
    Ok(file)
}

fn validity(params: &mut CertificateParams, days: i64) {
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_secs(86_400);
    // An hour of grace for clocks that are behind.
    params.not_before = (now - day / 24).into();
    params.not_after = (now + day * u32::try_from(days).unwrap_or(365)).into();
}

fn create_ca(ca_dir: &Path) -> Result<(), TrustError> {
    let what = "the CA";
    let key = KeyPair::generate().map_err(make_error(what))?;
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(make_error(what))?;
    validity(&mut params, CA_DAYS);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Fanal CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(make_error(what))?;
    // The key first: a certificate without its key would be taken for a foreign CA's.
    write_whole(&ca_dir.join(CA_KEY), key.serialize_pem().as_bytes(), 0o600)?;
    let written = write_whole(&ca_dir.join(CA_CERTIFICATE), certificate.pem().as_bytes(), 0o644);
    if written.is_err() {
        // Nobody has seen this key yet.
        let _ = fs::remove_file(ca_dir.join(CA_KEY));
    }
    written
}

fn load_issuer(
    certificate: &Path,
    key: &Path,
    der: &CertificateDer<'static>,
) -> Result<Issuer<'static, KeyPair>, TrustError> {
    let unreadable =
        |path: &Path, what, reason: String| TrustError::Unreadable { path: path.to_owned(), what, reason };
    let pair = KeyPair::from_pem(&read(key)?)
        .map_err(|error| unreadable(key, "a private key", error.to_string()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| unreadable(certificate, "a certificate", error.to_string()))?;
    if parsed.public_key().subject_public_key.data.as_ref() != rcgen::PublicKeyData::der_bytes(&pair) {
        return Err(unreadable(key, "the key of ca.pem", "it belongs to another certificate".into()));
    }
    Issuer::from_ca_cert_der(der, pair)
        .map_err(|error| unreadable(certificate, "a CA's certificate", error.to_string()))
}

fn issue(issuer: &Issuer<'static, KeyPair>, role: &Role) -> Result<Leaf, TrustError> {
    let what = "a certificate";
    let key = KeyPair::generate().map_err(make_error(what))?;
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(make_error(what))?;
    validity(&mut params, LEAF_DAYS);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, role.name());
    let uri = role.to_string().try_into().map_err(make_error(what))?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match role {
        Role::Broker(_) => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
        Role::Client(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    let certificate = params.signed_by(&key, issuer).map_err(make_error(what))?;
    Ok(Leaf { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn read(path: &Path) -> Result<String, TrustError> {
    fs::read_to_string(path).map_err(io_error("read", path))
}

fn parse_certificates(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let unreadable =
        |reason: String| TrustError::Unreadable { path: path.to_owned(), what: "a certificate", reason };
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = parsed.map_err(|error| unreadable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unreadable("it holds none".into()));
    }
    Ok(certificates)
}

/// Writes a file beside its place, flushes it and moves it there.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TrustError> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanal_protocol::tls::{Side, identify};
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn brokers_that_start_at_once_share_one_ca() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let started: Vec<Trust> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let (ca, data) = (ca.clone(), dir.path().to_owned());
                    scope.spawn(move || Trust::open_or_create(&ca, &format!("b{n}"), &data).unwrap())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let fingerprint = started[0].authority().fingerprint();
        for (n, trust) in started.iter().enumerate() {
            assert_eq!(trust.authority().fingerprint(), fingerprint);
            let identity = identify(&trust.chain, Side::Server, &started[0].authorities()).unwrap();
            assert_eq!(identity.role, Role::Broker(format!("b{n}")));
        }
        assert_eq!((mode(&ca.join(CA_KEY)), mode(&ca.join(CA_CERTIFICATE))), (0o600, 0o644));
    }

    #[test]
    fn local_json_is_private_and_holds_a_client() {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::open_or_create(&dir.path().join("ca"), "ewr", dir.path()).unwrap();
        let any: SocketAddr = "0.0.0.0:4600".parse().unwrap();
        let path = trust.write_local_json(dir.path(), &[any], any, "ewr").unwrap();
        assert_eq!(mode(&path), 0o600);
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(json["addresses"][0], "127.0.0.1:4600");
        let chain = parse_certificates(&path, json["certificate"].as_str().unwrap()).unwrap();
        let identity = identify(&chain, Side::Client, &trust.authorities()).unwrap();
        assert_eq!(identity.role, Role::Client("admin".into()));
    }

    #[test]
    fn damaged_and_missing_files_are_named_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let open =
            || Trust::open_or_create(&ca, "ewr", dir.path()).map(|_| ()).map_err(|error| error.to_string());
        open().unwrap();
        let (certificate, key) = (ca.join(CA_CERTIFICATE), ca.join(CA_KEY));
        let good = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
        for (path, good) in [(&certificate, &good.0), (&key, &good.1)] {
            fs::write(path, "garbage").unwrap();
            let error = open().unwrap_err();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
            assert_eq!(fs::read(path).unwrap(), b"garbage");
            fs::write(path, good).unwrap();
        }
        fs::remove_file(&certificate).unwrap();
        assert!(open().unwrap_err().contains("is missing"));
        fs::write(&certificate, &good.0).unwrap();
        fs::remove_file(&key).unwrap();
        assert!(open().unwrap_err().contains("neither"));
        fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(open().unwrap_err().contains("another certificate"));
        fs::write(&key, &good.1).unwrap();
        open().unwrap();
    }
}
