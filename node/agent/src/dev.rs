//! `casemate dev`: the agent, one partition and the development issuer, in the foreground.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::Listener;
use casemate_control_plane::{ControlPlane, ControlPlaneSettings, ManagedHsm};
use casemate_dev_issuer::{IssuerError, MANAGED_IDENTITY_PATH};
use casemate_token::{TrustSettings, TrustedIssuer, Validator};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

use crate::activate::{self, ActivateError, Activation, Making};
use crate::authority::{Authority, AuthorityError, CA_FILE};
use crate::client::Client;
use crate::courier::CourierPlace;
use crate::dial::Dialer;
use crate::directory::{Directory, Known};
use crate::env_file::{ENV_FILE, render};
use crate::facts::{Facts, SharedFacts};
use crate::folder::{Folder, FolderError};
use crate::gate::Gate;
use crate::hsm::HsmLink;
use crate::limits::{self, AgentLimits};
use crate::local::{Local, SOCKET, bind, serve};
use crate::managed_identity::{IdentityError, IdentityPlace};
use crate::monitor::Monitor;
use crate::names::Names;
use crate::options::{DevOptions, OptionRefusal};
use crate::own_service::OwnService;
use crate::prepare::{self, Identity, REGION};
use crate::say::say;
use crate::slots::{SlotLimits, Slots};
use crate::state::{State, StateError};
use crate::supervise::{GaveUp, Supervisor};

/// Worker threads of the agent; the partition has its own.
const THREADS: usize = 2;
/// Time from the partition's word that it is ready to its first answer over TLS.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_PAUSE: Duration = Duration::from_millis(50);

