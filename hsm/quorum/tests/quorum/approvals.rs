//! Approvals: by those who hold shares now, over exactly what is asked for, once.

use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_quorum::{Approval, ApprovalRefusal, Quorum, Rotation, Terms, approved};

use crate::kit::{officers, quorum};

const DOMAIN: [u8; 16] = [0xab; 16];

fn next() -> Quorum {
    let holders = officers()[4..8].iter().map(|officer| officer.holder.clone()).collect();
    Quorum::new(holders, Some(3)).unwrap()
}

fn terms(quorum: &Quorum) -> Terms<'_> {
    Terms { domain: DOMAIN, download: 2, quorum, rotation: None }
}

fn approvals(terms: &Terms<'_>, chosen: &[usize]) -> Vec<Approval> {
    let approve = |at: &usize| terms.approve(&officers()[*at].holder, &*officers()[*at].key);
    chosen.iter().map(|at| approve(at).unwrap()).collect()
}

fn judge(terms: &Terms<'_>, approvals: &[Approval]) -> Result<(), ApprovalRefusal> {
    approved(terms, approvals, &quorum(3, 2), &SoftPrimitives)
}

#[test]
fn the_text_is_the_one_on_the_page() {
    let next = next();
    let text = terms(&next).text();
    let head = "casemate security domain approval 1\ndomain abababababababababababababababab\n\
                download 2\nrequired 3\ncertificate ";
    assert!(text.starts_with(head), "{text}");
    assert_eq!(text.lines().count(), 8);
    assert!(text.ends_with(&format!("{}\n", officers()[7].holder.thumbprint())));
}

#[test]
fn a_new_epoch_and_what_is_forgotten_are_part_of_the_text() {
    let next = next();
    let rotation = |epoch, forget_before| Some(Rotation { epoch, forget_before });
    let of = |rotation| Terms { rotation, ..terms(&next) };
    let text = of(rotation(3, Some(2))).text();
    let lines = "required 3\nrotate to epoch 3\nforget backups before epoch 2\ncertificate ";
    assert!(text.contains(lines), "{text}");
    let kinds =
        [None, rotation(2, None), rotation(3, None), rotation(3, Some(2)), rotation(3, Some(3))];
    for (at, asked) in kinds.into_iter().enumerate() {
        for (signed, other) in kinds.into_iter().enumerate() {
            let judged = judge(&of(asked), &approvals(&of(other), &[0, 1]));
            assert_eq!(judged.is_ok(), at == signed, "{asked:?} {other:?}");
        }
    }
}

#[test]
fn a_quorum_of_present_holders_approves() {
    let next = next();
    let terms = terms(&next);
    for chosen in [&[0, 1][..], &[2, 0], &[2, 1, 0]] {
        assert_eq!(judge(&terms, &approvals(&terms, chosen)), Ok(()), "{chosen:?}");
    }
}

#[test]
fn too_few_foreign_and_repeated_approvals_are_named() {
    let next = next();
    let terms = terms(&next);
    let too_few = |found| Err(ApprovalRefusal::TooFew { found, required: 2 });
    assert_eq!(judge(&terms, &[]), too_few(0));
    assert_eq!(judge(&terms, &approvals(&terms, &[1])), too_few(1));
    let thumbprint = |at: usize| officers()[at].holder.thumbprint().to_owned();
    let twice = ApprovalRefusal::Twice { thumbprint: thumbprint(1) };
    assert_eq!(judge(&terms, &approvals(&terms, &[1, 1])), Err(twice));
    // One who is to hold a share holds none yet.
    let foreign = ApprovalRefusal::NotAHolder { thumbprint: thumbprint(4) };
    assert_eq!(judge(&terms, &approvals(&terms, &[0, 1, 4])), Err(foreign));
}

#[test]
fn an_approval_of_anything_else_does_not_count() {
    let (next, other) = (next(), quorum(4, 3));
    let terms = terms(&next);
    let fewer = Quorum::new(next.holders().to_vec(), Some(2)).unwrap();
    let mut turned = next.holders().to_vec();
    turned.reverse();
    let turned = Quorum::new(turned, Some(3)).unwrap();
    let signed = [
        Terms { download: 1, ..terms },
        Terms { download: 3, ..terms },
        Terms { domain: [0; 16], ..terms },
        Terms { quorum: &other, ..terms },
        Terms { quorum: &fewer, ..terms },
        Terms { quorum: &turned, ..terms },
        Terms { rotation: Some(Rotation { epoch: 2, forget_before: None }), ..terms },
    ];
    for (at, signed) in signed.iter().enumerate() {
        let mut given = approvals(&terms, &[0]);
        given.extend(approvals(signed, &[1]));
        let refused = judge(&terms, &given).unwrap_err();
        assert!(matches!(refused, ApprovalRefusal::Signature { download: 2, .. }), "{at}");
    }
    // Another's signature under this name, and no signature at all.
    let mut lent = approvals(&terms, &[0, 1]);
    lent[0].signature = lent[1].signature.clone();
    assert!(matches!(judge(&terms, &lent), Err(ApprovalRefusal::Signature { .. })));
    lent[0].signature = "?".to_owned();
    assert!(matches!(judge(&terms, &lent), Err(ApprovalRefusal::Signature { .. })));
}
