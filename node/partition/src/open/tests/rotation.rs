//! A new secret of the domain, cut off after every step: the HSM is in the state before or after,
//! its keys work in both, and what was sealed before and after opens where it should.

use casemate_engine_port::{CipherAlgorithm, Curve, KeySpec, OctSize, SignAlgorithm};
use casemate_hsm::KeyName;
use casemate_hsm::backup::BackupError;
use casemate_hsm::keys::{
    CreateKey, EncryptRequest, NewAttributes, RestoreRefusal, Selector, SignRequest, Tags,
    UpdateKey, VerifyRequest,
};
use casemate_hsm::rbac::{DataAction, Permit, Principal, Scope, Within, act};
use casemate_hsm::security_domain::{DownloadRequest, Keeper, RotateRefusal, Rotated, Rotation};
use casemate_quorum::{Blob, Terms};

use super::activation::{ADMIN, Officers, Provisioned, Snapping, intent, officers, wrapped};
use super::*;
use crate::keeper::NodeKeeper;

/// The steps of a rotation, in their order.
const STEPS: [&str; 5] = ["begin", "prepared", "turned", "brought forward", "left"];
const KINDS: [KeySpec; 2] = [KeySpec::Ec(Curve::P256), KeySpec::Oct(OctSize::B256)];

/// An active HSM.
struct Active {
    hsm: Arc<Hsm>,
    keeper: Arc<Snapping>,
    trail: Trail,
    dir: tempfile::TempDir,
}

fn with_keys() -> Value {
    let mut settings = settings();
    let roles = ["Administrator", "Crypto Officer", "Crypto User"];
    settings["first_roles"] = roles.iter().map(|role| format!("Managed HSM {role}")).collect();
    settings["escalation"] = json!("strict");
    settings
}

impl Active {
    async fn open(dir: tempfile::TempDir) -> Self {
        let message = start(&dir, None);
        let (hsm, seal, ledger, identity) =
            open_with_identity(&message, super::seal(&message)).await.unwrap();
        let trail = super::trail(&message, &Door::from(&hsm), ledger, &[]).await.unwrap();
        let keeper = NodeKeeper::new(seal, identity, "dev", false);
        let keeper = Snapping::new(keeper, dir.path());
        Self { hsm, keeper, trail, dir }
    }

    /// The same, after its process ended and the next one began.
    async fn again(self) -> Self {
        let Self { hsm, keeper, trail, dir } = self;
        trail.close();
        drop((hsm, keeper, trail));
        Self::open(dir).await
    }

    /// A new HSM, given to these officers.
    async fn activated(officers: &Officers) -> (Self, String) {
        let dir = tempfile::tempdir().unwrap();
        let message = start(&dir, Some(with_keys()));
        let provisioned = Provisioned::of(dir, &message).await;
        let blob = provisioned.download(officers).await;
        (Self::of(provisioned).await, blob)
    }

