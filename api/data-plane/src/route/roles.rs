//! The paths of role assignments and definitions, behind `providers/Microsoft.Authorization`.

use casemate_hsm::NameError;
use casemate_hsm::rbac::Scope;
use uuid::Uuid;

use super::{Route, RouteRefusal, by_method, is};

/// From the segments before and after to the operation.
pub(super) fn authorization(
    method: &str,
    scope: &[&str],
    rest: &[&str],
) -> Result<Route, RouteRefusal> {
    let scope = match scope {
        [] => Scope::Root,
        [keys] if is(keys, "keys") => Scope::Keys,
        [keys, name] if is(keys, "keys") => {
            Scope::below_keys(name).map_err(|error| match error {
                NameError::Prefix => RouteRefusal::Prefix,
                NameError::Key | NameError::Version => RouteRefusal::KeyName,
            })?
        }
        _ => return Err(RouteRefusal::UnknownPath),
    };
    let scope = || scope.clone();
    let guid = |text: &str| Uuid::try_parse(text).map_err(|_| RouteRefusal::Guid);
    match rest {
        [kind] if is(kind, "roleAssignments") => {
            by_method(method, &[("GET", &|| Ok(Route::ListAssignments(scope())))])
        }
        [kind, name] if is(kind, "roleAssignments") => by_method(
            method,
            &[
                ("GET", &|| Ok(Route::GetAssignment(scope(), guid(name)?))),
                ("PUT", &|| Ok(Route::PutAssignment(scope(), guid(name)?))),
                ("DELETE", &|| Ok(Route::DeleteAssignment(scope(), guid(name)?))),
            ],
        ),
        [kind] if is(kind, "roleDefinitions") => {
            by_method(method, &[("GET", &|| Ok(Route::ListDefinitions(scope())))])
        }
        [kind, name] if is(kind, "roleDefinitions") => by_method(
            method,
            &[
                ("GET", &|| Ok(Route::GetDefinition(scope(), guid(name)?))),
                ("PUT", &|| Ok(Route::PutDefinition(scope(), guid(name)?))),
                ("DELETE", &|| Ok(Route::DeleteDefinition(scope(), guid(name)?))),
            ],
        ),
        _ => Err(RouteRefusal::UnknownPath),
    }
}
