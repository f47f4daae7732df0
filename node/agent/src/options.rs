//! What `casemate dev` is told, and what it refuses to do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use casemate_channel::Engine;

use crate::limits::{LimitChange, LimitRefusal, changed};

/// Days for which a deleted key is kept.
pub const RETENTION_DAYS_DEFAULT: u32 = 90;

const NAME_BYTES: std::ops::RangeInclusive<usize> = 3..=24;

/// The options of `casemate dev`. `None` leaves the choice to what is there, or to the default.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// The folder for all data; default: `casemate/dev` under the user's data home.
    pub data_dir: Option<PathBuf>,
    /// The HSM's name; default `dev`.
    pub name: Option<String>,
    /// The listener that picks by server name.
    pub listen: SocketAddr,
    /// The HSM's own listener.
    pub hsm_listen: SocketAddr,
    /// The management listener: metrics, health, readiness.
    pub management_listen: SocketAddr,
    /// Limits of the partition that shall be others than the built-in ones.
    pub limits: Vec<LimitChange>,
    /// Days for which a deleted key is kept; fixed at creation.
    pub retention_days: Option<u32>,
    /// Whether deleted keys cannot be purged early; fixed at creation.
    pub purge_protection: bool,
    /// Give the security domain of an HSM that is not activated to three officers, made here.
    pub activate: bool,
    /// Where the keys live; whether in a token or not is fixed at creation.
    pub engine: Option<Engine>,
    /// Keep nothing after the end.
    pub ephemeral: bool,
    /// Answer the instance metadata endpoint for an app of this name.
    pub imds: Option<String>,
    /// The file of the HSM's managed identity, for backups.
    pub identity: Option<PathBuf>,
    /// Listen beyond this machine although anyone who reaches the issuer may become anybody.
    pub i_know_this_is_a_development_issuer: bool,
}

/// Why options are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionRefusal {
    /// A listener that others can reach.
    #[error(
        "{address} can be reached from other machines, and this is a development issuer; listen \
         on 127.0.0.1, or add --i-know-this-is-a-development-issuer"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A listener whose URLs would lead elsewhere.
    #[error(
        "--listen {address} is not where `localhost` leads, and the URLs of this listener say \
         localhost; use 127.0.0.1, and another address only for --hsm-listen"
    )]
    NotLocalhost {
        /// The address.
        address: SocketAddr,
    },
    /// A management listener that others can reach.
    #[error(
        "--management-listen {address} can be reached from other machines, and it asks nobody \
         for a name; listen on a loopback address such as 127.0.0.1:0"
    )]
    ManagementNotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// Two listeners at one place.
    #[error("two listeners are both at {address}; give each a port of its own")]
    SameListener {
        /// The address.
        address: SocketAddr,
    },
    /// A name that Azure would not take.
    #[error(
        "{name:?} is no name for a managed HSM; use 3 to 24 letters, digits and single hyphens, \
         beginning with a letter"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Retention out of range.
    #[error("{days} days of retention are not possible; use 7 to 90")]
    Retention {
        /// The days.
        days: u32,
    },
    /// Two places for data.
    #[error("--ephemeral keeps nothing, so --data-dir has no meaning beside it; leave one out")]
    EphemeralWithFolder,
    /// A token whose paths would mean another file in another folder.
    #[error(
        "{} is not an absolute path; a token's paths are told to another process",
        path.display()
    )]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// A limit that cannot be.
    #[error(transparent)]
    Limit(#[from] LimitRefusal),
    /// No home.
    #[error("there is no home folder to keep data in; give --data-dir, or set HOME")]
    NoHome,
}

