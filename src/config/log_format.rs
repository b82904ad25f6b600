//! What an access log line is made of: nginx's `log_format` with its variables, and Gunicorn's
//! `access_log_format` with its atoms, both compiled once to the same pieces.

use std::sync::Arc;

use crate::base::nearest::nearest;
use crate::http::Known;

/// nginx's format of the seed.
pub(super) const MAIN: &str = "$remote_addr - $remote_user [$time_local] \"$request\" \
    $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" \"$http_x_forwarded_for\" \
    rt=$request_time uct=\"$upstream_connect_time\" \
    uht=\"$upstream_header_time\" urt=\"$upstream_response_time\"";
/// nginx's predefined format.
pub(super) const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" \
    $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";
/// Gunicorn's format of the seed.
pub(super) const GUNICORN: &str =
    r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(D)s"#;

/// What an access log line looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, with the attribute names of OpenTelemetry.
    Json,
    /// Text and variables.
    Template(Template),
}

impl LogFormat {
    /// Whether lines name fields of the response.
    #[must_use]
    pub fn names_sent_fields(&self) -> bool {
        let is_sent = |piece: &Piece| matches!(piece, Piece::Variable(Variable::SentHttp(_)));
        matches!(self, Self::Template(template) if template.pieces.iter().any(is_sent))
    }
}

/// Text and variables, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// As it was written.
    pub text: Arc<str>,
    /// What it is made of.
    pub pieces: Arc<[Piece]>,
    /// How values are made harmless.
    pub escape: Escape,
}

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Box<str>),
    /// What a request makes of it.
    Variable(Variable),
}

/// How values are made harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// Quotes, backslashes and all but printable ASCII as `\xHH`; `-` for no value.
    #[default]
    Default,
    /// As the inside of a JSON string; nothing for no value.
    Json,
}

/// A header field by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// One of those looked up by index.
    Known(Known),
    /// Any other name.
    Named(Box<str>),
}

macro_rules! variables {
    ($($name:literal => $variant:ident,)*) => {
        /// A value of a request, in nginx's words.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is nginx's variable of that name")]
        pub enum Variable {
            $($variant,)*
            /// `$http_NAME`
            Http(Field),
            /// `$sent_http_NAME`
            SentHttp(Field),
            /// `$arg_NAME`
            Arg(Box<str>),
            /// `$cookie_NAME`
            CookieNamed(Box<str>),
            /// `%(U)s`: the path as it was sent.
            Path,
            /// `%(q)s`: the query, also where it is empty.
            Query,
            /// `%(t)s`: the time in brackets.
            BracketedTime,
            /// `%(D)s`
            Micros,
            /// `%(M)s`
            Millis,
            /// `%(T)s`
            WholeSeconds,
            /// `%(L)s`
            SecondsMicros,
        }

        const VARIABLES: &[(&str, Variable)] = &[$(($name, Variable::$variant),)*];
    };
}

variables! {
    "remote_addr" => RemoteAddr,
    "remote_port" => RemotePort,
    "realip_remote_addr" => RealipRemoteAddr,
    "remote_user" => RemoteUser,
    "time_local" => TimeLocal,
    "time_iso8601" => TimeIso8601,
    "msec" => Msec,
    "request" => Request,
    "request_method" => RequestMethod,
    "request_uri" => RequestUri,
    "uri" => Uri,
    "args" => Args,
    "query_string" => QueryString,
    "is_args" => IsArgs,
    "server_protocol" => ServerProtocol,
    "scheme" => Scheme,
    "https" => Https,
    "host" => Host,
    "content_type" => ContentType,
    "content_length" => ContentLength,
    "status" => Status,
    "body_bytes_sent" => BodyBytesSent,
    "bytes_sent" => BytesSent,
    "request_length" => RequestLength,
    "request_completion" => RequestCompletion,
    "document_uri" => DocumentUri,
    "http2" => Http2,
    "pipe" => Pipe,
    "connection" => Connection,
    "limit_req_status" => LimitReqStatus,
    "limit_conn_status" => LimitConnStatus,
    "upstream_addr" => UpstreamAddr,
    "upstream_status" => UpstreamStatus,
    "request_time" => RequestTime,
    "request_id" => RequestId,
    "route" => Route,
    "upstream_cache_status" => UpstreamCacheStatus,
    "upstream_connect_time" => UpstreamConnectTime,
    "upstream_header_time" => UpstreamHeaderTime,
    "upstream_response_time" => UpstreamResponseTime,
    "ssl_protocol" => SslProtocol,
    "ssl_cipher" => SslCipher,
    "ssl_server_name" => SslServerName,
    "ssl_session_reused" => SslSessionReused,
    "ssl_client_verify" => SslClientVerify,
    "ssl_client_s_dn" => SslClientSubject,
    "ssl_client_i_dn" => SslClientIssuer,
    "ssl_client_serial" => SslClientSerial,
    "ssl_client_fingerprint" => SslClientFingerprint,
    "connection_requests" => ConnectionRequests,
    "pid" => Pid,
}

