//! Values of request fields that are made for each request: text with nginx's variables in it.

use super::headers;
use crate::base::nearest::nearest;
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Hidden, Map};

/// A value of a request field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue {
    /// What it is made of, in order; nothing leaves the field out.
    pub pieces: Box<[ValuePiece]>,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValuePiece {
    /// As it is written.
    Text(Box<str>),
    /// What the request says.
    Variable(RequestVariable),
}

macro_rules! variables {
    ($($name:literal => $variant:ident,)*) => {
        /// What a value may say of a request, in nginx's words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is nginx's variable of that name")]
        pub enum RequestVariable {
            $($variant,)*
        }

        const VARIABLES: &[(&str, RequestVariable)] =
            &[$(($name, RequestVariable::$variant),)*];
    };
}

variables! {
    "remote_addr" => RemoteAddr,
    "remote_port" => RemotePort,
    "host" => Host,
    "scheme" => Scheme,
    "request_method" => RequestMethod,
    "request_uri" => RequestUri,
    "request_id" => RequestId,
    "ssl_protocol" => SslProtocol,
    "ssl_cipher" => SslCipher,
    "ssl_server_name" => SslServerName,
    "ssl_session_reused" => SslSessionReused,
    "ssl_client_verify" => SslClientVerify,
    "ssl_client_s_dn" => SslClientSubject,
    "ssl_client_i_dn" => SslClientIssuer,
    "ssl_client_serial" => SslClientSerial,
    "ssl_client_fingerprint" => SslClientFingerprint,
}

/// Takes a table of fields. `key` is where it stands.
pub(super) fn resolve(
    raw: Map<Hidden>,
    key: &str,
    found: &mut Findings,
) -> Vec<(String, FieldValue)> {
    let places: Vec<_> = raw.0.iter().map(|(name, _)| name.clone()).collect();
    let fields = headers::resolve(raw, found).into_iter();
    fields
        .filter_map(|(name, text)| match compile(&text) {
            Ok(value) => Some((name, value)),
            Err(unknown) => {
                let place = places.iter().find(|place| place.value == name)?;
                let message = format!("unknown variable ${}", unknown.escape_debug());
                let names = VARIABLES.iter().map(|(name, _)| *name);
                let hint = match nearest(&unknown, names) {
                    Some(near) => format!("did you mean ${near}? `$$` stands for `$` itself"),
                    None => "`$$` stands for `$` itself".to_owned(),
                };
                let problem = Problem::new(&place.at, &format!("{key}.{name}"), message);
                found.errors.push(problem.hint(hint));
                None
            }
        })
        .collect()
}

/// The pieces of a text, or the name of a variable that nobody knows.
fn compile(text: &str) -> Result<FieldValue, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
        let (name, tail) = after.split_at_checked(end).unwrap_or((after, ""));
        rest = tail;
        if name.is_empty() {
            plain.push('$');
            rest = tail.strip_prefix('$').unwrap_or(tail);
            continue;
        }
        let known = VARIABLES.iter().find(|(known, _)| *known == name);
        let (_, variable) = known.ok_or_else(|| name.to_owned())?;
        if !plain.is_empty() {
            pieces.push(ValuePiece::Text(core::mem::take(&mut plain).into()));
        }
        pieces.push(ValuePiece::Variable(*variable));
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(ValuePiece::Text(plain.into()));
    }
    Ok(FieldValue {
        pieces: pieces.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ValuePiece {
        ValuePiece::Text(text.into())
    }

    #[test]
    fn texts_are_cut_into_pieces() {
        use RequestVariable::{RemoteAddr, SslClientSubject};
        use ValuePiece::Variable;
        for (value, pieces) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("$ssl_client_s_dn", vec![Variable(SslClientSubject)]),
            (
                "a $remote_addr,b",
                vec![text("a "), Variable(RemoteAddr), text(",b")],
            ),
            ("$$5 and $ 5$", vec![text("$5 and $ 5$")]),
            ("${x}", vec![text("${x}")]),
        ] {
            let compiled = compile(value).unwrap();
            assert_eq!(*compiled.pieces, *pieces, "{value}");
        }
        assert_eq!(compile("x $nobody."), Err("nobody".to_owned()));
    }
}
