//! The reverse proxy: a client's request goes to a server of a group, its answer back. The
//! message is written anew from its parsed form both ways; what concerns one connection alone
//! stays there (RFC 9110 §7.6).

mod ask;
mod budget;
mod fault;
mod value;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

pub use ask::Ask;
use budget::Budget;
pub use fault::Fault;

use crate::balance::Tried;
use crate::base::clock;
use crate::config::{Config, ProxyRoute, ProxyTimeouts, Retry, Upstream};
use crate::handler::Incoming;
use crate::handler::problem::Problem;
use crate::http::{Body, HeaderList, Hints, Known, Method, Response, ResponseHead, UpstreamTimes};
use crate::metrics::UpstreamRow;
use crate::upstream::group::{
    Answer, Cause, Failure, Group, News, Outgoing, Parts, Request, Ticket, Wire,
};

/// Content that is waited for before a server is asked, in bytes; nginx's
/// client_body_buffer_size of the seed.
const GATHERED_BYTES_MAX: usize = 128 * 1024;
/// Lists of fields kept to be filled again.
const LISTS_MAX: usize = 32;

/// The proxy of one shard.
#[derive(Debug)]
pub struct Proxy {
    groups: Vec<Target>,
    parts: Rc<Parts>,
    lists: RefCell<Vec<HeaderList>>,
}

/// One `[upstream.NAME]`.
#[derive(Debug)]
struct Target {
    config: Upstream,
    group: Rc<Group>,
    timeouts: ProxyTimeouts,
    retry: Retry,
    budget: Budget,
    key: crate::config::HashKey,
    /// Whether the configuration before had no such group.
    is_new: bool,
    by_hash: bool,
}

/// An upstream's answer.
#[derive(Debug)]
pub struct Fetched {
    /// Status and fields, without those that concern the upstream's connection.
    pub head: ResponseHead,
    /// The content.
    pub body: Body,
    /// How long it took.
    pub times: UpstreamTimes,
}

impl Proxy {
    /// The proxy of a configuration; `None` where nothing is proxied. `seed` differs between
    /// shards. Upstreams that `known`, the proxy of the configuration before, has just so stay
    /// the same groups: their connections and what is known of their servers.
    #[must_use]
    pub fn new(config: &Config, parts: Parts, seed: u64, known: Option<&Self>) -> Option<Rc<Self>> {
        if config.upstreams.is_empty() {
            return None;
        }
        let parts = Rc::new(parts);
        let same = |upstream: &Upstream| {
            let mut groups = known.into_iter().flat_map(|known| &known.groups);
            let found = groups.find(|target| target.config == *upstream);
            found.map(|target| Rc::clone(&target.group))
        };
        let group = |upstream: &Upstream| {
            same(upstream).unwrap_or_else(|| Group::new(upstream, Rc::clone(&parts), seed))
        };
        let target = |upstream: &Upstream| Target {
            config: upstream.clone(),
            group: group(upstream),
            timeouts: upstream.timeouts,
            retry: upstream.retry.clone(),
            budget: Budget::new(upstream.retry.budget),
            key: upstream.key.clone(),
            is_new: same(upstream).is_none(),
            by_hash: upstream.method == crate::balance::Method::Hash,
        };
        Some(Rc::new(Self {
            groups: config.upstreams.iter().map(target).collect(),
            lists: RefCell::default(),
            parts: Rc::clone(&parts),
        }))
    }

    /// Begins the active checks of groups that are new, on the one shard that makes them.
    pub fn check(&self, wire: &Wire) {
        for target in self.groups.iter().filter(|target| target.is_new) {
            if let Some(check) = &target.config.health {
                target.group.check(check, wire);
            }
        }
    }

    /// Hears of a check.
    pub fn hear(&self, news: &News) {
        let mut groups = self.groups.iter();
        if let Some(target) = groups.find(|target| *target.group.name() == *news.group) {
            target.group.hear(news);
        }
    }

    /// The figures of every server.
    #[must_use]
    pub fn rows(&self) -> Vec<UpstreamRow> {
        let groups = self.groups.iter();
        groups.flat_map(|target| target.group.rows()).collect()
    }

