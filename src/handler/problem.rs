//! Refusals of the handlers, in words: each becomes `application/problem+json` (RFC 9457).

use crate::http::{Known, Response};

/// Why a handler does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The route's `allow` and `deny` do not let the client's address in.
    #[error("your address may not ask for this path")]
    Forbidden,
    /// No route takes the path, or the page knows nothing below its own path.
    #[error("nothing answers this path; /openapi.json lists what does")]
    NotFound,
    /// No file lies at the path, or none that may be served.
    #[error("there is no such file")]
    NoSuchFile,
    /// The program may not read the file, or it is a directory without an index.
    #[error("this may not be read")]
    FileForbidden,
    /// If-Match or If-Unmodified-Since does not hold.
    #[error("what is there is not what the request's condition says")]
    PreconditionFailed,
    /// The Range lies behind the end.
    #[error("the range lies outside of what is there")]
    RangeNotSatisfiable,
    /// The page does not know the method; `allow` is what it knows.
    #[error("this method is not for this path; those that are: {allow}")]
    MethodNotAllowed {
        /// The `Allow` field.
        allow: &'static str,
    },
    /// TRACE would reflect credentials; CONNECT asks for a tunnel.
    #[error("TRACE and CONNECT are not implemented")]
    MethodNotImplemented,
    /// The content is longer than the page takes.
    #[error("the request's content is larger than allowed here")]
    TooLarge,
    /// The content broke off or broke its framing.
    #[error("the request's content is incomplete or malformed")]
    BadBody,
    /// The client stopped sending in the middle of the content.
    #[error("the request's content did not arrive in time")]
    BodyTimedOut,
    /// A panic, or a broken promise inside the program.
    #[error("the server failed to answer this request; its log says more")]
    Internal,
    /// The program is ending.
    #[error("the server is shutting down and takes no new requests")]
    Draining,
    /// Too many ask for the same at once.
    #[error("too many requests of this kind are under way; try again in a second")]
    Busy,
    /// No server of an upstream may be asked at the moment.
    #[error("no server behind this path can be asked at the moment; try again in a second")]
    NoUpstream,
    /// No connection to the server.
    #[error("the server behind this path cannot be reached")]
    UpstreamUnreachable,
    /// The connection to the server broke before its answer.
    #[error("the server behind this path broke off before its answer")]
    UpstreamFailed,
    /// What the server sent is not HTTP.
    #[error("the server behind this path sent an answer that is not valid HTTP")]
    UpstreamInvalid,
    /// The server did not answer in time.
    #[error("the server behind this path did not answer in time")]
    UpstreamTimedOut,
    /// A route leads to something that does not run.
    #[error("what answers this path does not run at the moment")]
    Unavailable,
}

impl Problem {
    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden | Self::FileForbidden => 403,
            Self::NotFound | Self::NoSuchFile => 404,
            Self::PreconditionFailed => 412,
            Self::RangeNotSatisfiable => 416,
            Self::MethodNotAllowed { .. } => 405,
            Self::MethodNotImplemented => 501,
            Self::TooLarge => 413,
            Self::BadBody => 400,
            Self::BodyTimedOut => 408,
            Self::Internal => 500,
            Self::Draining | Self::Busy | Self::Unavailable | Self::NoUpstream => 503,
            Self::UpstreamUnreachable | Self::UpstreamFailed | Self::UpstreamInvalid => 502,
            Self::UpstreamTimedOut => 504,
        }
    }

    /// The response.
    #[must_use]
    pub fn response(self) -> Response {
        let mut response = Response::problem(self.status(), &self.to_string());
        response
            .headers
            .push_known(Known::CacheControl, b"no-store");
        match self {
            Self::MethodNotAllowed { allow } => response.headers.push(b"Allow", allow.as_bytes()),
            Self::Busy | Self::NoUpstream => response.headers.push_known(Known::RetryAfter, b"1"),
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_method_learns_the_right_ones() {
        let response = Problem::MethodNotAllowed { allow: "GET, HEAD" }.response();
        assert_eq!(response.status, 405);
        let allow = response.headers.get_by_name(b"allow");
        assert_eq!(allow, Some(&b"GET, HEAD"[..]));
        let media = response.headers.get(Known::ContentType);
        assert_eq!(media, Some(&b"application/problem+json"[..]));
    }

    #[test]
    fn who_is_busy_says_when_to_come_back() {
        let response = Problem::Busy.response();
        assert_eq!(response.status, 503);
        assert_eq!(response.headers.get(Known::RetryAfter), Some(&b"1"[..]));
    }
}
