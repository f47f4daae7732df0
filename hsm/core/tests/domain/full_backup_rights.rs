//! What a full restore does to roles.

use casemate_hsm::backup::JobFailure;
use casemate_hsm::rbac::act;
use casemate_hsm::{Separation, Settings};
use uuid::Uuid;

use crate::bench::{Bench, DOMAIN, ROOT, settings};
use crate::full_backup::{
    EC, back_up, grant, grant_as, may_sign, purge, read, refused, restore, sign, take_away,
    verifies,
};
use crate::shelf::Shelf;

#[tokio::test]
async fn another_hsm_of_the_domain_takes_it_and_keeps_its_own_administrator() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let user = Uuid::from_u128(80);
    grant(&bench, user, "Crypto User").await;
    let signed = sign(&bench, "a").await;
    let folder = back_up(&bench, &shelf).await;
    let other = Bench::with_roles(settings(), &["Administrator"]).await;
    let (other, _, restored) = restore(other, ROOT, &shelf, &folder).await;
    assert!(may_sign(&other, user) && restored.revived.contains(&user));
    assert!(verifies(&other, "a", signed).await);
    let foreign = Bench::in_domain(DOMAIN + 1).await;
    let failure = refused(&foreign, &shelf, &folder).await;
    assert!(failure.to_string().contains("another security domain"), "{failure}");
}

#[tokio::test]
async fn who_restores_stays_an_administrator_whatever_the_backup_calls_its_assignments() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    let (user, restorer) = (Uuid::from_u128(81), Uuid::from_u128(82));
    let name = grant_as(&bench, Uuid::from_u128(83), user, "Crypto User").await;
    let folder = back_up(&bench, &shelf).await;
    take_away(&bench, name).await;
    assert_eq!(grant_as(&bench, name, restorer, "Administrator").await, name);
    let (bench, _, restored) = restore(bench, restorer, &shelf, &folder).await;
    assert!(may_sign(&bench, user), "the backup's assignment is there");
    assert!(bench.try_permit::<act::RoleAssignmentsWrite>(restorer, "/").is_ok());
    assert!(restored.revived.contains(&restorer) && restored.ended.contains(&restorer));
}

#[tokio::test]
async fn who_is_no_administrator_restores_keys_and_leaves_rights_alone() {
    let (bench, shelf) = (Bench::new().await, Shelf::default());
    bench.make("a", EC).await;
    let restorer = Uuid::from_u128(90);
    let (goes, comes) = (Uuid::from_u128(91), Uuid::from_u128(92));
    let removed = grant(&bench, goes, "Crypto User").await;
    let folder = back_up(&bench, &shelf).await;
    take_away(&bench, removed).await;
    grant(&bench, comes, "Crypto User").await;
    grant(&bench, restorer, "Restore User").await;
    purge(&bench, "a").await;
    let (bench, job, restored) = restore(bench, restorer, &shelf, &folder).await;
    assert!(read(&bench, "a").is_some());
    assert!(!may_sign(&bench, goes) && may_sign(&bench, comes), "rights are as they were");
    assert!(restored.revived.is_empty() && restored.ended.is_empty());
    assert!(job.details.contains("as they were"), "{}", job.details);
}

#[tokio::test]
async fn duties_that_are_kept_apart_are_not_put_together_by_a_restore() {
    let (bench, shelf) =
        (Bench::with_roles(settings(), &["Administrator"]).await, Shelf::default());
    let both = Uuid::from_u128(33);
    grant(&bench, both, "Crypto User").await;
    grant(&bench, both, "Crypto Officer").await;
    let folder = back_up(&bench, &shelf).await;
    let apart = Settings { separation: Separation::Refuse, ..settings() };
    let other = Bench::with_roles(apart, &["Administrator"]).await;
    let failure = refused(&other, &shelf, &folder).await;
    assert!(matches!(failure, JobFailure::KeptApart(_)), "{failure}");
}