/// Fields that are made when a response is written, too late for a line to know them.
const FRAMING: [Known; 5] = [
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Connection,
    Known::KeepAlive,
    Known::Date,
];

/// Why a template is none. Holds no more of it than the name that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Whether a text is a template and no format's name.
pub(super) fn is_template(text: &str) -> bool {
    text.contains('$') || text.contains("%(")
}

/// Compiles a template of either kind.
///
/// # Errors
/// Each variable or atom that nobody knows.
pub(super) fn compile(text: &str, escape: Escape) -> Result<Template, Vec<Unknown>> {
    let mut pieces = Pieces::default();
    if text.contains("%(") {
        gunicorn(text, &mut pieces);
    } else {
        nginx(text, &mut pieces);
    }
    if !pieces.unknown.is_empty() {
        return Err(pieces.unknown);
    }
    Ok(Template {
        text: text.into(),
        pieces: pieces.finish().into(),
        escape,
    })
}

#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    text: String,
    unknown: Vec<Unknown>,
}

impl Pieces {
    fn variable(&mut self, variable: Variable) {
        self.end_text();
        self.done.push(Piece::Variable(variable));
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.done.push(Piece::Text(text.into()));
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.end_text();
        self.done
    }
}

fn nginx(text: &str, pieces: &mut Pieces) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        push_text(before, pieces);
        let braced = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let (name, tail) = braced.unwrap_or_else(|| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        });
        rest = tail;
        match variable(name) {
            // The same for every line.
            None if name == "hostname" => pieces.text.push_str(&hostname()),
            Some(found) => pieces.variable(found),
            None if name.is_empty() => pieces.unknown.push(Unknown {
                message: "a `$` without a variable's name".to_owned(),
                hint: None,
            }),
            None => {
                let names = VARIABLES.iter().map(|(name, _)| *name);
                let names = names.chain(["hostname"]);
                pieces.unknown.push(Unknown {
                    message: format!("unknown variable ${}", name.escape_debug()),
                    hint: Some(match nearest(name, names) {
                        Some(near) => format!("did you mean ${near}?"),
                        None => "docs/CONFIGURATION.md lists them all".to_owned(),
                    }),
                });
            }
        }
    }
    push_text(rest, pieces);
}

/// This machine's name; `-` if it tells none.
fn hostname() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = read.as_deref().map_or("", str::trim);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match name.is_empty() || !name.chars().all(is_plain) {
        true => "-".to_owned(),
        false => name.to_owned(),
    }
}

/// A line is one line: control characters of the template itself are written as nginx would.
fn push_text(text: &str, pieces: &mut Pieces) {
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            pieces.text.extend(c.escape_default());
        } else {
            pieces.text.push(c);
        }
    }
}

fn variable(name: &str) -> Option<Variable> {
    if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) {
        return Some(variable.clone());
    }
    if let Some(field) = name.strip_prefix("sent_http_") {
        let field = field_of(field)?;
        let is_framing = matches!(&field, Field::Known(known) if FRAMING.contains(known));
        return (!is_framing).then_some(Variable::SentHttp(field));
    }
    if let Some(argument) = name.strip_prefix("arg_") {
        return (!argument.is_empty()).then(|| Variable::Arg(argument.into()));
    }
    if let Some(cookie) = name.strip_prefix("cookie_") {
        return (!cookie.is_empty()).then(|| Variable::CookieNamed(cookie.into()));
    }
    let field = name.strip_prefix("http_")?;
    Some(Variable::Http(field_of(field)?))
}

/// `x_forwarded_for` to X-Forwarded-For: nginx writes names in lower case, with `_` for `-`.
fn field_of(name: &str) -> Option<Field> {
    if name.is_empty() {
        return None;
    }
    let name = name.replace('_', "-");
    Some(match Known::of(name.as_bytes()) {
        Known::Other => Field::Named(name.into()),
        known => Field::Known(known),
    })
}

