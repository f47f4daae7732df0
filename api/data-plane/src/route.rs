//! From method, path and query to the operation that is meant. Pure: no header, body or state.
//!
//! Tolerant where real clients need it: doubled and trailing slashes, an empty version, encoded
//! names of query parameters, any case of the fixed segments. `providers/Microsoft.Authorization`
//! is looked for first, since `/keys/providers/…` would be a key's path otherwise.

mod absent;
mod jobs;
mod keys;
mod roles;
mod schedules;
mod security_domain;
mod template;

use casemate_hsm::backup::JobId;
use casemate_hsm::keys::Selector;
use casemate_hsm::rbac::Scope;
use casemate_hsm::{KeyName, Setting, VersionId, setting};
use uuid::Uuid;

pub use schedules::ScheduleCall;
pub use security_domain::DomainCall;

use crate::query::{Query, decode};

pub use absent::Absent;

/// Most segments of a path that means anything.
const SEGMENTS_MAX: usize = 8;

/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 2048;

/// A request that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The operation.
    pub route: Route,
    /// The parameters of the query.
    pub query: Query,
}

/// An operation, with what the path says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the operations are those of the API")]
pub enum Route {
    CreateKey(KeyName),
    ImportKey(KeyName),
    UpdateKey(KeyName, Selector),
    GetKey(KeyName, Selector),
    DeleteKey(KeyName),
    ListKeys,
    ListVersions(KeyName),
    UseKey(KeyUse, KeyName, Selector),
    ListDeletedKeys,
    GetDeletedKey(KeyName),
    RecoverKey(KeyName),
    PurgeKey(KeyName),
    BackUpKey(KeyName),
    /// Which key it is shows in the backup.
    RestoreKey,
    StartBackup,
    CheckBackup,
    BackupStatus(JobId),
    StartRestore,
    CheckRestore,
    RestoreStatus(JobId),
    /// One key from a full backup.
    RestoreKeyFrom(KeyName),
    /// Schedules of backups: our own.
    Schedule(ScheduleCall),
    RandomBytes,
    ListAssignments(Scope),
    GetAssignment(Scope, Uuid),
    PutAssignment(Scope, Uuid),
    DeleteAssignment(Scope, Uuid),
    ListDefinitions(Scope),
    GetDefinition(Scope, Uuid),
    ListSettings,
    GetSetting(&'static Setting),
    UpdateSetting(&'static Setting),
    /// Who uses a key: not of the API, but ours.
    KeyUsage(KeyName),
    GetAuditSinks,
    PutAuditSinks,
    PutDefinition(Scope, Uuid),
    DeleteDefinition(Scope, Uuid),
    /// Why somebody may do something: our own.
    Explain,
    /// Refuse a principal's tokens of until now: our own.
    CutOffTokens(Uuid),
    SecurityDomain(DomainCall),
    /// An operation of the API that this release does not have.
    NotInRelease(Absent),
}

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the operations are those of the API")]
pub enum KeyUse {
    Encrypt,
    Decrypt,
    WrapKey,
    UnwrapKey,
    Sign,
    Verify,
}

/// The methods that a path takes, as the header `Allow` names them (RFC 9110, 10.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow([bool; METHODS.len()]);

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

impl Allow {
    fn of(taken: &[&str]) -> Self {
        Self(METHODS.map(|method| taken.contains(&method)))
    }
}

impl std::fmt::Display for Allow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let taken = METHODS.iter().zip(self.0).filter(|(_, taken)| *taken);
        let names: Vec<_> = taken.map(|(name, _)| *name).collect();
        f.write_str(&names.join(", "))
    }
}

