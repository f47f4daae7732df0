//! moto, a server that speaks S3, with buckets for backups. It checks no signature.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_test_kit::places;

/// A default retention of one day that nobody can shorten.
const RETENTION: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
    <Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>\
    </ObjectLockConfiguration>";

/// A running server; ended when it is dropped.
pub struct S3 {
    child: Child,
    port: u16,
}

/// A version of an object, or the marker that hides those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The object.
    pub key: String,
    /// Which version.
    pub id: String,
    /// Whether it is a marker.
    pub is_marker: bool,
}

impl S3 {
    /// Starts it, and makes the bucket `backups`.
    pub fn start() -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = free.local_addr().expect("it has an address").port();
        drop(free);
        let child = Command::new(places::moto_server())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto can be started");
        let s3 = Self { child, port };
        let end = Instant::now() + Duration::from_secs(60);
        while s3.ask("PUT", "backups", &[]).is_none() {
            assert!(Instant::now() < end, "moto does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        s3
    }

    /// The address of a bucket, or of a folder in it, as backups take it.
    pub fn uri(&self, bucket: &str) -> String {
        format!("s3+http://127.0.0.1:{}/{bucket}", self.port)
    }

    /// Makes a bucket that keeps each version of each object for a day.
    pub fn make_locked(&self, bucket: &str) {
        let lock = ["-H", "x-amz-bucket-object-lock-enabled: true"];
        self.ask("PUT", bucket, &lock).expect("the bucket is made");
        let rule = ["-H", "content-type: application/xml", "-d", RETENTION];
        self.ask("PUT", &format!("{bucket}?object-lock"), &rule).expect("the rule is set");
    }

    /// All versions and markers in a bucket.
    pub fn versions(&self, bucket: &str) -> Vec<Version> {
        let listed = self.ask("GET", &format!("{bucket}?versions"), &[]).expect("a list");
        let of = |tag: &str, is_marker: bool| {
            let (begin, end) = (format!("<{tag}>"), format!("</{tag}>"));
            let entries = listed.split(begin.as_str()).skip(1);
            let entries = entries.filter_map(|rest| rest.split(end.as_str()).next());
            let entry = |text: &str| Version {
                key: inner(text, "Key"),
                id: inner(text, "VersionId"),
                is_marker,
            };
            entries.map(entry).collect::<Vec<_>>()
        };
        [of("Version", false), of("DeleteMarker", true)].concat()
    }

    /// Removes a version for good; whether that was done.
    pub fn removes(&self, bucket: &str, version: &Version) -> bool {
        let Version { key, id, .. } = version;
        self.ask("DELETE", &format!("{bucket}/{key}?versionId={id}"), &[]).is_some()
    }

    /// The answer; none if it refuses.
    fn ask(&self, method: &str, path: &str, more: &[&str]) -> Option<String> {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let signed = ["--user", "a:b", "--aws-sigv4", "aws:amz:us-east-1:s3"];
        let mut curl = Command::new("curl");
        let answer = curl.args(["-sf", "-X", method, &url]).args(signed).args(more).output();
        let answer = answer.ok().filter(|answer| answer.status.success())?;
        Some(String::from_utf8_lossy(&answer.stdout).into_owned())
    }
}

fn inner(text: &str, tag: &str) -> String {
    let rest = text.split(&format!("<{tag}>")).nth(1).unwrap_or_default();
    rest.split("</").next().unwrap_or_default().to_owned()
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}