fn gunicorn(text: &str, pieces: &mut Pieces) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        push_text(before, pieces);
        if let Some(tail) = after.strip_prefix('%') {
            pieces.text.push('%');
            rest = tail;
            continue;
        }
        let atom = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
            .and_then(|(name, tail)| Some((name, tail.strip_prefix(['s', 'd'])?)));
        let Some((name, tail)) = atom else {
            pieces.unknown.push(Unknown {
                message: "a `%` that begins no atom".to_owned(),
                hint: Some("write %(NAME)s, and %% for %".to_owned()),
            });
            return;
        };
        rest = tail;
        match name {
            "l" => pieces.text.push('-'),
            "p" => {
                pieces.text.push('<');
                pieces.variable(Variable::Pid);
                pieces.text.push('>');
            }
            name => match atom_of(name) {
                Some(variable) => pieces.variable(variable),
                None => pieces.unknown.push(Unknown {
                    message: format!("unknown atom %({})s", name.escape_debug()),
                    hint: Some("docs/CONFIGURATION.md lists them all".to_owned()),
                }),
            },
        }
    }
    push_text(rest, pieces);
}

/// docs.gunicorn.org, settings, access_log_format.
fn atom_of(name: &str) -> Option<Variable> {
    Some(match name {
        "h" => Variable::RemoteAddr,
        "u" => Variable::RemoteUser,
        "t" => Variable::BracketedTime,
        "r" => Variable::Request,
        "m" => Variable::RequestMethod,
        "U" => Variable::Path,
        "q" => Variable::Query,
        "H" => Variable::ServerProtocol,
        "s" => Variable::Status,
        "B" | "b" => Variable::BodyBytesSent,
        "f" => Variable::Http(Field::Known(Known::Referer)),
        "a" => Variable::Http(Field::Known(Known::UserAgent)),
        "T" => Variable::WholeSeconds,
        "M" => Variable::Millis,
        "D" => Variable::Micros,
        "L" => Variable::SecondsMicros,
        name => {
            let (field, kind) = name.strip_prefix('{')?.split_once('}')?;
            let field = field_of(&field.to_ascii_lowercase())?;
            match kind {
                "i" => Variable::Http(field),
                "o" => Variable::SentHttp(field),
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        compile(text, Escape::Default).unwrap().pieces.to_vec()
    }

    fn unknown(text: &str) -> Vec<String> {
        let found = compile(text, Escape::Default).unwrap_err();
        let line = |u: Unknown| format!("{} ({})", u.message, u.hint.unwrap_or_default());
        found.into_iter().map(line).collect()
    }

    #[test]
    fn variables_stand_between_text() {
        assert_eq!(
            pieces("a$status ${request_time}s $http_x_y$sent_http_etag"),
            [
                Piece::Text("a".into()),
                Piece::Variable(Variable::Status),
                Piece::Text(" ".into()),
                Piece::Variable(Variable::RequestTime),
                Piece::Text("s ".into()),
                Piece::Variable(Variable::Http(Field::Named("x-y".into()))),
                Piece::Variable(Variable::SentHttp(Field::Known(Known::Etag))),
            ]
        );
    }

    #[test]
    fn atoms_are_variables() {
        assert_eq!(
            pieces("%(h)s %(l)s 100%% %({X-A}i)s%(p)s"),
            [
                Piece::Variable(Variable::RemoteAddr),
                Piece::Text(" - 100% ".into()),
                Piece::Variable(Variable::Http(Field::Named("x-a".into()))),
                Piece::Text("<".into()),
                Piece::Variable(Variable::Pid),
                Piece::Text(">".into()),
            ]
        );
    }

    #[test]
    fn every_unknown_name_is_told() {
        assert_eq!(
            unknown("$statu $binary_remote_addr $ $http_ $sent_http_date"),
            [
                "unknown variable $statu (did you mean $status?)",
                "unknown variable $binary_remote_addr (did you mean $remote_addr?)",
                "a `$` without a variable's name ()",
                "unknown variable $http_ (did you mean $https?)",
                "unknown variable $sent_http_date (docs/CONFIGURATION.md lists them all)",
            ]
        );
        assert_eq!(
            unknown("%(h)s %(zz)s %({PATH}e)s %(h"),
            [
                "unknown atom %(zz)s (docs/CONFIGURATION.md lists them all)",
                "unknown atom %({PATH}e)s (docs/CONFIGURATION.md lists them all)",
                "a `%` that begins no atom (write %(NAME)s, and %% for %)",
            ]
        );
    }

    #[test]
    fn the_presets_compile() {
        for text in [MAIN, COMBINED, GUNICORN] {
            assert!(pieces(text).len() > 12, "{text}");
        }
    }

    #[test]
    fn a_template_is_one_line() {
        assert_eq!(pieces("a\nb\r\0"), [Piece::Text("a\\nb\\r\\u{0}".into())]);
    }
}
