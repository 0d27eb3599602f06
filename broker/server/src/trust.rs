//! Certificates: the broker's own CA, its leaf, and credentials for this machine.
//!
//! Invariants:
//! 1. A CA is made at most once per directory, under a lock, however many brokers start at once.
//! 2. Keys and credentials are readable by their owner only; files appear whole or not at all.
//! 3. The leaf carries the role `fanal://broker/NAME`; it is issued anew at each start where the
//!    CA's key is at hand, else it is read and must be this broker's, of this CA, with its key.
//! 4. `ca.pem` appears last: where it is, the CA is complete and no lock is needed, so that the
//!    directory may be read-only. A CA that was being made at a crash is finished.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fanal_protocol::tls::{Authority, ExpectBroker, ProveKeyOnly, Side, identify, provider};
use fanal_protocol::{ALPN_CLIENT, ALPN_PEER, Role};
use fanal_store::{Disk, RealDisk};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::json;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::X509Extension;
use x509_parser::oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER;

const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
/// Key and certificate of a CA that is being made; there only until both files are.
const CA_MAKING: &str = "ca.making";
const LEAF_CERTIFICATE: &str = "broker.pem";
const LEAF_KEY: &str = "broker.key";
const RESET_SECRET: &str = "reset.key";
/// Name of the client that `local.json` stands for.
pub(crate) const LOCAL_CLIENT: &str = "admin";
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
    #[error("{} cannot be read as {what}: {reason}; restore it; remove it only to give up what it stands for (without its CA a broker knows no client or peer)", path.display())]
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
    /// The certificate that was given to this broker is not one that it can serve with.
    #[error("{} cannot serve as broker {broker}: {reason}; have the owner of the CA issue it anew", path.display())]
    WrongLeaf {
        /// Which file.
        path: PathBuf,
        /// This broker's name.
        broker: String,
        /// What is wrong with it.
        reason: String,
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
    key: PrivateKeyDer<'static>,
}

impl Trust {
    /// Reads the CA in `ca_dir`, or makes it; issues this broker's leaf.
    ///
    /// # Errors
    /// [`TrustError`]; what exists is never overwritten.
    pub(crate) fn open_or_create(ca_dir: &Path, broker: &str, data_dir: &Path) -> Result<Trust, TrustError> {
        let (certificate, key) = (ca_dir.join(CA_CERTIFICATE), ca_dir.join(CA_KEY));
        if !certificate.exists() || ca_dir.join(CA_MAKING).exists() {
            make_ca(ca_dir)?;
        }
        let authority_pem = read(&certificate)?;
        let der = parse_certificates(&certificate, &authority_pem)?.swap_remove(0);
        check_is_ca(&certificate, &der)?;
        let authority = Authority::new(der.clone());
        let issuer = if key.exists() { Some(load_issuer(&certificate, &key, &der)?) } else { None };
        let (chain, leaf_key) = match &issuer {
            Some(issuer) => issued_chain(issuer, broker, der)?,
            None => given_chain(data_dir, broker, &key, &authority)?,
        };
        Ok(Trust { authority, authority_pem, issuer, ca_key: key, chain, key: leaf_key })
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
            .with_single_cert(self.chain.clone(), self.key.clone_key())
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
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
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

/// A leaf and its CA, with the leaf's key.
type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A chain that is issued here and now.
fn issued_chain(
    issuer: &Issuer<'static, KeyPair>,
    broker: &str,
    authority: CertificateDer<'static>,
) -> Result<Chain, TrustError> {
    let leaf = issue(issuer, &Role::Broker(broker.to_owned()))?;
    let made = |error: pem::Error| TrustError::Make { what: "a certificate", reason: error.to_string() };
    let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).map_err(made)?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(made)?;
    Ok((vec![certificate, authority], key))
}

/// The chain that was given to this broker, checked as a dialling peer would check it.
fn given_chain(
    data_dir: &Path,
    broker: &str,
    ca_key: &Path,
    authority: &Authority,
) -> Result<Chain, TrustError> {
    let (path, key_path) = (data_dir.join(LEAF_CERTIFICATE), data_dir.join(LEAF_KEY));
    if !path.exists() {
        return Err(TrustError::NoLeaf { ca_key: ca_key.to_owned(), leaf: path });
    }
    let leaf = parse_certificates(&path, &read(&path)?)?.swap_remove(0);
    let key = PrivateKeyDer::from_pem_slice(read(&key_path)?.as_bytes())
        .map_err(|error| unreadable(&key_path, "a private key", &error))?;
    let chain = vec![leaf, authority.certificate().clone()];
    let wrong = |path: &Path, reason: String| TrustError::WrongLeaf {
        path: path.to_owned(),
        broker: broker.to_owned(),
        reason,
    };
    let identity = identify(&chain, Side::Server, std::slice::from_ref(authority))
        .map_err(|refusal| wrong(&path, refusal.to_string()))?;
    if identity.role != Role::Broker(broker.to_owned()) {
        return Err(wrong(&path, format!("it is for {}", identity.role)));
    }
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider())
        .map_err(|error| wrong(&key_path, format!("it does not belong to {LEAF_CERTIFICATE} ({error})")))?;
    Ok((chain, key))
}

