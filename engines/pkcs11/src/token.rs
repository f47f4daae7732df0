//! The token: its module, the connection with it, and how a lost one is found again.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Limit, Slot};
use cryptoki::types::AuthPin;
use parking_lot::{Mutex, RwLock};

use crate::exchange::{self, AWAY};
use crate::fault::{ABSENT, Fault};
use crate::pin;
use crate::sessions::{Lent, OfSlot, Sessions};
use crate::wrapping::{self, Found, Keys, Known, Method, Secrets};

/// Sessions with one token, at most.
const SESSIONS_MAX: usize = 16;
/// Time between two tries to reach a token that is not there.
const RETRY: Duration = Duration::from_secs(1);

/// Which token, and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOptions {
    /// The PKCS #11 module: a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// A file of mode 0600 with the user's PIN.
    pub pin_file: PathBuf,
}

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The module.
    #[error(
        "{} is not loaded as a PKCS #11 module: check its path and what it depends on",
        path.display()
    )]
    Module {
        /// Its path.
        path: PathBuf,
        /// What the loader said.
        #[source]
        cause: Error,
    },
    /// The PIN file.
    #[error("{} gives no PIN: write the token's user PIN into it", path.display())]
    PinFile {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Others may read the PIN.
    #[error(
        "{} must be a plain file that only its owner reads (mode {mode:o}): chmod 600 it",
        path.display()
    )]
    PinExposed {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The token refused the PIN. It is not tried again, because tokens lock after a few tries.
    #[error(
        "the token '{label}' refuses the PIN; it is not tried again, so that the token does not \
         lock. Correct the PIN file and start anew"
    )]
    PinRefused {
        /// The token.
        label: String,
    },
    /// No token of this label.
    #[error(
        "no slot of the module holds a token labelled '{label}': insert it, or check the label"
    )]
    NoToken {
        /// The label.
        label: String,
    },
    /// Two tokens of this label.
    #[error("{found} tokens are labelled '{label}': give the HSM's one a label of its own")]
    Ambiguous {
        /// The label.
        label: String,
        /// How many.
        found: usize,
    },
    /// The token is another one than the keys were wrapped in.
    #[error(
        "the token '{label}' does not hold this HSM's wrapping key; insert the token that does, \
         or start anew to put the key into this one"
    )]
    OtherToken {
        /// The label.
        label: String,
    },
    /// A key has the name of the HSM's wrapping key and is not it.
    #[error(
        "the token '{label}' holds a wrapping key of this HSM's name that is another key, or one \
         that may be read or used for more than wrapping; remove it if nothing needs it"
    )]
    WrongKey {
        /// The label.
        label: String,
    },
    /// No mechanism to wrap private keys with.
    #[error(
        "the token '{label}' wraps keys neither with CKM_AES_KEY_WRAP_PAD nor with CKM_AES_GCM as \
         this engine does; use another token"
    )]
    NoWrapping {
        /// The label.
        label: String,
    },
    /// A token that is to be used for a short time holds keys already.
    #[error(
        "the token '{label}' holds keys: give one that holds none, so that no HSM's is used or \
         destroyed; what another verification left when it was killed, `pkcs11-tool` removes"
    )]
    NotEmpty {
        /// The label.
        label: String,
    },
    /// A call of the token failed.
    #[error("the token '{label}' failed to {step} ({code}): look at its own log")]
    Failed {
        /// The label.
        label: String,
        /// What was to be done.
        step: &'static str,
        /// The return value's name.
        code: Code,
    },
}

/// A return value, by its name in the standard.
#[derive(Debug)]
pub struct Code(Option<RvError>);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(code) => write!(f, "CKR {code:?}"),
            None => f.write_str("an answer that cannot be read"),
        }
    }
}

impl TokenError {
    /// Whether it stays so until somebody changes something here: files, PIN, options.
    #[must_use]
    pub fn lasts(&self) -> bool {
        !matches!(self, Self::NoToken { .. } | Self::Failed { .. } | Self::OtherToken { .. })
    }
}

