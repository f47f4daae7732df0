//! Role assignments: put, get, list, delete.

use std::sync::Arc;

use casemate_hsm::rbac::{Assignment, AssignmentsFilter, Scope, act};
use casemate_wire::List;
use http::StatusCode;
use uuid::Uuid;

use crate::answer::Answer;
use crate::exchange::Exchange;
use crate::paging::{ASSIGNMENTS_PER_PAGE, ListOf, after, assignment_place, skip_token};
use crate::parameters::{self, BadParameter};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render::{assignment, json};

type Answered = Result<Answer, Refusal>;

pub(crate) async fn put(x: &mut Exchange, scope: Scope, name: Uuid, body: &[u8]) -> Answered {
    let request = parameters::assignment(body, name)?;
    let permit = x.authorize::<act::RoleAssignmentsWrite>(scope)?;
    let intent = x.intend().await?;
    let made = x.hsm().assign_role(&permit, &intent, request).await?;
    let answer = Answer::json(StatusCode::CREATED, json(&assignment(&made)));
    x.changed(&permit, answer).await
}

pub(crate) async fn get(x: &mut Exchange, scope: Scope, name: Uuid) -> Answered {
    let permit = x.authorize::<act::RoleAssignmentsRead>(scope)?;
    let found = x.hsm().assignment(&permit, name).ok_or(Refusal::NoSuchAssignment)?;
    let answer = Answer::json(StatusCode::OK, json(&assignment(&found)));
    x.read(&permit, answer).await
}

pub(crate) async fn delete(x: &mut Exchange, scope: Scope, name: Uuid) -> Answered {
    let permit = x.authorize::<act::RoleAssignmentsDelete>(scope)?;
    let intent = x.intend().await?;
    let gone = x.hsm().delete_assignment(&permit, &intent, name).await?;
    x.ended(Answer::json(StatusCode::OK, json(&assignment(&gone)))).await
}

pub(crate) async fn list(x: &mut Exchange, scope: Scope, query: &Query) -> Answered {
    let filter = filter(query.filter.as_deref())?;
    let after = after(ListOf::Assignments, query)?;
    let permit = x.authorize::<act::RoleAssignmentsRead>(scope)?;
    let found = x.hsm().assignments(&permit, filter);
    let (page, next) = page(&found, after.as_deref());
    let next_link = next.map(|last| link(&x.url, permit.scope(), query, last));
    let value = page.iter().map(|one| assignment(one)).collect();
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

/// The page after a place, and the last assignment of it if there are more. That the one at the
/// place is gone meanwhile makes no difference.
fn page<'a>(
    all: &'a [Arc<Assignment>],
    after: Option<&str>,
) -> (&'a [Arc<Assignment>], Option<&'a Assignment>) {
    let start = after.and_then(assignment_place).map_or(0, |place| {
        all.partition_point(|assignment| (assignment.created, assignment.name) <= place)
    });
    let rest = all.get(start..).unwrap_or_default();
    match rest.split_at_checked(ASSIGNMENTS_PER_PAGE) {
        Some((page, [_, ..])) => (page, page.last().map(Arc::as_ref)),
        _ => (rest, None),
    }
}

fn place(assignment: &Assignment) -> String {
    format!("{} {}", assignment.created.0, assignment.name)
}

fn link(url: &str, scope: &Scope, query: &Query, last: &Assignment) -> String {
    let scope = match scope {
        Scope::Root => String::new(),
        narrower @ (Scope::Keys | Scope::Key(_)) => narrower.to_string(),
    };
    let token = skip_token(ListOf::Assignments, &place(last));
    let path = "/providers/Microsoft.Authorization/roleAssignments";
    let mut link = format!("{url}{scope}{path}?$skiptoken={token}");
    if let Some(filter) = &query.filter {
        link.push_str("&$filter=");
        link.push_str(&filter.trim().replace(' ', "%20"));
    }
    link
}

#[cfg(test)]
mod tests {
    use casemate_hsm::UnixSeconds;

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

    #[test]
    fn pages_follow_each_other_without_loss() {
        let one = |n: u128| {
            Arc::new(Assignment {
                name: Uuid::from_u128(n),
                scope: Scope::Root,
                role: Uuid::nil(),
                principal: Uuid::nil(),
                created: UnixSeconds(0),
            })
        };
        let mut all: Vec<_> = (0..501).map(one).collect();
        let from = |all: &[_], after: Option<&str>| {
            let (page, last) = page(all, after);
            (page.len(), last.map(|last| (last.name.as_u128(), place(last))))
        };
        let (count, next) = from(&all, None);
        let (last, next) = next.unwrap();
        assert_eq!((count, last), (250, 249));
        let (count, second) = from(&all, Some(&next));
        let (last, third) = second.unwrap();
        assert_eq!((count, last), (250, 499));
        assert_eq!(from(&all, Some(&third)), (1, None));
        assert_eq!(from(&all[..250], None), (250, None));
        // Whoever deletes what a page showed goes on after it all the same.
        all.drain(..250);
        let (count, second) = from(&all, Some(&next));
        assert_eq!((count, second.unwrap().0), (250, 499));
    }
}