impl DevOptions {
    /// Checks what can be checked without looking at the disk.
    ///
    /// # Errors
    /// The first refusal.
    pub fn check(&self) -> Result<(), OptionRefusal> {
        for address in [self.listen, self.hsm_listen] {
            let loopback = address.ip().to_canonical().is_loopback();
            if !loopback && !self.i_know_this_is_a_development_issuer {
                return Err(OptionRefusal::NotLoopback { address });
            }
        }
        if !is_at_localhost(self.listen.ip()) {
            return Err(OptionRefusal::NotLocalhost { address: self.listen });
        }
        if !self.management_listen.ip().to_canonical().is_loopback() {
            let address = self.management_listen;
            return Err(OptionRefusal::ManagementNotLoopback { address });
        }
        let listeners = [self.listen, self.hsm_listen, self.management_listen];
        for (at, address) in listeners.into_iter().enumerate() {
            if address.port() != 0 && listeners.iter().skip(at + 1).any(|other| *other == address) {
                return Err(OptionRefusal::SameListener { address });
            }
        }
        changed(&self.limits)?;
        if let Some(name) = self.name.as_ref().filter(|name| !is_hsm_name(name)) {
            return Err(OptionRefusal::Name { name: name.clone() });
        }
        if let Some(days) = self.retention_days.filter(|days| !(7..=90).contains(days)) {
            return Err(OptionRefusal::Retention { days });
        }
        if let Some(Engine::Pkcs11(place)) = &self.engine {
            let fixed = [&place.module, &place.pin_file];
            let mut paths = fixed.into_iter().chain(&place.paths);
            if let Some(path) = paths.find(|path| !path.is_absolute()) {
                return Err(OptionRefusal::Relative { path: path.clone() });
            }
        }
        if self.ephemeral && self.data_dir.is_some() {
            return Err(OptionRefusal::EphemeralWithFolder);
        }
        Ok(())
    }
}

/// The folder where `dev` keeps its data unless told otherwise.
///
/// # Errors
/// When the user has no home.
pub fn default_data_dir() -> Result<PathBuf, OptionRefusal> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("casemate/dev"))
        .ok_or(OptionRefusal::NoHome)
}

