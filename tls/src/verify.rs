//! Whether a certificate leads to a trusted one, by Go's rules on top of the library's path search.
//!
//! The library refuses three things that Go takes and that people have: a leaf that is itself
//! trusted (a self-signed certificate handed to clients as CA), a leaf marked as CA, and one of
//! version 1 (what `openssl x509 -req` makes without extensions). The first needs no path; the
//! other two are taken when a trusted CA signed them directly.

use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError as Fault;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::{DigitallySignedStruct, OtherError, PeerMisbehaved};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, RawPublicKeyEntity,
    RequiredEkuNotFoundContext,
};

use crate::cert::{self, Facts, Purpose};
use crate::roots::Roots;

/// A refusal in words of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) String);

/// Wraps a text for the library; the words come out again in [`crate::describe`].
pub(crate) fn refusal(text: impl Into<String>) -> Fault {
    Fault::Other(OtherError(Arc::new(Refusal(text.into()))))
}

/// Checks chains and signatures.
#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) roots: Roots,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl Checker {
    /// Whether `leaf` leads to a root.
    pub(crate) fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), Fault> {
        let facts = Facts::read(leaf).map_err(refusal)?;
        check_dates(&facts, now)?;
        let now_s = seconds(now);
        let anchors = self.roots.anchors(purpose, now_s);
        let plain = self.roots.contains(leaf);
        if !facts.allows(purpose) {
            return Err(Fault::InvalidPurpose);
        }
        if !plain && facts.version == 3 {
            match self.path(leaf, intermediates, &anchors, purpose, now) {
                Err(webpki::Error::CaUsedAsEndEntity) => {}
                outcome => return outcome.map_err(fault),
            }
        }
        // What remains to be checked by hand: a leaf without a path, or with one of one step.
        if facts.demands_unknown {
            return Err(Fault::UnhandledCriticalExtension);
        }
        if plain || self.is_signed_by_one_of(leaf, &anchors)? {
            return Ok(());
        }
        Err(Fault::UnknownIssuer)
    }

    fn path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchors: &[TrustAnchor<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let leaf = EndEntityCert::try_from(leaf)?;
        let usage = Usage(purpose);
        let path = leaf.verify_for_usage(
            self.algorithms.all,
            anchors,
            intermediates,
            now,
            usage,
            None,
            None,
        );
        path.map(|_| ())
    }

    /// Whether one of the anchors signed `leaf`.
    fn is_signed_by_one_of(
        &self,
        leaf: &CertificateDer<'_>,
        anchors: &[TrustAnchor<'_>],
    ) -> Result<bool, Fault> {
        let parsed = cert::parse(leaf).map_err(refusal)?;
        let signed = parsed.tbs_certificate.as_ref();
        let signature = &parsed.signature_value.data;
        let issuer = parsed.issuer().as_raw();
        Ok(anchors.iter().any(|anchor| {
            let subject = rustls::DistinguishedName::in_sequence(anchor.subject.as_ref());
            if subject.as_ref() != issuer || anchor.name_constraints.is_some() {
                return false;
            }
            let key = webpki::spki_for_anchor(anchor);
            // An algorithm that is not of the key's kind refuses by itself.
            self.algorithms.all.iter().any(|alg| verify(&key, *alg, signed, signature).is_ok())
        }))
    }

    /// The signature of a handshake message under TLS 1.2.
    pub(crate) fn tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = public_key(cert)?;
        let algorithms = self.algorithms_of(signed)?;
        let valid =
            algorithms.iter().any(|alg| verify(&key, *alg, message, signed.signature()).is_ok());
        verdict(valid)
    }

    /// The same under TLS 1.3, where a scheme names its curve: the first algorithm alone counts.
    pub(crate) fn tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature_with_raw_key(
            message,
            &public_key(cert)?,
            signed,
            &self.algorithms,
        )
    }

    fn algorithms_of(
        &self,
        signed: &DigitallySignedStruct,
    ) -> Result<&'static [&'static dyn SignatureVerificationAlgorithm], rustls::Error> {
        let found = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let algorithms = found.map(|(_, algorithms)| *algorithms);
        algorithms.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }
}

fn verdict(valid: bool) -> Result<HandshakeSignatureValid, rustls::Error> {
    match valid {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(Fault::BadSignature.into()),
    }
}

fn verify(
    key: &SubjectPublicKeyInfoDer<'_>,
    algorithm: &dyn SignatureVerificationAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), webpki::Error> {
    RawPublicKeyEntity::try_from(key)?.verify_signature(algorithm, message, signature)
}

/// The key of any certificate, also of those the library does not read.
fn public_key(
    cert: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
    let parsed = cert::parse(cert).map_err(refusal)?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}

/// Accepts a purpose, or any purpose, where a certificate names some.
struct Usage(Purpose);

/// anyExtendedKeyUsage.
const ANY_USAGE: &[usize] = &[2, 5, 29, 37, 0];

impl ExtendedKeyUsageValidator for Usage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let required = match self.0 {
            Purpose::Server => KeyUsage::server_auth(),
            Purpose::Client => KeyUsage::client_auth(),
        };
        let mut present = Vec::new();
        for usage in usages {
            let oid = usage?.to_decoded_oid();
            if oid == ANY_USAGE || required.oid_values().eq(oid.iter().copied()) {
                return Ok(());
            }
            present.push(oid);
        }
        if present.is_empty() {
            return Ok(());
        }
        let context = RequiredEkuNotFoundContext { required, present };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Refuses what is not valid now.
pub(crate) fn check_dates(facts: &Facts, now: UnixTime) -> Result<(), Fault> {
    let moment = |s: i64| {
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(s).unwrap_or_default()))
    };
    let (first, last) = facts.valid_s;
    if seconds(now) < first {
        return Err(Fault::NotValidYetContext { time: now, not_before: moment(first) });
    }
    if seconds(now) > last {
        return Err(Fault::ExpiredContext { time: now, not_after: moment(last) });
    }
    Ok(())
}

/// The library's verdict on a path.
fn fault(error: webpki::Error) -> Fault {
    use webpki::Error as E;
    match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => Fault::BadEncoding,
        E::CertNotValidYet { time, not_before } => Fault::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => Fault::ExpiredContext { time, not_after },
        E::RequiredEkuNotFoundContext(_) => Fault::InvalidPurpose,
        E::UnsupportedCriticalExtension => Fault::UnhandledCriticalExtension,
        // A root of the same name with another key is another authority.
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => Fault::UnknownIssuer,
        other => refusal(format!("x509: {other}")),
    }
}
