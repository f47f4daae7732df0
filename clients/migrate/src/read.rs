//! Reading a source: keys with all their versions, rotation policies, roles, what is deleted.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ask::{API_VERSION, Ask, FAILURES_MAX, Listed, MigrateError, Reader};
use crate::legible::legible;
use crate::names::{is_name, of_kid};

/// Most keys of a source.
const KEYS_MAX: usize = 100_000;
/// Most versions of a key.
const VERSIONS_MAX: usize = 10_000;
/// Where roles are told, below a scope.
const ROLES: &str = "/providers/Microsoft.Authorization";

/// What a source holds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Its address.
    pub source: String,
    /// Whether the whole list of its keys was read.
    pub is_listed: bool,
    /// Whether it has roles of its own, as a managed HSM has.
    pub has_roles: bool,
    /// Its keys, by name.
    pub keys: Vec<FoundKey>,
    /// Names of its deleted keys.
    pub deleted: Vec<String>,
    /// Role definitions that somebody wrote, as they were told.
    pub definitions: Vec<Value>,
    /// Role assignments, as they were told.
    pub assignments: Vec<Value>,
    /// Names of roles by their ids.
    pub roles: BTreeMap<String, String>,
    /// What could not be read, and why.
    pub not_read: Vec<(String, String)>,
}

/// A key.
#[derive(Clone, Debug, Default)]
pub struct FoundKey {
    /// Its name.
    pub name: String,
    /// Whether a certificate has it.
    pub managed: bool,
    /// Whether all of its versions were read.
    pub is_whole: bool,
    /// Its versions, the newest first.
    pub versions: Vec<FoundVersion>,
    /// Its rotation policy, if it has one.
    pub rotation_policy: Option<Value>,
}

/// A version of a key: the bundle, as it was told.
#[derive(Clone, Debug, Default)]
pub struct FoundVersion {
    /// Its id.
    pub version: String,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// The bundle.
    pub bundle: Value,
}

impl FoundVersion {
    fn of(version: &str, bundle: Value) -> Self {
        let created = bundle["attributes"]["created"].as_i64().unwrap_or_default();
        Self { version: version.to_owned(), created, bundle }
    }
}

/// Reads all that a plan needs. What cannot be read is named in what is found, and the rest is read
/// all the same.
///
/// # Errors
/// When nothing of the list of keys can be read: then there is nothing to plan.
pub async fn read<A: Ask>(ask: &A, source: &str) -> Result<Found, MigrateError> {
    let mut reader = Reader::new(ask, source);
    let mut found = Found { source: reader.source.to_owned(), ..Found::default() };
    let Listed { items, cut } = reader.list("/keys", KEYS_MAX, "keys").await;
    match cut {
        Some(error) if items.is_empty() => return Err(error),
        Some(error) => reader.failed("the rest of the list of keys", &error),
        None => {}
    }
    let names = reader.names(&items);
    found.is_listed = reader.not_read.is_empty();
    for (name, managed) in names {
        let key = reader.key(name, managed).await;
        found.keys.push(key);
        ask.tell(found.keys.len());
    }
    reader.deleted(&mut found).await;
    reader.roles(&mut found).await;
    if reader.is_given_up() {
        let error = MigrateError::GivenUp { failures: FAILURES_MAX };
        reader.failed("what was not asked for any more", &error);
    }
    found.not_read = reader.not_read;
    Ok(found)
}

