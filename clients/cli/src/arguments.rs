//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::audit::AuditCommand;
use crate::backup::BackupCommand;
use crate::migrate::MigrateCommand;
use crate::security_domain::SecurityDomainCommand;

/// An open, self-hosted Managed HSM that speaks the Azure Key Vault Managed HSM API.
#[derive(Debug, Parser)]
#[command(name = "casemate", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one development HSM on this machine, in the foreground.
    #[command(args_conflicts_with_subcommands = true)]
    Dev {
        /// How to run it.
        #[command(flatten)]
        run: Box<DevArguments>,
        /// Something else than running it.
        #[command(subcommand)]
        command: Option<DevCommand>,
    },
    /// Run the managed HSMs of this machine, in the foreground.
    Node(NodeFile),
    /// Make, show and take away the managed HSMs of a running node.
    Hsm {
        /// What to do.
        #[command(subcommand)]
        command: HsmCommand,
        /// Which node.
        #[command(flatten)]
        node: NodeFile,
    },
    /// Change what the seals of a running node's HSMs open with.
    Seal {
        /// What to do.
        #[command(subcommand)]
        command: SealCommand,
        /// Which node.
        #[command(flatten)]
        node: NodeFile,
    },
    /// Show and exchange the TLS certificate of an HSM of a running node, while it serves.
    Tls {
        /// What to do.
        #[command(subcommand)]
        command: TlsCommand,
        /// Which node.
        #[command(flatten)]
        node: NodeFile,
    },
    /// Show what protects a running HSM, what does not, and what to do about it.
    Doctor(DataDir),
    /// Read and check an audit log, whether its HSM runs or not.
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Prove what a full backup is good for, without the HSM that made it.
    Backup {
        /// What to do with it.
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// Plan how the keys of another vault or HSM get into one of Casemate.
    Migrate {
        /// What to do.
        #[command(subcommand)]
        command: MigrateCommand,
    },
    /// Work with a security domain's file and officers' keys.
    SecurityDomain {
        /// What to do.
        #[command(subcommand)]
        command: SecurityDomainCommand,
    },
    /// Become the partition of one HSM; started by the agent only.
    #[command(hide = true)]
    Partition,
    /// Become the courier of one HSM; started by the agent only.
    #[command(hide = true)]
    Courier,
    /// Put an HSM's sealing keys under another seal; started by the agent only.
    #[command(hide = true)]
    Reseal,
}

/// Commands for a running `casemate dev`.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Add principals to the development issuer while `casemate dev` runs; prints JSON.
    Identity {
        /// What to add.
        #[command(subcommand)]
        command: IdentityCommand,
    },
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "give an IP address and a port, such as 127.0.0.1:0 or [::1]:8443")
}

fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("say yes or no"),
    }
}

fn limit(text: &str) -> Result<(String, u64), &'static str> {
    let wrong = "give a limit's name and a number, such as pool_queue_max=2048";
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(wrong)?;
    Ok((name.to_owned(), value.parse().map_err(|_| wrong)?))
}

/// How `casemate dev` runs.
#[derive(Debug, Clone, Args)]
pub struct DevArguments {
    /// Folder for all data [default: casemate/dev under the user's data home].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Name of the HSM [default: dev].
    #[arg(long)]
    pub name: Option<String>,
    /// Where the HSM's names and localhost are served; port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443", value_parser = address)]
    pub listen: SocketAddr,
    /// Where the HSM is served by address; port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8444", value_parser = address)]
    pub hsm_listen: SocketAddr,
    /// Where metrics, health and readiness are served, on this machine alone; port 0 picks one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8445", value_parser = address)]
    pub management_listen: SocketAddr,
    /// Another value for a limit of docs/operate/limits.md; may be given many times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = limit)]
    pub limit: Vec<(String, u64)>,
    /// Days for which a deleted key can be recovered, 7 to 90; fixed at creation [default: 90].
    #[arg(long, value_name = "DAYS")]
    pub retention_days: Option<u32>,
    /// Forbid that deleted keys are purged before their retention ends; fixed at creation.
    #[arg(long)]
    pub purge_protection: bool,
    /// Whether an HSM that is not activated is: its security domain goes to three officers, whose
    /// keys are made under the data folder.
    #[arg(
        long,
        value_name = "yes|no",
        default_value = "yes",
        value_parser = yes_or_no,
        action = clap::ArgAction::Set
    )]
    pub activate: bool,
    /// Where the keys live: in this program's memory, or in a PKCS #11 token; fixed at creation
    /// [default: software].
    #[arg(long, value_enum)]
    pub engine: Option<EngineChoice>,
    /// The PKCS #11 token.
    #[command(flatten)]
    pub token: TokenArguments,
    /// Keep nothing after the end.
    #[arg(long)]
    pub ephemeral: bool,
    /// Also answer the instance metadata endpoint, for an app of this name.
    #[arg(long, value_name = "NAME")]
    pub imds: Option<String>,
    /// Give the HSM a managed identity for backups; docs/operate/backup.md says what FILE holds.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Listen beyond this machine although everybody who reaches the issuer can ask it.
    #[arg(long)]
    pub i_know_this_is_a_development_issuer: bool,
}

