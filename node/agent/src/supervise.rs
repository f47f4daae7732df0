//! Keeps one HSM served: starts its partition, answers what it asks, starts it again when it dies.
//!
//! A partition that says why it cannot go on is tried a few times more and then given up, since a
//! restart will not heal it. One that dies is started again for ever, ever more slowly, unless it
//! never came to life at all.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::{AgentEnd, ChannelError, Engine, Seal, Start, ToAgent, ToPartition, chain};
use casemate_control_plane::Activation;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::authority::Authority;
use crate::backoff::Backoff;
use crate::courier::{Courier, CourierPlace};
use crate::dial::Dialer;
use crate::facts::SharedFacts;
use crate::hsm::HsmLink;
use crate::managed_identity::IdentityLooks;
use crate::process::{Process, Role};
use crate::say::say;

/// Refusals in a row, each with its reason, after which a partition is given up.
const REFUSALS_MAX: u32 = 3;
/// The word for a PIN that a token refuses. It is not tried again: tokens lock after a few tries.
const PIN_REFUSED: &str = "pin";
/// Deaths in a row, without ever having been ready, after which it is given up.
const STILLBORN_MAX: u32 = 8;
/// Time beyond the partition's own grace before it is killed at a stop.
const STOP_EXTRA: Duration = Duration::from_secs(2);
/// Time for a process to end once its channel has.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Why an HSM is no longer served.
#[derive(Debug, thiserror::Error)]
pub enum GaveUp {
    /// The partition says why.
    #[error("the HSM {hsm} stopped ({code}): {message}")]
    Refused {
        /// The HSM.
        hsm: String,
        /// The partition's word for it.
        code: String,
        /// What happened and what to do.
        message: String,
    },
    /// It never came to life.
    #[error(
        "the partition of HSM {hsm} ended {times} times before it was ready ({how}); the lines \
         above may say why, and `casemate doctor` what this machine offers"
    )]
    Stillborn {
        /// The HSM.
        hsm: String,
        /// How often.
        times: u32,
        /// How it ended last.
        how: String,
    },
}

/// The supervisor of one HSM.
pub(crate) struct Supervisor {
    /// What the partition is told; `create` is taken out once it has been ready.
    pub(crate) start: Start,
    /// What its next process is unsealed with.
    pub(crate) seal: watch::Receiver<Seal>,
    /// Names a certificate may carry.
    pub(crate) names: HashSet<String>,
    /// Where connections wait.
    pub(crate) link: Arc<HsmLink>,
    /// Signs its certificates.
    pub(crate) authority: Arc<Authority>,
    /// What doctor shows.
    pub(crate) facts: Arc<SharedFacts>,
    /// Connects for it.
    pub(crate) dialer: Dialer,
    /// Where its managed identity is written.
    pub(crate) identity: IdentityLooks,
    /// Where its courier works.
    pub(crate) courier: CourierPlace,
    /// What the control plane says of it.
    pub(crate) activation: Activation,
    /// Told when the HSM is ready for the first time.
    pub(crate) created: Box<dyn FnMut() + Send + Sync>,
    /// Set when all shall end.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// How one partition process came to its end.
enum End {
    Stopped,
    Anew,
    Refused { code: String, message: String },
    Died { how: String },
}

const OUTBOUND_TWICE: &str = "it named the hosts it may call more than once";

/// What one partition process has said so far.
#[derive(Default)]
struct Heard {
    ready: bool,
    /// Whether more hosts may no longer be named.
    outbound: bool,
    refusal: Option<(String, String)>,
    /// Whether the refusal may pass by itself.
    passing: bool,
    courier: Option<Courier>,
    /// Whether it ends by itself, to be started anew.
    anew: bool,
}

impl Supervisor {
    /// Keeps the HSM served until told to stop.
    pub(crate) async fn run(mut self) -> Result<(), GaveUp> {
        let mut backoff = Backoff::new();
        let (mut refusals, mut deaths) = (0_u32, 0_u32);
        loop {
            let (end, was_ready) = self.live().await;
            self.link.set(None);
            if was_ready {
                backoff.reset();
                (refusals, deaths) = (0, 0);
            }
            match end {
                End::Stopped => return Ok(()),
                End::Anew => {
                    say(format_args!("HSM {} was activated; it is opened anew", self.start.hsm));
                    continue;
                }
                End::Refused { code, message } => {
                    refusals += 1;
                    say(format_args!("partition {}: {message} ({code})", self.start.hsm));
                    if refusals >= REFUSALS_MAX || code == PIN_REFUSED {
                        return Err(GaveUp::Refused { hsm: self.start.hsm, code, message });
                    }
                }
                End::Died { how } => {
                    deaths += 1;
                    say(format_args!("partition {} ended: {how}; starting again", self.start.hsm));
                    if deaths >= STILLBORN_MAX && self.start.create.is_some() {
                        return Err(GaveUp::Stillborn { hsm: self.start.hsm, times: deaths, how });
                    }
                }
            }
            if self.pause(backoff.delay()).await {
                return Ok(());
            }
            self.facts.change(|facts| facts.restarts += 1);
        }
    }

