//! Backups and restores of a whole HSM, as jobs that begin and end, and their proof without it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use casemate_test_kit::clients::Run;
use casemate_test_kit::process::eventually;
use casemate_test_kit::{Dev, places};
use serde_json::{Value, json};

/// Time for a job, or for a start after a death, on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer that is none of a service that is not there.
pub fn answered(dev: &Dev, path: &str) -> (u16, Value) {
    let mut found = (0, Value::Null);
    let is_there = || match dev.rest().ask("GET", path) {
        Ok(answer) if answer.status != 503 => {
            found = (answer.status, answer.json());
            true
        }
        _ => false,
    };
    assert!(eventually(PATIENCE, is_there), "nothing answers {path}");
    found
}

/// Where the status of a job is that begins.
pub fn begin(dev: &Dev, method: &str, path: &str, body: &Value) -> String {
    let started = dev.rest().call(method, path, body).expect("it answers");
    assert_eq!(started.status, 202, "{}", started.text());
    let url = started.header("azure-asyncoperation").expect("the status has a URL");
    format!("/{}", url.splitn(4, '/').nth(3).expect("the URL has a path"))
}

/// The job's end.
pub fn end(dev: &Dev, status: &str) -> Value {
    let mut job = Value::Null;
    let ended = || {
        job = answered(dev, status).1;
        job["status"] != "InProgress"
    };
    assert!(eventually(PATIENCE, ended), "the job does not end");
    job
}

/// Makes a backup of the whole HSM with these parameters, and answers with its URL.
pub fn back_up(dev: &Dev, parameters: &Value) -> String {
    let done = end(dev, &begin(dev, "POST", "/backup", parameters));
    assert_eq!(done["status"], "Succeeded", "{done}");
    done["azureStorageBlobContainerUri"].as_str().expect("it says where it is").to_owned()
}

/// Restores the whole HSM from a backup in a folder of the courier's; the end of the job.
pub fn restore(dev: &Dev, url: &str) -> Value {
    let (storage, folder) = url.rsplit_once('/').expect("a URL has segments");
    let storage = json!({"storageResourceUri": storage, "token": ""});
    let body = json!({"sasTokenParameters": storage, "folderToRestore": folder});
    end(dev, &begin(dev, "PUT", "/restore", &body))
}

/// Where the courier of `dev` put the backup of this URL.
pub fn local(dev: &Dev, url: &str) -> PathBuf {
    let below = url.strip_prefix("file:///").expect("it is a local one");
    dev.data_dir().join("courier/dev/backups").join(below)
}

/// `casemate backup verify`, where no HSM runs, with these variables.
pub fn verify(words: &[&str], variables: &[(String, String)]) -> Run {
    let mut command = Command::new(places::casemate());
    command.args(["backup", "verify"]).args(words).envs(variables.iter().cloned());
    let done = command.output().expect("it can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        success: done.status.success(),
        code: done.status.code(),
        out: text(&done.stdout),
        err: text(&done.stderr),
    }
}

/// The domain's file and the officers' keys in their folder.
pub fn held_in(folder: &Path) -> (String, [String; 3]) {
    let file = |name: String| folder.join(name).display().to_string();
    let keys = [1, 2, 3].map(|at| file(format!("officer-{at}.key")));
    (file("security-domain.json".to_owned()), keys)
}
