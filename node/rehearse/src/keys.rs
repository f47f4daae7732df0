//! The keys of the epoch that a backup was sealed in.

use casemate_engine_port::Secret;
use casemate_engine_soft::domain::DomainKeys;
use casemate_hsm::security_domain::{Domain, EpochKeys, ItemReader, domain_of};
use casemate_partition::{is_identity, node_domain};

use crate::{DomainSource, RehearseError};

/// The domain, from wherever it comes.
pub(crate) fn domain(source: &DomainSource) -> Result<Domain, RehearseError> {
    match source {
        DomainSource::Officers(items) => {
            let reader = ItemReader {
                primitives: &casemate_engine_soft::ceremony::SoftPrimitives,
                manifest_key,
                is_identity,
            };
            Ok(domain_of(items, &reader)?)
        }
        DomainSource::Node { folder, seal } => Ok(node_domain(folder, seal)?),
    }
}

fn manifest_key(secret: &Secret) -> Secret {
    DomainKeys::derive(secret).into_manifest_key()
}

/// The keys of one epoch: an HSM of that epoch opens its backups.
pub(crate) fn of_epoch(domain: &Domain, epoch: u32) -> Result<DomainKeys, RehearseError> {
    let held = domain.epochs().iter().find(|one| one.number == epoch);
    match held.map(|one| &one.keys) {
        Some(EpochKeys::Whole(secret)) => Ok(DomainKeys::derive(secret)),
        Some(EpochKeys::BackupOnly(_)) => {
            Err(RehearseError::Epoch { epoch, held: "only what opens backups" })
        }
        None => Err(RehearseError::Epoch { epoch, held: "nothing" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_hsm::security_domain::Epoch;

    #[test]
    fn only_a_whole_epoch_gives_keys() {
        let epoch = |number, keys| Epoch { number, keys };
        let secret = |byte| Secret::new(vec![byte; 32]);
        let epochs = vec![
            epoch(1, EpochKeys::BackupOnly(secret(1))),
            epoch(2, EpochKeys::Whole(secret(2))),
            epoch(4, EpochKeys::Whole(secret(4))),
        ];
        let domain = Domain::new([1; 16], epochs).unwrap();
        let material = |epoch| of_epoch(&domain, epoch).map(|keys| keys.into_parts().2);
        assert_eq!(material(2).ok(), Some(DomainKeys::derive(&secret(2)).into_parts().2));
        assert_eq!(material(4).ok(), Some(DomainKeys::derive(&secret(4)).into_parts().2));
        for (epoch, held) in [(1, "only what opens backups"), (3, "nothing"), (0, "nothing")] {
            let text = material(epoch).err().unwrap().to_string();
            assert!(text.contains(held), "{text}");
        }
    }
}
