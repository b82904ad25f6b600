//! OCSP (RFC 6960): the question to a certificate's issuer, and whether an answer may be stapled:
//! signed by the issuer or by whom it delegated this to, about this certificate, "good", and now.

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request,
    ResponderId, SingleResponse, TbsRequest, Version,
};

/// Hashes that name an issuer in a certificate id.
const OID_SHA1: &str = "1.3.14.3.2.26";
const OID_SHA256: &str = "2.16.840.1.101.3.4.2.1";
/// id-pkix-ocsp-basic, and id-kp-OCSPSigning (RFC 6960 §4.2.1, §4.2.2.2).
const OID_BASIC: &str = "1.3.6.1.5.5.7.48.1.1";
const OID_SIGNING: &str = "1.3.6.1.5.5.7.3.9";
/// id-pkix-ocsp-nonce (RFC 9654 §2.1).
const OID_NONCE: &str = "1.3.6.1.5.5.7.48.1.2";
/// Bytes of a nonce: what every responder takes (RFC 9654 §2.1).
const NONCE_BYTES: usize = 32;
/// secp256r1 and secp384r1 (RFC 5480 §2.1.1.1).
const OID_P256: &str = "1.2.840.10045.3.1.7";
const OID_P384: &str = "1.3.132.0.34";
/// How far the clocks of the responder and this machine may differ.
const SKEW: Duration = Duration::from_secs(300);
/// An answer that says nothing about its end is believed so long.
const UNDATED_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Why an answer is not stapled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// A certificate or an answer that cannot be parsed.
    #[error("{what} cannot be read: {error}")]
    Unreadable {
        /// Which.
        what: &'static str,
        /// Why.
        error: String,
    },
    /// The responder refused to answer.
    #[error("the responder says {0}")]
    Refused(&'static str),
    /// It answers another question.
    #[error("the answer is about another certificate")]
    OtherCertificate,
    /// It was made for somebody else's question, or is an old one that is played again.
    #[error("the answer has another nonce than the question")]
    OtherNonce,
    /// It is signed by nobody who may.
    #[error("the answer is not signed by the certificate's issuer")]
    NotSigned,
    /// Its time is over or has not come.
    #[error("the answer is out of date")]
    OutOfDate,
    /// The certificate was revoked.
    #[error("the certificate was revoked")]
    Revoked,
    /// The issuer does not know the certificate.
    #[error("the issuer does not know the certificate")]
    Unknown,
}

/// An answer that may be stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From when it holds, since the epoch.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

fn parse(what: &'static str, der: &[u8]) -> Result<Certificate, OcspError> {
    Certificate::from_der(der).map_err(|error| unreadable(what, error))
}

fn unreadable(what: &'static str, error: impl core::fmt::Display) -> OcspError {
    OcspError::Unreadable {
        what,
        error: error.to_string(),
    }
}

/// A random value that makes a question unlike any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// A new one. `None`: the system has no randomness.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = [0; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    fn extension(self) -> Result<Extension, OcspError> {
        let error = |error| unreadable("the nonce", error);
        let value = OctetString::new(self.0.as_slice()).map_err(error)?;
        Ok(Extension {
            extn_id: ObjectIdentifier::new_unwrap(OID_NONCE),
            critical: false,
            extn_value: OctetString::new(value.to_der().map_err(error)?).map_err(error)?,
        })
    }

    /// Whether an answer is to the question with this one, or of a responder that makes its
    /// answers in advance and has none (RFC 9654 §2.1 leaves that to it).
    fn is_answered_by(self, basic: &BasicOcspResponse) -> bool {
        let extensions = basic.tbs_response_data.response_extensions.as_deref();
        let nonces = extensions.unwrap_or_default().iter();
        nonces
            .filter(|one| one.extn_id.to_string() == OID_NONCE)
            .all(|one| {
                let value = OctetString::from_der(one.extn_value.as_bytes());
                value.is_ok_and(|value| value.as_bytes() == self.0.as_slice())
            })
    }
}

