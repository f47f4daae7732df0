//! A partition's life, step by step: open, serve, finish.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use casemate_audit::{Ledger, Loss, Trail};
use casemate_channel::{Start, TlsOrder, ToAgent};
use casemate_data_plane::{Backups, Config, DataPlane, ExternalName, Limits, Serving};
use casemate_engine_pkcs11::Token;
use casemate_engine_soft::domain::RecordCipher;
use casemate_hsm::security_domain::NotActivated;
use casemate_hsm::{Clock, Door, Hsm};
use casemate_token::{GroupSource, Groups, TrustSettings, TrustedIssuer, Validator};
use casemate_trace::Tracer;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;

use crate::agent::{Agent, Arrival};
use crate::aside::{FolderAside, take_place};
use crate::boot::Boot;
use crate::clock::{SystemClock, now_ns};
use crate::confirm::confirm;
use crate::courier::{Courier, Origin, TrailLog, Transfers};
use crate::due::purge_when_due;
use crate::failure::{Failure, chain};
use crate::fetch::AgentFetch;
use crate::identify::ByAgent;
use crate::inspect::inspect;
use crate::keeper::NodeKeeper;
use crate::ledger::{Remember, Remembered};
use crate::loss;
use crate::metrics::{Counts, Metrics};
use crate::open::{self, System};
use crate::pool::{Bounds, Load, NicedPool};
use crate::rewrap::leave_epoch;
use crate::schedules::Schedules;
use crate::seal::{NodeSeal, Sealing};
use crate::sentinel::Sentinel;
use crate::serve::Server;
use crate::spawn::RuntimeSpawn;
use crate::tls::Tls;

