//! What is known of a client's TLS once hands are shaken, in nginx's words: for the access log,
//! for rules, and for servers behind the gateway.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use x509_cert::der::Decode;

/// The TLS of a connection.
#[derive(Clone, Debug, Default)]
pub struct SeenTls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: &'static str,
    /// Cipher suite, as OpenSSL calls it.
    pub cipher: &'static str,
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// An earlier session went on.
    pub is_resumed: bool,
    /// The certificate that the client showed. It has been verified.
    pub client: Option<Box<ClientCertificate>>,
}

impl SeenTls {
    /// nginx's `$ssl_client_verify`. There is no `FAILED`: whoever shows a certificate that does
    /// not verify gets no connection.
    #[must_use]
    pub const fn client_verify(&self) -> &'static str {
        match self.client {
            Some(_) => "SUCCESS",
            None => "NONE",
        }
    }
}

/// Whose certificate a client showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its owner (RFC 4514): `$ssl_client_s_dn`.
    pub subject: Box<str>,
    /// Who signed it (RFC 4514): `$ssl_client_i_dn`.
    pub issuer: Box<str>,
    /// Its number in upper case hexadecimal: `$ssl_client_serial`.
    pub serial: Box<str>,
    /// SHA-1 of the whole in lower case hexadecimal: `$ssl_client_fingerprint`.
    pub fingerprint: Box<str>,
}

impl ClientCertificate {
    /// Reads it from DER.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let parsed = x509_cert::Certificate::from_der(der).ok()?;
        let tbs = &parsed.tbs_certificate;
        let serial = tbs.serial_number.as_bytes();
        // A leading zero octet only says that the number is not negative.
        let serial = match serial {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        let fingerprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, der);
        Some(Self {
            subject: tbs.subject.to_string().into(),
            issuer: tbs.issuer.to_string().into(),
            serial: hex(serial, b"0123456789ABCDEF"),
            fingerprint: hex(fingerprint.as_ref(), b"0123456789abcdef"),
        })
    }
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> Box<str> {
    let digit = |value: u8| char::from(digits.get(usize::from(value)).copied().unwrap_or(b'0'));
    let pairs = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs.map(digit).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber};

    use super::*;

    #[test]
    fn a_certificate_is_told_in_the_words_of_nginx() {
        let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[0xab, 1, 2]));
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "Ring, Way");
        name.push(DnType::CommonName, "client");
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap();
        let read = ClientCertificate::read(der.der()).unwrap();
        assert_eq!(&*read.serial, "AB0102");
        assert_eq!(read.fingerprint.len(), 40);
        assert!(read.subject.contains("O=Ring\\, Way"), "{}", read.subject);
        assert_eq!(read.subject, read.issuer);
        assert_eq!(ClientCertificate::read(b"no certificate"), None);
        let mut seen = SeenTls::default();
        assert_eq!(seen.client_verify(), "NONE");
        seen.client = Some(Box::new(read));
        assert_eq!(seen.client_verify(), "SUCCESS");
    }
}