    /// Answers a request of a route.
    pub async fn serve(
        self: &Rc<Self>,
        settings: &Arc<ProxyRoute>,
        request: Incoming<'_>,
        response: &mut Response,
    ) {
        if is_for_here(&request) {
            // RFC 9110 §7.6.2.
            response.status = 204;
            return;
        }
        let mut ask = self.ask(settings, &request);
        if ask.target.is_empty() {
            // The rules have made nothing of the path that could be sent.
            *response = Problem::NotFound.response();
            return self.recycle(ask);
        }
        ask.body = request.body;
        match self.fetch(&mut ask, request.hints).await {
            Ok(fetched) => self.answer(fetched, response),
            Err(fault) => self.refuse(&ask, &fault, response),
        }
        self.recycle(ask);
    }

    /// Makes what is sent of a client's request. Its content is not taken.
    #[must_use]
    pub fn ask(&self, settings: &Arc<ProxyRoute>, request: &Incoming<'_>) -> Ask {
        let list = self.lists.borrow_mut().pop().unwrap_or_default();
        let key = match self.groups.get(settings.upstream) {
            Some(target) if target.by_hash => ask::key(&target.key, request),
            _ => 0,
        };
        Ask::new(settings, request, list, key)
    }

    /// Keeps the memory of a request that is over.
    pub fn recycle(&self, ask: Ask) {
        let mut lists = self.lists.borrow_mut();
        if lists.len() < LISTS_MAX {
            lists.push(ask.into_list());
        }
    }

    /// Gets an answer, with the tries that the upstream allows. Takes the content out of `ask`.
    /// Dropping the future cancels. `hints` is where interim answers go.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn fetch(self: &Rc<Self>, ask: &mut Ask, hints: &Hints) -> Result<Fetched, Fault> {
        let Some(target) = self.groups.get(ask.settings.upstream) else {
            return Err(Cause::NoServer.early().into());
        };
        let mut outgoing = ask.take_content();
        if ask.settings.request_buffering
            && let Some(outgoing) = &mut outgoing
            && let Err(error) = outgoing.gather(GATHERED_BYTES_MAX).await
        {
            return Err(Cause::Client(error).early().into());
        }
        let mut tries = Tries::new(target, ask);
        loop {
            let ticket = match tries.begin() {
                Some(ticket) => ticket,
                // In a box: nearly always there is a server with room.
                None => Box::pin(tries.begin_waiting()).await?,
            };
            let request = Request {
                method: ask.method_token(),
                target: &ask.target,
                headers: &ask.headers,
                is_repeatable: tries.is_repeatable,
                buffering: ask.settings.buffering,
                switch_to: ask.switch_to.as_deref(),
                hints,
            };
            let group = &target.group;
            let asked = group.ask(ticket, request, &mut outgoing, &tries.timeouts);
            let can_repeat = |outgoing: &Option<Box<Outgoing>>| {
                outgoing.as_ref().is_none_or(|out| out.is_repeatable())
            };
            match asked.await {
                Ok(answer) => {
                    let is_final = !tries.retries_status(answer.head.status);
                    if is_final || !can_repeat(&outgoing) || !tries.may_go_on() {
                        return Ok(tries.fetched(answer));
                    }
                    self.parts.recycle(answer.head);
                }
                Err(failure) => {
                    self.report(target, ask, &failure);
                    let goes_on =
                        tries.retries(&failure) && can_repeat(&outgoing) && tries.may_go_on();
                    tries.last = Some(failure);
                    if !goes_on {
                        return Err(tries.fault());
                    }
                }
            }
        }
    }

    /// Makes an answer of what was fetched.
    pub fn answer(&self, fetched: Fetched, response: &mut Response) {
        let Fetched {
            mut head,
            body,
            times,
        } = fetched;
        response.status = head.status;
        core::mem::swap(&mut response.headers, &mut head.headers);
        response.body = body;
        response.upstream = Some(times);
        self.parts.recycle(head);
    }

    /// Makes an answer of a fault.
    pub fn refuse(&self, ask: &Ask, fault: &Fault, response: &mut Response) {
        if fault.failure.server.is_none() && !matches!(fault.failure.cause, Cause::Client(_)) {
            // A server's failures are told as they happen.
            if let Some(target) = self.groups.get(ask.settings.upstream) {
                self.report(target, ask, &fault.failure);
            }
        }
        *response = fault.problem().response();
    }

    fn report(&self, target: &Target, ask: &Ask, failure: &Failure) {
        let group = &target.group;
        let server = failure.server.map_or("-", |index| group.server_name(index));
        self.parts.log.warn(
            "proxy",
            format_args!(
                "{}: {server}: {} ({} {}, request {})",
                group.name(),
                failure.cause,
                ask.method_token(),
                ask.target.split('?').next().unwrap_or(""),
                ask.id(),
            ),
        );
    }
}

