//! What the agent remembers about its HSM: never a key, never a record, only what it made when.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use casemate_channel::Engine;

use crate::folder::{Folder, FolderError};
use crate::options::{DevOptions, RETENTION_DAYS_DEFAULT};

const FILE: &str = "agent.json";
const FORMAT: u32 = 1;

/// The agent's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    format: u32,
    /// The HSM's name.
    pub(crate) name: String,
    /// As given at creation.
    pub(crate) retention_days: u32,
    /// As given at creation.
    pub(crate) purge_protection: bool,
    /// Whether the HSM has been ready once; from then on it is never created again.
    pub(crate) created: bool,
    /// Where the keys live.
    #[serde(default)]
    pub(crate) engine: Engine,
    /// The partition's own user, once the agent has run as root.
    pub(crate) user: Option<u32>,
    /// The subscription shown in the control plane.
    pub(crate) subscription: Uuid,
}

/// Why state and options do not go together.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file is not ours.
    #[error("{path} is not a state file of this program; restore it, or use another --data-dir")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        cause: serde_json::Error,
    },
    /// The HSM is there, and what it was created with is not.
    #[error(
        "{path} is missing, but the HSM {hsm} is in this folder; restore the file from a copy of \
         the folder or write it again (the manual for `casemate dev` shows how), or start a new \
         HSM with another --data-dir",
        path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The HSM.
        hsm: String,
    },
    /// Written by a newer program.
    #[error("{path} has format {found}, this program knows {FORMAT}; use the newer program")]
    Format {
        /// The file.
        path: String,
        /// The format found.
        found: u32,
    },
    /// An option that would change what was fixed at creation.
    #[error(
        "the HSM in this folder was created with {option} {is}, which cannot change to {asked}; \
         leave the option out, or use another --data-dir"
    )]
    Fixed {
        /// The option.
        option: &'static str,
        /// What it is.
        is: String,
        /// What was asked.
        asked: String,
    },
}

impl State {
    /// The folder's state, or a new one by the options.
    pub(crate) fn open(folder: &Folder, options: &DevOptions) -> Result<Self, StateError> {
        let state = match folder.read(FILE)? {
            None => match folder.hsm()? {
                Some(hsm) => return Err(StateError::Missing { path: folder.join(FILE), hsm }),
                None => Self::new(options),
            },
            Some(text) => {
                let path = folder.join(FILE).display().to_string();
                let known = Self::parse(&text, path)?;
                // Once the partition has written anything, the options may be sealed in it, whether
                // or not its first start came to its end.
                if known.created || folder.hsm()?.is_some() {
                    known.compare(options)?;
                    // Paths of a token may change; that there is one may not.
                    let engine = options.engine.clone().unwrap_or_else(|| known.engine.clone());
                    Self { engine, ..known }
                } else {
                    // A creation that never began: the options of today count.
                    Self {
                        subscription: known.subscription,
                        user: known.user,
                        ..Self::new(options)
                    }
                }
            }
        };
        state.save(folder)?;
        Ok(state)
    }

    pub(crate) fn save(&self, folder: &Folder) -> Result<(), StateError> {
        let path = folder.join(FILE).display().to_string();
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|cause| StateError::Malformed { path, cause })?;
        Ok(folder.write(FILE, &bytes)?)
    }

    fn new(options: &DevOptions) -> Self {
        Self {
            format: FORMAT,
            name: options.name.clone().unwrap_or_else(|| "dev".to_owned()).to_ascii_lowercase(),
            retention_days: options.retention_days.unwrap_or(RETENTION_DAYS_DEFAULT),
            purge_protection: options.purge_protection,
            engine: options.engine.clone().unwrap_or_default(),
            created: false,
            user: None,
            subscription: Uuid::new_v4(),
        }
    }

    fn parse(text: &str, path: String) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let found: Result<Format, _> = serde_json::from_str(text);
        match found {
            Ok(Format { format: FORMAT }) => {
                serde_json::from_str(text).map_err(|cause| StateError::Malformed { path, cause })
            }
            Ok(Format { format }) => Err(StateError::Format { path, found: format }),
            Err(cause) => Err(StateError::Malformed { path, cause }),
        }
    }

    fn compare(&self, options: &DevOptions) -> Result<(), StateError> {
        if let Some(name) =
            options.name.as_ref().filter(|name| !name.eq_ignore_ascii_case(&self.name))
        {
            return Err(fixed("--name", &self.name, name));
        }
        if let Some(days) = options.retention_days.filter(|days| *days != self.retention_days) {
            return Err(fixed("--retention-days", &self.retention_days, &days));
        }
        if options.purge_protection && !self.purge_protection {
            return Err(fixed("purge protection", &"off", &"on"));
        }
        let kind = |engine: &Engine| match engine {
            Engine::Software => "software",
            Engine::Pkcs11(_) => "pkcs11",
        };
        let (is, asked) = (kind(&self.engine), options.engine.as_ref().map(kind));
        if let Some(asked) = asked.filter(|asked| *asked != is) {
            return Err(fixed("--engine", &is, &asked));
        }
        Ok(())
    }
}