    /// Another HSM that takes part in this domain.
    async fn recovered(blob: &str, officers: &Officers) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let message = start(&dir, Some(with_keys()));
        let provisioned = Provisioned::of(dir, &message).await;
        let exchange = provisioned.exchange_key().await;
        provisioned.upload(&wrapped(blob, officers, &exchange)).await.unwrap();
        Self::of(provisioned).await
    }

    async fn of(provisioned: Provisioned) -> Self {
        let dir = provisioned.into_folder();
        Self::open(dir).await
    }

    fn permit<A: DataAction>(&self, scope: &str) -> Permit<A> {
        let principal = Principal { id: ADMIN.parse().unwrap(), groups: Vec::new() };
        self.hsm.authorize(&Arc::new(principal), Scope::parse(scope).unwrap()).unwrap()
    }

    async fn intent(&self) -> casemate_audit::Recorded {
        intent(&self.trail, self.hsm.sequence()).await
    }

    async fn make(&self, name: &str, spec: KeySpec) {
        let (attributes, tags) = (NewAttributes::default(), Tags::default());
        let request = CreateKey { spec, key_ops: None, attributes, tags };
        let permit = self.permit(&format!("/keys/{name}"));
        self.hsm.create_key(&permit, &self.intent().await, request).await.unwrap();
    }

    async fn sign(&self, name: &str) -> Vec<u8> {
        let permit = self.permit::<act::KeysSign>(&format!("/keys/{name}"));
        let (version, algorithm) = (Selector::Latest, SignAlgorithm::Es256);
        let request = SignRequest { version, algorithm, input: vec![7; 32] };
        self.hsm.sign(&permit, request, |_| {}).await.unwrap().signature
    }

    async fn verifies(&self, name: &str, signature: &[u8]) -> bool {
        let permit = self.permit::<act::KeysVerify>(&format!("/keys/{name}"));
        let (version, algorithm) = (Selector::Latest, SignAlgorithm::Es256);
        let signature = signature.to_vec();
        let request = VerifyRequest { version, algorithm, input: vec![7; 32], signature };
        self.hsm.verify(&permit, request, |_| {}).await.unwrap().valid
    }

    async fn wrap(&self, name: &str) -> Vec<u8> {
        let permit = self.permit::<act::KeysWrap>(&format!("/keys/{name}"));
        let algorithm = CipherAlgorithm::CkmAesKeyWrap;
        let request = EncryptRequest {
            version: Selector::Latest,
            algorithm,
            plaintext: Secret::new(vec![5; 32]),
            iv: None,
            aad: None,
            tag_given: false,
        };
        self.hsm.wrap_key(&permit, request, |_| {}).await.unwrap().ciphertext
    }

    async fn tag(&self, name: &str, value: &str) {
        let permit = self.permit::<act::KeysWrite>(&format!("/keys/{name}"));
        let tags = [("t".to_owned(), value.to_owned())].into_iter().collect();
        let tags = Some(Tags::new(tags).unwrap());
        let (version, attributes) = (Selector::Latest, NewAttributes::default());
        let update = UpdateKey { version, key_ops: None, attributes, tags };
        self.hsm.update_key(&permit, &self.intent().await, update).await.unwrap();
    }

    async fn back_up(&self, name: &str) -> Vec<u8> {
        let permit = self.permit::<act::KeysBackup>(&format!("/keys/{name}"));
        self.hsm.back_up_key(&permit).await.unwrap().backup
    }

    async fn restore(&self, backup: &[u8]) -> Result<(), RestoreRefusal> {
        let within = self.permit::<Within<act::KeysRestore>>("/keys");
        let backup = self.hsm.open_key_backup(&within, backup)?;
        let permit = self.permit::<act::KeysRestore>(&format!("/keys/{}", backup.name()));
        self.hsm.restore_key(&permit, &self.intent().await, backup).await.map(drop)
    }

    async fn try_rotate(&self, request: &DownloadRequest) -> Result<Rotated, RotateRefusal> {
        let permit = self.permit::<act::SecurityDomainDownload>("/");
        let intent = self.intent().await;
        self.hsm.rotate_security_domain(&permit, &intent, request, &*self.keeper).await
    }

    /// Begins a new epoch with the approvals of the first two officers; taken up by the next
    /// process.
    async fn rotate(
        self,
        old: &Officers,
        new: &Officers,
        forget_before: Option<u32>,
    ) -> (Self, Rotated) {
        let epoch = self.keeper.domain().unwrap().epoch() + 1;
        let download = u64::from(epoch);
        let request = self.approved(old, new, download, Rotation { epoch, forget_before }, &[0, 1]);
        let done = self.try_rotate(&request).await.unwrap();
        (self.again().await, done)
    }

    fn approved(
        &self,
        old: &Officers,
        new: &Officers,
        download: u64,
        rotation: Rotation,
        who: &[usize],
    ) -> DownloadRequest {
        let (quorum, domain) = (new.request.quorum.clone(), self.keeper.domain().unwrap().id());
        let terms = Terms { domain, download, quorum: &quorum, rotation: Some(rotation) };
        let approve = |at: &usize| {
            let holder = &old.request.quorum.holders()[*at];
            terms.approve(holder, &*old.keys[*at].1).unwrap()
        };
        let approvals = who.iter().map(approve).collect();
        DownloadRequest { quorum, approvals, rotation: Some(rotation) }
    }

    /// Brings everything forward and leaves the epoch before, as the process does by itself.
    async fn leave(self) -> Self {
        self.hsm.bring_forward().await.unwrap();
        self.keeper.leave_epoch(self.hsm.sequence()).unwrap();
        self.again().await
    }
}

