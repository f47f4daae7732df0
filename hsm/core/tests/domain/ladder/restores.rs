//! What a ladder might be made of beside grants: backups, restores, and keys that come and go.

use casemate_engine_port::{Curve, KeySpec};
use casemate_hsm::backup::{Done, Target};
use casemate_hsm::rbac::{ADMINISTRATOR, NewAssignment, Principal, Within, act};

use super::{Dice, may, people, root};
use crate::bench::Bench;
use crate::shelf::{Beside, Shelf};

/// The keys that come and go.
const KEYS: [&str; 2] = ["team-a-1", "other"];

/// What was put away, from where it may come back.
#[derive(Default)]
pub(super) struct Kept {
    shelf: Shelf,
    /// The folders of full backups.
    sets: Vec<String>,
    /// The backups of keys.
    keys: Vec<Vec<u8>>,
}

fn target() -> Target {
    Target::new("https://a.example/c", "sig=1").unwrap()
}

pub(super) async fn make_keys(bench: &Bench) {
    for key in KEYS {
        bench.make(key, KeySpec::Ec(Curve::P256)).await;
    }
}

impl Kept {
    /// A set of another HSM of the domain, in which everybody is an Administrator.
    pub(super) async fn plant(&mut self, dice: &mut Dice) {
        let other = Bench::new().await;
        make_keys(&other).await;
        let permit = may::<act::RoleAssignmentsWrite>(&other, &root(), "/").unwrap();
        for principal in people() {
            let (name, principal) = (dice.uuid(), principal.id);
            let request =
                NewAssignment { name, role: ADMINISTRATOR, principal, groups_known: true };
            other.hsm.assign_role(&permit, &other.intent().await, request).await.unwrap();
        }
        assert!(self.back_up(&other, &root()).await);
    }

    pub(super) async fn back_up(&mut self, bench: &Bench, by: &Principal) -> bool {
        let Some(permit) = may::<act::BackupStart>(bench, by, "/") else { return false };
        // All is within one second here, so a folder may be given that another backup lies in.
        for _ in 0..1_000 {
            let intent = bench.intent().await;
            let begun = bench.hsm.begin_backup(&permit, &intent, "dev", target(), None).await;
            let begun = begun.unwrap();
            let done = bench.hsm.back_up(&permit, &begun, &self.shelf).await;
            if let Some(folder) = bench.hsm.end_job(begun, done).await.folder {
                self.sets.push(folder.rsplit('/').next().unwrap().to_owned());
                return true;
            }
        }
        unreachable!("{} backups lie there, and no more can be made", self.sets.len());
    }

    /// A full restore; the HSM is opened anew after it.
    pub(super) async fn restore(
        &self,
        bench: Bench,
        by: &Principal,
        dice: &mut Dice,
    ) -> (Bench, bool) {
        let permit = may::<act::RestoreStart>(&bench, by, "/").filter(|_| !self.sets.is_empty());
        let Some(permit) = permit else { return (bench, false) };
        let (folder, intent) = (dice.one(&self.sets), bench.intent().await);
        let begun = bench.hsm.begin_restore(&permit, &intent, &target(), folder).await.unwrap();
        let beside = Beside::default();
        let prepared = bench.hsm.prepare_restore(&permit, &begun, &self.shelf, &beside).await;
        match prepared {
            Ok(prepared) => {
                bench.hsm.switch(prepared, &bench.intent().await, &beside).await.unwrap();
                drop(permit);
                let store = beside.store.lock().unwrap().take().unwrap();
                (bench.taken_over(store).await, true)
            }
            Err(failure) => {
                bench.hsm.end_job(begun, Err(failure)).await;
                (bench, false)
            }
        }
    }

    pub(super) async fn restore_from_set(
        &self,
        bench: &Bench,
        by: &Principal,
        dice: &mut Dice,
    ) -> bool {
        let scope = format!("/keys/{}", dice.one(&KEYS));
        let Some(permit) = may::<act::RestoreStart>(bench, by, &scope) else { return false };
        if self.sets.is_empty() {
            return false;
        }
        let (folder, intent) = (dice.one(&self.sets), bench.intent().await);
        let begun = bench.hsm.begin_key_restore(&permit, &intent, &target(), folder).await;
        let begun = begun.unwrap();
        let done = bench.hsm.restore_key_from(&permit, &begun, &self.shelf).await;
        let came_back = |done: &Done| !done.details.contains("restored: 0,");
        let was_done = done.as_ref().is_ok_and(came_back);
        bench.hsm.end_job(begun, done).await;
        was_done
    }

    pub(super) async fn back_up_key(
        &mut self,
        bench: &Bench,
        by: &Principal,
        dice: &mut Dice,
    ) -> bool {
        let scope = format!("/keys/{}", dice.one(&KEYS));
        let Some(permit) = may::<act::KeysBackup>(bench, by, &scope) else { return false };
        let backed_up = bench.hsm.back_up_key(&permit).await;
        backed_up.map(|backed_up| self.keys.push(backed_up.backup)).is_ok()
    }

    pub(super) async fn restore_key(&self, bench: &Bench, by: &Principal, dice: &mut Dice) -> bool {
        let some = may::<Within<act::KeysRestore>>(bench, by, "/keys");
        let Some(some) = some.filter(|_| !self.keys.is_empty()) else { return false };
        let backup = bench.hsm.open_key_backup(&some, dice.one::<Vec<u8>>(&self.keys)).unwrap();
        let scope = format!("/keys/{}", backup.name());
        let Some(permit) = may::<act::KeysRestore>(bench, by, &scope) else { return false };
        bench.hsm.restore_key(&permit, &bench.intent().await, backup).await.is_ok()
    }
}

/// Deletes a key, or purges it if it is deleted: the assignments at its scope go with it.
pub(super) async fn remove_key(bench: &Bench, by: &Principal, dice: &mut Dice) -> bool {
    let scope = format!("/keys/{}", dice.one(&KEYS));
    if let Some(permit) = may::<act::DeletedKeysPurge>(bench, by, &scope) {
        let intent = bench.intent().await;
        if bench.hsm.purge_key(&permit, &intent).await.is_ok() {
            return true;
        }
    }
    let Some(permit) = may::<act::KeysDelete>(bench, by, &scope) else { return false };
    bench.hsm.delete_key(&permit, &bench.intent().await).await.is_ok()
}
