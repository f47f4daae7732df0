//! Backup and restore.

use serde::{Deserialize, Serialize};

use crate::{Binary, JsonObject};

/// What `POST /keys/NAME/backup` answers.
#[derive(Clone, Copy)]
pub struct KeyBackupResult<'a> {
    /// The backup.
    pub value: &'a [u8],
}

/// Body of `POST /keys/restore`.
#[derive(Debug, Deserialize)]
pub struct KeyRestoreParameters {
    /// The backup.
    pub value: Binary,
}

/// Where a backup lies: `storageResourceUri` and its kin.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageParameters {
    /// The container's URL.
    pub storage_resource_uri: String,
    /// The shared access signature.
    #[serde(default)]
    pub token: Option<String>,
    /// Whether the HSM's own identity is to be used instead.
    #[serde(default)]
    pub use_managed_identity: Option<bool>,
    /// Ours: the folder of the backup that an increment is made on; of `POST /backup` alone.
    #[serde(default)]
    pub casemate_base: Option<String>,
}

/// Body of `PUT /restore` and `PUT /prerestore`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreParameters {
    /// Where the backup lies.
    pub sas_token_parameters: StorageParameters,
    /// Its folder.
    pub folder_to_restore: String,
}

/// Body of `PUT /keys/NAME/restore`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelectiveRestoreParameters {
    /// Where the backup lies.
    pub sas_token_parameters: StorageParameters,
    /// Its folder.
    pub folder: String,
}

/// The status of a backup or restore. What is not there yet is `null`, not left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus<'a> {
    /// `InProgress`, `Succeeded` or `Failed`.
    pub status: &'a str,
    /// More about it.
    pub status_details: Option<&'a str>,
    /// What was wrong.
    pub error: Option<JobError<'a>>,
    /// Seconds since 1970.
    pub start_time: i64,
    /// The same, once it has ended.
    pub end_time: Option<i64>,
    /// Its id.
    pub job_id: &'a str,
    /// Where the backup lies; of a backup's status only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_storage_blob_container_uri: Option<Option<&'a str>>,
}

/// Why a job failed.
#[derive(Debug, Serialize)]
pub struct JobError<'a> {
    /// The code, for programs.
    pub code: &'a str,
    /// What to do.
    pub message: &'a str,
}

/// What a result needs beside its value, in bytes.
const FRAME_BYTES: usize = 16;

impl KeyBackupResult<'_> {
    /// The JSON.
    pub fn to_json(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAME_BYTES + self.value.len() / 3 * 4 + 4);
        JsonObject::begin(&mut out).binary("value", self.value).end();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_goes_out_and_comes_back_as_base64url() {
        let out = KeyBackupResult { value: &[251, 255, 0] }.to_json();
        assert_eq!(out, br#"{"value":"-_8A"}"#);
        let back: KeyRestoreParameters = serde_json::from_slice(&out).unwrap();
        assert_eq!(back.value.as_bytes(), [251, 255, 0]);
    }

    #[test]
    fn a_body_without_a_backup_is_refused() {
        for bad in ["{}", r#"{"value":null}"#, r#"{"value":"A+"}"#, r#"{"value":["AA"]}"#] {
            assert!(serde_json::from_str::<KeyRestoreParameters>(bad).is_err(), "{bad}");
        }
    }
}
