//! What a client demands of a server's certificate.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

use crate::allowed::is_valid_for;
use crate::cert::{Facts, Purpose};
use crate::verify::{Checker, check_dates, refusal};

/// Checks dates, name and chain, or nothing but that the server holds the key it shows.
#[derive(Debug)]
pub(crate) struct ServerCheck {
    pub(crate) checker: Checker,
    /// Takes any certificate.
    pub(crate) blind: bool,
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.blind {
            let facts = Facts::read(leaf).map_err(refusal)?;
            check_dates(&facts, now)?;
            check_name(leaf, &facts, name)?;
            self.checker.chain(leaf, intermediates, Purpose::Server, now)?;
        }
        Ok(ServerCertVerified::assertion())
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

/// Refuses a certificate that is not for `name`; a common name does not count.
fn check_name(
    leaf: &CertificateDer<'_>,
    facts: &Facts,
    name: &ServerName<'_>,
) -> Result<(), CertificateError> {
    let text = name.to_str();
    if is_valid_for(leaf, &text) == Some(true) {
        return Ok(());
    }
    let presented = match name {
        ServerName::IpAddress(_) => facts.ip_addresses.iter().map(ToString::to_string).collect(),
        _ => facts.dns_names.clone(),
    };
    if facts.dns_names.is_empty() && facts.ip_addresses.is_empty() && facts.common_name == text {
        let text = "certificate relies on legacy Common Name field, use SANs instead";
        return Err(refusal(format!("x509: {text}")));
    }
    Err(CertificateError::NotValidForNameContext { expected: name.to_owned(), presented })
}