/// Whether a client that resolves `localhost` gets to a listener at this address.
fn is_at_localhost(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.to_canonical() == IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// Whether Azure would take it as the name of a managed HSM.
pub(crate) fn is_hsm_name(name: &str) -> bool {
    NAME_BYTES.contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.ends_with('-')
        && !name.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> DevOptions {
        DevOptions {
            data_dir: None,
            name: None,
            listen: "127.0.0.1:8443".parse().unwrap(),
            hsm_listen: "127.0.0.1:8444".parse().unwrap(),
            management_listen: "127.0.0.1:8445".parse().unwrap(),
            limits: Vec::new(),
            retention_days: None,
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
    fn the_defaults_are_fine_and_so_are_two_free_ports() {
        assert_eq!(options().check(), Ok(()));
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let free = || DevOptions { listen: any, hsm_listen: any, ..options() };
        assert_eq!(free().check(), Ok(()));
        assert_eq!(DevOptions { management_listen: any, ..free() }.check(), Ok(()));
        let six = "[::1]:0".parse().unwrap();
        assert_eq!(DevOptions { hsm_listen: six, ..options() }.check(), Ok(()));
    }

    #[test]
    fn a_listener_that_localhost_does_not_lead_to_is_refused() {
        for text in ["127.0.0.2:0", "127.1.2.3:8443", "[::1]:0", "192.0.2.1:0"] {
            let listen = text.parse().unwrap();
            let told =
                DevOptions { listen, i_know_this_is_a_development_issuer: true, ..options() };
            assert_eq!(told.check(), Err(OptionRefusal::NotLocalhost { address: listen }));
            let told = DevOptions {
                hsm_listen: listen,
                i_know_this_is_a_development_issuer: true,
                ..options()
            };
            assert_eq!(told.check(), Ok(()), "{text}");
        }
    }

    #[test]
    fn other_machines_are_refused_unless_told() {
        for text in ["0.0.0.0:8443", "[::]:8443", "192.0.2.1:0", "[::ffff:10.0.0.1]:1"] {
            let listen = text.parse().unwrap();
            let refused = DevOptions { listen, ..options() };
            assert_eq!(refused.check(), Err(OptionRefusal::NotLoopback { address: listen }));
            let refused = DevOptions { hsm_listen: listen, ..options() };
            assert!(refused.check().is_err());
            let told = DevOptions {
                hsm_listen: listen,
                i_know_this_is_a_development_issuer: true,
                ..options()
            };
            assert_eq!(told.check(), Ok(()));
            // It asks for no token, so nothing makes it fit for others.
            let management = DevOptions { management_listen: listen, ..told };
            let refused = OptionRefusal::ManagementNotLoopback { address: listen };
            assert_eq!(management.check(), Err(refused));
        }
        for text in ["0.0.0.0:8443", "[::]:8443", "[::ffff:127.0.0.1]:8443"] {
            let listen = text.parse().unwrap();
            let told =
                DevOptions { listen, i_know_this_is_a_development_issuer: true, ..options() };
            assert_eq!(told.check(), Ok(()));
        }
    }

    #[test]
    fn names_that_azure_refuses_are_refused() {
        for name in
            ["", "ab", "1ab", "a_b", "a--b", "ab-", "-ab", "a.b", &"a".repeat(25), "d\u{e9}v"]
        {
            let refused = DevOptions { name: Some(name.to_owned()), ..options() };
            assert_eq!(refused.check(), Err(OptionRefusal::Name { name: name.to_owned() }));
        }
        assert_eq!(DevOptions { name: Some("my-HSM-1".to_owned()), ..options() }.check(), Ok(()));
    }

    #[test]
    fn retention_is_between_a_week_and_ninety_days() {
        for (days, fine) in [(6, false), (7, true), (90, true), (91, false), (0, false)] {
            let told = DevOptions { retention_days: Some(days), ..options() };
            assert_eq!(told.check().is_ok(), fine, "{days}");
        }
    }

    #[test]
    fn a_token_is_told_by_absolute_paths() {
        let place = |path: &str| casemate_channel::Pkcs11 {
            module: "/usr/lib/module.so".into(),
            token: "t".to_owned(),
            pin_file: "/etc/pin".into(),
            paths: vec![path.into()],
            environment: Vec::new(),
            daemon: false,
        };
        let told = |place| DevOptions { engine: Some(Engine::Pkcs11(place)), ..options() }.check();
        assert_eq!(told(place("/var/lib/token")), Ok(()));
        for path in ["token", "./token", ""] {
            assert_eq!(told(place(path)), Err(OptionRefusal::Relative { path: path.into() }));
        }
        let module = casemate_channel::Pkcs11 { module: "module.so".into(), ..place("/t") };
        assert!(told(module).is_err());
    }

    #[test]
    fn contradictions_are_refused() {
        let same = DevOptions { hsm_listen: options().listen, ..options() };
        assert!(matches!(same.check(), Err(OptionRefusal::SameListener { .. })));
        let same = DevOptions { management_listen: options().listen, ..options() };
        assert!(matches!(same.check(), Err(OptionRefusal::SameListener { .. })));
        let both = DevOptions { ephemeral: true, data_dir: Some("/x".into()), ..options() };
        assert_eq!(both.check(), Err(OptionRefusal::EphemeralWithFolder));
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let refusals = [
            OptionRefusal::NotLoopback { address: options().listen },
            OptionRefusal::NotLocalhost { address: options().listen },
            OptionRefusal::ManagementNotLoopback { address: options().listen },
            OptionRefusal::SameListener { address: options().listen },
            OptionRefusal::Name { name: String::new() },
            OptionRefusal::Retention { days: 1 },
            OptionRefusal::EphemeralWithFolder,
            OptionRefusal::NoHome,
        ];
        for refusal in refusals {
            assert!(refusal.to_string().contains(';'), "{refusal}");
        }
    }
}
