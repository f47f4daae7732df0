//! Paths of keys and of deleted keys.

use casemate_hsm::VersionId;
use casemate_hsm::keys::Selector;

use super::{Absent, KeyUse, Route, RouteRefusal, by_method, is, key_name, not_by, version};

/// From the segments behind `keys` to the operation.
pub(super) fn keys(method: &str, segments: &[&str]) -> Result<Route, RouteRefusal> {
    match segments {
        [] => by_method(method, &[("GET", &|| Ok(Route::ListKeys))]),
        [restore] if is(restore, "restore") && method == "POST" => Ok(Route::RestoreKey),
        [name] => key(method, name, Selector::Latest),
        [name, third] => match operation(method, name, Selector::Latest, third)? {
            Some(route) => Ok(route),
            None if matches!(method, "GET" | "PATCH") => key(method, name, version(third)?),
            None if VersionId::parse(third).is_ok() => Err(not_by(&["GET", "PATCH"])),
            None => Err(RouteRefusal::UnknownPath),
        },
        [name, third, fourth] => {
            let selector = version(third)?;
            let found = operation(method, name, selector, fourth)?;
            found.filter(works_on_a_version).ok_or(RouteRefusal::UnknownPath)
        }
        _ => Err(RouteRefusal::UnknownPath),
    }
}

fn works_on_a_version(route: &Route) -> bool {
    match route {
        Route::UseKey(..) => true,
        Route::NotInRelease(absent) => {
            matches!(absent, Absent::Attestation | Absent::Release | Absent::SecureWrap)
        }
        _ => false,
    }
}

fn key(method: &str, name: &str, selector: Selector) -> Result<Route, RouteRefusal> {
    let name = key_name(name)?;
    let latest = selector == Selector::Latest;
    match method {
        "GET" => Ok(Route::GetKey(name, selector)),
        "PATCH" => Ok(Route::UpdateKey(name, selector)),
        "PUT" if latest => Ok(Route::ImportKey(name)),
        "DELETE" if latest => Ok(Route::DeleteKey(name)),
        _ if latest => Err(not_by(&["GET", "PUT", "PATCH", "DELETE"])),
        _ => Err(not_by(&["GET", "PATCH"])),
    }
}

/// The operation of a path's last segment; none if it is not the name of one.
fn operation(
    method: &str,
    name: &str,
    selector: Selector,
    operation: &str,
) -> Result<Option<Route>, RouteRefusal> {
    let uses = [
        ("sign", KeyUse::Sign),
        ("verify", KeyUse::Verify),
        ("encrypt", KeyUse::Encrypt),
        ("decrypt", KeyUse::Decrypt),
        ("wrapkey", KeyUse::WrapKey),
        ("unwrapkey", KeyUse::UnwrapKey),
    ];
    let absent = [
        ("rotate", "POST", Absent::Rotate),
        ("rotationpolicy", "GET", Absent::RotationPolicy),
        ("rotationpolicy", "PUT", Absent::RotationPolicy),
        ("attestation", "GET", Absent::Attestation),
        ("release", "POST", Absent::Release),
        ("securewrapkey", "POST", Absent::SecureWrap),
        ("secureunwrapkey", "POST", Absent::SecureWrap),
    ];
    let demand = |wanted: &'static str| match method == wanted {
        true => Ok(()),
        false => Err(not_by(&[wanted])),
    };
    if let Some((_, key_use)) = uses.into_iter().find(|(known, _)| is(operation, known)) {
        demand("POST")?;
        return Ok(Some(Route::UseKey(key_use, key_name(name)?, selector)));
    }
    if is(operation, "create") {
        demand("POST")?;
        return Ok(Some(Route::CreateKey(key_name(name)?)));
    }
    if is(operation, "backup") {
        demand("POST")?;
        return Ok(Some(Route::BackUpKey(key_name(name)?)));
    }
    if is(operation, "restore") {
        demand("PUT")?;
        return Ok(Some(Route::RestoreKeyFrom(key_name(name)?)));
    }
    if is(operation, "versions") {
        demand("GET")?;
        return Ok(Some(Route::ListVersions(key_name(name)?)));
    }
    let known: Vec<_> = absent.into_iter().filter(|(known, ..)| is(operation, known)).collect();
    if known.is_empty() {
        return Ok(None);
    }
    let fits = known.iter().find(|(_, wanted, _)| *wanted == method);
    let taken: Vec<_> = known.iter().map(|(_, wanted, _)| *wanted).collect();
    let (_, _, absent) = fits.ok_or_else(|| not_by(&taken))?;
    Ok(Some(Route::NotInRelease(*absent)))
}

/// From the segments behind `deletedkeys` to the operation.
pub(super) fn deleted_keys(method: &str, segments: &[&str]) -> Result<Route, RouteRefusal> {
    match segments {
        [] => by_method(method, &[("GET", &|| Ok(Route::ListDeletedKeys))]),
        [name] => by_method(
            method,
            &[
                ("GET", &|| key_name(name).map(Route::GetDeletedKey)),
                ("DELETE", &|| key_name(name).map(Route::PurgeKey)),
            ],
        ),
        [name, recover] if is(recover, "recover") => {
            by_method(method, &[("POST", &|| key_name(name).map(Route::RecoverKey))])
        }
        _ => Err(RouteRefusal::UnknownPath),
    }
}
