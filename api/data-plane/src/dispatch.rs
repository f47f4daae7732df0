//! From an operation to its handler.

use std::sync::Arc;

use casemate_hsm::Hsm;
use casemate_hsm::keys::Selector;
use casemate_hsm::security_domain::NotActivated;

use crate::answer::Answer;
use crate::exchange::{Exchange, Stage};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::route::{KeyUse, Route};
use crate::{
    audit_sinks, audit_usage, crypto, cut_off, deleted_keys, explain, full_backup, full_restore,
    key_backup, keys, random, role_assignments, role_definitions, schedules, security_domain,
    settings,
};

impl Stage for Arc<Hsm> {
    fn act<'a>(
        x: &'a mut Exchange<Self>,
        route: Route,
        query: &'a Query,
        body: &'a [u8],
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send + 'a {
        dispatch(x, route, query, body)
    }
}

impl Stage for Arc<NotActivated> {
    fn act<'a>(
        x: &'a mut Exchange<Self>,
        route: Route,
        _query: &'a Query,
        body: &'a [u8],
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send + 'a {
        security_domain::before_activation(x, route, body)
    }
}

/// Hands the request to its handler.
#[expect(clippy::cognitive_complexity, reason = "one arm per operation, each a single call")]
async fn dispatch(
    x: &mut Exchange,
    route: Route,
    query: &Query,
    body: &[u8],
) -> Result<Answer, Refusal> {
    if !matches!(route, Route::UseKey(..)) {
        x.hsm().light_request();
    }
    match route {
        Route::UseKey(key_use, name, version) => use_key(x, key_use, name, version, body).await,
        Route::GetKey(name, version) => keys::get(x, name, version).await,
        Route::CreateKey(name) => keys::create(x, name, body).await,
        Route::ImportKey(name) => keys::import(x, name, body).await,
        Route::UpdateKey(name, version) => keys::update(x, name, version, body).await,
        Route::DeleteKey(name) => keys::delete(x, name).await,
        Route::ListKeys => keys::list(x, query).await,
        Route::ListVersions(name) => keys::list_versions(x, name, query).await,
        Route::ListDeletedKeys => deleted_keys::list(x, query).await,
        Route::GetDeletedKey(name) => deleted_keys::get(x, name).await,
        Route::RecoverKey(name) => deleted_keys::recover(x, name).await,
        Route::PurgeKey(name) => deleted_keys::purge(x, name).await,
        Route::BackUpKey(name) => key_backup::back_up(x, name).await,
        Route::RestoreKey => key_backup::restore(x, body).await,
        Route::StartBackup => full_backup::start(x, body).await,
        Route::CheckBackup => full_backup::check(x, body).await,
        Route::BackupStatus(id) => full_backup::status(x, &id).await,
        Route::StartRestore => full_restore::start(x, body).await,
        Route::CheckRestore => full_restore::check(x, body).await,
        Route::RestoreStatus(id) => full_restore::status(x, &id).await,
        Route::RestoreKeyFrom(name) => full_restore::key(x, name, body).await,
        Route::Schedule(call) => schedules::act(x, call, body).await,
        Route::RandomBytes => random::bytes(x, body).await,
        Route::ListAssignments(scope) => role_assignments::list(x, scope, query).await,
        Route::GetAssignment(scope, name) => role_assignments::get(x, scope, name).await,
        Route::PutAssignment(scope, name) => role_assignments::put(x, scope, name, body).await,
        Route::DeleteAssignment(scope, name) => role_assignments::delete(x, scope, name).await,
        Route::ListDefinitions(scope) => role_definitions::list(x, scope, query).await,
        Route::GetDefinition(scope, name) => role_definitions::get(x, scope, name).await,
        Route::ListSettings => settings::list(x).await,
        Route::GetSetting(setting) => settings::get(x, setting).await,
        Route::UpdateSetting(setting) => settings::update(x, setting, body).await,
        Route::KeyUsage(name) => audit_usage::get(x, name).await,
        Route::CutOffTokens(principal) => cut_off::cut_off(x, principal).await,
        Route::GetAuditSinks => audit_sinks::get(x).await,
        Route::PutAuditSinks => audit_sinks::put(x, body).await,
        Route::PutDefinition(scope, name) => role_definitions::put(x, scope, name, body).await,
        Route::DeleteDefinition(scope, name) => role_definitions::delete(x, scope, name).await,
        Route::Explain => explain::explain(x, query).await,
        Route::SecurityDomain(call) => security_domain::active(x, call, body).await,
        Route::NotInRelease(absent) => Err(Refusal::NotInRelease(absent)),
    }
}

async fn use_key(
    x: &mut Exchange,
    key_use: KeyUse,
    name: casemate_hsm::KeyName,
    version: Selector,
    body: &[u8],
) -> Result<Answer, Refusal> {
    match key_use {
        KeyUse::Sign => crypto::sign(x, name, version, body).await,
        KeyUse::Verify => crypto::verify(x, name, version, body).await,
        KeyUse::Encrypt => crypto::encrypt(x, name, version, body).await,
        KeyUse::Decrypt => crypto::decrypt(x, name, version, body).await,
        KeyUse::WrapKey => crypto::wrap_key(x, name, version, body).await,
        KeyUse::UnwrapKey => crypto::unwrap_key(x, name, version, body).await,
    }
}
