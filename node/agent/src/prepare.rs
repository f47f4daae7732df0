//! What `dev` needs before anything runs: the folder, the state, the CA, the issuer, the first
//! message for the partition.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use casemate_channel::{Confine, Creation, Engine, Limits, Seal, Start, VERSION};
use casemate_dev_issuer::{AppCreated, DevIssuer};
use serde_json::json;

use crate::authority::Authority;
use crate::bundle::{CHOSEN, bundle};
use crate::client::Client;
use crate::courier::CourierPlace;
use crate::dev::DevError;
use crate::env_file::ENV_FILE;
use crate::ephemeral::{self, Ephemeral};
use crate::folder::{Folder, fails};
use crate::managed_identity::{IdentityConfig, IdentityPlace};
use crate::names::Names;
use crate::options::{DevOptions, default_data_dir};
use crate::say::say;
use crate::state::State;
use crate::users;

/// The region of everything that `dev` makes.
pub(crate) const REGION: &str = "local";
/// The app whose secret `dev.env` holds.
const PRINCIPAL: &str = "casemate-dev";
const BUNDLE_FILE: &str = "ca-bundle.pem";
const SEAL_FILE: &str = "seal.key";
/// Audiences of Azure's own clouds, for clients that cannot be told another one.
const AZURE_AUDIENCES: [&str; 2] = ["https://managedhsm.azure.net", "https://vault.azure.net"];
/// Audience of tokens for storage, which an HSM's managed identity asks for; no HSM believes them.
const STORAGE_AUDIENCE: &str = "https://storage.azure.com";
const FIRST_ROLES: [&str; 3] =
    ["Managed HSM Administrator", "Managed HSM Crypto Officer", "Managed HSM Crypto User"];

/// The data folder, and the temporary one that it may lie in.
pub(crate) struct Place {
    pub(crate) folder: Arc<Folder>,
    /// Removed with all that is in it when `dev` ends.
    _ephemeral: Option<Ephemeral>,
}

/// Who `dev` is.
pub(crate) struct Identity {
    pub(crate) issuer: Arc<DevIssuer>,
    pub(crate) principal: AppCreated,
}

/// Opens the data folder; an old `dev.env` goes first of all.
pub(crate) fn place(options: &DevOptions) -> Result<Place, DevError> {
    if options.ephemeral {
        let parent = std::env::temp_dir();
        ephemeral::remove_abandoned(&parent);
        let (folder, ephemeral) = ephemeral::make(&parent)?;
        return Ok(Place { folder: Arc::new(folder), _ephemeral: Some(ephemeral) });
    }
    let folder = Folder::open(&data_dir(options)?)?;
    folder.remove(ENV_FILE)?;
    ephemeral::keep(&folder)?;
    Ok(Place { folder: Arc::new(folder), _ephemeral: None })
}

/// Removes the `dev.env` of a killed run where this run's options are refused; makes nothing.
pub(crate) fn remove_old_env(options: &DevOptions) {
    let Ok(path) = data_dir(options) else { return };
    if path.is_dir() && !options.ephemeral {
        // A folder that is in use, or not ours, keeps its file; what is said is the refusal.
        let _ = Folder::open(&path).and_then(|folder| folder.remove(ENV_FILE));
    }
}

fn data_dir(options: &DevOptions) -> Result<PathBuf, DevError> {
    match &options.data_dir {
        Some(path) => Ok(path.clone()),
        None => Ok(default_data_dir()?),
    }
}

/// Where the HSM's managed identity is written. The file may be made later: what the issuer here
/// gives out for it is known only once it runs.
pub(crate) fn managed_identity(options: &DevOptions) -> Result<IdentityPlace, DevError> {
    let Some(path) = &options.identity else { return Ok(IdentityPlace::None) };
    let path = std::path::absolute(path).map_err(fails("find", path))?;
    match path.exists() {
        true => drop(IdentityConfig::read(&path)?),
        false => say(format_args!("{} is not there yet; backups look for it", path.display())),
    }
    Ok(IdentityPlace::File(path))
}