impl Provisioned {
    fn into_folder(self) -> tempfile::TempDir {
        self.trail.close();
        self.dir
    }
}

fn names() -> impl Iterator<Item = (String, KeySpec)> {
    (0..24).map(|at| (format!("key-{at}"), KINDS[at % 2]))
}

/// What the keys made before the rotation.
struct Made {
    signatures: Vec<(String, Vec<u8>)>,
    wrapped: Vec<(String, Vec<u8>)>,
}

impl Made {
    async fn by(active: &Active) -> Self {
        let (mut signatures, mut wrapped) = (Vec::new(), Vec::new());
        for (name, spec) in names() {
            active.make(&name, spec).await;
            match spec {
                KeySpec::Ec(_) => signatures.push((name.clone(), active.sign(&name).await)),
                _ => wrapped.push((name.clone(), active.wrap(&name).await)),
            }
        }
        Self { signatures, wrapped }
    }

    /// Every key is there and is the same one.
    async fn demand(&self, active: &Active, when: &str) {
        for (name, signature) in &self.signatures {
            assert!(active.verifies(name, signature).await, "{name} {when}");
        }
        for (name, wrapped) in &self.wrapped {
            assert_eq!(active.wrap(name).await, *wrapped, "{name} {when}");
        }
    }
}

fn epochs(blob: &str) -> Vec<String> {
    let blob = Blob::parse(blob.as_bytes()).unwrap();
    let epochs = blob.tags().filter(|tag| tag.starts_with("casemate-epoch-"));
    epochs.map(str::to_owned).collect()
}

#[tokio::test]
async fn cut_off_at_any_step_it_is_before_or_after_and_every_key_works() {
    let old = officers();
    let (active, _) = Active::activated(&old).await;
    let made = Made::by(&active).await;
    let new = officers();
    let rotation = Rotation { epoch: 2, forget_before: None };
    let request = active.approved(&old, &new, 2, rotation, &[2, 0]);
    active.try_rotate(&request).await.unwrap();
    active.keeper.copy("turned");
    let mut copies = std::mem::take(&mut *active.keeper.copies.lock());
    let active = active.again().await;
    assert_eq!(active.keeper.leaving(), Some(1));
    active.hsm.bring_forward().await.unwrap();
    active.keeper.leave_epoch(active.hsm.sequence()).unwrap();
    copies.append(&mut active.keeper.copies.lock());
    let steps: Vec<_> = copies.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, STEPS, "every step was cut off");
    for (step, copy) in copies {
        let cut = Active::open(copy).await;
        let is_after = !matches!(step, "begin" | "prepared");
        let domain = cut.keeper.domain().unwrap();
        assert_eq!(domain.epoch(), if is_after { 2 } else { 1 }, "cut off at {step}");
        assert_eq!(cut.hsm.last_turn().is_some(), is_after, "{step}");
        let is_under_way = matches!(step, "turned" | "brought forward");
        assert_eq!(cut.keeper.leaving(), is_under_way.then_some(1), "{step}");
        assert_eq!(cut.hsm.left_behind().records > 0, step == "turned", "{step}");
        made.demand(&cut, step).await;
        if !is_after {
            // And it can be done anew, whatever was prepared.
            let request = cut.approved(&old, &new, 2, rotation, &[0, 1]);
            cut.try_rotate(&request).await.unwrap();
        }
        let cut = cut.again().await.leave().await;
        assert_eq!((cut.keeper.leaving(), cut.hsm.left_behind().records), (None, 0), "{step}");
        made.demand(&cut, "after it went on").await;
    }
}