/// Makes the CA unless another broker did in the meantime, or finishes one that a crash left.
fn make_ca(ca_dir: &Path) -> Result<(), TrustError> {
    RealDisk::new(ca_dir).create_root().map_err(io_error("make the CA's directory", ca_dir))?;
    let _lock = lock(ca_dir)?;
    let (certificate, key) = (ca_dir.join(CA_CERTIFICATE), ca_dir.join(CA_KEY));
    let making = ca_dir.join(CA_MAKING);
    if certificate.exists() {
        // Spent, and it holds the key, which its owner may take elsewhere.
        return if making.exists() { remove(&making) } else { Ok(()) };
    }
    if !making.exists() {
        if key.exists() {
            return Err(TrustError::Half { missing: certificate, present: key });
        }
        let made = generate_ca()?;
        write_whole(&making, format!("{}{}", made.key, made.certificate).as_bytes(), 0o600)?;
    }
    finish_ca(ca_dir, &making)
}

/// Makes `ca.key` and `ca.pem` of `ca.making`. The key first (invariant 4).
fn finish_ca(ca_dir: &Path, making: &Path) -> Result<(), TrustError> {
    let text = read(making)?;
    let at = text.find("-----BEGIN CERTIFICATE-----").ok_or_else(|| {
        unreadable(making, "a CA that was being made", &"it holds no certificate; remove it to make another")
    })?;
    let (key, certificate) = text.split_at(at);
    write_whole(&ca_dir.join(CA_KEY), key.as_bytes(), 0o600)?;
    write_whole(&ca_dir.join(CA_CERTIFICATE), certificate.as_bytes(), 0o644)?;
    remove(making)
}

fn remove(path: &Path) -> Result<(), TrustError> {
    fs::remove_file(path).map_err(io_error("remove", path))
}

