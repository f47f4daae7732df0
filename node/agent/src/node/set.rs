//! The HSMs of a node while it runs: each with its supervisor; made and taken away on demand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::{Confine, Creation, Engine, ExternalName, Seal, Start, VERSION, chain};
use casemate_control_plane::Activation;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::change_seal::ChangeError;
use super::config::NodeConfig;
use super::creation::{CreationRefusal, NewHsm};
use super::record::{self, HSMS_MAX, HsmRecord, RecordError};
use super::seals::{SLOTS, Seals, SealsError, Term};
use super::tls::TlsError;
use super::tokens::{self, Clash};
use crate::authority::Authority;
use crate::clock::now;
use crate::courier::CourierPlace;
use crate::dial::Dialer;
use crate::directory::{Directory, Known};
use crate::facts::{Facts, SharedFacts};
use crate::folder::{Folder, FolderError, fails};
use crate::hsm::HsmLink;
use crate::limits::AllLimits;
use crate::managed_identity::IdentityPlace;
use crate::say::say;
use crate::supervise::{GaveUp, Supervisor};
use crate::users;

/// Where the folders of deleted HSMs go.
const DELETED: &str = "deleted";

/// All HSMs of one node.
pub(crate) struct HsmSet {
    /// The node's file, which names the seal that is wanted.
    pub(crate) file: PathBuf,
    pub(crate) config: NodeConfig,
    pub(crate) seals: Seals,
    pub(crate) limits: AllLimits,
    /// The port that clients use.
    pub(crate) port: u16,
    pub(crate) folder: Arc<Folder>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) directory: Arc<Directory>,
    running: Mutex<BTreeMap<String, Running>>,
    /// One change at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

struct Running {
    record: HsmRecord,
    link: Arc<HsmLink>,
    facts: Arc<SharedFacts>,
    /// What its next partition is unsealed with.
    seal: watch::Sender<Seal>,
    stop: watch::Sender<bool>,
    supervised: JoinHandle<Result<(), GaveUp>>,
}

