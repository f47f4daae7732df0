//! The security domain, from its officers or from a node.

use casemate_engine_port::Secret;
use casemate_engine_soft::domain::DomainKeys;
use casemate_hsm::security_domain::{Domain, ItemReader, domain_of};
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