/// How often the audit trail is asked whether it is broken, or its disk nearly full.
const TRAIL_INTERVAL: Duration = Duration::from_secs(1);
/// How often the audit trail's size and root are brought up to date in the store.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(10);
/// How often the node seal is brought up to date with the last change.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(300);
/// Time for answers that are under way when the store has gone astray.
const ASTRAY_GRACE: Duration = Duration::from_secs(1);
/// Time for tasks to end after the last connection has.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a confined process as a partition until it is told to stop.
pub(crate) fn run(boot: Boot) -> Result<(), Failure> {
    if cfg!(any(feature = "null-sink", feature = "no-records")) {
        tracing::error!("this build drops audit records: it is for the benchmark and no other use");
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(boot.start.threads.max(1))
        .thread_name("serve")
        // New requests are looked for after this many steps, of which a costly one is some.
        .event_interval(16)
        .enable_all()
        .build()
        .map_err(Failure::Threads)?;
    let done = runtime.block_on(live(boot));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    done
}

async fn live(boot: Boot) -> Result<(), Failure> {
    let Boot { start, agent, token, sealing, memory_is_locked, cores } = boot;
    let (agent, mut arrivals) = Agent::attend(agent.into_end()?);
    let done =
        match Partition::open(&start, &agent, (memory_is_locked, token, sealing), cores).await {
            Ok(partition) => partition.serve(&mut arrivals).await,
            Err(failure) => Err(failure),
        };
    match &done {
        Ok(()) => agent.tell(&ToAgent::Stopped).await?,
        Err(Failure::Anew) => return Ok(()),
        Err(failure) if failure.lasts() => {
            let (code, message) = (failure.code().to_owned(), failure.text());
            agent.tell(&ToAgent::Failed { code, message, passing: false }).await?;
        }
        Err(_) => {}
    }
    done
}

/// All that runs.
struct Partition {
    agent: Arc<Agent>,
    door: Door,
    activated: bool,
    trail: Trail,
    courier: Arc<Courier>,
    aside: Arc<FolderAside>,
    keeper: Arc<NodeKeeper>,
    server: Arc<Server>,
    sentinel: Arc<Sentinel>,
    metrics: Arc<Metrics>,
    stop_grace: Duration,
}

impl Partition {
    /// Opens everything, verified, in the order in which one thing needs another.
    async fn open(
        start: &Start,
        agent: &Arc<Agent>,
        (memory_is_locked, token, sealing): (bool, Option<Token>, Sealing),
        cores: usize,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let load = Load::new(start.threads);
        let pool = pool(start, cores, &load)?;
        let mut seal = seal(start, sealing, &*clock)?;
        open::settle(start, &mut seal).await?;
        let keys = open::keys(&seal, memory_is_locked, token)?;
        let sentinel = Sentinel::new();
        let counts = Arc::new(Counts::default());
        let system = System {
            clock: Arc::clone(&clock),
            pool: Arc::<NicedPool>::clone(&pool),
            spawn: Arc::new(RuntimeSpawn(Handle::current())),
            counts: Arc::clone(&counts),
        };
        let (hsm, kept) = open::hsm(start, &mut seal, &keys, system, &sentinel).await?;
        let door = Door::from(&hsm);
        let identity = kept.identity_record();
        let remembered = kept.remembered();
        let ledger = open::ledger(start, kept, &seal, &keys, clock.now())?;
        let trail = trail(start, agent, &hsm, ledger, &remembered).await?;
        let outbound = outbound(start, &door);
        agent.tell(&ToAgent::Outbound { hosts: outbound.clone() }).await?;
        let callers = Callers::of(start, agent, &door, &outbound);
        let tracer = Tracer::new(now_ns);
        let courier = courier(start, agent, &door, &trail, &tracer, remembered.losses.len());
        let aside = Arc::new(FolderAside::new(&start.folder));
        let active = seal.domain().is_some().then(|| Arc::clone(&hsm));
        let keeper = NodeKeeper::new(seal, identity, &start.hsm, memory_is_locked);
        let serving = serving(active.clone(), hsm);
        let told = Told { trail: &trail, courier: &courier, tracer: &tracer, aside: &aside };
        let plane = plane(start, serving, callers, told, &keeper, &remembered.losses)?;
        let tls = tls(start, agent, keys.files, clock).await?;
        tend(active.as_ref(), &trail, &keeper);
        keep_schedules(active.as_ref(), &trail, &courier, &start.hsm);
        let (of, with) = (Arc::clone(&plane), Arc::clone(&counts));
        let server = Server::new(of, Arc::clone(&tls), load, with, &start.limits);
        let activated = active.is_some();
        let metrics = Arc::new(Metrics {
            counts,
            plane,
            door: door.clone(),
            hsm: active,
            pool,
            places: Arc::clone(server.places()),
            courier: Arc::clone(&courier),
            tracer,
            tls,
        });
        let stop_grace = Duration::from_millis(start.limits.stop_grace_ms);
        let agent = Arc::clone(agent);
        Ok(Self {
            agent,
            door,
            activated,
            trail,
            courier,
            aside,
            keeper,
            server,
            sentinel,
            metrics,
            stop_grace,
        })
    }

    /// Serves until told to stop.
    async fn serve(mut self, arrivals: &mut mpsc::Receiver<Arrival>) -> Result<(), Failure> {
        let (pid, activated) = (std::process::id(), self.activated);
        self.agent.tell(&ToAgent::Ready { pid, activated }).await?;
        let ended = self.take_connections(arrivals).await;
        let grace = match ended {
            Ok(()) | Err(Failure::Anew) => self.stop_grace,
            Err(_) => ASTRAY_GRACE,
        };
        self.server.finish(grace).await;
        self.metrics.plane.sum_up_refusals().await;
        if matches!(ended, Err(Failure::Anew)) {
            // The store takes nothing any more: only the audit's own record is left.
            open::record_service(&self.trail, "PartitionStop").await?;
            self.trail.close();
        }
        ended?;
        open::record_service(&self.trail, "PartitionStop").await?;
        self.trail.close();
        Remember::new().now(&self.trail, &self.door).await;
        self.keeper.remember(self.door.sequence())?;
        Ok(())
    }

    async fn take_connections(
        &mut self,
        arrivals: &mut mpsc::Receiver<Arrival>,
    ) -> Result<(), Failure> {
        let sentinel = Arc::clone(&self.sentinel);
        let aside = Arc::clone(&self.aside);
        let keeper = Arc::clone(&self.keeper);
        let mut remember = tokio::time::interval(REMEMBER_INTERVAL);
        let mut anchor = tokio::time::interval(ANCHOR_INTERVAL);
        let mut anchored = Remember::new();
        let mut look = tokio::time::interval(TRAIL_INTERVAL);
        let mut told = Refusing::default();
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(Arrival::Connection { socket, peer }) => self.server.accept(socket, peer),
                    Some(Arrival::Courier { stream }) => self.courier.attach(stream),
                    Some(Arrival::Metrics(id)) => self.show_metrics(id),
                    Some(Arrival::Inspect(id)) => {
                        let shown = inspect(&self.door, &*self.keeper);
                        self.agent.tell(&ToAgent::Inspected { id, shown }).await?;
                    }
                    Some(Arrival::Tls(id, order, key)) => self.order_tls(id, order, key),
                    Some(Arrival::Stop) => return Ok(()),
                    None => return Err(Failure::AgentGone),
                },
                // A restored HSM is there.
                () = aside.taken() => {
                    self.agent.tell(&ToAgent::Anew).await?;
                    return Err(Failure::Anew);
                }
                // Before the other: a store that has been sealed anew takes nothing any more.
                () = keeper.reopened() => {
                    self.agent.tell(&ToAgent::Anew).await?;
                    return Err(Failure::Anew);
                }
                () = sentinel.astray() => return Err(Failure::Astray),
                // It takes nothing until it is opened anew: the partition ends, its agent heals it.
                _ = look.tick() => self.look(&mut told).await?,
                _ = anchor.tick() => anchored.now(&self.trail, &self.door).await,
                // On the main thread, which serves nobody.
                _ = remember.tick() => {
                    if let Err(error) = self.keeper.remember(self.door.sequence()) {
                        tracing::warn!("{}; tried again later", chain(&error));
                    }
                }
            }
        }
    }
}