/// Why an HSM is not made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// What was asked for cannot be.
    #[error(transparent)]
    Creation(#[from] CreationRefusal),
    /// The name is in use.
    #[error("there is an HSM {0} on this node already; choose another name, or delete that one")]
    Exists(String),
    /// There is none.
    #[error("there is no HSM {0} on this node; `casemate hsm list` shows which there are")]
    NoSuchHsm(String),
    /// It does not answer.
    #[error("the HSM {0} does not answer now; `casemate hsm show {0}` says how it is")]
    Silent(String),
    /// Its token is another's.
    #[error("the token {token:?} is that of the HSM {hsm}; initialise one for this HSM alone")]
    TokenTaken {
        /// The token's label.
        token: String,
        /// Whose it is.
        hsm: String,
    },
    /// What its token needs is another's.
    #[error(
        "{} of the token belongs to the HSM {hsm}; give each HSM's token a folder of its own, and \
         name that",
        path.display()
    )]
    PathTaken {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        hsm: String,
    },
    /// What its token needs holds the node's folder.
    #[error(
        "{} holds the node's own folder, and would be given to the HSM with it; name the token's \
         folder alone",
        path.display()
    )]
    HoldsNode {
        /// The path.
        path: PathBuf,
    },
    /// Its TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its seal.
    #[error(transparent)]
    Seal(#[from] SealsError),
    /// The seal's change.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl HsmSet {
    pub(crate) fn new(
        (file, config): (&Path, NodeConfig),
        limits: AllLimits,
        port: u16,
        folder: Arc<Folder>,
        authority: Arc<Authority>,
    ) -> Result<Self, SetError> {
        let any_hsm = !HsmRecord::all(&folder)?.is_empty();
        let seals = Seals::open(Arc::clone(&folder), &config.seal, any_hsm)?;
        Ok(Self {
            file: file.to_owned(),
            config,
            seals,
            limits,
            port,
            folder,
            authority,
            directory: Arc::default(),
            running: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Starts every HSM that the folder holds. One that cannot be started is given up; it keeps no
    /// other from serving.
    pub(crate) async fn start_all(&self) -> Result<usize, SetError> {
        let records = HsmRecord::all(&self.folder)?;
        self.finish_change(&records).await?;
        let count = records.len();
        for record in records {
            if let Err(error) = self.begin(record.clone()) {
                self.give_up(record, &error)?;
            }
        }
        Ok(count)
    }

    /// Makes an HSM and starts it. It is not activated.
    pub(crate) async fn create(&self, mut asked: NewHsm) -> Result<Value, SetError> {
        let _one_at_a_time = self.changing.lock().await;
        let settings = asked.settings(&self.config.domain, self.port)?;
        asked.name.make_ascii_lowercase();
        let name = asked.name;
        if self.running.lock().contains_key(&name) {
            return Err(SetError::Exists(name));
        }
        if self.running.lock().len() >= HSMS_MAX {
            return Err(RecordError::TooMany.into());
        }
        self.refuse_token_of_another(&name, &asked.engine)?;
        let record = HsmRecord::new(&name, now(), settings, asked.engine);
        // First the record: an HSM's folder without one would stop the node's next start.
        record.save(&self.folder)?;
        say(format_args!("creating HSM {name}"));
        if let Err(error) = self.begin(record) {
            self.unmake(&name);
            return Err(error);
        }
        self.show(&name)
    }

    /// Stops an HSM and moves all that it has aside.
    pub(crate) async fn delete(&self, name: &str) -> Result<Value, SetError> {
        let _one_at_a_time = self.changing.lock().await;
        let name = name.to_ascii_lowercase();
        let taken = self.running.lock().remove(&name);
        let running = taken.ok_or_else(|| SetError::NoSuchHsm(name.clone()))?;
        self.directory.remove(&running.link);
        running.stop.send_replace(true);
        // How it ended no longer matters.
        let _ended = running.supervised.await;
        let kept = self.folder.make(&format!("{DELETED}/{name}-{}", now()))?;
        // The record last: cut off before, the next start serves what is left and says what is not.
        let (courier, hsm) = (format!("courier/{name}"), format!("hsm/{name}"));
        for from in [courier, hsm, format!("{SLOTS}/{name}"), record::file(&name)] {
            let from = self.folder.join(&from);
            let to = kept.join(from.iter().rev().nth(1).unwrap_or_default());
            match std::fs::rename(&from, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(fails("move away", &from)(error).into());
                }
                Ok(()) | Err(_) => {}
            }
        }
        say(format_args!("HSM {name} deleted; what it had is in {}", kept.display()));
        Ok(json!({ "name": name, "kept": kept }))
    }

    /// What is known of one.
    pub(crate) fn show(&self, name: &str) -> Result<Value, SetError> {
        let name = name.to_ascii_lowercase();
        let running = self.running.lock();
        let hsm = running.get(&name).ok_or(SetError::NoSuchHsm(name))?;
        Ok(self.shown(hsm))
    }

    /// The way to one, and what is asked of it.
    pub(crate) fn reached(&self, name: &str) -> Result<(Arc<HsmLink>, Arc<SharedFacts>), SetError> {
        let name = name.to_ascii_lowercase();
        let running = self.running.lock();
        let hsm = running.get(&name).ok_or(SetError::NoSuchHsm(name))?;
        Ok((Arc::clone(&hsm.link), Arc::clone(&hsm.facts)))
    }

    /// What one says of itself, with what is known of it here.
    pub(crate) async fn inspect(&self, name: &str) -> Result<Value, SetError> {
        let name = name.to_ascii_lowercase();
        let (mut shown, link, facts) = {
            let running = self.running.lock();
            let hsm = running.get(&name).ok_or_else(|| SetError::NoSuchHsm(name.clone()))?;
            (self.shown(hsm), Arc::clone(&hsm.link), Arc::clone(&hsm.facts))
        };
        let said = facts.inspections.ask(&link).await;
        shown["hsm"] = said.ok_or(SetError::Silent(name))?;
        Ok(shown)
    }

    /// All, by name.
    pub(crate) fn list(&self) -> Value {
        self.running.lock().values().map(|hsm| self.shown(hsm)).collect()
    }

    /// The names of all.
    pub(crate) fn names(&self) -> Vec<String> {
        self.running.lock().keys().cloned().collect()
    }

    /// One that neither serves nor was given up.
    pub(crate) fn unsteady(&self) -> Option<String> {
        let running = self.running.lock();
        let mut hsms = running.values();
        let unsteady = |hsm: &&Running| {
            let ready = hsm.facts.read().ready;
            !ready && !hsm.supervised.is_finished()
        };
        hsms.find(unsteady).map(|hsm| hsm.record.name.clone())
    }

    /// The next partition of each HSM is unsealed by this term.
    pub(crate) fn follow(&self, term: &Term) -> Result<(), SealsError> {
        for hsm in self.running.lock().values() {
            hsm.seal.send_replace(self.seals.seal(term, &hsm.record.name, Path::new("/"))?);
        }
        Ok(())
    }

    /// Stops all, at the same time.
    pub(crate) async fn stop(&self) {
        let all = std::mem::take(&mut *self.running.lock());
        for hsm in all.values() {
            hsm.stop.send_replace(true);
        }
        for (_, hsm) in all {
            let _ended = hsm.supervised.await;
        }
    }

    /// Looks whether a token is free for this HSM.
    fn refuse_token_of_another(&self, name: &str, engine: &Engine) -> Result<(), SetError> {
        let Engine::Pkcs11(wanted) = engine else { return Ok(()) };
        let own_users = users::is_root();
        if let Some(path) = tokens::holding(wanted, self.folder.path()).filter(|_| own_users) {
            return Err(SetError::HoldsNode { path: path.clone() });
        }
        let running = self.running.lock();
        for hsm in running.values().filter(|hsm| hsm.record.name != name) {
            let Engine::Pkcs11(taken) = &hsm.record.engine else { continue };
            let other = || hsm.record.name.clone();
            match tokens::clash(wanted, taken, own_users) {
                None => {}
                Some(Clash::Token) => {
                    return Err(SetError::TokenTaken { token: wanted.token.clone(), hsm: other() });
                }
                Some(Clash::Path(path)) => return Err(SetError::PathTaken { path, hsm: other() }),
            }
        }
        Ok(())
    }

    fn shown(&self, hsm: &Running) -> Value {
        let facts = hsm.facts.read();
        let state = match (facts.ready, hsm.supervised.is_finished(), &facts.last_end) {
            (true, ..) => "ready",
            (false, true, _) => "given up",
            (false, false, Some(_)) => "starting again",
            (false, false, None) => "starting",
        };
        json!({
            "name": hsm.record.name,
            "state": state,
            "activated": facts.activated,
            "url": self.url(&hsm.record.name),
            "seal": self.seals.current().seal.shown(),
            "engine": match &hsm.record.engine {
                Engine::Software => "software",
                Engine::Pkcs11(_) => "pkcs11",
            },
            "created": hsm.record.created_at,
            "restarts": facts.restarts,
            "process": facts.partition_pid,
            "lastEnd": facts.last_end,
        })
    }

    fn url(&self, name: &str) -> String {
        let host = format!("{name}.managedhsm.{}", self.config.domain);
        match self.port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }

    fn begin(&self, mut record: HsmRecord) -> Result<(), SetError> {
        // Also at the node's start: where a token is may have been changed by hand.
        self.refuse_token_of_another(&record.name, &record.engine)?;
        let start = self.start(&mut record)?;
        let place = self.folder.make(&format!("courier/{}", record.name))?;
        let courier = CourierPlace::prepare(place.clone());
        let courier = courier.map_err(fails("give to its user", &place))?;
        let wait = Duration::from_millis(self.limits.agent.partition_wait_ms);
        let link = Arc::new(HsmLink::new(wait));
        let facts = Arc::new(SharedFacts::new(Facts {
            agent_pid: std::process::id(),
            hsm: record.name.clone(),
            urls: vec![self.url(&record.name)],
            ..Facts::default()
        }));
        let hosts: Vec<String> = start.names.iter().map(|name| name.host.clone()).collect();
        let known =
            Known { hosts: hosts.clone(), link: Arc::clone(&link), facts: Arc::clone(&facts) };
        self.directory.add(known);
        let (stop, stopping) = watch::channel(false);
        let (seal, sealing) = watch::channel(start.seal.clone());
        let supervisor = Supervisor {
            start,
            seal: sealing,
            names: hosts.into_iter().collect(),
            link: Arc::clone(&link),
            authority: Arc::clone(&self.authority),
            facts: Arc::clone(&facts),
            dialer: Dialer::new(None),
            identity: IdentityPlace::Node { file: self.file.clone(), hsm: record.name.clone() }
                .into(),
            courier,
            activation: Activation::default(),
            created: Box::new(sealed(Arc::clone(&self.folder), record.clone())),
            stopping,
        };
        let name = record.name.clone();
        let supervised = tokio::spawn(async move {
            let ended = supervisor.run().await;
            if let Err(gave_up) = &ended {
                say(format_args!("{}", chain(gave_up)));
            }
            ended
        });
        let running = Running { record, link, facts, seal, stop, supervised };
        self.running.lock().insert(name, running);
        Ok(())
    }

    /// Keeps one that cannot be started, with the reason, to be shown and deleted.
    fn give_up(&self, record: HsmRecord, error: &SetError) -> Result<(), SetError> {
        let (hsm, message) = (record.name.clone(), chain(error));
        say(format_args!("HSM {hsm} is given up: {message}; mend that and restart the node"));
        let link = Arc::new(HsmLink::new(Duration::ZERO));
        let facts = Arc::new(SharedFacts::new(Facts {
            agent_pid: std::process::id(),
            hsm: hsm.clone(),
            urls: vec![self.url(&hsm)],
            last_end: Some(message.clone()),
            ..Facts::default()
        }));
        let seal = self.seals.seal(&self.seals.current(), &hsm, Path::new("/"))?;
        let (seal, _) = watch::channel(seal);
        let (stop, _) = watch::channel(false);
        let gave_up = GaveUp::Refused { hsm: hsm.clone(), code: "start".to_owned(), message };
        let supervised = tokio::spawn(async { Err(gave_up) });
        let running = Running { record, link, facts, seal, stop, supervised };
        self.running.lock().insert(hsm, running);
        Ok(())
    }

    /// Takes back what there is of one that could not be started when it was made: empty folders,
    /// and its record last.
    fn unmake(&self, name: &str) {
        for folder in [format!("courier/{name}"), format!("hsm/{name}")] {
            let path = self.folder.join(&folder);
            match std::fs::remove_dir(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return say(format_args!("{}", chain(&fails("remove", &path)(error))));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let path = self.folder.join(&record::file(name));
        if let Err(error) = std::fs::remove_file(&path) {
            say(format_args!("{}", chain(&fails("remove", &path)(error))));
        }
    }

    /// The partition's first message; also makes its folder and, as root, its user.
    fn start(&self, record: &mut HsmRecord) -> Result<Start, SetError> {
        let folder = self.folder.make(&format!("hsm/{}", record.name))?;
        let outer = folder.clone();
        let (confine, seen) = if users::is_root() {
            let user = *record.user.get_or_insert_with(users::pick);
            record.save(&self.folder)?;
            users::give(&folder, user).map_err(fails("give to its user", &folder))?;
            if let Engine::Pkcs11(place) = &record.engine {
                for path in &place.paths {
                    users::give(path, user).map_err(fails("give to the HSM's user", path))?;
                }
            }
            (Confine { root: Some(folder), uid_gid: Some((user, user)) }, PathBuf::from("/"))
        } else {
            (Confine::default(), folder)
        };
        let host = |kind| format!("{}.{kind}.{}", record.name, self.config.domain);
        let name = |kind| ExternalName { host: host(kind), port: self.port };
        let settings = record.settings.clone();
        Ok(Start {
            version: VERSION,
            hsm: record.name.clone(),
            names: ["managedhsm", "vault"].map(name).to_vec(),
            named_port: self.port,
            seal: self.seals.seal(&self.seals.current(), &record.name, &seen)?,
            engine: record.engine.clone(),
            folder: seen,
            create: settings.map(|settings| Creation { settings, development: false }),
            limits: self.limits.partition.clone(),
            region: self.config.region.clone(),
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            confine,
            shown_folder: outer,
            development: false,
        })
    }
}

/// What is done once the first settings are sealed: from then on nobody else has them.
fn sealed(folder: Arc<Folder>, mut record: HsmRecord) -> impl FnMut() + Send + Sync {
    move || {
        record.settings = None;
        if let Err(error) = record.save(&folder) {
            say(format_args!("{}", chain(&error)));
        }
    }
}
