//! The first steps, on the only thread: hear what to be, give up all rights, say which.

use casemate_channel::{Engine, Pending, Seal, Start, ToAgent, receive_start};
use casemate_engine_pkcs11::{Token, TokenOptions};
use casemate_engine_soft::{about_module, random};
use casemate_harden::{Plan, Reach, Report, enter, raise_nofile};
use casemate_node_seal as node_seal;

use crate::failure::Failure;
use crate::seal::Sealing;

/// A confined process that has read nothing from outside yet.
pub(crate) struct Boot {
    pub(crate) start: Start,
    pub(crate) agent: Pending,
    /// The token's module, loaded while its file could be opened; nothing was asked of it yet.
    pub(crate) token: Option<Token>,
    /// Where the sealing keys are; those of a slot were read while what opens it could be reached.
    pub(crate) sealing: Sealing,
    /// Whether the system keeps all memory from the disk: then no secret needs a lock of its own.
    pub(crate) memory_is_locked: bool,
    /// Threads that the processor can run at once.
    pub(crate) cores: usize,
}

/// Receives Start and confines the process.
pub(crate) fn begin() -> Result<Boot, Failure> {
    let (start, agent) = receive_start()?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    // Asked before the folders that tell are out of sight.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let loaded = sealing(&start).and_then(|sealing| Ok((sealing, load(&start)?)));
    match loaded.and_then(|loaded| Ok((loaded, confine(&start)?))) {
        Ok(((sealing, token), report)) => {
            let mut facts = report.facts();
            facts.extend(cryptography(token.as_ref()));
            agent.send_blocking(&ToAgent::Hardened { report: facts })?;
            let locked = |name: &str, active: bool| active && name == "memory lock";
            let mut measures = report.measures().iter();
            let memory_is_locked = measures.any(|measure| locked(measure.name, measure.active));
            Ok(Boot { start, agent, token, sealing, memory_is_locked, cores })
        }
        Err(failure) => {
            let (code, message) = (failure.code().to_owned(), failure.text());
            let passing = !failure.lasts();
            agent.send_blocking(&ToAgent::Failed { code, message, passing })?;
            Err(failure)
        }
    }
}

/// Where keys are, and what of the cryptography is validated. That the self-tests passed is said
/// by the partition's being ready: it does not get that far otherwise.
fn cryptography(token: Option<&Token>) -> Vec<(String, String)> {
    let engine = match token {
        None => "software: keys are in this process's memory while they are used".to_owned(),
        Some(token) => format!(
            "pkcs11: keys are in the token '{}'; what is validated there, its maker's certificate \
             says",
            token.label()
        ),
    };
    let tests = "known answers at each start, each new pair of keys tried; after a failure nothing \
                 is given out";
    [("engine", engine.as_str()), ("module", about_module()), ("self-tests", tests)]
        .map(|(name, state)| (name.to_owned(), state.to_owned()))
        .to_vec()
}

/// The sealing keys of a slot; a new HSM's are made. A key file is in the HSM's own folder and can
/// wait.
fn sealing(start: &Start) -> Result<Sealing, Failure> {
    Ok(match (&start.seal, &start.create) {
        (Seal::Key { path }, _) => Sealing::File(path.clone()),
        (Seal::Slot(slot), Some(_)) => Sealing::Keys(node_seal::open_or_create(slot)?),
        (Seal::Slot(slot), None) => Sealing::Keys(node_seal::open(slot)?),
    })
}

/// Loads what a confined process cannot: the module runs code from a file, and the PIN file is not
/// the partition's.
fn load(start: &Start) -> Result<Option<Token>, Failure> {
    let Engine::Pkcs11(place) = &start.engine else { return Ok(None) };
    let options = TokenOptions {
        module: place.module.clone(),
        label: place.token.clone(),
        pin_file: place.pin_file.clone(),
    };
    Ok(Some(Token::load(&options)?))
}

fn confine(start: &Start) -> Result<Report, Failure> {
    // One socket per connection, besides what is open anyway.
    raise_nofile().map_err(Failure::Threads)?;
    // The generator finds its sources while it still can.
    random(&mut [0; 32]);
    let (paths, reach) = match &start.engine {
        Engine::Software => (Vec::new(), Reach::HandedIn),
        Engine::Pkcs11(place) => {
            let reach = if place.daemon { Reach::Daemon } else { Reach::HandedIn };
            (place.paths.clone(), reach)
        }
    };
    let plan = Plan {
        uid_gid: start.confine.uid_gid,
        root: start.confine.root.clone(),
        folder: start.folder.clone(),
        paths,
        reach,
    };
    Ok(enter(&plan)?)
}
