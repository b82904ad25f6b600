//! Certificates, OCSP responses and ticket keys of all listeners: read at the start, looked at
//! every second, and handed to every shard as a new generation when something has changed. What
//! cannot be used is told once, and the old stays.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::{RootCertStore, ServerConfig};

use crate::base::clock::Now;
use crate::base::log::Logger;
use crate::config::Config;
use crate::net::mailbox::{Address, Undelivered};
use crate::net::sleep;
use crate::shard::{Message, TlsGeneration};
use crate::tls::certificate::Certificate;
use crate::tls::settings::{BadFile, Settings};
use crate::tls::tickets::Keys;

/// Pause between two looks.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Ticket keys live at least so long, and each opens for as long again.
const KEY_PERIOD_MIN: Duration = Duration::from_secs(3600);
/// A certificate that ends within this time is worth a word a day.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);
const WARN_INTERVAL: Duration = Duration::from_secs(86_400);

/// Looks at files and keys every second, for ever.
pub(super) async fn keep(certificates: Rc<RefCell<Certificates>>, publisher: Rc<Publisher>) {
    loop {
        sleep(LOOK_INTERVAL).await;
        let generation = certificates.borrow_mut().look(Now::read().unix);
        match generation {
            Some(generation) => publisher.publish(generation),
            None => publisher.deliver(),
        }
    }
}

/// Hands generations to the shards, again where a mailbox was full.
pub(super) struct Publisher {
    addresses: Rc<RefCell<Vec<Address<Message>>>>,
    newest: RefCell<Option<TlsGeneration>>,
    /// By shard: the newest generation is still to be delivered.
    owed: RefCell<Vec<bool>>,
}

impl Publisher {
    pub(super) fn new(addresses: &Rc<RefCell<Vec<Address<Message>>>>) -> Rc<Self> {
        Rc::new(Self {
            addresses: Rc::clone(addresses),
            newest: RefCell::new(None),
            owed: RefCell::new(Vec::new()),
        })
    }

    /// A generation for all shards.
    pub(super) fn publish(&self, generation: TlsGeneration) {
        self.newest.replace(Some(generation));
        self.owed.replace(vec![true; self.addresses.borrow().len()]);
        self.deliver();
    }

    fn deliver(&self) {
        let newest = self.newest.borrow();
        let Some(generation) = newest.as_ref() else {
            return;
        };
        let addresses = self.addresses.borrow();
        for (owed, address) in self.owed.borrow_mut().iter_mut().zip(addresses.iter()) {
            if *owed {
                let sent = address.send(Message::Tls(TlsGeneration::clone(generation)));
                // A shard that is gone gets the newest when it starts again.
                *owed = matches!(sent, Err(Undelivered::Full(_)));
            }
        }
    }
}

/// The TLS of every listener.
pub(super) struct Certificates {
    listeners: Vec<Option<Listener>>,
    log: Logger,
}

/// Why there is no TLS to begin with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateFailure {
    /// A file was changed since the configuration was checked.
    #[error(transparent)]
    File(#[from] BadFile),
    /// rustls refuses the whole.
    #[error("{0}")]
    Refused(rustls::Error),
}

/// The TLS of one listener.
#[derive(Clone)]
struct Listener {
    settings: Settings,
    loaded: Vec<Loaded>,
    authorities: Option<RootCertStore>,
    keys: Keys,
    window: u64,
    stamps: Vec<Stamp>,
    current: Arc<ServerConfig>,
    /// When it was last said that a certificate ends soon.
    warned: Option<Duration>,
}

/// A certificate and what is stapled to it.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) certificate: Certificate,
    pub(super) staple: Option<Vec<u8>>,
}

/// What tells a file from the one that was there before. A file that is written anew in the same
/// second has another size or inode, unless someone is out to fool us.
type Stamp = (PathBuf, Option<(u64, u64, Option<std::time::SystemTime>)>);