fn generate_ca() -> Result<Leaf, TrustError> {
    let what = "the CA";
    let key = KeyPair::generate().map_err(make_error(what))?;
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(make_error(what))?;
    validity(&mut params, CA_DAYS);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Fanal CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(make_error(what))?;
    Ok(Leaf { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn unreadable(path: &Path, what: &'static str, reason: &dyn std::fmt::Display) -> TrustError {
    TrustError::Unreadable { path: path.to_owned(), what, reason: reason.to_string() }
}

/// Refuses a certificate that no chain could end at.
fn check_is_ca(path: &Path, der: &CertificateDer<'_>) -> Result<(), TrustError> {
    let what = "a CA's certificate";
    // This reads more strictly than the other.
    rustls::RootCertStore::empty().add(der.clone()).map_err(|error| unreadable(path, what, &error))?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(der).map_err(|error| unreadable(path, what, &error))?;
    if !parsed.is_ca() {
        return Err(unreadable(path, what, &"it is one that may not sign others"));
    }
    if !parsed.validity().is_valid() {
        let (from, to) = (parsed.validity().not_before, parsed.validity().not_after);
        return Err(unreadable(path, what, &format!("it is valid from {from} to {to}, which is not now")));
    }
    check_own_signature(&parsed)
        .map_err(|error| unreadable(path, what, &format!("it is not as it was signed ({error})")))
}

/// A damaged certificate may still parse: then the fingerprint would be another one, and with it the
/// broker to all who know it. A CA below another one names that one's key (RFC 5280 section 4.2.1.1),
/// which is not here to be asked.
fn check_own_signature(certificate: &X509Certificate<'_>) -> Result<(), X509Error> {
    let names_key = |extension: &X509Extension<'_>| extension.oid == OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER;
    if certificate.issuer() != certificate.subject() && certificate.extensions().iter().any(names_key) {
        return Ok(());
    }
    certificate.verify_signature(None)
}

fn load_issuer(
    certificate: &Path,
    key: &Path,
    der: &CertificateDer<'static>,
) -> Result<Issuer<'static, KeyPair>, TrustError> {
    let pair = KeyPair::from_pem(&read(key)?).map_err(|error| unreadable(key, "a private key", &error))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| unreadable(certificate, "a certificate", &error))?;
    if parsed.public_key().subject_public_key.data.as_ref() != rcgen::PublicKeyData::der_bytes(&pair) {
        return Err(unreadable(key, "the key of ca.pem", &"it belongs to another certificate"));
    }
    Issuer::from_ca_cert_der(der, pair).map_err(|error| unreadable(certificate, "a CA's certificate", &error))
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
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = parsed.map_err(|error| unreadable(path, "a certificate", &error))?;
    if certificates.is_empty() {
        return Err(unreadable(path, "a certificate", &"it holds none"));
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
    write().map_err(|error| {
        // It may hold a key.
        let _ = fs::remove_file(&temporary);
        io_error("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn a_flipped_bit_anywhere_in_the_ca_is_refused_and_never_another_ca() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let fingerprint = Trust::open_or_create(&ca, "ewr", dir.path()).unwrap().authority().fingerprint();
        let mut harmless = 0;
        for name in [CA_CERTIFICATE, CA_KEY] {
            let path = ca.join(name);
            let good = fs::read(&path).unwrap();
            for at in 0..good.len() {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << (at % 7);
                fs::write(&path, bytes).unwrap();
                match Trust::open_or_create(&ca, "ewr", dir.path()) {
                    // Such as in a line's end.
                    Ok(trust) => {
                        assert_eq!(trust.authority().fingerprint(), fingerprint, "{name}, byte {at}");
                        harmless += 1;
                    }
                    Err(error) => assert!(error.to_string().contains(name), "{name}, byte {at}: {error}"),
                }
            }
            fs::write(&path, &good).unwrap();
        }
        assert!(harmless < 100, "{harmless}");
    }

    /// What a broker has that was given its certificate by the owner of the CA.
    fn given(name: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let made = Trust::open_or_create(&ca, "x", dir.path()).unwrap();
        let leaf = issue(made.issuer.as_ref().unwrap(), &Role::Broker(name.into())).unwrap();
        fs::write(dir.path().join(LEAF_CERTIFICATE), leaf.certificate).unwrap();
        fs::write(dir.path().join(LEAF_KEY), leaf.key).unwrap();
        fs::remove_file(ca.join(CA_KEY)).unwrap();
        (dir, ca)
    }

    #[test]
    fn a_given_leaf_is_served_without_the_ca_key() {
        let (dir, ca) = given("ewr");
        let trust = Trust::open_or_create(&ca, "ewr", dir.path()).unwrap();
        trust.server_config().unwrap();
        let identity = identify(&trust.chain, Side::Server, &trust.authorities()).unwrap();
        assert_eq!(identity.role, Role::Broker("ewr".into()));
    }

    #[test]
    fn a_given_leaf_of_another_name_is_refused_and_named() {
        let (dir, ca) = given("jfk");
        let error = Trust::open_or_create(&ca, "ewr", dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(LEAF_CERTIFICATE) && error.contains("jfk"), "{error}");
    }

    #[test]
    fn a_given_leaf_of_another_ca_is_refused_and_named() {
        let (dir, ca) = given("ewr");
        let (_other, foreign) = given("ewr");
        fs::copy(foreign.join(CA_CERTIFICATE), ca.join(CA_CERTIFICATE)).unwrap();
        let error = Trust::open_or_create(&ca, "ewr", dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(LEAF_CERTIFICATE) && error.contains("authority"), "{error}");
    }

    #[test]
    fn a_given_key_of_another_leaf_is_named_and_the_ca_is_left_alone() {
        let (dir, ca) = given("ewr");
        for text in [KeyPair::generate().unwrap().serialize_pem(), "garbage".into()] {
            fs::write(dir.path().join(LEAF_KEY), text).unwrap();
            let error = Trust::open_or_create(&ca, "ewr", dir.path()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(LEAF_KEY), "{error}");
            assert!(!error.contains("new CA"), "{error}");
        }
    }

    #[test]
    fn a_ca_that_was_being_made_when_the_power_went_is_finished() {
        // What is in the directory after each step of the making: 0 nothing but the plan, 1 the
        // key too, 2 both, and the plan not yet removed.
        for steps in 0..3 {
            let dir = tempfile::tempdir().unwrap();
            let ca = dir.path().join("ca");
            fs::create_dir_all(&ca).unwrap();
            let made = generate_ca().unwrap();
            fs::write(ca.join(CA_MAKING), format!("{}{}", made.key, made.certificate)).unwrap();
            if steps > 0 {
                fs::write(ca.join(CA_KEY), &made.key).unwrap();
            }
            if steps > 1 {
                fs::write(ca.join(CA_CERTIFICATE), &made.certificate).unwrap();
            }
            let trust = Trust::open_or_create(&ca, "ewr", dir.path()).unwrap();
            assert_eq!(trust.authority_pem, made.certificate, "{steps}");
            assert_eq!(fs::read_to_string(ca.join(CA_KEY)).unwrap(), made.key, "{steps}");
            assert!(!ca.join(CA_MAKING).exists(), "{steps}");
        }
    }

    #[test]
    fn a_certificate_that_is_no_ca_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let trust = Trust::open_or_create(&ca, "ewr", dir.path()).unwrap();
        let leaf = issue(trust.issuer.as_ref().unwrap(), &Role::Broker("ewr".into())).unwrap();
        fs::write(ca.join(CA_CERTIFICATE), leaf.certificate).unwrap();
        fs::write(ca.join(CA_KEY), leaf.key).unwrap();
        let error = Trust::open_or_create(&ca, "ewr", dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(CA_CERTIFICATE), "{error}");
    }

    #[test]
    fn both_sides_shake_hands_on_their_alpn() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let open = |name| Trust::open_or_create(&ca, name, dir.path()).unwrap();
        let (ewr, jfk) = (open("ewr"), open("jfk"));
        let mut server = rustls::ServerConnection::new(ewr.server_config().unwrap().into()).unwrap();
        let name = rustls::pki_types::ServerName::try_from("ewr").unwrap();
        let dial = |expected: &str| {
            rustls::ClientConnection::new(jfk.peer_client_config(expected).unwrap().into(), name.clone())
                .unwrap()
        };
        let mut client = dial("ewr");
        shake(&mut client, &mut server).unwrap();
        assert_eq!(client.alpn_protocol(), Some(ALPN_PEER));
        let chain = server.peer_certificates().unwrap();
        let identity = identify(chain, Side::Client, &ewr.authorities()).unwrap();
        assert_eq!(identity.role, Role::Broker("jfk".into()));
        let mut server = rustls::ServerConnection::new(ewr.server_config().unwrap().into()).unwrap();
        assert!(shake(&mut dial("lga"), &mut server).unwrap_err().to_string().contains("lga"));
    }

    fn shake(
        client: &mut rustls::ClientConnection,
        server: &mut rustls::ServerConnection,
    ) -> Result<(), rustls::Error> {
        for _ in 0..8 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }
}
