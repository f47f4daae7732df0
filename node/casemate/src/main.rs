//! The one executable: a thin main that becomes the agent, a partition or a command.
//!
//! A partition or a courier is chosen before anything else is set up, since it must confine itself
//! while it has one thread.

mod migrate;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use casemate_agent::{
    COURIER_COMMAND, DataCall, DevOptions, Engine, HsmCommand as Managed, LimitChange, NewHsm,
    PARTITION_COMMAND, Pkcs11, RESEAL_COMMAND, Rotate, SealCommand as Sealing,
    TlsCommand as Securing, data_call, default_data_dir, dev, doctor, hsm, key_file_seal, node,
    node_seal, rotate, seal_in_force, tls,
};
use casemate_cli::{
    Arguments, AskedHsm, AuditCommand, BackupCommand, BackupVerify, Command, DevArguments,
    DevCommand, EngineChoice, HsmCommand, IdentityCommand, MigrateCommand, RotateArguments,
    ScheduleCall, SealCommand, SecurityDomainCommand, TlsCommand, TokenArguments, audit, identity,
    open_domain, parse_error_code, security_domain, token_file,
};
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_rehearse::{DomainSource, Rehearsal, TokenOptions};
use clap::Parser;

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1);
    if first.as_ref().is_some_and(|command| command == PARTITION_COMMAND) {
        return casemate_partition::main();
    }
    if first.as_ref().is_some_and(|command| command == COURIER_COMMAND) {
        return casemate_courier::main();
    }
    if first.as_ref().is_some_and(|command| command == RESEAL_COMMAND) {
        return casemate_node_seal::main();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody left to tell if the output is closed.
            let _ = error.print();
            return ExitCode::from(parse_error_code(&error));
        }
    };
    match act(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    match command {
        Command::Dev { command: Some(DevCommand::Identity { command }), .. } => {
            add_identity(&command)
        }
        Command::Dev { run, command: None } => Ok(dev(&options(*run), &mut out)?),
        Command::Node(node_file) => Ok(node(&node_file.config, &mut out)?),
        Command::Hsm { command, node } => {
            Ok(runtime()?.block_on(hsm(&node.config, managed(command), &mut out))?)
        }
        Command::Seal { command, node } => {
            Ok(runtime()?.block_on(node_seal(&node.config, sealing(command), &mut out))?)
        }
        Command::Tls { command, node } => {
            Ok(runtime()?.block_on(tls(&node.config, securing(command), &mut out))?)
        }
        Command::Doctor(folder) => Ok(runtime()?.block_on(doctor(folder.data_dir, &mut out))?),
        Command::Audit { command } => read_audit(&command),
        Command::SecurityDomain { command: SecurityDomainCommand::Rotate(asked) } => {
            Ok(runtime()?.block_on(rotate(&rotation(asked), &mut out))?)
        }
        Command::Migrate { command: MigrateCommand::Plan(order) } => {
            runtime()?.block_on(migrate::migrate(*order, &mut out))
        }
        Command::Backup { command: BackupCommand::Verify(order) } => verify_backup(*order),
        Command::Backup { command: BackupCommand::Schedule { command } } => {
            let (AskedHsm { url, ca, token_file: token }, call) = command.call()?;
            let ScheduleCall { method, path, body } = call;
            let asked = DataCall { url, ca, token, method, path, body };
            Ok(runtime()?.block_on(data_call(asked, &mut out))?)
        }
        Command::SecurityDomain { command } => {
            Ok(security_domain(&command, &SoftPrimitives, &mut out)?)
        }
        // Taken by main already; the word is known to the parser so that nothing else has it.
        Command::Partition | Command::Courier | Command::Reseal => Ok(()),
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn read_audit(command: &AuditCommand) -> Result<(), Box<dyn Error>> {
    let default: PathBuf = default_data_dir().unwrap_or_default();
    Ok(audit(command, || default, &mut io::BufWriter::new(io::stdout()))?)
}

fn verify_backup(order: BackupVerify) -> Result<(), Box<dyn Error>> {
    let domain = match (order.domain, order.node_folder, order.hsm) {
        (_, Some(folder), _) => {
            let seal = key_file_seal(&folder);
            DomainSource::Node { folder, seal }
        }
        (_, None, Some(hsm)) => {
            let (folder, seal) = seal_in_force(&order.config, &hsm)?;
            DomainSource::Node { folder, seal }
        }
        (domain, None, None) => {
            let file = domain.unwrap_or_default();
            DomainSource::Officers(open_domain(&file, &order.key, &SoftPrimitives)?.items)
        }
    };
    let rehearsal = Rehearsal {
        backup: order.backup,
        against: order.against,
        token: token_file(order.token_file.as_deref())?,
        domain,
        engine_token: order.pkcs11_module.map(|module| TokenOptions {
            module,
            label: order.pkcs11_token.unwrap_or_default(),
            pin_file: order.pkcs11_pin_file.unwrap_or_default(),
        }),
        work_dir: order.work_dir,
    };
    Ok(runtime()?.block_on(casemate_rehearse::verify(&rehearsal, &mut io::stdout()))?)
}

fn add_identity(command: &IdentityCommand) -> Result<(), Box<dyn Error>> {
    let default: PathBuf = default_data_dir().unwrap_or_default();
    Ok(identity(command, || default, &mut io::stdout())?)
}

fn securing(command: TlsCommand) -> (String, Securing) {
    match command {
        TlsCommand::Show { name } => (name, Securing::Show),
        TlsCommand::Request { name } => (name, Securing::Request),
        TlsCommand::Install { name, chain } => (name, Securing::Install { chain }),
        TlsCommand::Import { name, chain, key } => (name, Securing::Import { chain, key }),
        TlsCommand::Reset { name } => (name, Securing::Reset),
    }
}

fn sealing(command: SealCommand) -> Sealing {
    match command {
        SealCommand::Change => Sealing::Change,
        SealCommand::Show => Sealing::Show,
    }
}

fn managed(command: HsmCommand) -> Managed {
    match command {
        HsmCommand::List => Managed::List,
        HsmCommand::Show { name } => Managed::Show { name },
        HsmCommand::Inspect { name } => Managed::Inspect { name },
        HsmCommand::Delete { name } => Managed::Delete { name },
        HsmCommand::Create(create) => Managed::Create {
            issuer_ca: create.issuer_ca,
            hsm: Box::new(NewHsm {
                name: create.name,
                tenant: create.tenant,
                issuer: create.issuer,
                issuer_metadata: create.issuer_metadata,
                authority: create.authority,
                issuer_ca_pem: String::new(),
                administrators: create.admin,
                audiences: create.audience,
                outbound: create.outbound,
                retention_days: create.retention_days,
                purge_protection: create.purge_protection,
                engine: engine(create.engine, create.token).unwrap_or_default(),
            }),
        },
    }
}

fn rotation(asked: RotateArguments) -> Rotate {
    let RotateArguments { url, ca, token_file, request, out } = asked;
    Rotate { url, ca, token: token_file, request, out }
}

fn options(arguments: DevArguments) -> DevOptions {
    let change = |(name, value)| LimitChange { name, value };
    let engine = engine(arguments.engine, arguments.token);
    let limits = arguments.limit.into_iter().map(change).collect();
    DevOptions {
        data_dir: arguments.data_dir,
        name: arguments.name,
        listen: arguments.listen,
        hsm_listen: arguments.hsm_listen,
        management_listen: arguments.management_listen,
        limits,
        retention_days: arguments.retention_days,
        purge_protection: arguments.purge_protection,
        activate: arguments.activate,
        engine,
        ephemeral: arguments.ephemeral,
        imds: arguments.imds,
        identity: arguments.identity,
        i_know_this_is_a_development_issuer: arguments.i_know_this_is_a_development_issuer,
    }
}

/// The parser has seen to it that a token is told whole.
fn engine(choice: Option<EngineChoice>, token: TokenArguments) -> Option<Engine> {
    Some(match choice? {
        EngineChoice::Software => Engine::Software,
        EngineChoice::Pkcs11 => Engine::Pkcs11(Pkcs11 {
            module: token.pkcs11_module?,
            token: token.pkcs11_token?,
            pin_file: token.pkcs11_pin_file?,
            paths: token.pkcs11_path,
            environment: token.pkcs11_env,
            daemon: token.pkcs11_daemon,
        }),
    })
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let system = error.downcast_ref::<io::Error>();
        if system.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The error and its causes, one a line.
fn complain(error: &dyn Error) {
    let mut text = format!("casemate: {error}\n");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!("  because: {inner}\n"));
        cause = inner.source();
    }
    let _ = io::stderr().write_all(text.as_bytes());
}
