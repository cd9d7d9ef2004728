//! What one certificate says, as far as etcd's rules ask.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// Longest common name that is kept (X.509: 64 characters).
const NAME_BYTES_MAX: usize = 1024;

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To show who a server is.
    Server,
    /// To show who a client is.
    Client,
}

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// 1, 2 or 3.
    pub(crate) version: u32,
    /// The subject's (last) common name, or nothing.
    pub(crate) common_name: String,
    /// Host names it is valid for.
    pub(crate) dns_names: Vec<String>,
    /// Addresses it is valid for.
    pub(crate) ip_addresses: Vec<IpAddr>,
    /// Seconds since 1970 of the first and the last moment it is valid.
    pub(crate) valid_s: (i64, i64),
    /// Whether it may sign others: a CA, or of version 1, which could not yet say so.
    pub(crate) may_sign: bool,
    /// Whether it demands something that is not understood here.
    pub(crate) demands_unknown: bool,
    /// Whether it may be used to show who a server, and who a client is.
    pub(crate) purposes: (bool, bool),
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// The parser's words.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Result<Facts, String> {
        Ok(Facts::of(&parse(der)?))
    }

    /// The facts of a parsed certificate.
    pub(crate) fn of(parsed: &X509Certificate<'_>) -> Facts {
        let mut facts = Facts {
            version: parsed.version().0 + 1,
            common_name: common_name(parsed),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            valid_s: (
                parsed.validity().not_before.timestamp(),
                parsed.validity().not_after.timestamp(),
            ),
            may_sign: parsed.version().0 < 2,
            demands_unknown: false,
            purposes: (true, true),
        };
        let mut signs_certificates = true;
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(basic) => facts.may_sign |= basic.ca,
                ParsedExtension::KeyUsage(usage) => signs_certificates = usage.key_cert_sign(),
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    facts.purposes =
                        (usage.any || usage.server_auth, usage.any || usage.client_auth);
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    facts.add_names(&names.general_names);
                }
                ParsedExtension::AuthorityKeyIdentifier(_)
                | ParsedExtension::SubjectKeyIdentifier(_)
                | ParsedExtension::CertificatePolicies(_)
                | ParsedExtension::CRLDistributionPoints(_)
                | ParsedExtension::AuthorityInfoAccess(_)
                | ParsedExtension::NameConstraints(_) => {}
                _ => facts.demands_unknown |= extension.critical,
            }
        }
        facts.may_sign &= signs_certificates;
        facts
    }

    fn add_names(&mut self, names: &[GeneralName<'_>]) {
        for name in names {
            match name {
                GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => self.ip_addresses.extend(ip_address(bytes)),
                _ => {}
            }
        }
    }

    /// Whether it may be used for this; one that does not say may be used for all.
    pub(crate) fn allows(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Server => self.purposes.0,
            Purpose::Client => self.purposes.1,
        }
    }

    /// Whether it is valid at this moment, in seconds since 1970.
    pub(crate) fn is_valid_at(&self, now_s: i64) -> bool {
        (self.valid_s.0..=self.valid_s.1).contains(&now_s)
    }
}

/// Parses one certificate and nothing after it.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err("x509: trailing data".to_owned()),
        Err(_) => Err("x509: malformed certificate".to_owned()),
    }
}

/// The last common name of the subject, as Go reads it.
fn common_name(parsed: &X509Certificate<'_>) -> String {
    let names = parsed.subject().iter_common_name();
    let name = names.filter_map(|name| name.as_str().ok()).last().unwrap_or_default();
    if name.len() > NAME_BYTES_MAX { String::new() } else { name.to_owned() }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A serial number in lower-case hexadecimal without leading zeros.
pub(crate) fn serial_text(raw: &[u8]) -> String {
    let text: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    match text.trim_start_matches('0') {
        "" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// A serial number without the zeros in front that differ between encoders.
pub(crate) fn serial_digits(raw: &[u8]) -> &[u8] {
    let zeros = raw.iter().take_while(|&&byte| byte == 0).count();
    &raw[zeros..]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A certificate that says nothing.
    pub(crate) fn plain() -> Facts {
        Facts {
            version: 3,
            common_name: String::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            valid_s: (0, i64::MAX),
            may_sign: false,
            demands_unknown: false,
            purposes: (true, true),
        }
    }

    #[test]
    fn serial_numbers_lose_their_leading_zeros() {
        assert_eq!(serial_text(&[0, 1, 0xab]), "1ab");
        assert_eq!(serial_text(&[0xff, 0x00]), "ff00");
        assert_eq!(serial_text(&[0]), "0");
        assert_eq!(serial_digits(&[0, 0, 7]), [7]);
    }
}