/// Why `casemate dev` ended otherwise than by being stopped.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Options that cannot be.
    #[error(transparent)]
    Options(#[from] OptionRefusal),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The agent's state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The development CA.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The development issuer.
    #[error(
        "the development issuer cannot be used; what it keeps is in `issuer` in the data folder"
    )]
    Issuer(#[from] IssuerError),
    /// The HSM is there, and the issuer that it trusts is not.
    #[error(
        "{path} is missing or empty, but the HSM {hsm} takes tokens of no other issuer; restore \
         the folder from a copy, or start a new HSM with another --data-dir",
        path = path.display()
    )]
    NoIssuer {
        /// The issuer's folder.
        path: PathBuf,
        /// The HSM.
        hsm: String,
    },
    /// The HSM's managed identity.
    #[error("--identity is not usable; mend what is said of it")]
    Identity(#[from] IdentityError),
    /// A listener.
    #[error(
        "cannot listen on {address}; choose another one with {option}, port 0 picks a free one"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The option that chooses it.
        option: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The local socket.
    #[error("cannot open agent.sock in the data folder; use a --data-dir on a local disk")]
    Local(#[source] io::Error),
    /// The runtime or its signals.
    #[error("the system gives no threads or signals; look at its limits (ulimit -a)")]
    Runtime(#[source] io::Error),
    /// The HSM is no longer served.
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
    /// The partition is ready but does not answer.
    #[error("{url} does not answer; `casemate doctor` shows the state of its partition")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What happened last.
        #[source]
        cause: casemate_token::FetchError,
    },
    /// The HSM is there and not activated.
    #[error(transparent)]
    Activate(#[from] ActivateError),
    /// A part of the agent died.
    #[error("a part of the agent ended unexpectedly; please report the lines above")]
    Part(#[source] tokio::task::JoinError),
}

/// Runs until stopped by SIGTERM or SIGINT. `out` gets the ready block.
///
/// # Errors
/// When it cannot start, or the HSM cannot go on.
pub fn dev(options: &DevOptions, out: &mut dyn Write) -> Result<(), DevError> {
    if let Err(refusal) = options.check() {
        prepare::remove_old_env(options);
        return Err(refusal.into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(DevError::Runtime)?;
    runtime.block_on(run(options, out))
}

async fn run(options: &DevOptions, out: &mut dyn Write) -> Result<(), DevError> {
    let mut signals = Signals::new().map_err(DevError::Runtime)?;
    // More connections than the soft limit are welcome; with fewer it works as well.
    let _ = casemate_harden::raise_nofile();
    let limits = limits::changed(&options.limits).map_err(OptionRefusal::from)?;
    let managed_identity = prepare::managed_identity(options)?;
    let place = prepare::place(options)?;
    let folder = &place.folder;
    say(format_args!("data in {}", folder.path().display()));
    let mut state = State::open(folder, options)?;
    let authority = Arc::new(Authority::open(folder)?);
    let listener = listen(options.listen, "--listen").await?;
    let hsm_listener = listen(options.hsm_listen, "--hsm-listen").await?;
    let management = listen(options.management_listen, "--management-listen").await?;
    let bound = |listener: &TcpListener| listener.local_addr().map_err(DevError::Runtime);
    let names = Names::new(&state.name, bound(&listener)?, bound(&hsm_listener)?);
    let (bundle, roots) = prepare::roots(folder, &authority)?;
    let client = Arc::new(Client::new(names.listen, roots));
    let identity = prepare::identity(folder, options, &names, &client)?;
    let mut start = prepare::start(folder, &mut state, &names, &identity, &authority)?;
    start.limits = limits.partition;
    let management_url = format!("http://{}", bound(&management)?);
    let courier = prepare::courier(folder, &state)?;
    announce(&state);
    // Of an HSM that is there already it is not known yet whether it needs them.
    let officers = (options.activate && !state.created).then(|| activate::begin(folder));

    let (stop, stopping) = watch::channel(false);
    let folder_of = Arc::clone(folder);
    let activation = casemate_control_plane::Activation::default();
    let parts = Parts {
        names,
        management_url,
        identity,
        authority,
        client,
        folder: folder_of,
        managed_identity,
        activation,
        stopping,
    };
    let link = Arc::new(HsmLink::new(Duration::from_millis(limits.agent.partition_wait_ms)));
    let facts = Arc::new(SharedFacts::new(parts.facts(&state)));
    let directory = Arc::new(Directory::default());
    let (link_of, facts_of) = (Arc::clone(&link), Arc::clone(&facts));
    let hosts = parts.names.hsm_hosts().to_vec();
    directory.add(Known { hosts, link: link_of, facts: facts_of });
    let activate = options.activate.then(|| Activate { facts: Arc::clone(&facts), officers });
    parts.open_gate([listener, hsm_listener], &limits.agent, &directory, &link, &state)?;
    parts.open_local(&facts)?;
    let connections_max = limits.agent.management_connections_max;
    let monitor = Arc::new(Monitor { hsms: directory, connections_max });
    tokio::spawn(monitor.serve(management, parts.stopping.clone()));
    let mut supervised = parts.supervise(start, &link, &facts, state.clone(), courier);

    let ended = tokio::select! {
        ended = parts.serve(&link, &state, &bundle, activate, &mut signals, out) => ended,
        ended = &mut supervised => return parts.fallen(ended),
    };
    let gone = folder.remove(ENV_FILE);
    say(format_args!("stopping"));
    stop.send_replace(true);
    let supervised = supervised.await.map_err(DevError::Part)?;
    let socket = folder.remove(SOCKET);
    say(format_args!("stopped"));
    ended?;
    supervised?;
    Ok(gone.and(socket)?)
}

/// What the parts of the agent share.
struct Parts {
    names: Names,
    management_url: String,
    identity: Identity,
    authority: Arc<Authority>,
    client: Arc<Client>,
    folder: Arc<Folder>,
    managed_identity: IdentityPlace,
    activation: casemate_control_plane::Activation,
    stopping: watch::Receiver<bool>,
}

/// That the HSM shall be activated.
struct Activate {
    facts: Arc<SharedFacts>,
    officers: Option<Making>,
}

type Supervised = JoinHandle<Result<(), GaveUp>>;

impl Parts {
    fn facts(&self, state: &State) -> Facts {
        Facts {
            agent_pid: std::process::id(),
            hsm: state.name.clone(),
            urls: vec![self.names.named_url(), self.names.address_url()],
            ..Facts::default()
        }
    }

    fn open_gate(
        &self,
        [listener, hsm_listener]: [TcpListener; 2],
        limits: &AgentLimits,
        directory: &Arc<Directory>,
        link: &Arc<HsmLink>,
        state: &State,
    ) -> Result<(), DevError> {
        let own_hosts = self.names.own_hosts();
        let own = OwnService {
            tls: TlsAcceptor::from(self.authority.own_tls(&own_hosts)?),
            issuer: Arc::clone(&self.identity.issuer),
            control: self.control_plane(state),
            base_url: self.names.base_url(),
            hosts: own_hosts.iter().cloned().collect(),
            stopping: self.stopping.clone(),
        };
        let gate = Arc::new(Gate {
            hsms: Arc::clone(directory),
            direct: Some(Arc::clone(link)),
            own_names: own_hosts.into_iter().collect(),
            own: Some(Arc::new(own)),
            slots: Slots::new(SlotLimits {
                per_address_max: limits.waiting_per_address_max,
                total_max: limits.waiting_max,
            }),
            hello_timeout: Duration::from_millis(limits.hello_timeout_ms),
        });
        let stopping = || self.stopping.clone();
        tokio::spawn(Arc::clone(&gate).serve(listener, Listener::Named, stopping()));
        tokio::spawn(gate.serve(hsm_listener, Listener::Address, stopping()));
        Ok(())
    }

    fn control_plane(&self, state: &State) -> ControlPlane {
        let (issuer, base) = (&self.identity.issuer, self.names.base_url());
        let audience = self.names.control_audience();
        let trust = TrustSettings {
            tenant: issuer.tenant(),
            issuers: vec![TrustedIssuer {
                issuer: issuer.issuer_name(&base),
                metadata_url: issuer.metadata_url(&base),
                trust_anchors_pem: self.authority.pem().to_owned(),
                directory: true,
            }],
            audiences: vec![audience.clone()],
        };
        let settings = ControlPlaneSettings {
            cloud_name: "Casemate".to_owned(),
            audience,
            authorization: format!("{base}/adfs"),
            tenant: issuer.tenant(),
            subscription: state.subscription,
            subscription_name: "Casemate development".to_owned(),
            resource_group: "casemate".to_owned(),
            location: REGION.to_owned(),
            managed_hsm_suffix: self.names.suffix("managedhsm"),
            key_vault_suffix: self.names.suffix("vault"),
            storage_suffix: self.names.suffix("storage"),
        };
        let hsm = ManagedHsm {
            name: state.name.clone(),
            uri: self.names.named_url(),
            retention_days: state.retention_days,
            purge_protection: state.purge_protection,
            initial_admins: vec![self.identity.principal.object_id],
            activation: self.activation.clone(),
        };
        let validator = Validator::new(trust, Arc::<Client>::clone(&self.client));
        ControlPlane::new(settings, vec![hsm], Arc::new(validator))
    }

    fn open_local(&self, facts: &Arc<SharedFacts>) -> Result<(), DevError> {
        let listener = bind(self.folder.path()).map_err(DevError::Local)?;
        let issuer = Arc::clone(&self.identity.issuer);
        let local = Arc::new(Local { issuer, facts: Arc::clone(facts) });
        tokio::spawn(serve(local, listener, self.stopping.clone()));
        Ok(())
    }

    fn supervise(
        &self,
        start: casemate_channel::Start,
        link: &Arc<HsmLink>,
        facts: &Arc<SharedFacts>,
        state: State,
        courier: CourierPlace,
    ) -> Supervised {
        let folder = Arc::clone(&self.folder);
        let mut state = state;
        let created = move || {
            state.created = true;
            if let Err(error) = state.save(&folder) {
                say(format_args!("{}", casemate_channel::chain(&error)));
            }
        };
        let supervisor = Supervisor {
            seal: watch::channel(start.seal.clone()).1,
            start,
            names: self.names.certified(),
            link: Arc::clone(link),
            authority: Arc::clone(&self.authority),
            facts: Arc::clone(facts),
            dialer: Dialer::new(Some(self.names.listen)),
            identity: self.managed_identity.clone().into(),
            courier,
            activation: self.activation.clone(),
            created: Box::new(created),
            stopping: self.stopping.clone(),
        };
        tokio::spawn(supervisor.run())
    }

    /// From the first start of the partition to the signal to stop.
    async fn serve(
        &self,
        link: &HsmLink,
        state: &State,
        bundle: &Path,
        activate: Option<Activate>,
        signals: &mut Signals,
        out: &mut dyn Write,
    ) -> Result<(), DevError> {
        let answered = async {
            link.served().await;
            if let Some(activate) = activate {
                self.activated(activate).await?;
            }
            self.answered(&self.names.address_url(), None).await?;
            self.answered(&self.names.named_url(), Some(self.names.listen)).await
        };
        tokio::select! {
            answered = answered => answered?,
            () = signals.any() => return Ok(()),
        }
        crate::audit_key::announce(&self.folder.join(&format!("hsm/{}", state.name)));
        let text = render(&self.variables(state, bundle));
        self.folder.write(ENV_FILE, text.as_bytes())?;
        // Whoever reads only the first line, or nothing, still wants the HSM to run.
        if let Err(error) = out.write_all(self.ready_block().as_bytes()).and_then(|()| out.flush())
        {
            say(format_args!("ready; but nobody reads standard output: {error}"));
        }
        signals.any().await;
        Ok(())
    }

    /// Activates an HSM that is not.
    async fn activated(&self, activate: Activate) -> Result<(), DevError> {
        let Activate { facts, officers } = activate;
        if facts.read().activated {
            return Ok(());
        }
        let officers = officers.unwrap_or_else(|| activate::begin(&self.folder));
        let activation = Activation {
            client: &self.client,
            folder: &self.folder,
            facts: &facts,
            principal: &self.identity.principal,
            base_url: self.names.base_url(),
            hsm_url: self.names.address_url(),
            ca_pem: self.authority.pem(),
        };
        Ok(activation.run(officers).await?)
    }

    /// Waits for an answer over TLS, whatever it says: without a token it is 401.
    async fn answered(&self, url: &str, address: Option<SocketAddr>) -> Result<(), DevError> {
        let url = format!("{url}/keys?api-version=7.4");
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match self.client.get(&url, address, self.authority.pem()).await {
                Ok(_) => return Ok(()),
                Err(cause) if Instant::now() > deadline => {
                    return Err(DevError::NoAnswer { url, cause });
                }
                Err(_) => sleep(ANSWER_PAUSE).await,
            }
        }
    }

    fn variables(&self, state: &State, bundle: &Path) -> Vec<(&'static str, String)> {
        let (names, identity) = (&self.names, &self.identity);
        let path = |path: PathBuf| path.display().to_string();
        let bundle = || path(bundle.to_owned());
        vec![
            ("CASEMATE_HSM_URL", names.address_url()),
            ("CASEMATE_HSM_NAMED_URL", names.named_url()),
            ("CASEMATE_CONTROL_URL", names.base_url()),
            ("CASEMATE_MANAGEMENT_URL", self.management_url.clone()),
            ("AZURE_AUTHORITY_HOST", names.base_url()),
            ("AZURE_TENANT_ID", "adfs".to_owned()),
            ("AZURE_CLIENT_ID", identity.principal.app_id.to_string()),
            ("AZURE_CLIENT_SECRET", identity.principal.secret.clone()),
            ("AZURE_SUBSCRIPTION_ID", state.subscription.to_string()),
            ("CASEMATE_IDENTITY_ENDPOINT", format!("{}{MANAGED_IDENTITY_PATH}", names.base_url())),
            ("CASEMATE_IDENTITY_HEADER", identity.issuer.identity_header().to_owned()),
            ("CASEMATE_CA_FILE", path(self.folder.join(CA_FILE))),
            ("REQUESTS_CA_BUNDLE", bundle()),
            ("SSL_CERT_FILE", bundle()),
            ("NODE_EXTRA_CA_CERTS", bundle()),
        ]
    }

    fn ready_block(&self) -> String {
        let names = &self.names;
        let env = crate::env_file::quote(&self.folder.join(ENV_FILE).display().to_string());
        let [host, _] = names.hsm_hosts();
        let (address, named, ip) = (names.address_url(), names.named_url(), names.listen.ip());
        format!(
            "\
The HSM answers at {address} and
{named} (needs the hosts line below).
It is a development HSM. Stop it with Ctrl-C. In another shell:

    . {env}
    # /etc/hosts: {ip} {host}
    # Azure SDKs: DefaultAzureCredential() and $CASEMATE_HSM_URL
    # az: az cloud register -n casemate --endpoint-resource-manager \\
    #       $CASEMATE_CONTROL_URL && az cloud set -n casemate && \\
    #     az login --service-principal -u $AZURE_CLIENT_ID \\
    #       -p $AZURE_CLIENT_SECRET --tenant adfs

"
        )
    }

    /// The supervisor ended by itself: the HSM cannot go on.
    fn fallen(
        &self,
        ended: Result<Result<(), GaveUp>, tokio::task::JoinError>,
    ) -> Result<(), DevError> {
        self.folder.remove(ENV_FILE)?;
        self.folder.remove(SOCKET)?;
        Ok(ended.map_err(DevError::Part)??)
    }
}

/// The signals that stop `dev`.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

async fn listen(address: SocketAddr, option: &'static str) -> Result<TcpListener, DevError> {
    TcpListener::bind(address).await.map_err(|cause| DevError::Listen { address, option, cause })
}

fn announce(state: &State) {
    let State { name, retention_days, purge_protection, .. } = state;
    let protection = if *purge_protection { "on" } else { "off" };
    let doing = if state.created { "starting" } else { "creating" };
    say(format_args!(
        "{doing} HSM {name} (retention {retention_days} days, purge protection {protection})"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options that are refused.
    fn refused(data_dir: &Path) -> DevOptions {
        DevOptions {
            data_dir: Some(data_dir.to_owned()),
            name: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            hsm_listen: "127.0.0.1:0".parse().unwrap(),
            management_listen: "127.0.0.1:0".parse().unwrap(),
            limits: Vec::new(),
            retention_days: Some(6),
            purge_protection: false,
            activate: true,
            engine: None,
            ephemeral: false,
            imds: None,
            identity: None,
            i_know_this_is_a_development_issuer: false,
        }
    }

    #[test]
    fn refused_options_take_the_dev_env_of_a_killed_run_away_but_not_that_of_a_running_one() {
        let (left, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let _running = Folder::open(used.path()).unwrap();
        for (folder, stays) in [(left.path(), false), (used.path(), true)] {
            std::fs::write(folder.join(ENV_FILE), "old").unwrap();
            let error = dev(&refused(folder), &mut Vec::new()).unwrap_err();
            assert!(matches!(error, DevError::Options(OptionRefusal::Retention { days: 6 })));
            assert_eq!(folder.join(ENV_FILE).exists(), stays);
        }
    }

    #[test]
    fn refused_options_make_no_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("d");
        assert!(dev(&refused(&path), &mut Vec::new()).is_err());
        assert!(!path.exists());
    }
}
