//! What a server demands of its clients' certificates.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::allowed::Allowed;
use crate::cert::{Facts, Purpose};
use crate::crl::Crl;
use crate::verify::{Checker, refusal};

/// Demands a certificate and checks it: chain, restriction, revocation.
#[derive(Debug)]
pub(crate) struct ClientCheck {
    checker: Checker,
    /// The CAs clients are told of.
    subjects: Vec<DistinguishedName>,
    allowed: Allowed,
    crl: Option<Crl>,
}

impl ClientCheck {
    pub(crate) fn new(
        checker: Checker,
        subjects: Vec<DistinguishedName>,
        allowed: Allowed,
        crl: Option<Crl>,
    ) -> ClientCheck {
        ClientCheck { checker, subjects, allowed, crl }
    }
}

impl ClientCertVerifier for ClientCheck {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.checker.chain(leaf, intermediates, Purpose::Client, now)?;
        if self.allowed != Allowed::All {
            let facts = Facts::read(leaf).map_err(refusal)?;
            if !self.allowed.admits(leaf, &facts) {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        if let Some(crl) = &self.crl {
            crl.check(std::iter::once(leaf).chain(intermediates)).map_err(refusal)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.checker.tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.checker.tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.checker.algorithms.supported_schemes()
    }
}