/// One token of a loaded module. A process has one: a module knows one application.
pub struct Token {
    module: Pkcs11,
    label: String,
    pin: AuthPin,
    known: OnceLock<Known>,
    link: RwLock<Link>,
    /// Objects whose last user has gone, with the connection that they belong to.
    dead: Mutex<Vec<(u64, ObjectHandle)>>,
}

/// For how long keys are put into a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// They stay.
    Long,
    /// They go again with [`Token::empty`]: so there must be no others before.
    Short,
}

/// The connection, if there is one.
#[derive(Default)]
struct Link {
    /// Counts connections; an object handle belongs to one of them.
    generation: u64,
    live: Option<Live>,
    tried: Option<Instant>,
    pin_refused: bool,
}

struct Live {
    sessions: Sessions,
    keys: Keys,
}

/// Which session a call gets.
type TakeSession = fn(&Sessions) -> Result<Lent<'_>, Fault>;

/// A session in a connection, for the time of one call.
pub(crate) struct Bound<'a> {
    pub(crate) session: &'a Session,
    pub(crate) generation: u64,
    pub(crate) keys: &'a Keys,
    pub(crate) known: &'a Known,
}

impl Token {
    /// Loads the module and reads the PIN: both need files that a confined process cannot open, so
    /// this comes first. Nothing is asked of the token yet.
    ///
    /// # Errors
    /// When the module or the PIN file cannot be used.
    pub fn load(options: &TokenOptions) -> Result<Self, TokenError> {
        let pin = pin::read(&options.pin_file)?;
        let module = Pkcs11::new(&options.module)
            .map_err(|cause| TokenError::Module { path: options.module.clone(), cause })?;
        Ok(Self {
            module,
            label: options.label.clone(),
            pin,
            known: OnceLock::new(),
            link: RwLock::new(Link::default()),
            dead: Mutex::new(Vec::new()),
        })
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The first connection: finds the wrapping keys or puts them in, and proves that they are the
    /// ones.
    pub(crate) fn enrol(
        &self,
        secrets: &Secrets,
        earlier: &[Secrets],
        stay: Stay,
    ) -> Result<(), TokenError> {
        let mut link = self.link.write();
        let (slot, session) = self.log_in(&mut link)?;
        if stay == Stay::Short && !wrapping::holds_none(&session, &self.label)? {
            return Err(TokenError::NotEmpty { label: self.label.clone() });
        }
        let established = wrapping::establish(&session, secrets, earlier, &self.label);
        if established.is_err() && stay == Stay::Short {
            let _unused_keys = wrapping::remove_all(&session);
        }
        let (keys, known) = established?;
        exchange::tidy_up(&session);
        // Set once, by the one caller that makes the engine.
        let _ = self.known.set(known);
        self.live(&mut link, slot, session, keys);
        Ok(())
    }

    /// Destroys all wrapping keys. Only for one that held none before.
    pub(crate) fn empty(&self) -> Result<(), TokenError> {
        let emptied = self.with_writer(|bound| Ok(wrapping::remove_all(bound.session)?));
        emptied.map_err(|fault| {
            let code = match fault {
                Fault::Code(code) => Some(code),
                Fault::Binding | Fault::Gone(_) => None,
            };
            let step = "destroy the wrapping keys that were put in for a short time";
            TokenError::Failed { label: self.label.clone(), step, code: Code(code) }
        })
    }

    /// Whether the token could exchange its wrapping keys for those of a new epoch, or why not:
    /// tried now.
    pub(crate) fn exchanges(&self) -> Result<(), &'static str> {
        self.with_writer(|bound| exchange::try_out(bound.session)).unwrap_or_else(|fault| {
            tracing::warn!(?fault, "the token was not tried for a new epoch");
            Err(AWAY)
        })
    }

    /// Whether the token opens what was wrapped like this.
    pub(crate) fn unwraps(&self, method: Method) -> bool {
        self.known.get().is_some_and(|known| known.unwraps(method))
    }