/// The file of the node that is meant.
#[derive(Debug, Clone, Args)]
pub struct NodeFile {
    /// The node's file; docs/operate/node.md says what it holds.
    #[arg(long, value_name = "FILE", default_value = "/etc/casemate/node.toml", global = true)]
    pub config: PathBuf,
}

/// What can be done with managed HSMs.
#[derive(Debug, Subcommand)]
pub enum HsmCommand {
    /// Make an HSM. Whom it believes is sealed in it and is changed by no option afterwards.
    Create(Box<HsmCreate>),
    /// Show all, as JSON.
    List,
    /// Show one, as JSON.
    Show {
        /// Its name.
        name: String,
    },
    /// Show one with what is sealed in it: settings, state, engine, security domain, its holders.
    Inspect {
        /// Its name.
        name: String,
    },
    /// Stop one, and move all that it has aside.
    Delete {
        /// Its name.
        name: String,
    },
}

/// What can be done with the seal of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum SealCommand {
    /// Bring all HSMs under the seal that the node's file names now, while they serve.
    Change,
    /// Show which seal is in force, as JSON.
    Show,
}

/// What can be done with the TLS of an HSM. The private key never leaves it.
#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Show the certificate in force, as JSON.
    Show {
        /// The HSM's name.
        name: String,
    },
    /// Make a key in the HSM, and print the request for its certificate, PEM. Nothing changes until
    /// that is installed.
    Request {
        /// The HSM's name.
        name: String,
    },
    /// Use the certificate that came of the last request.
    Install {
        /// The HSM's name.
        name: String,
        /// The HSM's certificate and those that signed it, in this order, PEM.
        #[arg(long, value_name = "PEM")]
        chain: PathBuf,
    },
    /// Use a certificate whose key was made elsewhere.
    Import {
        /// The HSM's name.
        name: String,
        /// The HSM's certificate and those that signed it, in this order, PEM.
        #[arg(long, value_name = "PEM")]
        chain: PathBuf,
        /// Its key, PEM, in a file of mode 0600. Destroy the file afterwards.
        #[arg(long, value_name = "PEM")]
        key: PathBuf,
    },
    /// Go back to a certificate of the node's own CA, and forget the other with its key.
    Reset {
        /// The HSM's name.
        name: String,
    },
}

/// How an HSM begins.
#[derive(Debug, Args)]
pub struct HsmCreate {
    /// Its name: 3 to 24 letters, digits and single hyphens.
    pub name: String,
    /// The tenant whose principals may call.
    #[arg(long, value_name = "GUID")]
    pub tenant: uuid::Uuid,
    /// The issuer of the tokens that are believed, as their `iss` names it.
    #[arg(long, value_name = "URL")]
    pub issuer: String,
    /// The issuer's discovery document [default: below the issuer's address].
    #[arg(long, value_name = "URL")]
    pub issuer_metadata: Option<String>,
    /// The CA of the issuer's TLS certificate; no other is believed.
    #[arg(long, value_name = "PEM")]
    pub issuer_ca: PathBuf,
    /// The authority that clients are told of [default: the issuer without /v2.0].
    #[arg(long, value_name = "URL")]
    pub authority: Option<String>,
    /// Object id of a first administrator; may be given many times.
    #[arg(long, value_name = "GUID", required = true)]
    pub admin: Vec<uuid::Uuid>,
    /// A further audience that tokens may be for; may be given many times.
    #[arg(long, value_name = "URL")]
    pub audience: Vec<String>,
    /// A further host that the issuer's documents name; may be given many times.
    #[arg(long, value_name = "HOST:PORT")]
    pub outbound: Vec<String>,
    /// Days for which a deleted key can be recovered, 7 to 90 [default: 90].
    #[arg(long, value_name = "DAYS")]
    pub retention_days: Option<u32>,
    /// Forbid that deleted keys are purged before their retention ends.
    #[arg(long)]
    pub purge_protection: bool,
    /// Where the HSM's keys live, for ever [default: software].
    #[arg(long, value_enum)]
    pub engine: Option<EngineChoice>,
    /// The token, if they live in one.
    #[command(flatten)]
    pub token: TokenArguments,
}

