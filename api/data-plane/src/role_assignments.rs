//! Role assignments: put, get, list, delete.

use casemate_hsm::rbac::{AssignmentsFilter, Scope, Within, act};
use casemate_wire::List;
use http::StatusCode;
use uuid::Uuid;

use crate::answer::Answer;
use crate::details::of_assignment;
use crate::exchange::{Exchange, Mark};
use crate::paging::{ListOf, after, page_of_roles};
use crate::parameters::BadParameter;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render::{assignment, json, scope_path};
use crate::role_definitions::link;
use crate::role_parameters;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn put(x: &mut Exchange, scope: Scope, name: Uuid, body: &[u8]) -> Answered {
    let request = role_parameters::assignment(body, name, x.groups_unknown.is_none())?;
    let permit = x.authorize::<act::RoleAssignmentsWrite>(scope)?;
    let role = x.hsm().role_to_grant(&permit, request.role);
    x.tell(of_assignment(&role, request.principal, permit.scope()));
    let intent = x.intend().await?;
    let granted = x.hsm().assign_role(&permit, &intent, request).await?;
    let made = assignment(&granted.assignment, permit.scope());
    let mut answer = Answer::json(StatusCode::CREATED, json(&made));
    if granted.to_oneself {
        x.mark(Mark::ToOneself);
    }
    if let Some(together) = granted.together {
        x.mark(Mark::DutiesTogether);
        answer = answer.warning(&together);
    }
    x.changed(&permit, answer).await
}

pub(crate) async fn get(x: &mut Exchange, scope: Scope, name: Uuid) -> Answered {
    let permit = x.authorize::<act::RoleAssignmentsRead>(scope)?;
    let found = x.hsm().assignment(&permit, name).ok_or(Refusal::NoSuchAssignment)?;
    let answer = Answer::json(StatusCode::OK, json(&assignment(&found, permit.scope())));
    x.read(&permit, answer).await
}

pub(crate) async fn delete(x: &mut Exchange, scope: Scope, name: Uuid) -> Answered {
    let permit = x.authorize::<act::RoleAssignmentsDelete>(scope)?;
    if let Some((present, role)) = x.hsm().assignment_to_delete(&permit, name) {
        x.tell(of_assignment(&role, present.principal, &present.scope));
    }
    let intent = x.intend().await?;
    let gone = x.hsm().delete_assignment(&permit, &intent, name).await?;
    x.ended(Answer::json(StatusCode::OK, json(&assignment(&gone, permit.scope())))).await
}

pub(crate) async fn list(x: &mut Exchange, scope: Scope, query: &Query) -> Answered {
    let filter = filter(query.filter.as_deref())?;
    let after = after(ListOf::Assignments, query)?;
    let permit = x.authorize::<Within<act::RoleAssignmentsRead>>(scope)?;
    let found = x.hsm().assignments(&permit, filter);
    let (page, next) = page_of_roles(&found, after.as_deref(), |one| (one.created, one.name));
    let list = format!("{}{}", x.url, scope_path(permit.scope()));
    let next_link = next.map(|place| link(ListOf::Assignments, &list, query, &place));
    let value = page.iter().map(|one| assignment(one, permit.scope())).collect();
    let answer = Answer::json(StatusCode::OK, json(&List { value, next_link }));
    x.read(&permit, answer).await
}

/// `atScope()`, or `principalId eq` with a GUID in quotes or without.
fn filter(text: Option<&str>) -> Result<AssignmentsFilter, BadParameter> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(AssignmentsFilter::All);
    };
    if text.eq_ignore_ascii_case("atScope()") {
        return Ok(AssignmentsFilter::AtScope);
    }
    let mut words = text.split_ascii_whitespace();
    let principal = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(name), Some("eq"), Some(id), None) if name.eq_ignore_ascii_case("principalId") => {
            Uuid::try_parse(id.trim_matches('\'')).ok()
        }
        _ => None,
    };
    principal.map(AssignmentsFilter::Principal).ok_or(BadParameter::AssignmentsFilter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_the_two_of_the_api() {
        let id = Uuid::from_u128(7);
        assert_eq!(filter(None), Ok(AssignmentsFilter::All));
        assert_eq!(filter(Some("atscope()")), Ok(AssignmentsFilter::AtScope));
        for text in [format!("principalId eq '{id}'"), format!("principalId  eq {id}")] {
            assert_eq!(filter(Some(&text)), Ok(AssignmentsFilter::Principal(id)), "{text}");
        }
        for bad in ["atScope", "principalId eq x", "principalId ne 'x'", "a b c d", "principalId"] {
            assert_eq!(filter(Some(bad)), Err(BadParameter::AssignmentsFilter), "{bad}");
        }
    }
}