/// What the agent was told of why calls are refused.
#[derive(Default)]
struct Refusing {
    low: bool,
    missing: bool,
}

impl Partition {
    /// Looks whether the trail takes records and its copies arrive, and tells what has changed.
    async fn look(&self, told: &mut Refusing) -> Result<(), Failure> {
        if let Some(failure) = self.trail.failure() {
            return Err(failure.into());
        }
        let (low, missing) = (self.trail.is_low(), self.courier.copy_is_missing());
        if low != std::mem::replace(&mut told.low, low) {
            self.agent.tell(&ToAgent::DiskLow { low }).await?;
        }
        if missing != std::mem::replace(&mut told.missing, missing) {
            self.agent.tell(&ToAgent::CopyMissing { missing }).await?;
        }
        Ok(())
    }

    /// Carried out beside everything else: a certificate may have to be signed.
    fn order_tls(&self, id: u64, order: TlsOrder, key: Option<OwnedFd>) {
        let (tls, trail, agent) =
            (Arc::clone(&self.metrics.tls), self.trail.clone(), Arc::clone(&self.agent));
        tokio::spawn(async move {
            let shown = tls.order(order, key, &trail).await;
            if let Err(error) = agent.tell(&ToAgent::Inspected { id, shown }).await {
                tracing::warn!("{}", chain(&error));
            }
        });
    }

    /// Answers beside everything else: the agent may be slow to take it.
    fn show_metrics(&self, id: u64) {
        let (metrics, agent) = (Arc::clone(&self.metrics), Arc::clone(&self.agent));
        tokio::spawn(async move {
            if let Err(error) = metrics.tell(&agent, id).await {
                tracing::warn!("{}", chain(&error));
            }
        });
    }
}

/// The audit trail. One that was lost and given up leads to a new one, by another start.
async fn trail(
    start: &Start,
    agent: &Agent,
    hsm: &Arc<Hsm>,
    ledger: Ledger,
    remembered: &Remembered,
) -> Result<Trail, Failure> {
    let opened = open::trail(start, &Door::from(hsm), ledger, &remembered.losses).await;
    let Err(failure) = opened else { return opened };
    let failure = loss::or_given_up(start, hsm, remembered, failure).await;
    if matches!(failure, Failure::Anew) {
        agent.tell(&ToAgent::Anew).await?;
    }
    Err(failure)
}

/// The threads for what is costly.
fn pool(start: &Start, cores: usize, load: &Arc<Load>) -> Result<Arc<NicedPool>, Failure> {
    let bounds = Bounds {
        all_max: start.limits.pool_queue_max,
        caller_max: start.limits.caller_pool_queue_max,
    };
    NicedPool::start(cores, bounds, Arc::clone(load)).map_err(Failure::Threads)
}

