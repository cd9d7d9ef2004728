//! Certificates for tests, made on the spot. Everything here panics instead of failing.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SerialNumber,
};

use crate::PairFiles;

const DAY: Duration = Duration::from_secs(86_400);

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Subject(CertificateParams);

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain, the leaf first.
    pub cert_pem: String,
    /// The key.
    pub key_pem: String,
    /// The serial number.
    pub serial: Vec<u8>,
}

/// Somebody who signs certificates.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>, Vec<u8>);

impl Subject {
    /// A server and client of this common name, valid today, for no host.
    pub fn named(common_name: &str) -> Subject {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let now = SystemTime::now();
        (params.not_before, params.not_after) = ((now - DAY).into(), (now + DAY).into());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Subject(params)
    }

    /// For these hosts: names, patterns or addresses.
    #[must_use]
    pub fn hosts(mut self, hosts: &[&str]) -> Subject {
        let hosts: Vec<String> = hosts.iter().map(|&h| h.to_owned()).collect();
        self.0.subject_alt_names =
            CertificateParams::new(hosts).expect("good hosts").subject_alt_names;
        self
    }

    /// No longer valid since yesterday.
    #[must_use]
    pub fn expired(mut self) -> Subject {
        let now = SystemTime::now();
        (self.0.not_before, self.0.not_after) = ((now - DAY * 2).into(), (now - DAY).into());
        self
    }

    /// Not valid before tomorrow.
    #[must_use]
    pub fn early(mut self) -> Subject {
        let now = SystemTime::now();
        (self.0.not_before, self.0.not_after) = ((now + DAY).into(), (now + DAY * 2).into());
        self
    }

    /// For servers alone.
    #[must_use]
    pub fn only_for_servers(mut self) -> Subject {
        self.0.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// Without a word on what it is for, or for whatever may come.
    #[must_use]
    pub fn for_any_use(mut self, said: bool) -> Subject {
        self.0.extended_key_usages =
            if said { vec![ExtendedKeyUsagePurpose::Any] } else { Vec::new() };
        self
    }

    /// Marked as a CA.
    #[must_use]
    pub fn ca(mut self) -> Subject {
        self.0.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.0.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        self
    }

    /// Signed by its own key.
    pub fn self_signed(self) -> Issued {
        let key = key();
        let cert = self.0.self_signed(&key).expect("a certificate");
        Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem(), serial: Vec::new() }
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

/// Gives a certificate a serial number of its own: the start of its key's hash.
fn numbered(mut params: CertificateParams, key: &KeyPair) -> (CertificateParams, Vec<u8>) {
    let serial = params.key_identifier(key)[..8].to_vec();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    (params, serial)
}

impl Authority {
    /// A root of this name.
    pub fn new(name: &str) -> Authority {
        Authority::of(Subject::named(name).for_any_use(false).ca())
    }

    /// A root that says this of itself.
    pub fn of(subject: Subject) -> Authority {
        let key = key();
        let (params, serial) = numbered(subject.0, &key);
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"), serial)
    }

    /// A CA below this one.
    pub fn below(&self, name: &str) -> Authority {
        let key = key();
        let (params, serial) = numbered(Subject::named(name).for_any_use(false).ca().0, &key);
        let made = CertifiedIssuer::signed_by(params, key, &self.0).expect("a certificate");
        Authority(made, serial)
    }

    /// The serial number of its own certificate.
    pub fn serial(&self) -> Vec<u8> {
        self.1.clone()
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a new certificate.
    pub fn issue(&self, subject: Subject) -> Issued {
        let key = key();
        let (params, serial) = numbered(subject.0, &key);
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem(), serial }
    }

    /// A DER list of these certificates.
    pub fn revoke(&self, revoked: &[&Issued]) -> Vec<u8> {
        let now = SystemTime::now();
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|issued| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&issued.serial),
                    revocation_time: now.into(),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).expect("a list").der().to_vec()
    }
}

impl Issued {
    /// Writes `<name>.pem` and `<name>-key.pem`, over what is there.
    pub fn write(&self, dir: &Path, name: &str) -> PairFiles {
        let files = PairFiles {
            cert: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}-key.pem")),
        };
        std::fs::write(&files.cert, &self.cert_pem).expect("write a certificate");
        std::fs::write(&files.key, &self.key_pem).expect("write a key");
        files
    }
}
