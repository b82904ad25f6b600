//! The end of all shards: load balancers are told, clients finish, servers are stopped.

use std::time::{Duration, Instant};

use crate::base::clock;
use crate::net::signals::{Signal, Signals};
use crate::net::sys;
use crate::net::timer::{Elapsed, within};
use crate::shard::{Message, Report};
use crate::supervisor::watch::{Shard, Watch, Woken};
use crate::supervisor::{Failure, upgrade};

/// Beyond graceful_timeout, for a shard that is stuck: the others are not kept waiting for ever.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);
/// Time for children and sessions at servers to end.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long idle connections are left alone when the program ends: time for a request that is
/// on its way.
const PATIENCE_END: Duration = Duration::from_millis(100);

impl Watch {
    /// Ends all shards; a second signal or a stuck shard ends the wait.
    pub(super) async fn end(mut self, signals: &mut Signals) -> Result<(), Failure> {
        if self.is_followed {
            return self.drain(signals, upgrade::PATIENCE).await;
        }
        self.setting.notify.stopping();
        if let Some(upgrade) = self.upgrade.take() {
            // Whoever ends the program means both.
            sys::terminate(upgrade.pid);
        }
        self.announce(signals).await?;
        self.drain(signals, PATIENCE_END).await
    }

    /// Has /health/ready say 503 and serves on for a while, so that load balancers send new
    /// requests elsewhere before connections are refused.
    async fn announce(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let delay = self.setting.generation.config.server.drain_delay;
        self.tell_all(|| Message::Announce);
        if delay.is_zero() {
            return Ok(());
        }
        let log = self.setting.logs.log();
        log.info(
            "supervisor",
            format_args!("not ready any more; draining in {delay:?}"),
        );
        let until = clock::mono() + delay;
        loop {
            let left = until.saturating_duration_since(clock::mono());
            match within(left, self.is_told_to_end(signals)).await {
                Ok(Ok(false)) => {}
                // Told again, or the time is over.
                Ok(Ok(true)) | Err(Elapsed) => return Ok(()),
                Ok(Err(failure)) => return Err(failure),
            }
        }
    }

    /// Lets clients finish, then ends the shards.
    pub(super) async fn drain(
        mut self,
        signals: &mut Signals,
        patience: Duration,
    ) -> Result<(), Failure> {
        let limit = self.setting.generation.config.server.graceful_timeout;
        let log = self.setting.logs.log();
        log.info("supervisor", format_args!("draining, at most {limit:?}"));
        for shard in &mut self.shards {
            // The last handles: the kernel refuses connections when the shard closes its own.
            shard.listeners.clear();
            shard.owed = None;
        }
        self.tell_all(|| Message::Drain { patience, limit });
        let until = clock::mono() + limit + DRAIN_MARGIN;
        self.await_all(signals, until, |shard| shard.is_alive && !shard.is_drained)
            .await?;
        // Only now: a call may have come from any shard to a server of any other.
        self.tell_all(|| Message::Stop);
        let until = clock::mono() + STOP_MAX;
        self.await_all(signals, until, |shard| shard.is_alive).await
    }

    /// Waits while any shard is as `is_pending` says, at most until then.
    async fn await_all(
        &mut self,
        signals: &mut Signals,
        until: Instant,
        is_pending: impl Fn(&Shard) -> bool,
    ) -> Result<(), Failure> {
        while self.shards.iter().any(&is_pending) {
            let left = until.saturating_duration_since(clock::mono());
            match within(left, self.next(signals)).await {
                Ok(Woken::Report(report)) => self.note_end(&report),
                Ok(Woken::Signal(Ok(Signal::Reopen))) => self.setting.logs.reopen(),
                Ok(Woken::Signal(Ok(Signal::End) | Err(_))) => return Err(Failure::Interrupted),
                Ok(
                    Woken::Restart(_)
                    | Woken::Changed
                    | Woken::Owed
                    | Woken::Upgraded(_)
                    | Woken::Signal(_),
                ) => {}
                Err(Elapsed) => break,
            }
        }
        Ok(())
    }

    fn note_end(&mut self, report: &Report) {
        let (shard, is_alive) = match *report {
            Report::Started { .. } | Report::Adopted { .. } => return,
            Report::Drained { shard } => (shard, true),
            Report::Ended { shard, .. } | Report::Failed { shard, .. } => (shard, false),
        };
        if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
            shard.is_drained = true;
            shard.is_alive = is_alive;
        }
    }
}