/// The tries of one request.
struct Tries<'a> {
    target: &'a Target,
    timeouts: ProxyTimeouts,
    key: u64,
    tried: Tried,
    started: Instant,
    is_repeatable: bool,
    last: Option<Failure>,
}

impl<'a> Tries<'a> {
    fn new(target: &'a Target, ask: &Ask) -> Self {
        target.budget.earn();
        let own = &ask.settings;
        Self {
            target,
            timeouts: ProxyTimeouts {
                connect: own.connect_timeout.unwrap_or(target.timeouts.connect),
                send: own.send_timeout.unwrap_or(target.timeouts.send),
                read: own.read_timeout.unwrap_or(target.timeouts.read),
            },
            key: ask.key,
            tried: Tried::new(),
            started: clock::mono(),
            is_repeatable: target.retry.any_method || is_idempotent(ask.method),
            last: None,
        }
    }

    fn begin(&mut self) -> Option<Ticket> {
        let group = &self.target.group;
        let ticket = group.begin(self.key, &self.tried, clock::mono())?;
        self.took(ticket.index());
        Some(ticket)
    }

    async fn begin_waiting(&mut self) -> Result<Ticket, Fault> {
        let group = &self.target.group;
        match group.begin_waiting(self.key, &self.tried).await {
            Ok(ticket) => {
                self.took(ticket.index());
                Ok(ticket)
            }
            Err(cause) => {
                self.last.get_or_insert_with(|| cause.early());
                Err(self.fault())
            }
        }
    }

    fn took(&mut self, index: usize) {
        if !self.tried.is_empty() {
            self.target.group.count_retry(index);
        }
        self.tried.push(index);
    }

    fn fault(&mut self) -> Fault {
        let none = || Cause::NoServer.early();
        self.last.take().unwrap_or_else(none).into()
    }

    fn retries_status(&self, status: u16) -> bool {
        let retry = &self.target.retry;
        self.is_repeatable && retry.on_status.contains(&status)
    }

    fn retries(&self, failure: &Failure) -> bool {
        let retry = &self.target.retry;
        let is_reason = match &failure.cause {
            Cause::Client(_) | Cause::NoServer | Cause::Full => false,
            Cause::Invalid(_) => retry.on_invalid,
            cause if cause.is_timeout() => retry.on_timeout,
            _ => retry.on_error,
        };
        is_reason && (self.is_repeatable || !failure.may_have_acted)
    }

    /// Whether number, time, servers and budget allow another try.
    fn may_go_on(&self) -> bool {
        let retry = &self.target.retry;
        (self.tried.len() as u32) < retry.tries
            && clock::mono().saturating_duration_since(self.started) < retry.timeout
            && self.target.group.has_other(&self.tried, clock::mono())
            && self.target.budget.spend()
    }

    fn fetched(&self, answer: Answer) -> Fetched {
        let Answer {
            mut head,
            body,
            connected,
        } = answer;
        ask::clean_answer(&mut head.headers, head.status == 101);
        let elapsed = clock::mono().saturating_duration_since(self.started);
        let is_streaming = matches!(body, Body::Source(_));
        Fetched {
            head,
            body,
            times: UpstreamTimes {
                connect: Some(connected),
                header: elapsed,
                response: (!is_streaming).then_some(elapsed),
            },
        }
    }
}

/// Whether an OPTIONS request is not to be passed on any further.
fn is_for_here(request: &Incoming<'_>) -> bool {
    request.head.method == Method::Options
        && request.head.headers.get(Known::MaxForwards) == Some(b"0")
}

/// Whether doing it twice has the effect of doing it once (RFC 9110 §9.2.2).
const fn is_idempotent(method: Method) -> bool {
    matches!(
        method,
        Method::Get | Method::Head | Method::Options | Method::Put | Method::Delete | Method::Trace
    )
}

/// Fields that concern one connection, or that are written here anew.
const fn concerns_connection(known: Known) -> bool {
    known.is_hop_by_hop() || matches!(known, Known::ProxyAuthorization)
}
