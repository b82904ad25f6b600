//! Another configuration while the program runs: reads it and hands it to the shards.

use std::rc::Rc;
use std::time::Duration;

use crate::base::clock::Now;
use crate::net::mailbox::Undelivered;
use crate::net::{sleep, spawn};
use crate::shard::{Adopt, Message};
use crate::supervisor::files;
use crate::supervisor::reload::{self, Ready, Refused, Running};
use crate::supervisor::watch::Watch;

/// Pause before a full mailbox is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Watch {
    /// Watches the configuration's files from now on, if it wants that.
    pub(super) fn watch_files(&mut self) {
        self.files.replace(self.setting.source.files());
        if self.is_watching_files || !self.setting.generation.config.reload {
            return;
        }
        self.is_watching_files = true;
        let files = Rc::clone(&self.files);
        spawn(files::watch(
            move || files.borrow().clone(),
            self.changes.0.clone(),
        ));
    }

    /// Reads the configuration again. One that cannot be used changes nothing.
    pub(super) fn reload(&mut self, why: &str) {
        let log = self.setting.logs.log();
        if why != "SIGHUP" && !self.setting.generation.config.reload {
            return;
        }
        log.info("reload", format_args!("reading the configuration: {why}"));
        self.setting.notify.reloading();
        match self.prepare() {
            Ok(ready) => self.go_over(ready),
            Err(refused) => {
                for line in refused.lines() {
                    log.error("reload", format_args!("{line}"));
                }
                let number = self.setting.generation.number;
                log.error(
                    "reload",
                    format_args!("the configuration is refused; generation {number} runs on"),
                );
                let mut collector = self.collector.borrow_mut();
                collector.life.reloads_failed += 1;
                collector.life.last_reload = Now::read().unix;
                collector.life.has_reload_failed = true;
                self.setting.notify.ready();
            }
        }
        // Also after a failure: the file that is to be mended is watched.
        self.files.replace(self.setting.source.files());
    }

    fn prepare(&mut self) -> Result<Ready, Refused> {
        let loaded = self.setting.source.read()?;
        let log = self.setting.logs.log();
        for warning in &loaded.warnings {
            log.warn("reload", format_args!("{warning}"));
        }
        for (name, reason) in &loaded.config.mcp.refused {
            log.warn(
                "reload",
                format_args!("server {name} is left out: {reason}"),
            );
        }
        let setting = &self.setting;
        reload::prepare(
            loaded.config,
            &Running {
                generation: &setting.generation,
                plan: &setting.plan,
                tools: &setting.tools,
                certificates: &setting.certificates.borrow(),
                logs: &setting.logs,
                shards: setting.shards,
            },
        )
    }

    /// From here on nothing fails.
    fn go_over(&mut self, ready: Ready) {
        let Ready {
            generation,
            plan,
            tools,
            certificates,
            logs,
            listeners,
            fixed,
        } = ready;
        let setting = &mut self.setting;
        setting.logs.take(logs);
        setting.certificates.replace(certificates);
        setting.plan = plan;
        setting.tools = tools;
        setting.generation = generation;
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            let log = setting.logs.log();
            log.warn("reload", format_args!("needs a restart: {keys}"));
        }
        for (index, new) in listeners.into_iter().enumerate() {
            let generation = self.setting.for_shard(index);
            let Some(shard) = self.shards.get_mut(index) else {
                continue;
            };
            let keys = &generation.listeners;
            shard.listeners.retain(|(key, _)| keys.contains(key));
            let mut handed = shard
                .owed
                .take()
                .map_or_else(Vec::new, |owed| owed.listeners);
            handed.retain(|(key, _)| keys.contains(key));
            for (key, socket) in new {
                match socket.try_clone() {
                    Ok(clone) => handed.push((key, clone)),
                    Err(error) => self.setting.logs.log().error(
                        "reload",
                        format_args!(
                            "shard {index} does not listen at {}: {error}",
                            socket.address()
                        ),
                    ),
                }
                shard.listeners.push((key, socket));
            }
            shard.owed = Some(Box::new(Adopt {
                generation,
                listeners: handed,
            }));
        }
        self.hand_over();
        self.keep_certificates();
        self.watch_files();
    }

    /// Hands the newest generation to the shards that do not have it yet.
    pub(super) fn hand_over(&mut self) {
        let mut is_owed = false;
        for (shard, address) in self.shards.iter_mut().zip(&*self.addresses.borrow()) {
            let Some(adopt) = shard.owed.take() else {
                continue;
            };
            // A shard that is gone gets it when it starts again.
            if let Err(Undelivered::Full(Message::Adopt(back))) =
                address.send(Message::Adopt(adopt))
            {
                shard.owed = Some(back);
                is_owed = true;
            }
        }
        if is_owed {
            let bell = self.owed.0.clone();
            spawn(async move {
                sleep(RETRY_PAUSE).await;
                let _ = bell.try_send(());
            });
        }
    }

    /// A shard serves that generation.
    pub(super) fn adopted(&mut self, shard: u16, number: u64) {
        if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
            shard.generation = number;
        }
        let newest = self.setting.generation.number;
        let is_everywhere = self
            .shards
            .iter()
            .all(|shard| !shard.is_alive || shard.generation == newest);
        if number == newest && is_everywhere {
            let mut collector = self.collector.borrow_mut();
            collector.exclude(&self.setting.generation.config.metrics_exclude);
            collector.life.generation = newest;
            collector.life.reloads += 1;
            collector.life.last_reload = Now::read().unix;
            collector.life.has_reload_failed = false;
            let log = self.setting.logs.log();
            log.info("reload", format_args!("generation {newest} is served"));
            self.setting.notify.ready();
        }
    }
}