fn fixed(option: &'static str, is: &dyn ToString, asked: &dyn ToString) -> StateError {
    StateError::Fixed { option, is: is.to_string(), asked: asked.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(name: Option<&str>, days: Option<u32>, protection: bool) -> DevOptions {
        DevOptions {
            data_dir: None,
            name: name.map(str::to_owned),
            listen: "127.0.0.1:0".parse().unwrap(),
            hsm_listen: "127.0.0.1:0".parse().unwrap(),
            management_listen: "127.0.0.1:0".parse().unwrap(),
            limits: Vec::new(),
            retention_days: days,
            purge_protection: protection,
            activate: true,
            engine: None,
            ephemeral: false,
            imds: None,
            identity: None,
            i_know_this_is_a_development_issuer: false,
        }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("d")).unwrap();
        (parent, folder)
    }

    #[test]
    fn what_was_fixed_at_creation_cannot_change() {
        let (_parent, folder) = folder();
        let mut state = State::open(&folder, &options(Some("Alpha"), Some(7), false)).unwrap();
        state.created = true;
        state.save(&folder).unwrap();
        for other in [
            options(Some("beta"), None, false),
            options(None, Some(8), false),
            options(None, None, true),
        ] {
            let error = State::open(&folder, &other).unwrap_err();
            assert!(matches!(error, StateError::Fixed { .. }), "{error}");
            assert!(error.to_string().contains("--data-dir"));
        }
        for same in [options(None, None, false), options(Some("ALPHA"), Some(7), false)] {
            assert_eq!(State::open(&folder, &same).unwrap(), state);
        }
    }

    #[test]
    fn an_hsm_stays_in_its_kind_of_engine_and_its_token_may_move() {
        let (_parent, folder) = folder();
        let place = |module: &str| casemate_channel::Pkcs11 {
            module: module.into(),
            token: "t".to_owned(),
            pin_file: "/etc/pin".into(),
            paths: Vec::new(),
            environment: Vec::new(),
            daemon: false,
        };
        let with = |engine| DevOptions { engine, ..options(None, None, false) };
        let token = |module| Some(Engine::Pkcs11(place(module)));
        let mut state = State::open(&folder, &with(token("/one.so"))).unwrap();
        state.created = true;
        state.save(&folder).unwrap();
        let kept = State::open(&folder, &with(None)).unwrap();
        assert_eq!(Some(kept.engine), token("/one.so"));
        let moved = State::open(&folder, &with(token("/two.so"))).unwrap();
        assert_eq!(Some(moved.engine), token("/two.so"));
        let error = State::open(&folder, &with(Some(Engine::Software))).unwrap_err();
        assert!(matches!(error, StateError::Fixed { option: "--engine", .. }), "{error}");
        // A state of before there was a choice is one of the software engine.
        let text = folder.read(FILE).unwrap().unwrap();
        let mut old: serde_json::Value = serde_json::from_str(&text).unwrap();
        old.as_object_mut().unwrap().remove("engine");
        folder.write(FILE, old.to_string().as_bytes()).unwrap();
        assert_eq!(State::open(&folder, &with(None)).unwrap().engine, Engine::Software);
        assert!(State::open(&folder, &with(token("/one.so"))).is_err());
    }

    #[test]
    fn a_creation_that_never_began_takes_new_options() {
        let (_parent, folder) = folder();
        State::open(&folder, &options(Some("one"), Some(7), true)).unwrap();
        let state = State::open(&folder, &options(None, None, false)).unwrap();
        assert_eq!((state.name.as_str(), state.retention_days), ("dev", 90));
    }

    #[test]
    fn what_a_creation_that_was_cut_off_may_have_sealed_stays() {
        let (_parent, folder) = folder();
        let first = State::open(&folder, &options(Some("one"), Some(7), true)).unwrap();
        let hsm = folder.make("hsm/one").unwrap();
        std::fs::write(hsm.join("seal.bin"), "").unwrap();
        let error = State::open(&folder, &options(None, Some(8), false)).unwrap_err();
        assert!(matches!(error, StateError::Fixed { .. }), "{error}");
        assert_eq!(State::open(&folder, &options(None, None, false)).unwrap(), first);
        assert!(!first.created);
    }

    #[test]
    fn an_hsm_without_its_state_file_is_not_served_with_guesses() {
        let (_parent, folder) = folder();
        let hsm = folder.make("hsm/one").unwrap();
        State::open(&folder, &options(Some("one"), None, false)).unwrap();
        folder.remove(FILE).unwrap();
        std::fs::write(hsm.join("seal.bin"), "").unwrap();
        for asked in [options(None, None, false), options(Some("one"), Some(7), true)] {
            let error = State::open(&folder, &asked).unwrap_err();
            assert!(matches!(error, StateError::Missing { .. }), "{error}");
            let said = error.to_string();
            assert!(said.contains(FILE) && said.contains("HSM one") && said.contains("restore"));
            assert!(folder.read(FILE).unwrap().is_none(), "none is made up");
        }
    }

    #[test]
    fn foreign_and_newer_files_are_refused() {
        let (_parent, folder) = folder();
        for text in ["", "{}", "[]", r#"{"format":1}"#] {
            folder.write(FILE, text.as_bytes()).unwrap();
            let error = State::open(&folder, &options(None, None, false)).unwrap_err();
            assert!(matches!(error, StateError::Malformed { .. }));
        }
        folder.write(FILE, br#"{"format":2,"more":1}"#).unwrap();
        let error = State::open(&folder, &options(None, None, false)).unwrap_err();
        assert!(matches!(error, StateError::Format { found: 2, .. }));
    }
}
