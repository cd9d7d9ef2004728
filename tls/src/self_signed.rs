//! Certificates a server makes for itself (`--auto-tls`).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P521_SHA512,
};

use crate::Error;
use crate::pair::PairFiles;

/// A day, of which a year of validity has 365.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest validity in years: certificates cannot name a year after 9999.
const YEARS_MAX: u64 = 7_000;

/// A certificate a server made for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfSigned {
    /// Where it is.
    pub files: PairFiles,
    /// Until when it is valid, if it was made just now; one that was there already is used as it
    /// is, even if it has expired.
    pub made_until: Option<SystemTime>,
}

/// The certificate in `dir`, made if it is not there: for `hosts` (names or addresses), for as
/// many years of 365 days.
///
/// # Errors
/// No year at all, or a folder that cannot be written.
pub fn self_signed(dir: &Path, hosts: &[String], years: u64) -> Result<SelfSigned, Error> {
    if years == 0 {
        return Err(Error::Validity);
    }
    let files = PairFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    if files.cert.exists() && files.key.exists() {
        return Ok(SelfSigned { files, made_until: None });
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::write(dir))?;
    let now = SystemTime::now();
    let until = now + DAY * 365 * u32::try_from(years.min(YEARS_MAX)).unwrap_or(u32::MAX);
    let make = |e: rcgen::Error| Error::Make(e.to_string());
    let mut params = CertificateParams::new(hosts).map_err(make)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.not_before = now.into();
    params.not_after = until.into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::CrlSign,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).map_err(make)?;
    let cert = params.self_signed(&key).map_err(make)?;
    write(&files.key, &key.serialize_pem(), 0o600)?;
    write(&files.cert, &cert.pem(), 0o644)?;
    Ok(SelfSigned { files, made_until: Some(until) })
}

/// Writes a file so that it is there whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let part = path.with_extension("pem.tmp");
    let written = || {
        let mut options = OpenOptions::new();
        let mut file: File =
            options.write(true).create(true).truncate(true).mode(mode).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    written().map_err(Error::write(path))
}
