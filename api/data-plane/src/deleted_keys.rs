//! Deleted keys: get, list, recover, purge.

use casemate_hsm::KeyName;
use casemate_hsm::rbac::{Scope, Within, act};
use http::StatusCode;

use crate::answer::Answer;
use crate::details::of_purge;
use crate::exchange::Exchange;
use crate::paging::{ListOf, page};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render::kty;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn get(x: &mut Exchange, name: KeyName) -> Answered {
    let permit = x.authorize::<act::DeletedKeysRead>(Scope::Key(name))?;
    let view = x.hsm().deleted_key(&permit)?;
    x.note_algorithm(kty(view.spec));
    let answer = Answer::json(StatusCode::OK, x.style().deleted_bundle(&view));
    x.read(&permit, answer).await
}

pub(crate) async fn list(x: &mut Exchange, query: &Query) -> Answered {
    let page = page(ListOf::DeletedKeys, query)?;
    let permit = x.authorize::<Within<act::DeletedKeysRead>>(Scope::Keys)?;
    let found = x.hsm().deleted_keys(&permit, &page);
    let body = x.style().page(ListOf::DeletedKeys, "/deletedkeys", page.items_max, &found);
    x.read(&permit, Answer::json(StatusCode::OK, body)).await
}

pub(crate) async fn recover(x: &mut Exchange, name: KeyName) -> Answered {
    let permit = x.authorize::<act::DeletedKeysRecover>(Scope::Key(name))?;
    let intent = x.intend().await?;
    let view = x.hsm().recover_key(&permit, &intent).await?;
    let answer = Answer::json(StatusCode::OK, x.style().bundle(&view));
    x.changed(&permit, answer).await
}

pub(crate) async fn purge(x: &mut Exchange, name: KeyName) -> Answered {
    let permit = x.authorize::<act::DeletedKeysPurge>(Scope::Key(name.clone()))?;
    x.tell(of_purge(&x.hsm().assignments_of_key(&name)));
    let intent = x.intend().await?;
    let removed = x.hsm().purge_key(&permit, &intent).await?;
    x.tell(of_purge(&removed));
    x.changed(&permit, Answer::empty(StatusCode::NO_CONTENT)).await
}
