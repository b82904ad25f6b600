//! Finds the end of a head that arrives in pieces, looking at each byte once, and says which of
//! its limits or line rules is broken first.
//!
//! A head that is whole at the first look never gets here: `head` parses it directly. This is
//! the slow path, and the only judge of malformed input, so that the answer to a byte sequence
//! does not depend on where its reads were cut.

use crate::http::h1::{Error, Limits};
use crate::http::headers::is_token_byte;

/// Empty lines forgiven before a start line (RFC 9112 §2.2 asks for at least one).
const EMPTY_LINES_MAX: u8 = 2;

/// Whose heads are scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads request heads.
    Server,
    /// Reads response heads.
    Client,
}

/// Progress through the head at the front of the input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadScan {
    /// Bytes looked at.
    seen: usize,
    /// Where the line being looked at starts.
    line_start: usize,
    /// Where the head itself starts, after empty lines.
    head_start: usize,
    empty_lines: u8,
    /// Field lines passed; `None` until the start line has been.
    fields: Option<usize>,
}

impl HeadScan {
    /// Whether nothing has been looked at.
    pub(super) fn is_fresh(&self) -> bool {
        self.seen == 0
    }

    /// How many bytes of nothing but empty lines have been passed, if nothing else has come:
    /// they can be discarded. What was counted stays counted.
    pub(super) fn take_empty_lines(&mut self) -> usize {
        if self.fields.is_some() || self.seen != self.head_start {
            return 0;
        }
        let passed = Self {
            empty_lines: self.empty_lines,
            ..Self::default()
        };
        core::mem::replace(self, passed).head_start
    }

    /// Where the head starts and ends in `input`, or `None` while it is not whole. `input` is
    /// what the last call was given, with more at its end.
    pub(super) fn run(
        &mut self,
        input: &[u8],
        role: Role,
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, Error> {
        while let Some(at) = memchr::memchr(b'\n', input.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + at + 1;
            self.seen = end;
            let line = input.get(self.line_start..end).unwrap_or_default();
            self.check_front(line.strip_suffix(b"\n").unwrap_or(line), role, limits)?;
            self.check_length(end, limits)?;
            let line = line.strip_suffix(b"\r\n").ok_or(Error::LineEnding)?;
            if self.pass(line, end, role, limits)? {
                return Ok(Some((self.head_start, end)));
            }
            self.line_start = end;
        }
        self.seen = input.len();
        let rest = input.get(self.line_start..).unwrap_or_default();
        self.check_front(rest, role, limits)?;
        self.check_length(input.len(), limits)?;
        Ok(None)
    }

    /// Passes a whole line; says whether it ended the head.
    fn pass(
        &mut self,
        line: &[u8],
        end: usize,
        role: Role,
        limits: &Limits,
    ) -> Result<bool, Error> {
        match &mut self.fields {
            None if line.is_empty() => {
                self.empty_lines += 1;
                if self.empty_lines > EMPTY_LINES_MAX {
                    return Err(Error::StartLine);
                }
                self.head_start = end;
            }
            None => {
                check_start_line(line, role)?;
                self.fields = Some(0);
            }
            Some(_) if line.is_empty() => return Ok(true),
            Some(fields) => {
                *fields += 1;
                if *fields > limits.fields_max {
                    return Err(Error::TooManyFields);
                }
            }
        }
        Ok(false)
    }

    /// Judges what has come of a start line, as far as it may be long.
    fn check_front(&self, line: &[u8], role: Role, limits: &Limits) -> Result<(), Error> {
        if self.fields.is_some() {
            return Ok(());
        }
        check_start_line_front(line.get(..limits.line_bytes_max).unwrap_or(line), role)
    }

    /// Whichever limit the bytes up to `end` crossed first.
    fn check_length(&self, end: usize, limits: &Limits) -> Result<(), Error> {
        let (line_max, too_long) = match self.fields {
            None => (limits.line_bytes_max, Error::LineTooLong),
            Some(_) => (limits.field_bytes_max, Error::FieldTooLong),
        };
        let line_end_max = self.line_start.saturating_add(line_max);
        if end > line_end_max.min(limits.head_bytes_max) {
            return Err(if line_end_max <= limits.head_bytes_max {
                too_long
            } else {
                Error::HeadTooLarge
            });
        }
        Ok(())
    }
}

/// Refuses at its first byte what cannot become a start line: TLS on a plain port, for one,
/// which would otherwise wait for the head timeout.
fn check_start_line_front(front: &[u8], role: Role) -> Result<(), Error> {
    match role {
        Role::Server => {
            let method = front.split(|&byte| byte == b' ').next().unwrap_or(front);
            let method = method.strip_suffix(b"\r").unwrap_or(method);
            if method.iter().all(|&byte| is_token_byte(byte)) {
                return Ok(());
            }
        }
        Role::Client => {
            if front
                .iter()
                .zip(b"HTTP/")
                .all(|(byte, expected)| byte == expected)
            {
                return Ok(());
            }
        }
    }
    Err(Error::StartLine)
}

fn check_start_line(line: &[u8], role: Role) -> Result<(), Error> {
    match role {
        Role::Server => check_request_line(line),
        Role::Client => check_status_line(line),
    }
}

/// `method SP request-target SP HTTP-version`, and not one blank more (RFC 9112 §3).
fn check_request_line(line: &[u8]) -> Result<(), Error> {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let (Some(method), Some(target), Some(version)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::StartLine);
    };
    let is_visible = |byte: &u8| (0x21..=0x7e).contains(byte);
    if method.is_empty()
        || !method.iter().all(|&byte| is_token_byte(byte))
        || target.is_empty()
        || !target.iter().all(is_visible)
    {
        return Err(Error::StartLine);
    }
    check_version(version)
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`; the last blank may be missing.
fn check_status_line(line: &[u8]) -> Result<(), Error> {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let (Some(version), Some(status)) = (parts.next(), parts.next()) else {
        return Err(Error::StartLine);
    };
    check_version(version)?;
    let [hundreds @ b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] = status else {
        return Err(Error::Status);
    };
    debug_assert!(hundreds.is_ascii_digit());
    let reason = parts.next().unwrap_or_default();
    if reason
        .iter()
        .any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
    {
        return Err(Error::StartLine);
    }
    Ok(())
}

fn check_version(version: &[u8]) -> Result<(), Error> {
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Error::Version)
        }
        _ => Err(Error::StartLine),
    }
}