/// The TLS, and the care for it.
async fn tls(
    start: &Start,
    agent: &Arc<Agent>,
    cipher: Arc<RecordCipher>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Tls>, Failure> {
    let (folder, names) = (start.folder.clone(), certificate_names(start));
    let tls = Tls::open(Arc::clone(agent), cipher, folder, names, clock).await?;
    tokio::spawn(Arc::clone(&tls).keep_fresh());
    Ok(tls)
}

/// The HSM in its state.
fn serving(active: Option<Arc<Hsm>>, hsm: Arc<Hsm>) -> Serving {
    active.map_or_else(|| Serving::NotActivated(NotActivated::of(hsm)), Serving::Active)
}

/// Begins what an active HSM does by itself.
fn tend(active: Option<&Arc<Hsm>>, trail: &Trail, keeper: &Arc<NodeKeeper>) {
    let Some(hsm) = active else { return };
    tokio::spawn(purge_when_due(Arc::clone(hsm), trail.clone()));
    tokio::spawn(confirm(Arc::clone(hsm), Arc::clone(keeper)));
    tokio::spawn(leave_epoch(Arc::clone(hsm), Arc::clone(keeper), trail.clone()));
}

/// Begins to make backups by schedule.
fn keep_schedules(active: Option<&Arc<Hsm>>, trail: &Trail, courier: &Courier, name: &str) {
    let Some(hsm) = active else { return };
    let schedules = Schedules {
        hsm: Arc::clone(hsm),
        trail: trail.clone(),
        objects: Arc::<Transfers>::clone(courier.transfers()),
        name: name.to_owned(),
    };
    tokio::spawn(schedules.keep());
}

/// The node seal; made where the HSM was not created yet.
fn seal(start: &Start, sealing: Sealing, clock: &dyn Clock) -> Result<NodeSeal, Failure> {
    // First of all what a restore has decided: the seal remembers no more than that.
    take_place(&start.folder).map_err(Failure::Folder)?;
    Ok(match &start.create {
        Some(_) => NodeSeal::open_or_create(&start.folder, sealing, clock.now())?,
        None => NodeSeal::open(&start.folder, sealing)?,
    })
}

/// `{port}` in the settings stands for the port of the named listener.
fn with_port(start: &Start, text: &str) -> String {
    text.replace("{port}", &start.named_port.to_string())
}

fn outbound(start: &Start, hsm: &Door) -> Vec<String> {
    hsm.settings().outbound.iter().map(|host| with_port(start, host)).collect()
}

/// The trusted issuers; the first speaks for the directory.
fn issuers(start: &Start, hsm: &Door) -> Vec<TrustedIssuer> {
    let issuer = |(at, issuer): (usize, &casemate_hsm::TrustedIssuer)| TrustedIssuer {
        issuer: with_port(start, &issuer.issuer),
        metadata_url: with_port(start, &issuer.metadata_url),
        trust_anchors_pem: issuer.trust_anchors_pem.clone(),
        directory: at == 0 || issuer.same_directory,
    };
    hsm.settings().issuers.iter().enumerate().map(issuer).collect()
}

fn trust(start: &Start, hsm: &Door) -> TrustSettings {
    let settings = hsm.settings();
    TrustSettings {
        tenant: settings.tenant,
        issuers: issuers(start, hsm),
        audiences: settings.audiences.iter().map(|name| with_port(start, name)).collect(),
    }
}

fn courier(
    start: &Start,
    agent: &Arc<Agent>,
    hsm: &Door,
    trail: &Trail,
    tracer: &Arc<Tracer>,
    losses: usize,
) -> Arc<Courier> {
    let log = TrailLog::new(trail.clone(), &open::audit_folder(start));
    let resource_id = open::resource_id(start);
    let losses = u32::try_from(losses).unwrap_or(u32::MAX);
    let origin = Origin { hsm: start.hsm.clone(), resource_id, log: losses };
    let identity = Arc::new(ByAgent(Arc::clone(agent)));
    Arc::new(Courier::new(hsm.clone(), log, tracer, identity, origin))
}

/// The issuers that can be asked for groups.
fn group_sources(start: &Start, hsm: &Door) -> Vec<GroupSource> {
    let settings = hsm.settings();
    let urls = settings.issuers.iter().map(|issuer| issuer.groups_url.as_deref());
    let sources = issuers(start, hsm).into_iter().zip(urls);
    let source = |(issuer, url): (TrustedIssuer, Option<&str>)| {
        Some(GroupSource { issuer, url: with_port(start, url?) })
    };
    sources.filter_map(source).collect()
}

/// What is known of callers.
struct Callers {
    validator: Arc<Validator>,
    groups: Groups,
}

impl Callers {
    fn of(start: &Start, agent: &Arc<Agent>, hsm: &Door, outbound: &[String]) -> Self {
        let fetch = Arc::new(AgentFetch::new(Arc::clone(agent), outbound));
        let groups = Groups::new(group_sources(start, hsm), Arc::<AgentFetch>::clone(&fetch));
        let validator = Arc::new(Validator::new(trust(start, hsm), fetch));
        for cut_off in hsm.cut_offs().iter() {
            validator.cut_off(cut_off.principal, cut_off.not_before.0);
        }
        Self { validator, groups }
    }
}

/// What is told of requests.
struct Told<'a> {
    trail: &'a Trail,
    courier: &'a Arc<Courier>,
    tracer: &'a Arc<Tracer>,
    aside: &'a Arc<FolderAside>,
}

