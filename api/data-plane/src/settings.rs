//! Settings: get, list, update.

use casemate_hsm::rbac::{Scope, act};
use casemate_hsm::{Setting, Shown};
use casemate_wire::{Setting as WireSetting, SettingsList};
use http::StatusCode;

use crate::answer::Answer;
use crate::details::of_setting;
use crate::exchange::Exchange;
use crate::parameters;
use crate::refusal::Refusal;
use crate::render::json;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn list(x: &mut Exchange) -> Answered {
    let permit = x.authorize::<act::SettingsRead>(Scope::Root)?;
    let settings = x.hsm().shown_settings(&permit).into_iter().map(wire).collect();
    let answer = Answer::json(StatusCode::OK, json(&SettingsList { settings }));
    x.read(&permit, answer).await
}

pub(crate) async fn get(x: &mut Exchange, setting: &'static Setting) -> Answered {
    let permit = x.authorize::<act::SettingsRead>(Scope::Root)?;
    let shown = x.hsm().shown_setting(&permit, setting);
    x.read(&permit, Answer::json(StatusCode::OK, json(&wire(shown)))).await
}

pub(crate) async fn update(x: &mut Exchange, setting: &'static Setting, body: &[u8]) -> Answered {
    let value = parameters::setting_value(body)?;
    let permit = x.authorize::<act::SettingsWrite>(Scope::Root)?;
    let before = x.hsm().setting_to_change(&permit, setting);
    x.tell(of_setting(setting.name, before, &value));
    let intent = x.intend().await?;
    let shown = x.hsm().change_setting(&permit, &intent, setting, &value).await?;
    x.changed(&permit, Answer::json(StatusCode::OK, json(&wire(shown)))).await
}

fn wire(shown: Shown) -> WireSetting<'static> {
    let Shown { setting, value } = shown;
    WireSetting { name: setting.name, value, kind: setting.kind.type_name() }
}
