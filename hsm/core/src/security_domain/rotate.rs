//! A new secret: a new epoch of the same domain begins, and is given to a quorum.
//!
//! What opens old backups goes on with the domain, unless it is to be forgotten. Whoever holds old
//! shares and an old blob opens nothing that is sealed from then on. In mode `strict` those who
//! hold the domain now have to agree, to the new epoch and to what is forgotten.
//!
//! Invariant: the new epoch counts from one transaction on, and the node keeps both secrets before
//! and until nothing is sealed under the old one. So a crash leaves the HSM before or after.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_quorum::{ApprovalRefusal, DownloadRequest, SealError, Terms};
use casemate_store_port::{Change, Condition, Generation, Write};

use super::download::{agreed, give_out};
use super::held::{Done, Turn, certificates};
use super::items::Given;
use super::not_activated::ResealFailure;
use super::{Domain, HeldRecord, Keeper, KeeperError, NextSeal};
use crate::backup::JobId;
use crate::commit::CommitRefusal;
use crate::rbac::{NotAuthorized, Permit, act};
use crate::state::Applied;
use crate::{Escalation, Hsm, PoolFailure, UnixSeconds, records};

/// Why no new epoch began. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum RotateRefusal {
    /// The request asks for no new epoch.
    #[error(
        "the request does not say which epoch begins; write it with casemate security-domain \
         request --rotate"
    )]
    NotARotation,
    /// Another epoch than the next one.
    #[error("the epoch that begins next is {next}, not {asked}; write the request anew")]
    OtherEpoch {
        /// The next one.
        next: u32,
        /// The one that was asked for.
        asked: u32,
    },
    /// The new epoch itself, or one after it, would have to be forgotten.
    #[error("epoch {before} is after the one that begins; with {next} all backups are forgotten")]
    ForgetsTooMuch {
        /// What was asked for.
        before: u32,
        /// The epoch that begins.
        next: u32,
    },
    /// Nothing would be forgotten.
    #[error(
        "no backup before epoch {before} opens even now, the oldest epoch is {oldest}; leave it out"
    )]
    ForgetsNothing {
        /// What was asked for.
        before: u32,
        /// The oldest epoch whose backups open.
        oldest: u32,
    },
    /// More epochs than a domain has.
    #[error("the domain has as many epochs as it can; forget the backups of the oldest ones")]
    TooManyEpochs,
    /// The engine cannot wrap its keys anew, or cannot exchange what it wraps them with.
    #[error("the engine '{engine}' cannot go on under another secret, so the secret stays{why}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// Why, in words that go on after that.
        why: &'static str,
    },
    /// The last one is not done.
    #[error("the change to epoch {epoch} is under way; wait until it is done")]
    UnderWay {
        /// The epoch that began last.
        epoch: u32,
    },
    /// A backup or a restore is under way.
    #[error("a backup or restore is under way; wait for the job {}", .0.as_str())]
    Busy(JobId),
    /// Those who hold it now do not all agree.
    #[error(transparent)]
    Approval(#[from] ApprovalRefusal),
    /// The permit fell meanwhile.
    #[error(transparent)]
    NotAuthorized(#[from] NotAuthorized),
    /// The node keeps no domain, though the HSM is active.
    #[error("this node keeps no copy of the domain that the HSM is active under")]
    NoDomain,
    /// Not encrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The node seal.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The store.
    #[error(transparent)]
    Reseal(#[from] ResealFailure),
    /// Too much costly work is waiting.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

/// A new epoch that began.
#[derive(Debug)]
pub struct Rotated {
    /// The blob.
    pub blob: String,
    /// The epoch.
    pub epoch: u32,
    /// Which backups cannot be opened any more.
    pub forgotten: Option<Forgotten>,
}

/// The last new epoch, and what became unreadable with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// The epoch.
    pub epoch: u32,
    /// When it began.
    pub at: UnixSeconds,
    /// By whose call.
    pub by: uuid::Uuid,
    /// Which backups cannot be opened any more.
    pub forgotten: Option<Forgotten>,
}

/// Backups that cannot be opened any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Those before this epoch.
    pub before: u32,
    /// The epochs, with when they began and ended as far as this HSM knows.
    pub epochs: Vec<ForgottenEpoch>,
    /// Full backups of this HSM in them, as far as it remembers its jobs.
    pub backups: Vec<String>,
}

/// An epoch that is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgottenEpoch {
    /// Its number.
    pub epoch: u32,
    /// When it began; none for one that began before this HSM had it.
    pub from: Option<UnixSeconds>,
    /// When it ended; none for one that ended before this HSM had the domain.
    pub to: Option<UnixSeconds>,
}

/// What is checked before anything is made.
struct Asked {
    epoch: u32,
    forget_before: Option<u32>,
    held: Option<(Arc<HeldRecord>, Condition)>,
    download: u64,
    strict: bool,
}