fn plane(
    start: &Start,
    hsm: Serving,
    callers: Callers,
    told: Told<'_>,
    keeper: &Arc<NodeKeeper>,
    losses: &[Loss],
) -> Result<Arc<DataPlane>, Failure> {
    let bounds = Limits::default();
    let limits = Limits {
        payload_bytes_max: bounds.payload_bytes_max.min(start.limits.body_bytes_max),
        body_bytes_max: bounds.body_bytes_max.min(start.limits.body_bytes_max),
        backup_bytes_max: bounds.backup_bytes_max.min(start.limits.body_bytes_max),
        body_deadline: Duration::from_millis(start.limits.body_timeout_ms),
        caller_requests_max: start.limits.caller_requests_max,
        caller_refusals_max: start.limits.caller_refusals_max,
        caller_refusals_per_minute_max: start.limits.caller_refusals_per_minute_max,
        refusals_summary_interval: bounds.refusals_summary_interval,
    };
    let config = Config {
        hsm,
        keeper: Arc::<NodeKeeper>::clone(keeper),
        validator: callers.validator,
        groups: callers.groups,
        trail: told.trail.clone(),
        audit_lost: losses.last().map(loss::words),
        copies: Arc::<Courier>::clone(told.courier),
        backups: Backups {
            hsm: start.hsm.clone(),
            objects: Arc::<Transfers>::clone(told.courier.transfers()),
            aside: Arc::<FolderAside>::clone(told.aside),
        },
        tracer: Arc::clone(told.tracer),
        names: start.names.iter().map(external).collect(),
        named_port: start.named_port,
        region: start.region.clone(),
        build: env!("CARGO_PKG_VERSION").to_owned(),
        limits,
    };
    Ok(Arc::new(DataPlane::new(config)?))
}

/// A name with its URL; 443 is not written.
fn external(name: &casemate_channel::ExternalName) -> ExternalName {
    let host = match name.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => name.host.clone(),
    };
    let url = match name.port {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    };
    ExternalName { host: name.host.clone(), port: name.port, url }
}

/// What the certificate is for, as its text will be compared.
fn certificate_names(start: &Start) -> BTreeSet<String> {
    let text = |host: &str| match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    };
    start.names.iter().map(|name| text(&name.host)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_leave_out_443_and_put_brackets_around_ipv6() {
        let url = |host: &str, port| {
            external(&casemate_channel::ExternalName { host: host.to_owned(), port }).url
        };
        assert_eq!(url("dev.managedhsm.localhost", 8443), "https://dev.managedhsm.localhost:8443");
        assert_eq!(url("alpha.managedhsm.example", 443), "https://alpha.managedhsm.example");
        assert_eq!(url("127.0.0.1", 8444), "https://127.0.0.1:8444");
        assert_eq!(url("::1", 8444), "https://[::1]:8444");
    }
}
