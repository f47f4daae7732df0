//! The shapes of the Managed HSM data plane on the wire: bodies, errors, api-versions.
//!
//! Shapes only: what a member means and whether a value is acceptable is decided elsewhere. Unknown
//! members are ignored, as the API demands; no shape of a request prints what it holds.
//!
//! Invariant: bytes that may be secret are decoded into memory that is wiped, from the first.

mod api_version;
mod backup;
mod backup_schedules;
mod base64url;
mod each_once;
mod error;
mod json;
mod keys;
mod number;
mod operations;
mod roles;
mod settings;
mod wiped;

pub use api_version::ApiVersion;
pub use backup::{
    JobError, JobStatus, KeyBackupResult, KeyRestoreParameters, RestoreParameters,
    SelectiveRestoreParameters, StorageParameters,
};
pub use backup_schedules::{
    BackupSchedule, BackupScheduleParameters, ScheduleError, ScheduleStatus,
};
pub use base64url::{Base64UrlError, Binary, BinaryRef, append_base64url, decode_base64url};
pub use error::{ErrorBody, ErrorDetail, InnerError};
pub use json::JsonObject;
pub use keys::{
    DeletedKeyBundle, DeletionMembers, JsonWebKey, KeyAttributes, KeyBundle, KeyCreateParameters,
    KeyImportParameters, KeyItem, KeyRequestAttributes, KeyUpdateParameters, List,
    PublicJsonWebKey,
};
pub use number::Number;
pub use operations::{
    KeyOperationParameters, KeyOperationResult, KeySignParameters, KeyVerifyParameters,
    KeyVerifyResult, RandomBytesParameters, RandomBytesResult,
};
pub use roles::{
    ExplainedAssignment, Explanation, MissingRole, Permission, PermissionRequest, RoleAssignment,
    RoleAssignmentCreateParameters, RoleAssignmentProperties, RoleAssignmentRequest,
    RoleDefinition, RoleDefinitionCreateParameters, RoleDefinitionProperties,
    RoleDefinitionRequest,
};
pub use settings::{Setting, SettingsList, UpdateSettingParameters};
pub use wiped::Wiped;