    /// Whether the pause ended because all shall end.
    async fn pause(&mut self, delay: Duration) -> bool {
        tokio::select! {
            () = sleep(delay) => false,
            _ = self.stopping.wait_for(|stop| *stop) => true,
        }
    }

    /// One process, from its start to its end.
    async fn live(&mut self) -> (End, bool) {
        let mut heard = Heard::default();
        let (end, mut process) = match self.begin().await {
            Ok(begun) => begun,
            Err(error) => return (End::Died { how: chain(&error) }, false),
        };
        let pid = process.pid();
        self.facts.change(|facts| facts.partition_pid = Some(pid));
        let stopped = self.converse(&end, &mut heard).await;
        self.link.set(None);
        let how = match (stopped, heard.ready) {
            (true, true) => self.stop(&end, &mut process).await,
            // It has nothing to finish, and may not read its channel for a while yet. Wherever its
            // start is cut off, the next one goes on from there.
            (true, false) => {
                process.kill();
                process.ended().await
            }
            (false, _) => close(&mut process).await,
        };
        if let Some(courier) = heard.courier.take() {
            courier.let_go().await;
        }
        self.facts.change(|facts| {
            facts.partition_pid = None;
            facts.ready = false;
            facts.disk_low = false;
            facts.copy_missing = false;
            if heard.anew {
                return;
            }
            facts.last_end = Some(match &heard.refusal {
                Some((code, message)) => format!("{message} ({code})"),
                None => how.clone(),
            });
        });
        let ended = match (stopped, heard.refusal) {
            (true, _) => End::Stopped,
            (false, _) if heard.anew => End::Anew,
            (false, Some((code, message))) if heard.passing => {
                End::Died { how: format!("{message} ({code})") }
            }
            (false, Some((code, message))) => End::Refused { code, message },
            (false, None) => End::Died { how },
        };
        (ended, heard.ready)
    }

    async fn begin(&self) -> Result<(Arc<AgentEnd>, Process), ChannelError> {
        let (end, theirs) = AgentEnd::pair()?;
        let seal = self.seal.borrow().clone();
        let mut environment = seal.environment().to_vec();
        if let Engine::Pkcs11(place) = &self.start.engine {
            environment.extend_from_slice(&place.environment);
        }
        let process = Process::start(theirs, Role::Partition { environment }).await?;
        let start = Start { seal, ..self.start.clone() };
        end.send(&ToPartition::Start(Box::new(start)), None).await?;
        Ok((Arc::new(end), process))
    }