impl Certificates {
    /// Reads everything. `now` is since the epoch.
    pub(super) fn load(
        config: &Config,
        now: Duration,
        log: &Logger,
    ) -> Result<Self, CertificateFailure> {
        let listeners = config.listeners.iter().map(|listener| {
            let settings = listener.tls.clone();
            settings
                .map(|settings| Listener::load(settings, now, log))
                .transpose()
        });
        Ok(Self {
            listeners: listeners.collect::<Result<_, _>>()?,
            log: log.clone(),
        })
    }

    /// The same for a configuration that follows another: what it says alike stays, with its
    /// ticket keys and stapled answers.
    pub(super) fn following(
        &self,
        config: &Config,
        now: Duration,
        log: &Logger,
    ) -> Result<Self, CertificateFailure> {
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let Some(settings) = &listener.tls else {
                listeners.push(None);
                continue;
            };
            let mut known = self.listeners.iter().flatten();
            let same = known.find(|known| known.settings == *settings);
            listeners.push(Some(match same {
                Some(same) => same.clone(),
                None => Listener::load(settings.clone(), now, log)?,
            }));
        }
        Ok(Self {
            listeners,
            log: log.clone(),
        })
    }

    /// Whether no listener has TLS.
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.iter().all(Option::is_none)
    }

    /// What the shards are to use now.
    pub(super) fn generation(&self) -> TlsGeneration {
        let configs = self.listeners.iter();
        configs
            .map(|one| one.as_ref().map(|listener| Arc::clone(&listener.current)))
            .collect()
    }

    /// Looks at files and the clock; a generation, if something has changed.
    pub(super) fn look(&mut self, now: Duration) -> Option<TlsGeneration> {
        let mut has_changed = false;
        for listener in self.listeners.iter_mut().flatten() {
            has_changed |= listener.look(now, &self.log);
        }
        has_changed.then(|| self.generation())
    }

    /// Every certificate whose state is to be asked for, with its place.
    pub(super) fn to_staple(&self) -> Vec<((usize, usize), Certificate)> {
        let mut wanted = Vec::new();
        for (at, listener) in self.listeners.iter().enumerate() {
            let Some(listener) = listener.as_ref().filter(|one| one.settings.stapling) else {
                continue;
            };
            for (index, loaded) in listener.loaded.iter().enumerate() {
                let files = listener.settings.certificates.get(index);
                let has_file = files.is_some_and(|files| files.stapling_file.is_some());
                if !has_file {
                    wanted.push(((at, index), loaded.certificate.clone()));
                }
            }
        }
        wanted
    }

    /// Staples a verified response to a certificate, if that is still there.
    pub(super) fn staple(
        &mut self,
        (at, index): (usize, usize),
        certificate: &Certificate,
        response: Option<Vec<u8>>,
        now: Duration,
    ) -> Option<TlsGeneration> {
        let listener = self.listeners.get_mut(at)?.as_mut()?;
        let loaded = listener.loaded.get_mut(index)?;
        let is_same = loaded.certificate.key.cert == certificate.key.cert;
        if !is_same || loaded.staple == response {
            return None;
        }
        loaded.staple = response;
        match listener.build(now) {
            Ok(()) => Some(self.generation()),
            Err(error) => {
                let log = &self.log;
                log.error("tls", format_args!("the old state stays: {error}"));
                None
            }
        }
    }
}

impl Listener {
    fn load(settings: Settings, now: Duration, log: &Logger) -> Result<Self, CertificateFailure> {
        let stamps = stamps(&settings);
        let loaded = load_all(&settings, &[], now, log)?;
        let authorities = settings.verify.as_ref().map(|one| one.load()).transpose()?;
        let period = settings.session_timeout.max(KEY_PERIOD_MIN);
        let mut keys = Keys::new(settings.ticket_keys.clone(), period);
        let current = build(&settings, &loaded, authorities.clone(), (&mut keys, now))?;
        Ok(Self {
            window: keys.window(now),
            settings,
            loaded,
            authorities,
            keys,
            stamps,
            current,
            warned: None,
        })
    }

