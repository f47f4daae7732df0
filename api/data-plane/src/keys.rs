//! Keys: create, import, get, update, delete, list.

use casemate_hsm::KeyName;
use casemate_hsm::keys::Selector;
use casemate_hsm::rbac::{Scope, Within, act};
use http::StatusCode;

use crate::answer::Answer;
use crate::details::{of_made, of_new, of_update};
use crate::exchange::Exchange;
use crate::paging::{ListOf, page};
use crate::parameters;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::render::kty;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn create(x: &mut Exchange, name: KeyName, body: &[u8]) -> Answered {
    let request = parameters::create(body)?;
    x.note_algorithm(kty(request.spec));
    let permit = x.authorize::<act::KeysCreate>(Scope::Key(name))?;
    x.tell(of_new(&request));
    let intent = x.intend().await?;
    let view = x.hsm().create_key(&permit, &intent, request).await?;
    x.tell(of_made(&view));
    x.note_version(&view.key);
    let answer = Answer::json(StatusCode::OK, x.style().bundle(&view));
    x.changed(&permit, answer).await
}

pub(crate) async fn import(x: &mut Exchange, name: KeyName, body: &[u8]) -> Answered {
    let request = parameters::import(body)?;
    let permit = x.authorize::<act::KeysImport>(Scope::Key(name))?;
    let intent = x.intend().await?;
    let view = x.hsm().import_key(&permit, &intent, request).await?;
    x.tell(of_made(&view));
    x.note_algorithm(kty(view.spec));
    x.note_version(&view.key);
    let answer = Answer::json(StatusCode::OK, x.style().bundle(&view));
    x.changed(&permit, answer).await
}

pub(crate) async fn get(x: &mut Exchange, name: KeyName, version: Selector) -> Answered {
    let permit = x.authorize::<act::KeysRead>(Scope::Key(name))?;
    let view = x.hsm().key(&permit, version)?;
    x.note_algorithm(kty(view.spec));
    x.note_version(&view.key);
    let answer = Answer::json(StatusCode::OK, x.style().bundle(&view));
    x.read(&permit, answer).await
}

pub(crate) async fn update(
    x: &mut Exchange,
    name: KeyName,
    version: Selector,
    body: &[u8],
) -> Answered {
    let request = parameters::update(body, version)?;
    let permit = x.authorize::<act::KeysWrite>(Scope::Key(name))?;
    x.tell(of_update(x.hsm().key_to_update(&permit, version).as_ref(), &request));
    let intent = x.intend().await?;
    let view = x.hsm().update_key(&permit, &intent, request).await?;
    x.note_algorithm(kty(view.spec));
    x.note_version(&view.key);
    let answer = Answer::json(StatusCode::OK, x.style().bundle(&view));
    x.changed(&permit, answer).await
}

pub(crate) async fn delete(x: &mut Exchange, name: KeyName) -> Answered {
    let permit = x.authorize::<act::KeysDelete>(Scope::Key(name))?;
    let intent = x.intend().await?;
    let view = x.hsm().delete_key(&permit, &intent).await?;
    let answer = Answer::json(StatusCode::OK, x.style().deleted_bundle(&view));
    x.changed(&permit, answer).await
}

pub(crate) async fn list(x: &mut Exchange, query: &Query) -> Answered {
    let page = page(ListOf::Keys, query)?;
    let permit = x.authorize::<Within<act::KeysRead>>(Scope::Keys)?;
    let found = x.hsm().keys(&permit, &page);
    let body = x.style().page(ListOf::Keys, "/keys", page.items_max, &found);
    x.read(&permit, Answer::json(StatusCode::OK, body)).await
}

pub(crate) async fn list_versions(x: &mut Exchange, name: KeyName, query: &Query) -> Answered {
    let page = page(ListOf::Versions, query)?;
    let path = format!("/keys/{name}/versions");
    let permit = x.authorize::<act::KeysRead>(Scope::Key(name))?;
    let found = x.hsm().key_versions(&permit, &page)?;
    let body = x.style().page(ListOf::Versions, &path, page.items_max, &found);
    x.read(&permit, Answer::json(StatusCode::OK, body)).await
}