/// The question about a certificate, in DER.
///
/// # Errors
/// A certificate that cannot be parsed.
pub fn request(
    certificate: &[u8],
    issuer: &[u8],
    nonce: Option<Nonce>,
) -> Result<Vec<u8>, OcspError> {
    let certificate = parse("the certificate", certificate)?;
    let issuer = parse("the issuer's certificate", issuer)?;
    let name = issuer.tbs_certificate.subject.to_der();
    let name = name.map_err(|error| unreadable("the issuer's name", error))?;
    let key = issuer
        .tbs_certificate
        .subject_public_key_info
        .subject_public_key
        .raw_bytes();
    // SHA-1 is what every responder understands; nothing is signed with it here.
    let hash = |bytes: &[u8]| {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
        OctetString::new(hash.as_ref()).map_err(|error| unreadable("a hash", error))
    };
    let request = OcspRequest {
        tbs_request: TbsRequest {
            version: Version::V1,
            requestor_name: None,
            request_list: vec![Request {
                req_cert: CertId {
                    hash_algorithm: AlgorithmIdentifierOwned {
                        oid: ObjectIdentifier::new_unwrap(OID_SHA1),
                        parameters: Some(Null.into()),
                    },
                    issuer_name_hash: hash(&name)?,
                    issuer_key_hash: hash(key)?,
                    serial_number: certificate.tbs_certificate.serial_number,
                },
                single_request_extensions: None,
            }],
            request_extensions: nonce
                .map(|nonce| nonce.extension().map(|one| vec![one]))
                .transpose()?,
        },
        optional_signature: None,
    };
    request
        .to_der()
        .map_err(|error| unreadable("the question", error))
}

/// Checks an answer, which is in DER, and tells how long it holds. `nonce` is the question's, if
/// one was asked just now; `now` is since the epoch.
///
/// # Errors
/// Why it must not be stapled.
pub fn verify(
    answer: &[u8],
    certificate: &[u8],
    issuer: &[u8],
    nonce: Option<Nonce>,
    now: Duration,
) -> Result<Window, OcspError> {
    let certificate = parse("the certificate", certificate)?;
    let issuer = parse("the issuer's certificate", issuer)?;
    let answer = OcspResponse::from_der(answer);
    let answer = answer.map_err(|error| unreadable("the answer", error))?;
    if answer.response_status != OcspResponseStatus::Successful {
        return Err(OcspError::Refused(status(answer.response_status)));
    }
    let bytes = answer
        .response_bytes
        .filter(|bytes| bytes.response_type.to_string() == OID_BASIC);
    let bytes = bytes.ok_or_else(|| unreadable("the answer", "not of the basic type"))?;
    let basic = BasicOcspResponse::from_der(bytes.response.as_bytes())
        .map_err(|error| unreadable("the answer", error))?;
    if !is_signed(&basic, &issuer, now) {
        return Err(OcspError::NotSigned);
    }
    if nonce.is_some_and(|nonce| !nonce.is_answered_by(&basic)) {
        return Err(OcspError::OtherNonce);
    }
    let single = basic
        .tbs_response_data
        .responses
        .iter()
        .find(|single| is_about(single, &certificate, &issuer))
        .ok_or(OcspError::OtherCertificate)?;
    match single.cert_status {
        CertStatus::Good(_) => {}
        CertStatus::Revoked(_) => return Err(OcspError::Revoked),
        CertStatus::Unknown(_) => return Err(OcspError::Unknown),
    }
    let from = single.this_update.0.to_unix_duration();
    let until = single
        .next_update
        .map_or(from + UNDATED_LIFE, |next| next.0.to_unix_duration());
    if from > now + SKEW || until <= now {
        return Err(OcspError::OutOfDate);
    }
    Ok(Window { from, until })
}

const fn status(status: OcspResponseStatus) -> &'static str {
    match status {
        OcspResponseStatus::Successful => "successful",
        OcspResponseStatus::MalformedRequest => "malformed request",
        OcspResponseStatus::InternalError => "internal error",
        OcspResponseStatus::TryLater => "try later",
        OcspResponseStatus::SigRequired => "signature required",
        OcspResponseStatus::Unauthorized => "unauthorized",
    }
}

fn is_about(single: &SingleResponse, certificate: &Certificate, issuer: &Certificate) -> bool {
    let id = &single.cert_id;
    let algorithm = match id.hash_algorithm.oid.to_string().as_str() {
        OID_SHA1 => &SHA1_FOR_LEGACY_USE_ONLY,
        OID_SHA256 => &SHA256,
        _ => return false,
    };
    let Ok(name) = issuer.tbs_certificate.subject.to_der() else {
        return false;
    };
    let key = &issuer.tbs_certificate.subject_public_key_info;
    let key = key.subject_public_key.raw_bytes();
    id.serial_number == certificate.tbs_certificate.serial_number
        && id.issuer_name_hash.as_bytes() == digest(algorithm, &name).as_ref()
        && id.issuer_key_hash.as_bytes() == digest(algorithm, key).as_ref()
}