    fn look(&mut self, now: Duration, log: &Logger) -> bool {
        self.warn(now, log);
        let stamps = stamps(&self.settings);
        let is_changed = stamps != self.stamps;
        let window = self.keys.window(now);
        if is_changed {
            // Also where it fails: the same file is not tried again and again.
            self.stamps = stamps;
            match self.reload(now, log) {
                Ok(()) => log.info("tls", format_args!("changed certificates are served")),
                Err(error) => {
                    let why = "the old certificates are served on";
                    log.error("tls", format_args!("{error}; {why}"));
                    return false;
                }
            }
        } else if window == self.window {
            return false;
        }
        self.window = window;
        match self.build(now) {
            Ok(()) => true,
            Err(error) => {
                log.error("tls", format_args!("the old state stays: {error}"));
                false
            }
        }
    }

    fn reload(&mut self, now: Duration, log: &Logger) -> Result<(), BadFile> {
        let loaded = load_all(&self.settings, &self.loaded, now, log)?;
        let verify = self.settings.verify.as_ref();
        self.authorities = verify.map(|one| one.load()).transpose()?;
        self.loaded = loaded;
        self.warned = None;
        Ok(())
    }

    fn build(&mut self, now: Duration) -> Result<(), CertificateFailure> {
        let authorities = self.authorities.clone();
        let keys = (&mut self.keys, now);
        self.current = build(&self.settings, &self.loaded, authorities, keys)?;
        Ok(())
    }

    fn warn(&mut self, now: Duration, log: &Logger) {
        if self.warned.is_some_and(|at| now < at + WARN_INTERVAL) {
            return;
        }
        self.warned = Some(now);
        for (loaded, files) in self.loaded.iter().zip(&self.settings.certificates) {
            let left = loaded.certificate.not_after.saturating_sub(now);
            if left < WARN_BEFORE {
                let (file, hours) = (files.cert.display(), left.as_secs() / 3600);
                log.warn("tls", format_args!("{file} ends in {hours} hours"));
            }
        }
    }
}

fn build(
    settings: &Settings,
    loaded: &[Loaded],
    authorities: Option<RootCertStore>,
    (keys, now): (&mut Keys, Duration),
) -> Result<Arc<ServerConfig>, CertificateFailure> {
    let certificates: Vec<Certificate> = loaded
        .iter()
        .map(|one| one.certificate.with_staple(one.staple.clone()))
        .collect();
    let lifetime = settings.session_timeout;
    let ticketer = match lifetime.is_zero() {
        true => None,
        false => {
            let made = keys.ticketer(now, lifetime);
            let general = |error: crate::tls::tickets::NoKey| {
                CertificateFailure::Refused(rustls::Error::General(error.to_string()))
            };
            Some(made.map_err(general)?)
        }
    };
    settings
        .build(&certificates, authorities, ticketer)
        .map_err(CertificateFailure::Refused)
}

/// Reads all certificates. A response that was fetched for one that is still the same stays.
fn load_all(
    settings: &Settings,
    known: &[Loaded],
    now: Duration,
    log: &Logger,
) -> Result<Vec<Loaded>, BadFile> {
    let mut all = Vec::new();
    for (index, files) in settings.certificates.iter().enumerate() {
        let certificate = files.load(now)?;
        let staple = match &files.stapling_file {
            None => known
                .get(index)
                .filter(|known| known.certificate.key.cert == certificate.key.cert)
                .and_then(|known| known.staple.clone()),
            // A response may be out of date for a while. That is no reason to serve nothing.
            Some(file) => files
                .staple(file, &certificate, now)
                .map_err(|error| log.error("tls", format_args!("{error}; nothing is stapled")))
                .ok(),
        };
        all.push(Loaded {
            certificate,
            staple,
        });
    }
    Ok(all)
}

fn stamps(settings: &Settings) -> Vec<Stamp> {
    let mut files: Vec<&Path> = Vec::new();
    for one in &settings.certificates {
        files.extend([one.cert.as_path(), one.key.as_path()]);
        files.extend(one.stapling_file.as_deref());
    }
    files.extend(
        settings
            .verify
            .as_ref()
            .map(|one| one.authorities.as_path()),
    );
    files.into_iter().map(stamp).collect()
}

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::metadata(file).ok();
    let about = about.map(|about| (about.ino(), about.size(), about.modified().ok()));
    (file.to_owned(), about)
}