#[tokio::test]
async fn after_it_old_shares_with_an_old_blob_open_nothing_newer() {
    let (old, new) = (officers(), officers());
    let (active, old_blob) = Active::activated(&old).await;
    active.make("pay", KINDS[0]).await;
    let earlier = active.back_up("pay").await;
    let before = active.keeper.domain().unwrap();
    let (active, done) = active.rotate(&old, &new, None).await;
    let after = active.keeper.domain().unwrap();
    assert_eq!(before.id(), after.id(), "the same domain");
    assert!(before.secret() != after.secret(), "of another secret");
    let kept = after.epochs()[0].keys.secret().expose();
    assert!(!kept.windows(32).any(|bytes| bytes == before.secret().expose()), "for opening only");
    assert_eq!(epochs(&old_blob), ["casemate-epoch-1"]);
    assert_eq!(epochs(&done.blob), ["casemate-epoch-1", "casemate-epoch-2"]);
    let meanwhile = active.back_up("pay").await;
    let active = active.leave().await;
    let later = active.back_up("pay").await;
    // Who has the old blob has an HSM of the old epoch: its backups open, and none that follows.
    let thief = Active::recovered(&old_blob, &old).await;
    for newer in [&meanwhile, &later] {
        let refused = thief.restore(newer).await.unwrap_err();
        let named = RestoreRefusal::Backup(BackupError::OtherEpoch { epoch: 2 });
        assert_eq!(refused.to_string(), named.to_string());
    }
    thief.restore(&earlier).await.unwrap();
    // With the new one both open, and the old material goes under the new secret.
    let signature = active.sign("pay").await;
    for backup in [&earlier, &meanwhile, &later] {
        let second = Active::recovered(&done.blob, &new).await;
        second.restore(backup).await.unwrap();
        assert!(second.verifies("pay", &signature).await);
        let second = second.again().await;
        assert!(second.verifies("pay", &signature).await, "and after a restart");
    }
    // The blob of the second HSM's own next epoch carries both.
    let second = Active::recovered(&done.blob, &new).await;
    let next = officers();
    let request =
        second.approved(&new, &next, 3, Rotation { epoch: 3, forget_before: None }, &[0, 1]);
    let third = second.try_rotate(&request).await.unwrap();
    assert_eq!(epochs(&third.blob).len(), 3);
    let second = second.again().await.leave().await;
    second.restore(&earlier).await.unwrap();
    assert!(second.verifies("pay", &signature).await);
}

#[tokio::test]
async fn forgotten_epochs_open_nowhere_and_are_named() {
    let (first, second, third) = (officers(), officers(), officers());
    let (active, _) = Active::activated(&first).await;
    let made = Made::by(&active).await;
    let of_one = active.back_up("key-0").await;
    let (active, done) = active.rotate(&first, &second, None).await;
    assert_eq!(done.forgotten, None);
    let active = active.leave().await;
    let of_two = active.back_up("key-0").await;
    for (at, (forget, forgotten, opens)) in
        [(2, vec![1], &of_two), (3, vec![1, 2], &of_two)].into_iter().enumerate()
    {
        let copy = tempfile::tempdir().unwrap();
        super::activation::copy_all(active.dir.path(), copy.path());
        let copy = Active::open(copy).await;
        let (copy, done) = copy.rotate(&second, &third, Some(forget)).await;
        let named = done.forgotten.as_ref().unwrap();
        let epochs_named: Vec<u32> = named.epochs.iter().map(|one| one.epoch).collect();
        assert_eq!((named.before, epochs_named), (forget, forgotten.clone()));
        assert!(named.epochs[0].from.is_none() && named.epochs[0].to.is_some());
        assert_eq!(copy.hsm.last_turn().unwrap().forgotten, done.forgotten);
        let carried = epochs(&done.blob);
        assert_eq!(carried.len(), 3 - forgotten.len(), "{carried:?}");
        // At once, and for good: here, and where the new blob is taken.
        let elsewhere = Active::recovered(&done.blob, &third).await;
        let copy_left = {
            demand_refused(&copy, &of_one, 1).await;
            made.demand(&copy, "meanwhile").await;
            copy.leave().await
        };
        made.demand(&copy_left, "after it").await;
        for hsm in [&copy_left, &elsewhere] {
            demand_refused(hsm, &of_one, 1).await;
            if at == 1 {
                demand_refused(hsm, &of_two, 2).await;
            }
        }
        if at == 0 {
            elsewhere.restore(opens).await.unwrap();
        }
    }
}

async fn demand_refused(active: &Active, backup: &[u8], epoch: u32) {
    let refused = active.restore(backup).await.unwrap_err();
    let named = RestoreRefusal::Backup(BackupError::OtherEpoch { epoch });
    assert_eq!(refused.to_string(), named.to_string());
}