/// Opens the issuer and its first principal.
pub(crate) fn identity(
    folder: &Folder,
    options: &DevOptions,
    names: &Names,
    client: &Arc<Client>,
) -> Result<Identity, DevError> {
    // `az keyvault role assignment` wants a token for the graph before it asks for names there;
    // that there is no graph it takes from the 404, but not from a refused token.
    let graph = format!("{}/graph", names.base_url());
    let further = [graph, STORAGE_AUDIENCE.to_owned()];
    let audiences = AZURE_AUDIENCES.map(str::to_owned).into_iter().chain(further);
    let path = folder.join("issuer");
    if !DevIssuer::is_in(&path)
        && let Some(hsm) = folder.hsm()?
    {
        return Err(DevError::NoIssuer { path, hsm });
    }
    let issuer =
        DevIssuer::open(&path)?
            .with_audiences(audiences.collect())
            .with_key_fetch(Arc::<Client>::clone(client));
    let principal = issuer.ensure_app(PRINCIPAL)?;
    issuer.set_managed_identity(PRINCIPAL)?;
    if let Some(name) = &options.imds {
        issuer.enable_imds(name)?;
    }
    Ok(Identity { issuer: Arc::new(issuer), principal })
}

/// Writes the bundle of roots for other programs; its path and its text.
pub(crate) fn roots(folder: &Folder, authority: &Authority) -> Result<(PathBuf, String), DevError> {
    let chosen: Vec<OsString> = CHOSEN.iter().filter_map(std::env::var_os).collect();
    let path = folder.join(BUNDLE_FILE);
    let text = bundle(&chosen, &path, authority.pem());
    folder.write(BUNDLE_FILE, text.as_bytes())?;
    Ok((path, text))
}

/// The partition's first message; also makes its folder and, as root, its user.
pub(crate) fn start(
    folder: &Folder,
    state: &mut State,
    names: &Names,
    identity: &Identity,
    authority: &Authority,
) -> Result<Start, DevError> {
    let hsm_folder = folder.make(&format!("hsm/{}", state.name))?;
    let outer = hsm_folder.clone();
    let (confine, seen) = if users::is_root() {
        let user = *state.user.get_or_insert_with(users::pick);
        state.save(folder)?;
        users::give(&hsm_folder, user).map_err(fails("give to its user", &hsm_folder))?;
        if let Engine::Pkcs11(place) = &state.engine {
            for path in &place.paths {
                users::give(path, user).map_err(fails("give to the partition's user", path))?;
            }
        }
        (Confine { root: Some(hsm_folder), uid_gid: Some((user, user)) }, PathBuf::from("/"))
    } else {
        (Confine::default(), hsm_folder)
    };
    let create = (!state.created)
        .then(|| Creation { settings: settings(state, identity, authority), development: true });
    Ok(Start {
        version: VERSION,
        hsm: state.name.clone(),
        names: names.external(),
        named_port: names.listen.port(),
        seal: Seal::Key { path: seen.join(SEAL_FILE) },
        engine: state.engine.clone(),
        folder: seen,
        create,
        limits: Limits::default(),
        region: REGION.to_owned(),
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        confine,
        shown_folder: outer,
        development: true,
    })
}

/// The courier's folder, and as root its user.
pub(crate) fn courier(folder: &Folder, state: &State) -> Result<CourierPlace, DevError> {
    let path = folder.make(&format!("courier/{}", state.name))?;
    Ok(CourierPlace::prepare(path.clone()).map_err(fails("give to its user", &path))?)
}

/// The first settings of a development HSM. `{port}` stands for the port of the named listener, so
/// that the HSM can move to another one.
fn settings(state: &State, identity: &Identity, authority: &Authority) -> serde_json::Value {
    let base = "https://localhost:{port}";
    let issuer = &identity.issuer;
    let own = ["https://managedhsm.localhost:{port}", "https://vault.localhost:{port}"];
    let audiences: Vec<&str> = own.into_iter().chain(AZURE_AUDIENCES).collect();
    json!({
        "tenant": issuer.tenant(),
        "authority": format!("{base}/adfs"),
        "issuers": [{
            "issuer": issuer.issuer_name(base),
            "metadata_url": issuer.metadata_url(base),
            "trust_anchors_pem": authority.pem(),
            "groups_url": format!("{base}/adfs/userinfo"),
        }],
        "audiences": audiences,
        "outbound": ["localhost:{port}"],
        "first_administrators": [identity.principal.object_id],
        "first_roles": FIRST_ROLES,
        "retention_days": state.retention_days,
        "purge_protection": state.purge_protection,
        "oct_key_ops": "omit",
        "escalation": "strict",
    })
}
