//! No ladder to the top: whatever people without Administrator do, one permitted call after the
//! other, nobody gains a reserved action: by grants to people and groups, by definitions, by
//! backups and restores, by keys that go and come back. Sequences are drawn at random from seeds
//! that a failure names; `CASEMATE_LADDERS` says how many.

mod restores;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use casemate_hsm::rbac::{
    Action, AssignmentsFilter, BUILT_IN_ROLES, DataAction, Description, NewAssignment,
    NewDefinition, Permission, Permissions, Permit, Principal, Question, RoleName, Scope, Within,
    act,
};
use casemate_hsm::{Escalation, Settings};
use uuid::Uuid;

use crate::bench::{Bench, ROOT, settings};
use restores::{Kept, make_keys, remove_key};

/// Sequences where nothing else is said.
const LADDERS: u64 = 40;
/// Calls of one sequence.
const STEPS: usize = 80;
const SCOPES: [&str; 6] =
    ["/", "/keys", "/keys/team-*", "/keys/team-a-*", "/keys/team-a-1", "/keys/other"];
const GROUPS: [Uuid; 2] = [Uuid::from_u128(0x9001), Uuid::from_u128(0x9002)];
const CUSTOM: [Uuid; 4] = [
    Uuid::from_u128(0xc001),
    Uuid::from_u128(0xc002),
    Uuid::from_u128(0xc003),
    Uuid::from_u128(0xc004),
];

/// xorshift64*: the same sequence from the same seed, on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % bound
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(u128::try_from(self.below(1 << 30)).unwrap() + (1 << 40))
    }
}

/// The people: none of them is an Administrator, some may change rights.
fn people() -> Vec<Principal> {
    let one =
        |id: u128, groups: &[Uuid]| Principal { id: Uuid::from_u128(id), groups: groups.to_vec() };
    vec![
        one(0xa1, &[]),
        one(0xa2, &GROUPS[..1]),
        one(0xa3, &GROUPS[1..]),
        one(0xa4, &GROUPS),
        one(0xa5, &[]),
    ]
}

fn roles() -> Vec<Uuid> {
    BUILT_IN_ROLES.iter().map(|role| role.id).chain(CUSTOM).collect()
}

fn may<A: DataAction>(bench: &Bench, who: &Principal, scope: &str) -> Option<Permit<A>> {
    bench.hsm.authorize(&Arc::new(who.clone()), Scope::parse(scope).unwrap()).ok()
}

fn root() -> Principal {
    Principal { id: ROOT, groups: Vec::new() }
}

/// Somebody grants some role to somebody. Whether it was done.
async fn grant(bench: &Bench, by: &Principal, dice: &mut Dice) -> bool {
    let scope = *dice.one(&SCOPES);
    let roles = roles();
    let role = *dice.one(&roles);
    let ids: Vec<_> = people().iter().map(|one| one.id).chain(GROUPS).collect();
    let request =
        NewAssignment { name: dice.uuid(), role, principal: *dice.one(&ids), groups_known: true };
    let Some(permit) = may::<act::RoleAssignmentsWrite>(bench, by, scope) else { return false };
    bench.hsm.assign_role(&permit, &bench.intent().await, request).await.is_ok()
}

async fn remove(bench: &Bench, by: &Principal, dice: &mut Dice) -> bool {
    let scope = *dice.one(&SCOPES);
    let Some(read) = may::<Within<act::RoleAssignmentsRead>>(bench, by, scope) else {
        return false;
    };
    // The Administrator who asks at the end stays.
    let all = bench.hsm.assignments(&read, AssignmentsFilter::All).into_iter();
    let all: Vec<_> = all.filter(|one| one.principal != ROOT).collect();
    let Some(permit) = may::<act::RoleAssignmentsDelete>(bench, by, scope) else { return false };
    if all.is_empty() {
        return false;
    }
    let name = dice.one(&all).name;
    bench.hsm.delete_assignment(&permit, &bench.intent().await, name).await.is_ok()
}

fn written(dice: &mut Dice) -> NewDefinition {
    let actions = |dice: &mut Dice, most: usize| -> Vec<Action> {
        let count = dice.below(most);
        (0..count).map(|_| *dice.one(Action::ALL)).collect()
    };
    let permissions = (0..=dice.below(2)).map(|_| Permission {
        data_actions: actions(dice, 6),
        not_data_actions: actions(dice, 3),
        ..Permission::default()
    });
    let permissions = Permissions::new(permissions.collect()).unwrap();
    let id = *dice.one(&CUSTOM);
    let name = dice.one::<&str>(&["", "One", "Two"]);
    NewDefinition {
        id,
        role_name: RoleName::new(name).unwrap(),
        description: Description::default(),
        permissions,
        groups_known: true,
    }
}

async fn define(bench: &Bench, by: &Principal, dice: &mut Dice) -> bool {
    let request = written(dice);
    let Some(permit) = may::<act::RoleDefinitionsWrite>(bench, by, "/") else { return false };
    bench.hsm.write_definition(&permit, &bench.intent().await, request).await.is_ok()
}

async fn undefine(bench: &Bench, by: &Principal, dice: &mut Dice) -> bool {
    let id = *dice.one(&CUSTOM);
    let Some(permit) = may::<act::RoleDefinitionsDelete>(bench, by, "/") else { return false };
    bench.hsm.delete_definition(&permit, &bench.intent().await, id).await.is_ok()
}

/// An HSM, and what was put away of it.
struct World {
    bench: Bench,
    kept: Kept,
}

/// The kinds of calls, each of which must have been permitted some time.
const KINDS: [&str; 10] = [
    "grant",
    "define",
    "undefine",
    "remove",
    "full backup",
    "full restore",
    "key from a full backup",
    "key backup",
    "key restore",
    "key removed",
];

