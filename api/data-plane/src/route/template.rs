//! The shape of an operation's path, for traces: what a caller put into it stands as a word in
//! braces. One shape for an operation, whether the path named a version or not.

use super::security_domain::DomainCall;
use super::{Absent, KeyUse, Route};

impl Route {
    /// The shape of its path.
    pub fn template(&self) -> &'static str {
        match self {
            Self::CreateKey(_) => "/keys/{name}/create",
            Self::ImportKey(_) | Self::DeleteKey(_) => "/keys/{name}",
            Self::UpdateKey(..) | Self::GetKey(..) => "/keys/{name}/{version}",
            Self::ListKeys => "/keys",
            Self::ListVersions(_) => "/keys/{name}/versions",
            Self::UseKey(KeyUse::Encrypt, ..) => "/keys/{name}/{version}/encrypt",
            Self::UseKey(KeyUse::Decrypt, ..) => "/keys/{name}/{version}/decrypt",
            Self::UseKey(KeyUse::WrapKey, ..) => "/keys/{name}/{version}/wrapkey",
            Self::UseKey(KeyUse::UnwrapKey, ..) => "/keys/{name}/{version}/unwrapkey",
            Self::UseKey(KeyUse::Sign, ..) => "/keys/{name}/{version}/sign",
            Self::UseKey(KeyUse::Verify, ..) => "/keys/{name}/{version}/verify",
            Self::ListDeletedKeys => "/deletedkeys",
            Self::GetDeletedKey(_) | Self::PurgeKey(_) => "/deletedkeys/{name}",
            Self::RecoverKey(_) => "/deletedkeys/{name}/recover",
            Self::BackUpKey(_) => "/keys/{name}/backup",
            Self::RestoreKey => "/keys/restore",
            Self::StartBackup => "/backup",
            Self::CheckBackup => "/prebackup",
            Self::BackupStatus(_) => "/backup/{jobId}/pending",
            Self::StartRestore => "/restore",
            Self::CheckRestore => "/prerestore",
            Self::RestoreStatus(_) => "/restore/{jobId}/pending",
            Self::RestoreKeyFrom(_) => "/keys/{name}/restore",
            Self::Schedule(call) => call.template(),
            Self::RandomBytes => "/rng",
            Self::ListAssignments(_) => {
                "/{scope}/providers/Microsoft.Authorization/roleAssignments"
            }
            Self::GetAssignment(..) | Self::PutAssignment(..) | Self::DeleteAssignment(..) => {
                "/{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
            }
            Self::ListDefinitions(_) => {
                "/{scope}/providers/Microsoft.Authorization/roleDefinitions"
            }
            Self::GetDefinition(..) | Self::PutDefinition(..) | Self::DeleteDefinition(..) => {
                "/{scope}/providers/Microsoft.Authorization/roleDefinitions/{name}"
            }
            Self::ListSettings => "/settings",
            Self::GetSetting(_) | Self::UpdateSetting(_) => "/settings/{name}",
            Self::KeyUsage(_) => "/audit/usage",
            Self::GetAuditSinks | Self::PutAuditSinks => "/audit/sinks",
            Self::Explain => "/explain",
            Self::CutOffTokens(_) => "/principals/{id}/cutOffTokens",
            Self::SecurityDomain(call) => match call {
                DomainCall::Download => "/securitydomain/download",
                DomainCall::DownloadStatus => "/securitydomain/download/pending",
                DomainCall::ExchangeKey | DomainCall::Upload => "/securitydomain/upload",
                DomainCall::UploadStatus => "/securitydomain/upload/pending",
                DomainCall::Rotate => "/securitydomain/rotate",
                DomainCall::RotateStatus => "/securitydomain/rotate/pending",
            },
            Self::NotInRelease(absent) => absent.template(),
        }
    }
}

impl Absent {
    fn template(self) -> &'static str {
        match self {
            Self::Rotate => "/keys/{name}/rotate",
            Self::RotationPolicy => "/keys/{name}/rotationpolicy",
            Self::Attestation => "/keys/{name}/{version}/attestation",
            Self::Release => "/keys/{name}/{version}/release",
            Self::SecureWrap => "/keys/{name}/{version}/securewrapkey",
            Self::ExternalKeyManager => "/ekm",
        }
    }
}