    /// Answers the partition until it ends (`false`) or all shall end (`true`).
    async fn converse(&mut self, end: &Arc<AgentEnd>, heard: &mut Heard) -> bool {
        loop {
            let received = tokio::select! {
                biased;
                received = end.recv() => received,
                _ = self.stopping.wait_for(|stop| *stop) => return true,
            };
            match received {
                Ok(Some((message, _))) => {
                    if let Err(error) = self.hear(end, heard, message).await {
                        say(format_args!("partition {}: {}", self.start.hsm, chain(&*error)));
                        return false;
                    }
                }
                Ok(None) => return false,
                Err(error) => {
                    say(format_args!("partition {}: {}", self.start.hsm, chain(&error)));
                    return false;
                }
            }
        }
    }

    async fn hear(
        &mut self,
        end: &Arc<AgentEnd>,
        heard: &mut Heard,
        message: ToAgent,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match message {
            ToAgent::Hardened { report } => self.facts.change(|facts| facts.report = report),
            ToAgent::CertificateRequest { csr_pem, names } => {
                let chain_pem = self.authority.sign_request(&csr_pem, &names, &self.names)?;
                end.send(&ToPartition::Certificate { chain_pem }, None).await?;
            }
            // Once, and before anything from outside is read: who takes the process over later
            // cannot add a host.
            ToAgent::Outbound { .. } if heard.outbound => return Err(OUTBOUND_TWICE.into()),
            ToAgent::Outbound { hosts } => {
                heard.outbound = true;
                self.dialer.allow(hosts);
            }
            ToAgent::Dial { id, host, port } => self.dialer.dial(end, id, &host, port),
            ToAgent::Identity { id } => self.identity.answer(end, id),
            // Connections wait from now on.
            ToAgent::Anew => {
                heard.anew = true;
                self.link.set(None);
            }
            ToAgent::Ready { activated, .. } => {
                heard.ready = true;
                heard.outbound = true;
                if self.start.create.take().is_some() {
                    (self.created)();
                }
                self.facts.change(|facts| {
                    facts.ready = true;
                    facts.activated = activated;
                });
                self.activation.set(activated);
                let (place, facts) = (self.courier.clone(), Arc::clone(&self.facts));
                heard.courier = Some(Courier::keep(place, Arc::clone(end), facts));
                self.link.set(Some(Arc::clone(end)));
            }
            ToAgent::Failed { code, message, passing } => {
                // It sees its own folder as the root; who reads the message does not.
                let message = match &self.start.confine.root {
                    Some(root) => format!("{message} (its `/` is {})", root.display()),
                    None => message,
                };
                heard.refusal = Some((code, message));
                heard.passing = passing;
            }
            ToAgent::DiskLow { low } => self.facts.change(|facts| facts.disk_low = low),
            ToAgent::CopyMissing { missing } => {
                self.facts.change(|facts| facts.copy_missing = missing);
            }
            ToAgent::Metrics { id, family } => self.facts.questions.part(id, family)?,
            ToAgent::MetricsEnd { id } => self.facts.questions.end(id),
            ToAgent::Inspected { id, shown } => self.facts.inspections.answer(id, shown),
            ToAgent::Stopped => {}
        }
        Ok(())
    }

    /// Asks it to end, and ends it if it does not.
    async fn stop(&self, end: &AgentEnd, process: &mut Process) -> String {
        let grace = Duration::from_millis(self.start.limits.stop_grace_ms) + STOP_EXTRA;
        let asked = timeout(grace, async {
            end.send(&ToPartition::Stop, None).await?;
            // Its last words; the channel ends with the process.
            while end.recv().await?.is_some() {}
            Ok::<_, ChannelError>(process.ended().await)
        });
        match asked.await {
            Ok(Ok(how)) => how,
            Ok(Err(_)) | Err(_) => close(process).await,
        }
    }
}

/// Waits a moment for a process whose channel has ended, then kills it.
async fn close(process: &mut Process) -> String {
    if let Ok(how) = timeout(END_TIMEOUT, process.ended()).await {
        return how;
    }
    process.kill();
    process.ended().await
}