/// Why a request means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteRefusal {
    /// Nothing is there.
    #[error("there is nothing at this path")]
    UnknownPath,
    /// Something is there, but not with this method.
    #[error("this path does not take this method")]
    Method(Allow),
    /// A path segment that is no key name.
    #[error("the path holds a key name that is none")]
    KeyName,
    /// A path segment that is no version.
    #[error("the path holds a key version that is none")]
    Version,
    /// A path segment that is no GUID.
    #[error("the path holds a role assignment or definition name that is no GUID")]
    Guid,
    /// A path segment that can be no schedule's name.
    #[error("the name of a schedule is 1 to 32 of a-z, 0-9 and '-'")]
    Schedule,
    /// A path segment that names no setting.
    #[error("there is no such setting")]
    Setting,
    /// A path segment with a star that is no name prefix.
    #[error("the path holds a name prefix that is none")]
    Prefix,
    /// Percent-encoding that is none, or text that is no UTF-8.
    #[error("the path or the query is not percent-encoded UTF-8")]
    Encoding,
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("the path is too long")]
    TooLong,
}

/// How much body an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// None: what is sent is not read.
    None,
    /// Parameters.
    Parameters,
    /// A payload for a key.
    Payload,
    /// The backup of a key.
    Backup,
}

/// Finds the operation.
pub fn parse(method: &str, path: &str, query: Option<&str>) -> Result<Routed, RouteRefusal> {
    if path.len() > PATH_BYTES_MAX {
        return Err(RouteRefusal::TooLong);
    }
    let path = decode(path, false).ok_or(RouteRefusal::Encoding)?;
    let mut all = [""; SEGMENTS_MAX];
    let mut count = 0;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        *all.get_mut(count).ok_or(RouteRefusal::UnknownPath)? = segment;
        count += 1;
    }
    let segments = all.get(..count).unwrap_or_default();
    let read = Query::parse(query.unwrap_or_default());
    let route = match segments {
        [audit, usage] if is(audit, "audit") && is(usage, "usage") => {
            let name = read.as_ref().and_then(|query| query.key.as_deref()).unwrap_or_default();
            by_method(method, &[("GET", &|| key_name(name).map(Route::KeyUsage))])?
        }
        segments => find(method, segments)?,
    };
    let query = read.ok_or(RouteRefusal::Encoding)?;
    Ok(Routed { route, query })
}

