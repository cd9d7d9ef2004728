//! The library's errors in the words operators know from etcd.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::verify::Refusal;

/// What an error of a handshake or of a stream says, in etcd's words.
pub fn describe(error: &io::Error) -> String {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => tls(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => base::text::io_error(error),
    }
}

/// Whether the other side just went away, which is no news.
pub(crate) fn is_end(error: &io::Error) -> bool {
    let foreign = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    let gone = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionAborted,
    ];
    !foreign && gone.contains(&error.kind())
}

fn tls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(fault) => certificate(fault),
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "tls: first record does not look like a TLS handshake".to_owned(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "tls: no cipher suite supported by both client and server".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // TLS 1.1 and older do not know this extension.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => "tls: client offered only unsupported versions".to_owned(),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "tls: server selected unsupported protocol version".to_owned(),
        Error::NoApplicationProtocol => {
            "tls: client requested unsupported application protocols".to_owned()
        }
        other => format!("tls: {other}"),
    }
}

fn certificate(fault: &CertificateError) -> String {
    let verify = |why: String| format!("tls: failed to verify certificate: x509: {why}");
    let dates = "certificate has expired or is not yet valid";
    match fault {
        CertificateError::ApplicationVerificationFailure => {
            "client certificate authentication failed".to_owned()
        }
        CertificateError::BadEncoding => verify("malformed certificate".to_owned()),
        CertificateError::UnknownIssuer => {
            verify("certificate signed by unknown authority".to_owned())
        }
        CertificateError::InvalidPurpose => {
            verify("certificate specifies an incompatible key usage".to_owned())
        }
        CertificateError::UnhandledCriticalExtension => {
            verify("unhandled critical extension".to_owned())
        }
        CertificateError::BadSignature => "tls: invalid signature by the peer".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            verify(format!("{dates}: current time {} is after {}", utc(*time), utc(*not_after)))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            verify(format!("{dates}: current time {} is before {}", utc(*time), utc(*not_before)))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            verify(wrong_name(expected, presented))
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<Refusal>() {
            Some(Refusal(text)) if text.starts_with("x509: ") => {
                format!("tls: failed to verify certificate: {text}")
            }
            Some(Refusal(text)) => text.clone(),
            None => format!("tls: {other}"),
        },
        other => format!("tls: {other}"),
    }
}

fn utc(time: UnixTime) -> String {
    base::time::Rfc3339Nano(UNIX_EPOCH + Duration::from_secs(time.as_secs())).to_string()
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    let name = expected.to_str();
    let address = matches!(expected, ServerName::IpAddress(_));
    match (presented, address) {
        ([], true) => {
            format!("cannot validate certificate for {name} because it doesn't contain any IP SANs")
        }
        ([], false) => {
            format!("certificate is not valid for any names, but wanted to match {name}")
        }
        (names, _) => format!("certificate is valid for {}, not {name}", names.join(", ")),
    }
}

fn alert_text(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let text = match alert {
        A::CloseNotify => "close notify",
        A::UnexpectedMessage => "unexpected message",
        A::BadRecordMac => "bad record MAC",
        A::DecryptionFailed => "decryption failed",
        A::RecordOverflow => "record overflow",
        A::DecompressionFailure => "decompression failure",
        A::HandshakeFailure => "handshake failure",
        A::BadCertificate => "bad certificate",
        A::UnsupportedCertificate => "unsupported certificate",
        A::CertificateRevoked => "revoked certificate",
        A::CertificateExpired => "expired certificate",
        A::CertificateUnknown => "unknown certificate",
        A::IllegalParameter => "illegal parameter",
        A::UnknownCA => "unknown certificate authority",
        A::AccessDenied => "access denied",
        A::DecodeError => "error decoding message",
        A::DecryptError => "error decrypting message",
        A::ExportRestriction => "export restriction",
        A::ProtocolVersion => "protocol version not supported",
        A::InsufficientSecurity => "insufficient security level",
        A::InternalError => "internal error",
        A::InappropriateFallback => "inappropriate fallback",
        A::UserCanceled => "user canceled",
        A::NoRenegotiation => "no renegotiation",
        A::MissingExtension => "missing extension",
        A::UnsupportedExtension => "unsupported extension",
        A::CertificateUnobtainable => "certificate unobtainable",
        A::UnrecognisedName => "unrecognized name",
        A::BadCertificateStatusResponse => "bad certificate status response",
        A::BadCertificateHashValue => "bad certificate hash value",
        A::UnknownPSKIdentity => "unknown PSK identity",
        A::CertificateRequired => "certificate required",
        A::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    };
    text.to_owned()
}
