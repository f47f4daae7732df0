//! Schedules of backups: set, shown, removed, asked to run. An area of our own: the original has
//! none.

use casemate_hsm::backup::{
    Plan, ScheduleAccess, ScheduleFailure, ScheduleName, ScheduleRequest, ScheduleView,
};
use casemate_hsm::rbac::{Permit, Scope, act};
use casemate_wire::{BackupSchedule, BackupScheduleParameters, ScheduleError, ScheduleStatus};
use http::StatusCode;

use crate::answer::Answer;
use crate::body::json as parse;
use crate::details::{of_schedule, of_schedule_change};
use crate::exchange::Exchange;
use crate::parameters::BadParameter;
use crate::refusal::Refusal;
use crate::render::json;
use crate::route::ScheduleCall;

type Answered = Result<Answer, Refusal>;

/// Does what is asked.
pub(crate) async fn act(x: &mut Exchange, call: ScheduleCall, body: &[u8]) -> Answered {
    match call {
        ScheduleCall::List => list(x).await,
        ScheduleCall::Get(name) => get(x, &name).await,
        ScheduleCall::Put(name) => put(x, &name, body).await,
        ScheduleCall::Delete(name) => delete(x, &name).await,
        ScheduleCall::Run(name) => run(x, &name).await,
    }
}

async fn list(x: &mut Exchange) -> Answered {
    let permit = x.authorize::<act::SettingsWrite>(Scope::Root)?;
    let all = x.hsm().show_schedules(&permit);
    let value: Vec<BackupSchedule<'_>> = all.iter().map(shown).collect();
    let body = json(&serde_json::json!({ "value": value }));
    x.read(&permit, Answer::json(StatusCode::OK, body)).await
}

async fn get(x: &mut Exchange, name: &ScheduleName) -> Answered {
    let permit = x.authorize::<act::SettingsWrite>(Scope::Root)?;
    let view = x.hsm().show_schedule(&permit, name)?;
    x.read(&permit, answer(StatusCode::OK, &view)).await
}

async fn put(x: &mut Exchange, name: &ScheduleName, body: &[u8]) -> Answered {
    let request = request(parse::<BackupScheduleParameters>(body)?)?;
    let permits = permits(x)?;
    let before = x.hsm().show_schedule(&permits.0, name).ok();
    x.tell(of_schedule_change(before.as_ref(), &request));
    let intent = x.intend().await?;
    let both = (&permits.0, &permits.1);
    let view = x.hsm().set_schedule(both, &intent, name, &request).await?;
    x.changed(&permits.0, answer(StatusCode::OK, &view)).await
}

async fn delete(x: &mut Exchange, name: &ScheduleName) -> Answered {
    let permit = x.authorize::<act::SettingsWrite>(Scope::Root)?;
    let before = x.hsm().show_schedule(&permit, name)?;
    x.tell(of_schedule(&before));
    let intent = x.intend().await?;
    let view = x.hsm().remove_schedule(&permit, &intent, name).await?;
    x.changed(&permit, answer(StatusCode::OK, &view)).await
}

async fn run(x: &mut Exchange, name: &ScheduleName) -> Answered {
    let permits = permits(x)?;
    let before = x.hsm().show_schedule(&permits.0, name)?;
    x.tell(of_schedule(&before));
    let intent = x.intend().await?;
    let view = x.hsm().ask_schedule((&permits.0, &permits.1), &intent, name).await?;
    x.changed(&permits.0, answer(StatusCode::ACCEPTED, &view)).await
}

/// Who has backups made needs the right to that besides: a schedule gives nobody more.
fn permits(
    x: &mut Exchange,
) -> Result<(Permit<act::SettingsWrite>, Permit<act::BackupStart>), Refusal> {
    let settings = x.authorize::<act::SettingsWrite>(Scope::Root)?;
    let backup = x.authorize::<act::BackupStart>(Scope::Root)?;
    Ok((settings, backup))
}

fn request(asked: BackupScheduleParameters) -> Result<ScheduleRequest, BadParameter> {
    let access = match (asked.token, asked.use_managed_identity) {
        (Some(token), Some(true)) if !token.is_empty() => {
            return Err(BadParameter::TokenAndIdentity);
        }
        (_, Some(true)) => ScheduleAccess::Identity,
        (Some(token), _) => ScheduleAccess::Token(token),
        (None, Some(false)) => ScheduleAccess::KeptToken,
        (None, None) => ScheduleAccess::Kept,
    };
    let plan = Plan {
        every_minutes: asked.every_minutes,
        offset_minutes: asked.offset_minutes,
        full_every: asked.full_every,
        keep_days: asked.keep_days,
        keep_last: asked.keep_last,
        enabled: asked.enabled,
    };
    Ok(ScheduleRequest { uri: asked.storage_resource_uri, access, plan })
}

fn answer(status: StatusCode, view: &ScheduleView) -> Answer {
    Answer::json(status, json(&shown(view)))
}

fn shown(view: &ScheduleView) -> BackupSchedule<'_> {
    let ScheduleView { plan, status, .. } = view;
    let failure = |failure: &ScheduleFailure| ScheduleError {
        time: failure.at.0,
        code: failure.code.clone(),
        message: failure.message.clone(),
    };
    let url = |folder: &String| format!("{}/{folder}", view.uri);
    let count = |of: usize| u64::try_from(of).unwrap_or(u64::MAX);
    BackupSchedule {
        name: view.name.as_str(),
        storage_resource_uri: &view.uri,
        use_managed_identity: view.by_identity,
        every_minutes: plan.every_minutes,
        offset_minutes: plan.offset_minutes,
        full_every: plan.full_every,
        keep_days: plan.keep_days,
        keep_last: plan.keep_last,
        enabled: plan.enabled,
        set_time: view.set_at.0,
        set_by: view.set_by.to_string(),
        status: ScheduleStatus {
            job_id: status.running.as_ref().map(|job| job.as_str().to_owned()),
            last_run_time: status.last_run.map(|at| at.0),
            last_success_time: status.last_success.map(|at| at.0),
            last_backup: status.last_folder.as_ref().map(url),
            next_run_time: status.next_run.map(|at| at.0),
            failures: status.failures,
            last_failure: status.last_failure.as_ref().map(failure),
            backups: count(status.sets),
            chains: count(status.chains),
            unfinished: count(status.unfinished),
            kept: count(status.kept),
            forgotten: status.forgotten,
            removal_failure: status.removal_failure.as_ref().map(failure),
        },
    }
}