impl Route {
    /// The operation's name in audit records.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::CreateKey(_) => "KeyCreate",
            Self::ImportKey(_) => "KeyImport",
            Self::UpdateKey(..) => "KeyUpdate",
            Self::GetKey(..) => "KeyGet",
            Self::DeleteKey(_) => "KeyDelete",
            Self::ListKeys => "KeyList",
            Self::ListVersions(_) => "KeyListVersions",
            Self::UseKey(KeyUse::Encrypt, ..) => "KeyEncrypt",
            Self::UseKey(KeyUse::Decrypt, ..) => "KeyDecrypt",
            Self::UseKey(KeyUse::WrapKey, ..) => "KeyWrap",
            Self::UseKey(KeyUse::UnwrapKey, ..) => "KeyUnwrap",
            Self::UseKey(KeyUse::Sign, ..) => "KeySign",
            Self::UseKey(KeyUse::Verify, ..) => "KeyVerify",
            Self::ListDeletedKeys => "KeyListDeleted",
            Self::GetDeletedKey(_) => "KeyGetDeleted",
            Self::RecoverKey(_) => "KeyRecover",
            Self::PurgeKey(_) => "KeyPurge",
            Self::BackUpKey(_) => "KeyBackup",
            Self::RestoreKey => "KeyRestore",
            Self::StartBackup => "BackupCreate",
            Self::CheckBackup => "BackupCheck",
            Self::BackupStatus(_) => "BackupStatusGet",
            Self::StartRestore => "RestoreCreate",
            Self::CheckRestore => "RestoreCheck",
            Self::RestoreStatus(_) => "RestoreStatusGet",
            Self::RestoreKeyFrom(_) => "KeySelectiveRestore",
            Self::Schedule(call) => call.operation(),
            Self::RandomBytes => "RandomBytesGet",
            Self::ListAssignments(_) => "RoleAssignmentList",
            Self::GetAssignment(..) => "RoleAssignmentGet",
            Self::PutAssignment(..) => "RoleAssignmentCreate",
            Self::DeleteAssignment(..) => "RoleAssignmentDelete",
            Self::ListDefinitions(_) => "RoleDefinitionList",
            Self::GetDefinition(..) => "RoleDefinitionGet",
            Self::ListSettings => "SettingList",
            Self::GetSetting(_) => "SettingGet",
            Self::UpdateSetting(_) => "SettingUpdate",
            Self::KeyUsage(_) => "AuditUsageGet",
            Self::GetAuditSinks => "AuditSinksGet",
            Self::PutAuditSinks => "AuditSinksSet",
            Self::PutDefinition(..) => "RoleDefinitionCreateOrUpdate",
            Self::DeleteDefinition(..) => "RoleDefinitionDelete",
            Self::Explain => "RightsExplain",
            Self::CutOffTokens(_) => "TokensCutOff",
            Self::SecurityDomain(DomainCall::Download) => "SecurityDomainBackup",
            Self::SecurityDomain(DomainCall::DownloadStatus) => "SecurityDomainBackupStatusGet",
            Self::SecurityDomain(DomainCall::ExchangeKey) => "SecurityDomainTransferKeyGet",
            Self::SecurityDomain(DomainCall::Upload) => "SecurityDomainRestore",
            Self::SecurityDomain(DomainCall::UploadStatus) => "SecurityDomainRestoreStatusGet",
            Self::SecurityDomain(DomainCall::Rotate) => "SecurityDomainRotate",
            Self::SecurityDomain(DomainCall::RotateStatus) => "SecurityDomainRotateStatusGet",
            Self::NotInRelease(absent) => absent.operation(),
        }
    }

    /// Whether it changes something: then it runs to its end, whoever waits.
    pub fn is_change(&self) -> bool {
        if let Self::Schedule(call) = self {
            return call.is_change();
        }
        matches!(
            self,
            Self::CreateKey(_)
                | Self::ImportKey(_)
                | Self::UpdateKey(..)
                | Self::DeleteKey(_)
                | Self::RecoverKey(_)
                | Self::PurgeKey(_)
                | Self::RestoreKey
                | Self::StartBackup
                | Self::CheckBackup
                | Self::StartRestore
                | Self::CheckRestore
                | Self::RestoreKeyFrom(_)
                | Self::PutAssignment(..)
                | Self::DeleteAssignment(..)
                | Self::UpdateSetting(_)
                | Self::PutAuditSinks
                | Self::PutDefinition(..)
                | Self::DeleteDefinition(..)
                | Self::CutOffTokens(_)
                | Self::SecurityDomain(
                    DomainCall::Download
                        | DomainCall::ExchangeKey
                        | DomainCall::Upload
                        | DomainCall::Rotate
                )
        )
    }

    /// Whether it is about settings: how an Administrator accepts a loss that stops all else.
    pub fn is_of_settings(&self) -> bool {
        matches!(self, Self::ListSettings | Self::GetSetting(_) | Self::UpdateSetting(_))
    }

    /// Whether it is polled at a URL that was given out, which need not carry an api-version.
    pub fn is_polled(&self) -> bool {
        matches!(
            self,
            Self::SecurityDomain(
                DomainCall::DownloadStatus | DomainCall::UploadStatus | DomainCall::RotateStatus
            ) | Self::BackupStatus(_)
                | Self::RestoreStatus(_)
        )
    }

    /// Whether it answers a page of a list.
    pub fn is_list(&self) -> bool {
        matches!(
            self,
            Self::ListKeys
                | Self::ListVersions(_)
                | Self::ListDeletedKeys
                | Self::ListAssignments(_)
                | Self::ListDefinitions(_)
        )
    }

    /// Whether it is an operation of our own, which no api-version of Azure's knows.
    pub fn is_own(&self) -> bool {
        let audit = matches!(self, Self::GetAuditSinks | Self::PutAuditSinks);
        let rotates =
            matches!(self, Self::SecurityDomain(DomainCall::Rotate | DomainCall::RotateStatus));
        audit
            || rotates
            || matches!(self, Self::KeyUsage(_) | Self::Explain | Self::CutOffTokens(_))
            || matches!(self, Self::Schedule(_))
    }

    /// How much body it takes.
    pub fn body(&self) -> BodyKind {
        match self {
            Self::UseKey(..) | Self::SecurityDomain(DomainCall::Upload) => BodyKind::Payload,
            Self::RestoreKey => BodyKind::Backup,
            Self::Schedule(call) => call.body(),
            Self::StartBackup
            | Self::CheckBackup
            | Self::StartRestore
            | Self::CheckRestore
            | Self::RestoreKeyFrom(_)
            | Self::CreateKey(_)
            | Self::ImportKey(_)
            | Self::UpdateKey(..)
            | Self::RandomBytes
            | Self::UpdateSetting(_)
            | Self::PutAuditSinks
            | Self::PutAssignment(..)
            | Self::PutDefinition(..)
            | Self::SecurityDomain(DomainCall::Download | DomainCall::Rotate) => {
                BodyKind::Parameters
            }
            Self::GetKey(..)
            | Self::DeleteKey(_)
            | Self::ListKeys
            | Self::ListVersions(_)
            | Self::ListDeletedKeys
            | Self::GetDeletedKey(_)
            | Self::RecoverKey(_)
            | Self::PurgeKey(_)
            | Self::BackUpKey(_)
            | Self::BackupStatus(_)
            | Self::RestoreStatus(_)
            | Self::ListAssignments(_)
            | Self::GetAssignment(..)
            | Self::DeleteAssignment(..)
            | Self::ListDefinitions(_)
            | Self::GetDefinition(..)
            | Self::ListSettings
            | Self::GetSetting(_)
            | Self::KeyUsage(_)
            | Self::GetAuditSinks
            | Self::DeleteDefinition(..)
            | Self::Explain
            | Self::CutOffTokens(_)
            | Self::SecurityDomain(
                DomainCall::DownloadStatus
                | DomainCall::ExchangeKey
                | DomainCall::UploadStatus
                | DomainCall::RotateStatus,
            )
            | Self::NotInRelease(_) => BodyKind::None,
        }
    }

    /// The status of success.
    pub fn success_status(&self) -> u16 {
        match self {
            Self::PutAssignment(..) | Self::PutDefinition(..) => 201,
            Self::PurgeKey(_) => 204,
            Self::Schedule(call) => call.success_status(),
            Self::StartBackup
            | Self::CheckBackup
            | Self::StartRestore
            | Self::CheckRestore
            | Self::RestoreKeyFrom(_)
            | Self::SecurityDomain(
                DomainCall::Download | DomainCall::Upload | DomainCall::Rotate,
            ) => 202,
            _ => 200,
        }
    }

    /// The key that it is about, and the version if the path names one.
    pub fn key(&self) -> Option<(&KeyName, Option<VersionId>)> {
        match self {
            Self::UpdateKey(name, selector)
            | Self::GetKey(name, selector)
            | Self::UseKey(_, name, selector) => match selector {
                Selector::Latest => Some((name, None)),
                Selector::Exactly(version) => Some((name, Some(*version))),
            },
            Self::CreateKey(name)
            | Self::ImportKey(name)
            | Self::DeleteKey(name)
            | Self::ListVersions(name)
            | Self::GetDeletedKey(name)
            | Self::RecoverKey(name)
            | Self::PurgeKey(name)
            | Self::BackUpKey(name)
            | Self::RestoreKeyFrom(name)
            | Self::KeyUsage(name) => Some((name, None)),
            Self::ListAssignments(scope)
            | Self::GetAssignment(scope, _)
            | Self::PutAssignment(scope, _)
            | Self::DeleteAssignment(scope, _)
            | Self::ListDefinitions(scope)
            | Self::GetDefinition(scope, _)
            | Self::PutDefinition(scope, _)
            | Self::DeleteDefinition(scope, _) => scope.key().map(|name| (name, None)),
            Self::ListKeys
            | Self::ListDeletedKeys
            | Self::RestoreKey
            | Self::StartBackup
            | Self::CheckBackup
            | Self::BackupStatus(_)
            | Self::StartRestore
            | Self::CheckRestore
            | Self::RestoreStatus(_)
            | Self::Schedule(_)
            | Self::RandomBytes
            | Self::Explain
            | Self::CutOffTokens(_)
            | Self::ListSettings
            | Self::GetSetting(_)
            | Self::UpdateSetting(_)
            | Self::GetAuditSinks
            | Self::PutAuditSinks
            | Self::SecurityDomain(_)
            | Self::NotInRelease(_) => None,
        }
    }
}