#[tokio::test]
async fn changes_go_on_while_records_are_brought_forward() {
    let (old, new) = (officers(), officers());
    let (active, _) = Active::activated(&old).await;
    let made = Made::by(&active).await;
    let (active, _) = active.rotate(&old, &new, None).await;
    let hsm = Arc::clone(&active.hsm);
    let forward = tokio::spawn(async move { hsm.bring_forward().await });
    for (at, (name, _)) in names().enumerate() {
        active.tag(&name, "meanwhile").await;
        active.make(&format!("new-{at}"), KINDS[0]).await;
    }
    forward.await.unwrap().unwrap();
    // What was changed at the very end of it is covered by one more round.
    active.hsm.bring_forward().await.unwrap();
    let signature = active.sign("new-0").await;
    let active = active.leave().await;
    made.demand(&active, "changed meanwhile").await;
    assert!(active.verifies("new-0", &signature).await);
    let name = KeyName::new("key-3").unwrap();
    assert!(active.hsm.key_written(&name).is_some());
}

#[tokio::test]
async fn who_may_not_and_what_cannot_be_is_refused_and_changes_nothing() {
    let (old, new) = (officers(), officers());
    let (active, _) = Active::activated(&old).await;
    active.make("pay", KINDS[0]).await;
    let signature = active.sign("pay").await;
    let plain = Rotation { epoch: 2, forget_before: None };
    let all = Rotation { forget_before: Some(2), ..plain };
    let approved =
        |download, rotation, who: &[usize]| active.approved(&old, &new, download, rotation, who);
    // One approves another thing than what is asked for.
    let swapped = |asked: Rotation| DownloadRequest {
        rotation: Some(asked),
        ..approved(2, if asked == plain { all } else { plain }, &[0, 1])
    };
    let as_download = |rotation| DownloadRequest { rotation, ..approved(2, plain, &[0, 1]) };
    let alone = [
        approved(2, plain, &[]),
        approved(2, plain, &[1]),
        approved(2, plain, &[1, 1]),
        approved(1, plain, &[0, 1]),
        approved(3, plain, &[0, 1]),
        active.approved(&new, &new, 2, plain, &[0, 1]),
        swapped(plain),
        swapped(all),
    ];
    for request in &alone {
        let refused = active.try_rotate(request).await.unwrap_err();
        assert!(matches!(refused, RotateRefusal::Approval(_)), "{refused}");
    }
    let of = |epoch, forget_before| Rotation { epoch, forget_before };
    for (request, says) in [
        (as_download(None), "--rotate"),
        (approved(2, of(1, None), &[0, 1]), "epoch that begins next is 2, not 1"),
        (approved(2, of(3, None), &[0, 1]), "epoch that begins next is 2, not 3"),
        (approved(2, of(2, Some(3)), &[0, 1]), "epoch 3 is after"),
        (approved(2, of(2, Some(1)), &[0, 1]), "oldest epoch is 1"),
        (approved(2, of(2, Some(0)), &[0, 1]), "oldest epoch is 1"),
    ] {
        let refused = active.try_rotate(&request).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    assert!(active.keeper.copies.lock().is_empty(), "nothing was begun");
    let permit = active.permit::<act::SecurityDomainDownload>("/");
    let asked = approved(2, plain, &[0, 1]);
    let intent = active.intent().await;
    let keeper: &dyn Keeper = &*active.keeper;
    let refused = active.hsm.download_security_domain(&permit, &intent, &asked, keeper).await;
    assert!(refused.unwrap_err().to_string().contains("/securitydomain/rotate"));
    assert!(active.verifies("pay", &signature).await);
    // An approval serves once, and one rotation at a time.
    active.try_rotate(&asked).await.unwrap();
    let active = active.again().await;
    let twice = active.approved(&new, &old, 3, of(3, None), &[0, 1]);
    let refused = active.try_rotate(&twice).await.unwrap_err();
    assert!(matches!(refused, RotateRefusal::UnderWay { epoch: 2 }), "{refused}");
    let active = active.leave().await;
    let replayed = active.try_rotate(&asked).await.unwrap_err();
    assert!(matches!(replayed, RotateRefusal::OtherEpoch { next: 3, asked: 2 }), "{replayed}");
    assert!(active.try_rotate(&twice).await.is_ok());
}
