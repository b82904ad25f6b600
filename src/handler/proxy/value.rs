//! Values of fields that are made for each request.

use std::io::Write as _;

use crate::config::{FieldValue, RequestVariable, ValuePiece};
use crate::handler::Incoming;
use crate::http::Known;
use crate::tls::seen::{ClientCertificate, SeenTls};

/// Puts a value together. What it takes from elsewhere cannot break the field: control characters
/// of a certificate's names become spaces.
pub(super) fn write(value: &FieldValue, request: &Incoming<'_>, out: &mut Vec<u8>) {
    out.clear();
    for piece in &value.pieces {
        match piece {
            ValuePiece::Text(text) => out.extend_from_slice(text.as_bytes()),
            ValuePiece::Variable(variable) => {
                let start = out.len();
                variable_of(*variable, request, out);
                let written = out.iter_mut().skip(start);
                written
                    .filter(|byte| byte.is_ascii_control())
                    .for_each(|byte| *byte = b' ');
            }
        }
    }
    let trimmed = out.trim_ascii_end().len();
    out.truncate(trimmed);
    let spaces = out.len() - out.trim_ascii_start().len();
    out.drain(..spaces);
}

fn variable_of(variable: RequestVariable, request: &Incoming<'_>, out: &mut Vec<u8>) {
    let (head, client) = (request.head, request.client);
    // Into memory: cannot fail.
    let _ = match variable {
        RequestVariable::RemoteAddr => write!(out, "{}", client.address),
        RequestVariable::RemotePort => write!(out, "{}", client.peer.port()),
        RequestVariable::Host => out.write_all(head.header(Known::Host).unwrap_or_default()),
        RequestVariable::Scheme => {
            let scheme = if request.tls.is_some() {
                "https"
            } else {
                "http"
            };
            out.write_all(scheme.as_bytes())
        }
        RequestVariable::RequestMethod => out.write_all(head.method_token().as_bytes()),
        RequestVariable::RequestUri => out.write_all(head.target().as_bytes()),
        RequestVariable::RequestId => out.write_all(request.id.as_bytes(head)),
        of_tls => match request.tls {
            Some(tls) => out.write_all(tls_of(of_tls, tls).as_bytes()),
            None => Ok(()),
        },
    };
}

/// Empty where there is nothing to say, as nginx has it.
fn tls_of(variable: RequestVariable, tls: &SeenTls) -> &str {
    let client = |pick: fn(&ClientCertificate) -> &str| tls.client.as_deref().map_or("", pick);
    match variable {
        RequestVariable::SslProtocol => tls.protocol,
        RequestVariable::SslCipher => tls.cipher,
        RequestVariable::SslServerName => tls.server_name.as_deref().unwrap_or_default(),
        RequestVariable::SslSessionReused if tls.is_resumed => "r",
        RequestVariable::SslSessionReused => ".",
        RequestVariable::SslClientVerify => tls.client_verify(),
        RequestVariable::SslClientSubject => client(|one| &one.subject),
        RequestVariable::SslClientIssuer => client(|one| &one.issuer),
        RequestVariable::SslClientSerial => client(|one| &one.serial),
        RequestVariable::SslClientFingerprint => client(|one| &one.fingerprint),
        _ => "",
    }
}