fn find(method: &str, segments: &[&str]) -> Result<Route, RouteRefusal> {
    if let Some(at) = segments.windows(2).position(is_authorization) {
        let (scope, rest) = segments.split_at(at);
        return roles::authorization(method, scope, rest.get(2..).unwrap_or_default());
    }
    let Some((first, rest)) = segments.split_first() else {
        return Err(RouteRefusal::UnknownPath);
    };
    if is(first, "keys") {
        return keys::keys(method, rest);
    }
    if is(first, "deletedkeys") {
        return keys::deleted_keys(method, rest);
    }
    if is(first, "rng") && rest.is_empty() {
        return by_method(method, &[("POST", &|| Ok(Route::RandomBytes))]);
    }
    if ["backup", "prebackup", "restore", "prerestore"].iter().any(|one| is(first, one)) {
        return jobs::jobs(method, first, rest);
    }
    if is(first, "settings") {
        return settings(method, rest);
    }
    if is(first, "securitydomain") {
        return security_domain::find(method, rest);
    }
    if let [sinks] = rest
        && is(first, "audit")
        && is(sinks, "sinks")
    {
        let (get, put) = (|| Ok(Route::GetAuditSinks), || Ok(Route::PutAuditSinks));
        return by_method(method, &[("GET", &get), ("PUT", &put)]);
    }
    if is(first, "explain") && rest.is_empty() {
        return by_method(method, &[("GET", &|| Ok(Route::Explain))]);
    }
    if let [principal, cut_off] = rest
        && is(first, "principals")
        && is(cut_off, "cutofftokens")
    {
        let principal = || Uuid::try_parse(principal).map_err(|_| RouteRefusal::Guid);
        return by_method(method, &[("POST", &|| principal().map(Route::CutOffTokens))]);
    }
    if is(first, "ekm") {
        return absent::external_keys(method, rest);
    }
    Err(RouteRefusal::UnknownPath)
}

