//! Role definitions: get and list the built-in ones, at any scope. Clients look a role up by its
//! name at the scope where they will assign it.

use casemate_hsm::rbac::{BUILT_IN_ROLES, BuiltInRole, Scope, act, built_in_role};
use casemate_wire::List;
use http::StatusCode;
use uuid::Uuid;

use crate::answer::Answer;
use crate::exchange::Exchange;
use crate::parameters::BadParameter;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render::{definition, json};

type Answered = Result<Answer, Refusal>;

pub(crate) async fn get(x: &mut Exchange, scope: Scope, name: Uuid) -> Answered {
    let permit = x.authorize::<act::RoleDefinitionsRead>(scope)?;
    let role = built_in_role(name).ok_or(Refusal::NoSuchDefinition)?;
    let answer = Answer::json(StatusCode::OK, json(&definition(role)));
    x.read(&permit, answer).await
}

pub(crate) async fn list(x: &mut Exchange, scope: Scope, query: &Query) -> Answered {
    let named = filter(query.filter.as_deref())?;
    let permit = x.authorize::<act::RoleDefinitionsRead>(scope)?;
    let shown = |role: &&BuiltInRole| named.is_none_or(|name| is_named(role, name));
    let value = BUILT_IN_ROLES.iter().filter(shown).map(definition).collect();
    let answer = Answer::json(StatusCode::OK, json(&List { value, next_link: None }));
    x.read(&permit, answer).await
}

fn is_named(role: &BuiltInRole, name: &str) -> bool {
    role.name.eq_ignore_ascii_case(name)
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
}