    /// Lets work use a session; where token or session turn out to be lost, connects anew and lets
    /// it try once more. Work must not call this again.
    pub(crate) fn with<T>(
        &self,
        work: impl Fn(&Bound<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.with_session(Sessions::take, work)
    }

    /// The same, with the session that changes the token itself.
    fn with_writer<T>(&self, work: impl Fn(&Bound<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.with_session(Sessions::that_writes, work)
    }

    fn with_session<T>(
        &self,
        take: TakeSession,
        work: impl Fn(&Bound<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let seen = match self.try_with(take, &work) {
            Ok(done) => return done,
            Err(generation) => generation,
        };
        self.reconnect(seen)?;
        self.try_with(take, &work).unwrap_or(Err(Fault::Gone(ABSENT)))
    }

    /// The work's answer, or the generation of the connection that is lost.
    fn try_with<T>(
        &self,
        take: TakeSession,
        work: &impl Fn(&Bound<'_>) -> Result<T, Fault>,
    ) -> Result<Result<T, Fault>, u64> {
        let link = self.link.read();
        let (Some(live), Some(known)) = (&link.live, self.known.get()) else {
            return Err(link.generation);
        };
        let session = match take(&live.sessions) {
            Ok(session) => session,
            Err(fault) if fault.is_lost_token() || fault.is_unsure() => {
                return Err(link.generation);
            }
            Err(fault) => return Ok(Err(fault)),
        };
        self.bury(&session, link.generation);
        let bound =
            Bound { session: &session, generation: link.generation, keys: &live.keys, known };
        match work(&bound) {
            Err(fault) if fault.is_lost_token() => Err(link.generation),
            Err(fault) if fault.is_unsure() && !wrapping::is_there(&bound) => Err(link.generation),
            done => Ok(done),
        }
    }

    /// Connects anew, unless somebody else just has.
    fn reconnect(&self, seen: u64) -> Result<(), Fault> {
        let mut link = self.link.write();
        if link.generation != seen {
            return Ok(());
        }
        let tried_lately = link.tried.is_some_and(|at| at.elapsed() < RETRY);
        if link.pin_refused || (link.live.is_none() && tried_lately) {
            return Err(Fault::Gone(ABSENT));
        }
        link.tried = Some(Instant::now());
        match self.connect_again(&mut link) {
            Ok(()) => {
                tracing::info!(token = self.label, "the token was lost and is found again");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(token = self.label, %error, "the token is lost");
                Err(Fault::Gone(ABSENT))
            }
        }
    }

    fn connect_again(&self, link: &mut Link) -> Result<(), TokenError> {
        let (slot, session) = self.log_in(link)?;
        let found = self.known.get().map_or(Found::Nothing, |known| known.find(&session));
        let label = self.label.clone();
        let keys = match found {
            Found::All(keys) => keys,
            Found::Another => return Err(TokenError::WrongKey { label }),
            Found::Nothing => return Err(TokenError::OtherToken { label }),
        };
        self.live(link, slot, session, keys);
        Ok(())
    }

    /// Starts the module anew, which closes every session, and logs in.
    fn log_in(&self, link: &mut Link) -> Result<(Slot, Session), TokenError> {
        // Sessions are closed before the module ends: afterwards their numbers are others'.
        link.live = None;
        link.generation += 1;
        // It was not begun, or begins anew: either way nothing is left of what was.
        let _ended = self.module.clone().finalize();
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match self.module.initialize(arguments) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(self.failed("begin", error)),
        }
        let slot = self.slot()?;
        let session = self
            .module
            .open_rw_session(slot)
            .map_err(|error| self.failed("open a session", error))?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok((slot, session)),
            Err(Error::Pkcs11(
                RvError::PinIncorrect
                | RvError::PinLocked
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired,
                _,
            )) => {
                link.pin_refused = true;
                Err(TokenError::PinRefused { label: self.label.clone() })
            }
            Err(error) => Err(self.failed("log in", error)),
        }
    }

    /// A session apart from the engine's, for whoever needs the token once.
    pub(crate) fn log_in_alone(&self) -> Result<Session, TokenError> {
        self.log_in(&mut self.link.write()).map(|(_, session)| session)
    }

    /// Ends the module; the next log-in begins it anew.
    pub(crate) fn let_go(&self) {
        // What it says to its end changes nothing any more.
        let _ended = self.module.clone().finalize();
    }

    fn slot(&self) -> Result<Slot, TokenError> {
        let slots = self
            .module
            .get_slots_with_initialized_token()
            .map_err(|error| self.failed("list slots", error))?;
        let is_ours = |slot: &Slot| {
            let about = self.module.get_token_info(*slot);
            about.is_ok_and(|token| token.label().trim_end() == self.label)
        };
        let found: Vec<Slot> = slots.into_iter().filter(is_ours).collect();
        match found.as_slice() {
            [] => Err(TokenError::NoToken { label: self.label.clone() }),
            [slot] => Ok(*slot),
            more => Err(TokenError::Ambiguous { label: self.label.clone(), found: more.len() }),
        }
    }

    fn live(&self, link: &mut Link, slot: Slot, session: Session, keys: Keys) {
        let limit = self.module.get_token_info(slot).map(|token| token.max_session_count());
        let max = match limit {
            Ok(Limit::Max(max)) => usize::try_from(max).unwrap_or(SESSIONS_MAX).min(SESSIONS_MAX),
            _ => SESSIONS_MAX,
        };
        let sessions = Sessions::new(OfSlot { module: self.module.clone(), slot }, session, max);
        link.live = Some(Live { sessions, keys });
    }

    /// Whether a key is there still that was to be destroyed at the start.
    pub(crate) fn has_left_over(&self) -> bool {
        self.known.get().is_some_and(|known| !known.left_over.is_empty())
    }

    /// Destroys the wrapping keys of these earlier epochs for good, and those that were to be
    /// destroyed at the start and are there still.
    pub(crate) fn remove_earlier(&self, which: &[usize]) -> Result<(), Fault> {
        self.with_writer(|bound| {
            for id in bound.known.ids_to_remove(which) {
                wrapping::remove(bound.session, id)?;
            }
            Ok(())
        })?;
        // Their numbers may be given to other objects.
        if let Some(live) = &mut self.link.write().live {
            live.keys.forget(which);
        }
        Ok(())
    }

    /// Whether the token has the mechanism, and up to which key size.
    pub(crate) fn key_size_max(
        &self,
        mechanism: cryptoki::mechanism::MechanismType,
    ) -> Option<usize> {
        let slot = self.slot().ok()?;
        self.module.get_mechanism_info(slot, mechanism).ok().map(|about| about.max_key_size())
    }

    /// An object that nobody uses any more: destroyed now if a session is idle, else by the next
    /// call.
    pub(crate) fn forget(&self, generation: u64, object: ObjectHandle) {
        self.dead.lock().push((generation, object));
        if let Some(link) = self.link.try_read()
            && let Some(live) = &link.live
            && let Some(session) = live.sessions.take_idle()
        {
            self.bury(&session, link.generation);
        }
    }

    /// Destroys what nobody uses. Objects of an earlier connection went with it.
    fn bury(&self, session: &Session, generation: u64) {
        let dead = std::mem::take(&mut *self.dead.lock());
        for (of, object) in dead {
            if of == generation
                && let Err(error) = session.destroy_object(object)
            {
                tracing::debug!(%error, "an opened key was gone before it was destroyed");
            }
        }
    }

    pub(crate) fn failed(&self, step: &'static str, error: Error) -> TokenError {
        failed(&self.label, step, error)
    }
}

/// A failed call, in words.
pub(crate) fn failed(label: &str, step: &'static str, error: Error) -> TokenError {
    let code = match error {
        Error::Pkcs11(code, _) => Some(code),
        _ => None,
    };
    TokenError::Failed { label: label.to_owned(), step, code: Code(code) }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("label", &self.label).finish_non_exhaustive()
    }
}