impl Hsm {
    /// Begins a new epoch of the domain and gives it to a quorum. From then on everything is sealed
    /// under it; the HSM is opened anew, and what is left is brought forward while it serves.
    pub async fn rotate_security_domain(
        self: &Arc<Self>,
        permit: &Permit<act::SecurityDomainDownload>,
        _intent: &Recorded,
        request: &DownloadRequest,
        keeper: &dyn Keeper,
    ) -> Result<Rotated, RotateRefusal> {
        let _turn = self.alone("security-domain").await?;
        let domain = keeper.domain().ok_or(RotateRefusal::NoDomain)?;
        let asked = self.may_rotate(request, &domain, keeper)?;
        // A token is written to for that: not before it is allowed. Nobody else changes the domain
        // meanwhile.
        let engine = Arc::clone(&self.engine);
        let goes_on = self.on_pool(permit.principal().id, move || engine.rewraps()).await?;
        goes_on.map_err(|why| RotateRefusal::Engine { engine: self.engine.name(), why })?;
        let next = keeper.next_epoch(asked.forget_before).ok_or(RotateRefusal::TooManyEpochs)?;
        let (made, by) = (self.now(), permit.principal().id);
        let quorum = &request.quorum;
        let Asked { epoch, forget_before, download, strict, ref held } = asked;
        let identity = keeper.identity();
        let given = Given { domain: &next, identity: &identity, quorum, download, made };
        let blob = give_out(&given, keeper)?;
        let mut turns = held.as_ref().map(|(held, _)| held.turns.clone()).unwrap_or_default();
        turns.push(Turn { epoch, at: made, by, forget_before });
        let record = HeldRecord {
            domain: domain.id().to_vec(),
            download,
            required: quorum.required(),
            holders: certificates(quorum),
            downloaded: Some(Done { at: made, by, confirmed: false }),
            uploaded: held.as_ref().and_then(|(held, _)| held.uploaded),
            strict,
            turns,
        };
        let path = records::held_path();
        let mut expect = self.standing(permit)?;
        let condition = held.as_ref().map_or(Condition::Absent, |(_, condition)| *condition);
        expect.push((path.clone(), condition));
        let writes = vec![Write::Put(path, records::encode(&record))];
        let change = Change { expect, writes };
        let generation = self.begin_epoch(&next, forget_before, change, keeper).await?;
        let record = Arc::new(record);
        self.state.write().apply(Applied::SecurityDomain(Arc::clone(&record)), generation);
        keeper.reopen();
        Ok(Rotated { blob, epoch, forgotten: self.forgotten(&record) })
    }

    /// The last new epoch; none if this HSM began none.
    pub fn last_turn(&self) -> Option<Turned> {
        let held = self.state.read().security_domain.held.clone();
        let (held, _) = held?;
        let Turn { epoch, at, by, .. } = *held.turns.last()?;
        Some(Turned { epoch, at, by, forgotten: self.forgotten(&held) })
    }

    fn may_rotate(
        &self,
        request: &DownloadRequest,
        domain: &Domain,
        keeper: &dyn Keeper,
    ) -> Result<Asked, RotateRefusal> {
        let rotation = request.rotation.ok_or(RotateRefusal::NotARotation)?;
        if keeper.leaving().is_some() || self.store.behind() > 0 {
            return Err(RotateRefusal::UnderWay { epoch: domain.epoch() });
        }
        if let Some(job) = self.job_under_way() {
            return Err(RotateRefusal::Busy(job));
        }
        let next = domain.epoch().checked_add(1).ok_or(RotateRefusal::TooManyEpochs)?;
        if rotation.epoch != next {
            return Err(RotateRefusal::OtherEpoch { next, asked: rotation.epoch });
        }
        let oldest = domain.epochs().first().map_or(next, |epoch| epoch.number);
        match rotation.forget_before {
            Some(before) if before > next => {
                return Err(RotateRefusal::ForgetsTooMuch { before, next });
            }
            Some(before) if before <= oldest => {
                return Err(RotateRefusal::ForgetsNothing { before, oldest });
            }
            Some(_) | None => {}
        }
        let held = self.state.read().security_domain.held.clone();
        let held = held.map(|(held, generation)| (held, Condition::At(generation)));
        let download = held.as_ref().map_or(0, |(held, _)| held.download).saturating_add(1);
        let strict = self.settings().escalation == Escalation::Strict;
        if let Some((held, _)) = held.as_ref().filter(|(held, _)| strict || held.strict) {
            let (domain, quorum) = (domain.id(), &request.quorum);
            let terms = Terms { domain, download, quorum, rotation: Some(rotation) };
            agreed(held, &terms, request, keeper.primitives())?;
        }
        let forget_before = rotation.forget_before;
        Ok(Asked { epoch: next, forget_before, held, download, strict })
    }

    /// The one step from the epoch before to the next.
    async fn begin_epoch(
        &self,
        next: &Domain,
        forget_before: Option<u32>,
        change: Change,
        keeper: &dyn Keeper,
    ) -> Result<Generation, RotateRefusal> {
        let NextSeal { cipher, identity } = keeper.prepare_epoch(next, forget_before)?;
        let done = self.store.turn(cipher, identity, change).await;
        match &done {
            Ok(_) => {}
            // What the store holds now is found out by opening it.
            Err(_) if self.store.is_stopped() => keeper.reopen(),
            Err(_) => keeper.abandon_epoch(),
        }
        done.map_err(|error| ResealFailure::from(error).into())
    }

    /// What became unreadable with the last turn.
    fn forgotten(&self, held: &HeldRecord) -> Option<Forgotten> {
        let before = held.turns.last()?.forget_before?;
        let began = |epoch: u32| held.turns.iter().find(|turn| turn.epoch == epoch);
        // What was forgotten by an earlier turn is not forgotten again.
        let earlier = held.turns.iter().rev().skip(1).find_map(|turn| turn.forget_before);
        let span = |epoch: u32| ForgottenEpoch {
            epoch,
            from: began(epoch).map(|turn| turn.at),
            to: began(epoch.saturating_add(1)).map(|turn| turn.at),
        };
        let epochs: Vec<_> = (earlier.unwrap_or(1)..before).map(span).collect();
        let (from, to) = (epochs.first()?.from, epochs.last()?.to);
        let backups = self.full_backups_between(from, to);
        Some(Forgotten { before, epochs, backups })
    }
}