impl World {
    /// Somebody tries something. The kind, if it was permitted and done.
    async fn step(mut self, by: &Principal, dice: &mut Dice) -> (Self, Option<&'static str>) {
        let Self { bench, kept } = &mut self;
        let kind = match dice.below(18) {
            0..=4 => 0,
            5 | 6 => 1,
            7 => 2,
            8 | 9 => 3,
            other => other - 6,
        };
        let done = match kind {
            0 => grant(bench, by, dice).await,
            1 => define(bench, by, dice).await,
            2 => undefine(bench, by, dice).await,
            3 => remove(bench, by, dice).await,
            4 => kept.back_up(bench, by).await,
            5 => {
                let (bench, done) = self.kept.restore(self.bench, by, dice).await;
                self.bench = bench;
                done
            }
            6 => kept.restore_from_set(bench, by, dice).await,
            7 => kept.back_up_key(bench, by, dice).await,
            8 => kept.restore_key(bench, by, dice).await,
            _ => remove_key(bench, by, dice).await,
        };
        (self, done.then(|| KINDS[kind.min(KINDS.len() - 1)]))
    }
}

/// Every reserved action that anybody may do anywhere.
fn reserved(bench: &Bench) -> BTreeSet<(Uuid, Action, &'static str)> {
    let mut all = BTreeSet::new();
    let groups = GROUPS.map(|id| Principal { id, groups: Vec::new() });
    for scope in SCOPES {
        let permit = may::<act::RoleAssignmentsRead>(bench, &root(), scope).unwrap();
        for principal in people().into_iter().chain(groups.clone()) {
            for action in Action::ALL.iter().copied().filter(|action| action.is_reserved()) {
                let question = Question { principal: principal.clone(), action };
                let told = bench.hsm.explain(&permit, &question).unwrap();
                if !told.allowed_by.is_empty() {
                    all.insert((principal.id, action, scope));
                }
            }
        }
    }
    all
}

/// An HSM whose Administrator has handed out all sorts of rights, those to change rights and to
/// restore too, and a shelf of backups from times when others had more.
async fn world(escalation: Escalation, dice: &mut Dice) -> World {
    let bench = Bench::with(Settings { escalation, ..settings() }).await;
    make_keys(&bench).await;
    let mut world = World { bench, kept: Kept::default() };
    for _ in 0..30 {
        (world, _) = world.step(&root(), dice).await;
    }
    let World { bench, kept } = &mut world;
    let permit = may::<act::RoleAssignmentsWrite>(bench, &root(), "/").unwrap();
    for (who, role) in
        ["Crypto Officer", "Policy Administrator", "Restore User", "Backup User", "Crypto User"]
            .into_iter()
            .enumerate()
    {
        let role = format!("Managed HSM {role}");
        let role = BUILT_IN_ROLES.iter().find(|one| one.name == role).unwrap().id;
        let request = NewAssignment {
            name: dice.uuid(),
            role,
            principal: people()[who].id,
            groups_known: true,
        };
        // It may hold it already.
        let _held = bench.hsm.assign_role(&permit, &bench.intent().await, request).await;
    }
    kept.plant(dice).await;
    // What made them Administrators would make the question moot.
    let read = may::<Within<act::RoleAssignmentsRead>>(bench, &root(), "/");
    let all = bench.hsm.assignments(&read.unwrap(), AssignmentsFilter::All);
    let top = casemate_hsm::rbac::ADMINISTRATOR;
    let remove = may::<act::RoleAssignmentsDelete>(bench, &root(), "/").unwrap();
    for one in all.iter().filter(|one| one.role == top && one.principal != ROOT) {
        let intent = bench.intent().await;
        bench.hsm.delete_assignment(&remove, &intent, one.name).await.unwrap();
    }
    world
}

/// How often each kind of call was done.
type Tally = BTreeMap<&'static str, usize>;

/// The first gain of one sequence, and what was done.
async fn climb(escalation: Escalation, seed: u64) -> (Option<String>, Tally) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = world(escalation, &mut dice).await;
    let mut before = reserved(&world.bench);
    let mut tally = Tally::new();
    let people = people();
    for number in 0..STEPS {
        let by = dice.one(&people).clone();
        let done;
        (world, done) = world.step(&by, &mut dice).await;
        let Some(kind) = done else { continue };
        *tally.entry(kind).or_default() += 1;
        let after = reserved(&world.bench);
        if let Some(gained) = after.difference(&before).next() {
            let what = format!("seed {seed}, call {number}, a {kind} by {}: {gained:?}", by.id);
            return (Some(what), tally);
        }
        // What was taken away by a call must not come back by another.
        before = after;
    }
    (None, tally)
}

#[tokio::test]
async fn nobody_but_an_administrator_leads_anybody_to_the_top() {
    let count = std::env::var("CASEMATE_LADDERS").ok().and_then(|text| text.parse().ok());
    let mut tally = Tally::new();
    for seed in 0..count.unwrap_or(LADDERS) {
        let (gained, calls) = climb(Escalation::Strict, seed).await;
        assert_eq!(gained, None);
        for (kind, calls) in calls {
            *tally.entry(kind).or_default() += calls;
        }
    }
    for kind in KINDS {
        let done = tally.get(kind).copied().unwrap_or_default();
        assert!(done > 3, "a {kind} was permitted {done} times: that shows nothing: {tally:?}");
    }
}

#[tokio::test]
async fn the_same_calls_reach_the_top_where_the_original_is_copied() {
    for seed in 0..20 {
        if climb(Escalation::Azure, seed).await.0.is_some() {
            return;
        }
    }
    unreachable!("a search that finds no ladder where there is one finds none anywhere");
}