impl<A: Ask> Reader<'_, A> {
    fn failed(&mut self, what: impl Into<String>, why: &MigrateError) {
        self.not_read.push((legible(&what.into()), why.with_cause()));
    }

    /// The names of a list of keys, and whether a certificate has them.
    fn names(&mut self, items: &[Value]) -> Vec<(String, bool)> {
        let mut names = Vec::new();
        for item in items {
            let kid = item["kid"].as_str().unwrap_or_default();
            match of_kid(self.source, kid) {
                Some((name, _)) => {
                    let managed = item["managed"].as_bool().unwrap_or_default();
                    names.push((name.to_owned(), managed));
                }
                None => self.failed(
                    format!("a key of the list, {kid:?}"),
                    &MigrateError::Foreign { path: "/keys".to_owned() },
                ),
            }
        }
        names.sort();
        names.dedup_by(|one, other| one.0 == other.0);
        names
    }

    async fn key(&mut self, name: String, managed: bool) -> FoundKey {
        let mut key = FoundKey { name, managed, is_whole: true, ..FoundKey::default() };
        if self.is_given_up() {
            key.is_whole = false;
            return key;
        }
        self.versions(&mut key).await;
        key.rotation_policy = self.rotation_policy(&key.name).await;
        key
    }

    async fn versions(&mut self, key: &mut FoundKey) {
        let list = format!("/keys/{}/versions", key.name);
        let Listed { items, cut } = self.list(&list, VERSIONS_MAX, "versions of one key").await;
        if let Some(error) = cut {
            key.is_whole = false;
            self.failed(format!("the versions of key {}", key.name), &error);
        } else if items.is_empty() {
            key.is_whole = false;
            let none = MigrateError::Foreign { path: list.clone() };
            self.failed(format!("any version of key {}", key.name), &none);
        }
        for item in items {
            let kid = item["kid"].as_str().unwrap_or_default();
            let version = match of_kid(self.source, kid) {
                Some((name, Some(version))) if name.eq_ignore_ascii_case(&key.name) => version,
                _ => {
                    key.is_whole = false;
                    let foreign = MigrateError::Foreign { path: list.clone() };
                    self.failed(format!("a version of key {}, {kid:?}", key.name), &foreign);
                    continue;
                }
            };
            match self.bundle(&format!("/keys/{}/{version}", key.name)).await {
                Ok(bundle) => key.versions.push(FoundVersion::of(version, bundle)),
                Err(error) => {
                    key.is_whole = false;
                    self.failed(format!("version {version} of key {}", key.name), &error);
                }
            }
            if self.is_given_up() {
                key.is_whole = false;
                return;
            }
        }
        key.versions.sort_by_key(|version| std::cmp::Reverse(version.created));
        if key.versions.len() > 1 {
            self.newest(key).await;
        }
    }

    /// The times are whole seconds; which of two of one second is the newer is asked. One that was
    /// made since the list is the newest too.
    async fn newest(&mut self, key: &mut FoundKey) {
        let path = format!("/keys/{}", key.name);
        let newest = self.bundle(&path).await.and_then(|bundle| {
            let kid = bundle["key"]["kid"].as_str().unwrap_or_default();
            match of_kid(self.source, kid) {
                Some((name, Some(version))) if name.eq_ignore_ascii_case(&key.name) => {
                    Ok(FoundVersion::of(version, bundle.clone()))
                }
                _ => Err(MigrateError::Foreign { path: path.clone() }),
            }
        });
        match newest {
            Ok(newest) => {
                key.versions.retain(|version| version.version != newest.version);
                key.versions.insert(0, newest);
            }
            Err(error) => {
                key.is_whole = false;
                self.failed(format!("the newest version of key {}", key.name), &error);
            }
        }
    }

    /// A bundle of a key: without a type it is none.
    async fn bundle(&mut self, path: &str) -> Result<Value, MigrateError> {
        let bundle = self.asked(&format!("{path}?api-version={API_VERSION}")).await?;
        match bundle["key"]["kty"].is_string() {
            true => Ok(bundle),
            false => Err(MigrateError::Foreign { path: path.to_owned() }),
        }
    }

    /// A source may have none, or not know of such.
    async fn rotation_policy(&mut self, name: &str) -> Option<Value> {
        let path = format!("/keys/{name}/rotationpolicy?api-version={API_VERSION}");
        match self.asked(&path).await {
            Ok(policy) => {
                let actions = policy["lifetimeActions"].as_array().map_or(0, Vec::len);
                let expires = policy["attributes"]["expiryTime"].is_string();
                (actions > 0 || expires).then_some(policy)
            }
            Err(MigrateError::Refused { status: 400 | 404 | 405 | 501, .. }) => None,
            Err(error) => {
                self.failed(format!("the rotation policy of key {name}"), &error);
                None
            }
        }
    }

    async fn deleted(&mut self, found: &mut Found) {
        let Listed { items, cut } = self.list("/deletedkeys", KEYS_MAX, "deleted keys").await;
        if let Some(error) = cut {
            self.failed("deleted keys", &error);
        }
        for item in items {
            let id = item["recoveryId"].as_str().unwrap_or_default();
            match id.rsplit('/').next().filter(|name| is_name(name)) {
                Some(name) => found.deleted.push(name.to_owned()),
                None => self.failed(
                    format!("a deleted key, {id:?}"),
                    &MigrateError::Foreign { path: "/deletedkeys".to_owned() },
                ),
            }
        }
        found.deleted.sort();
    }

    /// Local roles are a managed HSM's; a vault's are Azure's own.
    async fn roles(&mut self, found: &mut Found) {
        let Listed { items, cut } =
            self.list(&format!("{ROLES}/roleDefinitions"), KEYS_MAX, "roles").await;
        self.definitions(items, found);
        match cut {
            Some(MigrateError::Refused { status: 400 | 404 | 405, .. }) => return,
            Some(error) => self.failed("roleDefinitions", &error),
            None => {}
        }
        found.has_roles = true;
        let mut scopes = vec![String::new(), "/keys".to_owned()];
        scopes.extend(found.keys.iter().map(|key| format!("/keys/{}", key.name)));
        for scope in scopes {
            if self.is_given_up() {
                break;
            }
            let list = format!("{scope}{ROLES}/roleAssignments");
            let Listed { items, cut } = self.list(&list, KEYS_MAX, "role assignments").await;
            found.assignments.extend(items);
            match cut {
                // Whoever may not see them there may see them nowhere.
                Some(error @ MigrateError::Refused { .. }) if scope.is_empty() => {
                    self.failed("roleAssignments at / and below", &error);
                    break;
                }
                Some(error) => self.failed(format!("roleAssignments at {scope}/"), &error),
                None => {}
            }
        }
        let id = |item: &Value| item["id"].as_str().unwrap_or_default().to_owned();
        found.assignments.sort_by_key(id);
        found
            .assignments
            .dedup_by(|one, other| one == other || (id(one) == id(other) && !id(one).is_empty()));
    }

    /// The names of all, and those that somebody wrote.
    fn definitions(&mut self, items: Vec<Value>, found: &mut Found) {
        for item in items {
            let properties = &item["properties"];
            let (id, name) = (item["name"].as_str(), properties["roleName"].as_str());
            let (Some(id), Some(name)) = (id, name) else {
                let what = format!("a role definition, {}", item["id"]);
                self.failed(what, &MigrateError::Foreign { path: ROLES.to_owned() });
                continue;
            };
            found.roles.insert(id.to_owned(), name.to_owned());
            if properties["type"] == "CustomRole" {
                found.definitions.push(item);
            }
        }
    }
}

#[cfg(test)]
mod tests;