/// Where keys live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// In the partition's memory.
    Software,
    /// In a PKCS #11 token; see docs/operate/pkcs11.md.
    Pkcs11,
}

/// A PKCS #11 token.
#[derive(Debug, Clone, Args)]
pub struct TokenArguments {
    /// The token's module, a shared library; an absolute path.
    #[arg(long, value_name = "FILE", required_if_eq("engine", "pkcs11"), requires = "engine")]
    pub pkcs11_module: Option<PathBuf>,
    /// The token's label.
    #[arg(long, value_name = "LABEL", required_if_eq("engine", "pkcs11"), requires = "engine")]
    pub pkcs11_token: Option<String>,
    /// A file of mode 0600 with the user's PIN; an absolute path.
    #[arg(long, value_name = "FILE", required_if_eq("engine", "pkcs11"), requires = "engine")]
    pub pkcs11_pin_file: Option<PathBuf>,
    /// A folder or file that the module uses while it runs; may be given many times. Started as
    /// root, it is given to the HSM's own user.
    #[arg(long, value_name = "PATH", requires = "engine")]
    pub pkcs11_path: Vec<PathBuf>,
    /// A variable of the environment that the module reads; may be given many times.
    #[arg(long, value_name = "NAME", requires = "engine")]
    pub pkcs11_env: Vec<String>,
    /// The module speaks with a daemon on this machine over a Unix socket.
    #[arg(long, requires = "engine")]
    pub pkcs11_daemon: bool,
}