fn is_authorization(pair: &[&str]) -> bool {
    matches!(pair, [a, b] if is(a, "providers") && is(b, "Microsoft.Authorization"))
}

fn settings(method: &str, segments: &[&str]) -> Result<Route, RouteRefusal> {
    let named = |name: &str| setting(name).ok_or(RouteRefusal::Setting);
    match segments {
        [] => by_method(method, &[("GET", &|| Ok(Route::ListSettings))]),
        [name] => by_method(
            method,
            &[
                ("GET", &|| named(name).map(Route::GetSetting)),
                ("PATCH", &|| named(name).map(Route::UpdateSetting)),
            ],
        ),
        _ => Err(RouteRefusal::UnknownPath),
    }
}

type Make<'a> = &'a dyn Fn() -> Result<Route, RouteRefusal>;

fn by_method(method: &str, offered: &[(&str, Make<'_>)]) -> Result<Route, RouteRefusal> {
    let found = offered.iter().find(|(name, _)| *name == method);
    let refusal = || {
        let names: Vec<_> = offered.iter().map(|(name, _)| *name).collect();
        Err(not_by(&names))
    };
    found.map_or_else(refusal, |(_, make)| make())
}

fn not_by(taken: &[&str]) -> RouteRefusal {
    RouteRefusal::Method(Allow::of(taken))
}

fn key_name(text: &str) -> Result<KeyName, RouteRefusal> {
    KeyName::new(text).map_err(|_| RouteRefusal::KeyName)
}

fn version(text: &str) -> Result<Selector, RouteRefusal> {
    VersionId::parse(text).map(Selector::Exactly).map_err(|_| RouteRefusal::Version)
}

fn is(segment: &str, fixed: &str) -> bool {
    segment.eq_ignore_ascii_case(fixed)
}

#[cfg(test)]
mod tests;