/// Whether the issuer signed the answer, or a certificate that the issuer made for this.
fn is_signed(basic: &BasicOcspResponse, issuer: &Certificate, now: Duration) -> bool {
    let Ok(signed) = basic.tbs_response_data.to_der() else {
        return false;
    };
    let signature = basic.signature.raw_bytes();
    let signs = |signer: &Certificate| {
        let key = &signer.tbs_certificate.subject_public_key_info;
        is_responder(&basic.tbs_response_data.responder_id, signer)
            && holds(&basic.signature_algorithm, key, &signed, signature)
    };
    let enclosed = basic.certs.as_deref().unwrap_or_default();
    signs(issuer)
        || enclosed
            .iter()
            .any(|signer| is_delegate(signer, issuer, now) && signs(signer))
}

fn is_responder(id: &ResponderId, signer: &Certificate) -> bool {
    match id {
        ResponderId::ByName(name) => *name == signer.tbs_certificate.subject,
        ResponderId::ByKey(hash) => {
            let key = &signer.tbs_certificate.subject_public_key_info;
            let own = digest(
                &SHA1_FOR_LEGACY_USE_ONLY,
                key.subject_public_key.raw_bytes(),
            );
            hash.as_bytes() == own.as_ref()
        }
    }
}

/// A certificate for signing OCSP answers that the issuer itself has signed (RFC 6960 §4.2.2.2).
fn is_delegate(signer: &Certificate, issuer: &Certificate, now: Duration) -> bool {
    let tbs = &signer.tbs_certificate;
    let may_sign = match tbs.get::<ExtendedKeyUsage>() {
        Ok(Some((_, usage))) => usage.0.iter().any(|oid| oid.to_string() == OID_SIGNING),
        _ => false,
    };
    let validity = &tbs.validity;
    let is_valid = validity.not_before.to_unix_duration() <= now + SKEW
        && validity.not_after.to_unix_duration() > now;
    let Ok(signed) = tbs.to_der() else {
        return false;
    };
    let key = &issuer.tbs_certificate.subject_public_key_info;
    may_sign
        && is_valid
        && tbs.issuer == issuer.tbs_certificate.subject
        && holds(
            &signer.signature_algorithm,
            key,
            &signed,
            signer.signature.raw_bytes(),
        )
}

/// Whether a signature is that key's.
fn holds(
    algorithm: &AlgorithmIdentifierOwned,
    key: &SubjectPublicKeyInfoOwned,
    signed: &[u8],
    signature: &[u8],
) -> bool {
    let Some(algorithm) = verification(algorithm, key) else {
        return false;
    };
    let key = UnparsedPublicKey::new(algorithm, key.subject_public_key.raw_bytes());
    key.verify(signed, signature).is_ok()
}

fn verification(
    algorithm: &AlgorithmIdentifierOwned,
    key: &SubjectPublicKeyInfoOwned,
) -> Option<&'static dyn VerificationAlgorithm> {
    let parameters = key.algorithm.parameters.as_ref();
    let curve = parameters
        .and_then(|any| any.decode_as::<ObjectIdentifier>().ok())
        .map(|oid| oid.to_string());
    let curve = curve.as_deref();
    Some(match (algorithm.oid.to_string().as_str(), curve) {
        ("1.2.840.113549.1.1.11", _) => &RSA_PKCS1_2048_8192_SHA256,
        ("1.2.840.113549.1.1.12", _) => &RSA_PKCS1_2048_8192_SHA384,
        ("1.2.840.113549.1.1.13", _) => &RSA_PKCS1_2048_8192_SHA512,
        ("1.2.840.10045.4.3.2", Some(OID_P256)) => &ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.4.3.2", Some(OID_P384)) => &ECDSA_P384_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", Some(OID_P256)) => &ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.4.3.3", Some(OID_P384)) => &ECDSA_P384_SHA384_ASN1,
        ("1.3.101.112", _) => &ED25519,
        _ => return None,
    })
}