/// The folder of the agent that is meant.
#[derive(Debug, Clone, Args)]
pub struct DataDir {
    /// Data folder of the agent [default: casemate/dev under the user's data home].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What can be added to the development issuer.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// An app (service principal) with a fresh secret.
    AddApp {
        /// Its name.
        name: String,
        /// A certificate (PEM) whose key signs its assertions.
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
        /// Issuer and subject of tokens that prove it (workload identity).
        #[arg(long, num_args = 2, value_names = ["ISSUER", "SUBJECT"])]
        federated: Option<Vec<String>>,
        /// Which agent.
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// A user.
    AddUser {
        /// Its name.
        name: String,
        /// Which agent.
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// A group.
    AddGroup {
        /// Its name.
        name: String,
        /// Which agent.
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// A member of a group.
    AddMember {
        /// The group, by name or object id.
        group: String,
        /// The app or user, by name or object id.
        member: String,
        /// Which agent.
        #[command(flatten)]
        data_dir: DataDir,
    },
}

/// The exit code for arguments that were not understood, or 0 after help and version.
#[must_use]
pub fn parse_error_code(error: &clap::Error) -> u8 {
    if error.use_stderr() { 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(text: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(text.split_whitespace())
    }

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn dev_has_its_defaults() {
        let Ok(Arguments { command: Command::Dev { run, command: None } }) = parse("casemate dev")
        else {
            panic!("not dev")
        };
        assert_eq!(run.listen.to_string(), "127.0.0.1:8443");
        assert_eq!(run.hsm_listen.to_string(), "127.0.0.1:8444");
        assert_eq!(run.management_listen.to_string(), "127.0.0.1:8445");
        assert!(run.limit.is_empty());
        assert!(!run.purge_protection && !run.ephemeral && run.retention_days.is_none());
    }

    #[test]
    fn identities_take_the_data_dir_at_the_end() {
        for text in [
            "casemate dev identity add-app a --data-dir d",
            "casemate dev identity add-app a --certificate f --federated i s",
            "casemate dev identity add-user u",
            "casemate dev identity add-group g",
            "casemate dev identity add-member g m --data-dir d",
            "casemate doctor --data-dir d",
            "casemate seal change --config f",
            "casemate seal show",
            "casemate audit key",
            "casemate audit verify --data-dir d --trust a+b+c",
            "casemate audit verify --from copy.jsonl",
            "casemate audit verify --from copy --seen 812 --untied --unsigned-max 20",
            "casemate audit verify --seen checkpoint --data-dir d",
            "casemate audit verify --losses-max 1 --data-dir d",
            "casemate audit accept-loss --data-dir d --records 7 --by ada --reason why",
            "casemate audit unwrap messages",
            "casemate tls show alpha --config c",
            "casemate tls request alpha",
            "casemate tls install alpha --chain c.pem",
            "casemate tls import alpha --chain c.pem --key k.pem",
            "casemate tls reset alpha",
            "casemate audit prove --index 0",
            "casemate audit prove --old 1 --new 2",
            "casemate audit tail -f -n 3 --data-dir d",
            "casemate audit search --since 2026 --key k --result 403 --limit 5",
            "casemate audit search --principal p --scope /keys/a*",
            "casemate audit usage --key k",
            "casemate backup verify b --domain d --key k.key --key l.key",
            "casemate backup verify b --node-folder f --against c --token-file t --work-dir w",
            "casemate migrate plan https://a.vault.azure.net --token-file t --out p",
            "casemate migrate plan u --token-file t --out p --ca c --keep a --keep b",
            "casemate backup verify b --hsm alpha",
            "casemate backup verify b --hsm alpha --config c",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "casemate",
            "casemate serve",
            "casemate dev --listen here",
            "casemate dev --management-listen 8445",
            "casemate dev --engine hardware",
            "casemate dev --engine pkcs11",
            "casemate dev --engine pkcs11 --pkcs11-module m --pkcs11-token t",
            "casemate dev --pkcs11-module m --pkcs11-token t --pkcs11-pin-file f",
            "casemate dev --limit pool_queue_max",
            "casemate dev --limit pool_queue_max=",
            "casemate dev --limit pool_queue_max=-1",
            "casemate dev --limit =1",
            "casemate dev --retention-days many",
            "casemate dev --name a identity add-user u",
            "casemate dev identity",
            "casemate dev identity add-app",
            "casemate dev identity add-app a --federated i",
            "casemate dev identity add-member g",
            "casemate partition now",
            "casemate seal",
            "casemate tls",
            "casemate tls request",
            "casemate tls install alpha",
            "casemate tls import alpha --chain c.pem",
            "casemate tls import alpha --key k.pem",
            "casemate seal change passphrase",
            "casemate audit",
            "casemate audit verify --from a --data-dir d",
            "casemate audit verify --untied --data-dir d",
            "casemate audit verify --unsigned-max 5",
            "casemate audit verify --from a --unsigned-max -1",
            "casemate audit unwrap",
            "casemate audit accept-loss --data-dir d --by ada --reason why",
            "casemate audit accept-loss --data-dir d --records 7 --reason why",
            "casemate audit accept-loss --data-dir d --records 7 --by ada",
            "casemate audit search --until 2026-02-30",
            "casemate audit prove",
            "casemate audit prove --index 1 --old 1",
            "casemate audit prove --new 1",
            "casemate audit tail -n 100001",
            "casemate audit search --since yesterday",
            "casemate migrate",
            "casemate migrate plan u",
            "casemate migrate plan u --token-file t",
            "casemate migrate plan u --out p",
            "casemate backup",
            "casemate backup verify",
            "casemate backup verify b",
            "casemate backup verify b --domain d",
            "casemate backup verify b --key k.key",
            "casemate backup verify b --domain d --key k.key --node-folder f",
            "casemate backup verify b --domain d --key k.key --hsm a",
            "casemate backup verify b --hsm a --node-folder f",
            "casemate backup verify b --node-folder f --config c",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn help_and_version_are_no_failure() {
        assert_eq!(parse_error_code(&parse("casemate --version").unwrap_err()), 0);
        assert_eq!(parse_error_code(&parse("casemate --nothing").unwrap_err()), 2);
    }
}
