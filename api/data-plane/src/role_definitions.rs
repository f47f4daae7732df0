//! Role definitions: get and list at any scope, write and delete at `/`. Clients look a role up by
//! its name at the scope where they will assign it.

use casemate_hsm::rbac::{Role, Scope, Within, act};
use casemate_wire::List;
use http::StatusCode;
use uuid::Uuid;

use crate::answer::Answer;
use crate::details::of_definition;
use crate::exchange::{Exchange, Mark};
use crate::paging::{ListOf, RolePlace, after, page_of_roles, skip_token};
use crate::parameters::BadParameter;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render::{definition, json, scope_path};
use crate::role_parameters;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn get(x: &mut Exchange, scope: Scope, name: Uuid) -> Answered {
    let permit = x.authorize::<Within<act::RoleDefinitionsRead>>(anywhere(scope))?;
    let role = x.hsm().definition(&permit, name).ok_or(Refusal::NoSuchDefinition)?;
    let answer = Answer::json(StatusCode::OK, json(&definition(&role)));
    x.read(&permit, answer).await
}

pub(crate) async fn put(x: &mut Exchange, scope: Scope, name: Uuid, body: &[u8]) -> Answered {
    let request = role_parameters::definition(body, name, x.groups_unknown.is_none())?;
    let permit = x.authorize::<act::RoleDefinitionsWrite>(scope)?;
    let before = x.hsm().definition_to_write(&permit, name);
    let after = (request.role_name.as_str(), request.actions());
    x.tell(of_definition(before.as_deref(), Some(after)));
    let intent = x.intend().await?;
    let defined = x.hsm().write_definition(&permit, &intent, request).await?;
    let after = (defined.definition.role_name.as_str(), defined.definition.actions());
    x.tell(of_definition(defined.before.as_deref(), Some(after)));
    let role = Role::Custom(defined.definition);
    let mut answer = Answer::json(StatusCode::CREATED, json(&definition(&role)));
    if defined.to_oneself {
        x.mark(Mark::ToOneself);
    }
    if let Some(together) = defined.together {
        x.mark(Mark::DutiesTogether);
        answer = answer.warning(&together);
    }
    // It may be the definition of the very role by which it was written.
    x.ended_by(&permit, answer).await
}

pub(crate) async fn delete(x: &mut Exchange, scope: Scope, name: Uuid) -> Answered {
    let permit = x.authorize::<act::RoleDefinitionsDelete>(scope)?;
    let before = x.hsm().definition_to_delete(&permit, name);
    x.tell(of_definition(before.as_deref(), None));
    let intent = x.intend().await?;
    let gone = x.hsm().delete_definition(&permit, &intent, name).await?;
    x.tell(of_definition(Some(&gone), None));
    x.ended_by(&permit, Answer::json(StatusCode::OK, json(&definition(&Role::Custom(gone))))).await
}

pub(crate) async fn list(x: &mut Exchange, scope: Scope, query: &Query) -> Answered {
    let named = filter(query.filter.as_deref())?;
    let after = after(ListOf::Definitions, query)?;
    let list = format!("{}{}", x.url, scope_path(&scope));
    let permit = x.authorize::<Within<act::RoleDefinitionsRead>>(anywhere(scope))?;
    let all = x.hsm().definitions(&permit);
    let shown = |role: &Role| named.is_none_or(|name| role.is_named(name));
    let (own, built_in): (Vec<_>, Vec<_>) =
        all.into_iter().filter(shown).partition(|role| matches!(role, Role::Custom(_)));
    let (page, next) = page_of_roles(&own, after.as_deref(), place);
    // The built-in ones stand on the first page.
    let first: &[Role] = if after.is_none() { &built_in } else { &[] };
    let next_link = next.map(|place| link(ListOf::Definitions, &list, query, &place));
    let value = first.iter().chain(page).map(definition).collect();
    let answer = Answer::json(StatusCode::OK, json(&List { value, next_link }));
    x.read(&permit, answer).await
}

/// Definitions are of no scope: whoever may read them anywhere may read them at any scope. Clients
/// look them up at `/` after they have assigned a role somewhere below.
fn anywhere(_: Scope) -> Scope {
    Scope::Root
}

fn place(role: &Role) -> RolePlace {
    match role {
        Role::Custom(own) => (own.created, own.id),
        Role::BuiltIn(_) | Role::Gone(_) => (casemate_hsm::UnixSeconds(0), role.id()),
    }
}

/// The address of the next page of a list of roles, below the URL of its scope.
pub(crate) fn link(list: ListOf, scope: &str, query: &Query, place: &str) -> String {
    let token = skip_token(list, place);
    let kind = match list {
        ListOf::Definitions => "roleDefinitions",
        ListOf::Assignments | ListOf::Keys | ListOf::DeletedKeys | ListOf::Versions => {
            "roleAssignments"
        }
    };
    let path = format!("/providers/Microsoft.Authorization/{kind}");
    let mut link = format!("{scope}{path}?$skiptoken={token}");
    if let Some(filter) = &query.filter {
        link.push_str("&$filter=");
        link.push_str(&encoded(filter.trim()));
    }
    link
}

/// Percent-encoded, but for what a filter is made of that a query may hold (RFC 3986, 3.4).
fn encoded(filter: &str) -> String {
    let mut out = String::with_capacity(filter.len());
    for byte in filter.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `atScopeAndBelow()`, or `roleName eq` with a name in quotes.
fn filter(text: Option<&str>) -> Result<Option<&str>, BadParameter> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.eq_ignore_ascii_case("atScopeAndBelow()") {
        return Ok(None);
    }
    let named =
        text.split_once(" eq ").filter(|(left, _)| left.trim().eq_ignore_ascii_case("roleName"));
    let quoted = named.and_then(|(_, right)| {
        right.trim().strip_prefix('\'').and_then(|right| right.strip_suffix('\''))
    });
    quoted.map(Some).ok_or(BadParameter::DefinitionsFilter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_the_two_of_the_api() {
        assert_eq!(filter(None), Ok(None));
        assert_eq!(filter(Some("atScopeAndBelow()")), Ok(None));
        assert_eq!(filter(Some("roleName eq 'A b'")), Ok(Some("A b")));
        for bad in ["roleName", "roleName eq A", "roleName eq '", "type eq 'x'", "atScope()"] {
            assert_eq!(filter(Some(bad)), Err(BadParameter::DefinitionsFilter), "{bad}");
        }
    }

    #[test]
    fn a_link_carries_its_filter_whatever_the_name_holds() {
        let query = Query { filter: Some("roleName eq 'ä&b=#%'".to_owned()), ..Query::default() };
        let link = link(ListOf::Definitions, "https://h", &query, "1 a");
        let (_, sent) = link.split_once('?').unwrap();
        assert_eq!(Query::parse(sent).unwrap().filter, query.filter);
        assert!(link.starts_with("https://h/providers/Microsoft.Authorization/roleDefinitions?"));
    }
}
