//! Asks the issuers of certificates for their state (OCSP) and staples the answers: at the start,
//! long before an answer ends, and again after a failure. Runs beside the shards.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::base::clock::Now;
use crate::base::log::Logger;
use crate::http::endpoint::Endpoint;
use crate::net::sleep;
use crate::shard::TlsGeneration;
use crate::supervisor::certificates::{Certificates, LOOK_INTERVAL};
use crate::tls::certificate::Certificate;
use crate::tls::ocsp::{self, Nonce, OcspError, Window};
use crate::upstream::{Client, Error, Limits, Parts, Request};

/// An answer is a few kilobytes, with the responder's certificate in it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Pause after a failure; doubles with each.
const RETRY_MIN: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// The same for certificates that clients refuse without an answer.
const URGENT_RETRY_MIN: Duration = Duration::from_secs(5);
const URGENT_RETRY_MAX: Duration = Duration::from_secs(300);
/// Answers without much life left are asked for again, but not more often than this.
const REFRESH_MIN: Duration = Duration::from_secs(60);
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(10),
};

/// Why there is no answer to staple.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("its file does not hold its issuer's certificate")]
    NoIssuer,
    #[error("it names no OCSP responder")]
    NoResponder,
    #[error("its OCSP responder {0} is no http:// address")]
    BadUrl(String),
    #[error("the OCSP responder cannot be asked: {0}")]
    Http(#[from] Error),
    #[error("the OCSP responder answers with status {0}")]
    Status(u16),
    #[error(transparent)]
    Answer(#[from] OcspError),
}

/// What is known of a certificate's answers.
#[derive(Debug)]
struct State {
    certificate: Certificate,
    /// When to ask next, since the epoch.
    due: Duration,
    pause: Duration,
    /// Until when the stapled answer holds.
    until: Option<Duration>,
}

/// Keeps asking. `publish` hands a new generation to the shards.
pub(super) async fn keep(
    certificates: Rc<RefCell<Certificates>>,
    parts: Parts,
    log: Logger,
    publish: impl Fn(TlsGeneration),
) {
    let mut states: HashMap<(usize, usize), State> = HashMap::new();
    loop {
        let wanted = certificates.borrow().to_staple();
        for (place, certificate) in wanted {
            let now = Now::read().unix;
            let state = states
                .entry(place)
                .or_insert_with(|| State::new(&certificate));
            if state.certificate.key.cert != certificate.key.cert {
                *state = State::new(&certificate);
            }
            if state.due > now {
                continue;
            }
            let answer = ask(&certificate, &parts, now).await;
            let now = Now::read().unix;
            let Some(staple) = state.note(answer, now, &log) else {
                continue;
            };
            let generation = certificates
                .borrow_mut()
                .staple(place, &certificate, staple, now);
            if let Some(generation) = generation {
                publish(generation);
            }
        }
        sleep(LOOK_INTERVAL).await;
    }
}

impl State {
    fn new(certificate: &Certificate) -> Self {
        Self {
            certificate: certificate.clone(),
            due: Duration::ZERO,
            pause: pauses(certificate).0,
            until: None,
        }
    }

    /// Takes an answer in. What is to be stapled from now on, if that changes.
    #[expect(
        clippy::option_option,
        reason = "nothing to change, or nothing to staple"
    )]
    fn note(
        &mut self,
        answer: Result<(Vec<u8>, Window), Failure>,
        now: Duration,
        log: &Logger,
    ) -> Option<Option<Vec<u8>>> {
        let name = self.certificate.names.first().map_or("?", String::as_str);
        match answer {
            Ok((answer, window)) => {
                log.debug("ocsp", format_args!("{name}: an answer is stapled"));
                let left = window.until.saturating_sub(now);
                self.due = now + (left / 2).max(REFRESH_MIN);
                self.pause = pauses(&self.certificate).0;
                self.until = Some(window.until);
                Some(Some(answer))
            }
            Err(error) => {
                let holds = self.until.is_some_and(|until| until > now);
                if self.certificate.must_staple && !holds {
                    let so = "clients refuse the certificate, which demands a staple";
                    log.error("ocsp", format_args!("{name}: {error}; {so}"));
                } else {
                    log.warn("ocsp", format_args!("{name}: {error}"));
                }
                let is_over = self.until.is_some_and(|until| until <= now + self.pause);
                let is_bad = matches!(error, Failure::Answer(OcspError::Revoked));
                self.due = now + self.pause;
                self.pause = (self.pause * 2).min(pauses(&self.certificate).1);
                // An old answer that still holds is better than none.
                (is_over || is_bad).then(|| {
                    self.until = None;
                    None
                })
            }
        }
    }
}

/// The first pause after a failure, and the longest.
const fn pauses(certificate: &Certificate) -> (Duration, Duration) {
    match certificate.must_staple {
        true => (URGENT_RETRY_MIN, URGENT_RETRY_MAX),
        false => (RETRY_MIN, RETRY_MAX),
    }
}

async fn ask(
    certificate: &Certificate,
    parts: &Parts,
    now: Duration,
) -> Result<(Vec<u8>, Window), Failure> {
    let (own, issuer) = certificate.with_issuer().ok_or(Failure::NoIssuer)?;
    let url = certificate
        .ocsp_url
        .as_deref()
        .ok_or(Failure::NoResponder)?;
    let endpoint = Endpoint::parse(url).map_err(|_| Failure::BadUrl(url.to_owned()))?;
    let nonce = Nonce::random();
    let question = ocsp::request(own, issuer, nonce)?;
    let headers = [("Accept".to_owned(), "application/ocsp-response".to_owned())];
    let client = Client::new(endpoint.origin, &headers, parts.clone());
    let request = Request {
        method: "POST",
        target: &endpoint.target,
        headers: &[("Content-Type", b"application/ocsp-request")],
        body: &question,
        repeatable: true,
    };
    let exchange = client.send(request, LIMITS).await?;
    if exchange.status() != 200 {
        return Err(Failure::Status(exchange.status()));
    }
    let answer = exchange.whole(ANSWER_BYTES_MAX).await?;
    let window = ocsp::verify(&answer, own, issuer, nonce, now)?;
    Ok((answer.to_vec(), window))
}
