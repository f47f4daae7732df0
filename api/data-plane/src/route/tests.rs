use casemate_hsm::backup::ScheduleName;

use super::*;
use crate::query::Version;

const VERSION: &str = "00112233445566778899aabbccddeeff";
const GUID: &str = "a290e904-7015-4bba-90c8-60543313cdb4";

fn route(method: &str, path: &str) -> Result<Route, RouteRefusal> {
    parse(method, path, None).map(|routed| routed.route)
}

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn job() -> JobId {
    JobId::parse(VERSION).unwrap()
}

fn domain(call: DomainCall) -> Route {
    Route::SecurityDomain(call)
}

fn schedule(call: ScheduleCall) -> Route {
    Route::Schedule(call)
}

fn nightly(text: &str) -> ScheduleName {
    ScheduleName::parse(text).unwrap()
}

fn exactly() -> Selector {
    Selector::Exactly(VersionId::parse(VERSION).unwrap())
}

#[test]
fn slashes_may_be_doubled_or_trailing_and_versions_empty() {
    let get = Ok(Route::GetKey(name("k1"), Selector::Latest));
    for path in ["/keys/k1", "/keys/k1/", "//keys//k1//", "/KEYS/k1", "/keys/k%31"] {
        assert_eq!(route("GET", path), get, "{path}");
    }
    let wrap = Ok(Route::UseKey(KeyUse::WrapKey, name("k1"), Selector::Latest));
    for path in ["/keys/k1//wrapkey", "/keys/k1/wrapKey", "/keys/k1/wrapkey/"] {
        assert_eq!(route("POST", path), wrap, "{path}");
    }
    let update = Ok(Route::UpdateKey(name("k1"), Selector::Latest));
    assert_eq!(route("PATCH", "/keys/k1/"), update);
    let sign = Ok(Route::UseKey(KeyUse::Sign, name("k1"), exactly()));
    assert_eq!(route("POST", &format!("/keys/k1/{VERSION}/sign")), sign);
    let upper = VERSION.to_uppercase();
    assert_eq!(route("POST", &format!("/keys/k1/{upper}/SIGN")), sign);
}

#[test]
fn every_operation_is_found() {
    let escalation = setting("CasemateEscalation").unwrap();
    let key = || name("k1");
    for (method, path, expected) in [
        ("POST", "/keys/k1/create", Route::CreateKey(key())),
        ("PUT", "/keys/k1", Route::ImportKey(key())),
        ("DELETE", "/keys/k1", Route::DeleteKey(key())),
        ("GET", "/keys", Route::ListKeys),
        ("GET", "/keys/k1/versions", Route::ListVersions(key())),
        ("GET", "/keys/restore", Route::GetKey(name("restore"), Selector::Latest)),
        ("GET", "/keys/create", Route::GetKey(name("create"), Selector::Latest)),
        ("GET", "/deletedkeys", Route::ListDeletedKeys),
        ("GET", "/deletedKeys/k1", Route::GetDeletedKey(key())),
        ("POST", "/deletedkeys/k1/recover", Route::RecoverKey(key())),
        ("DELETE", "/deletedkeys/k1", Route::PurgeKey(key())),
        ("POST", "/rng", Route::RandomBytes),
        ("POST", "/keys/k1/rotate", Route::NotInRelease(Absent::Rotate)),
        ("PUT", "/keys/k1/rotationpolicy", Route::NotInRelease(Absent::RotationPolicy)),
        ("POST", "/keys/k1/backup", Route::BackUpKey(key())),
        ("POST", "/keys/restore", Route::RestoreKey),
        ("PUT", "/keys/k1/restore", Route::RestoreKeyFrom(key())),
        ("GET", "/keys/k1//attestation", Route::NotInRelease(Absent::Attestation)),
        ("POST", "/backup", Route::StartBackup),
        ("POST", "/prebackup", Route::CheckBackup),
        ("PUT", "/restore", Route::StartRestore),
        ("PUT", "/prerestore/", Route::CheckRestore),
        ("GET", "/backup/00112233445566778899AABBCCDDEEFF/pending", Route::BackupStatus(job())),
        ("GET", &format!("/restore/{VERSION}/pending"), Route::RestoreStatus(job())),
        ("GET", "/Backup/Schedules/", schedule(ScheduleCall::List)),
        ("GET", "/backup/schedules/pending", schedule(ScheduleCall::Get(nightly("pending")))),
        ("PUT", "/backup/schedules/nightly-1", schedule(ScheduleCall::Put(nightly("nightly-1")))),
        ("DELETE", "/backup/schedules/a", schedule(ScheduleCall::Delete(nightly("a")))),
        ("POST", "/backup/schedules/run/run", schedule(ScheduleCall::Run(nightly("run")))),
        ("GET", "/settings/", Route::ListSettings),
        ("GET", "/Settings/casemateescalation", Route::GetSetting(escalation)),
        ("PATCH", "//settings//CasemateEscalation/", Route::UpdateSetting(escalation)),
        ("GET", "/explain", Route::Explain),
        ("POST", "/securitydomain/download", domain(DomainCall::Download)),
        ("GET", "/SecurityDomain/Download/Pending/", domain(DomainCall::DownloadStatus)),
        ("GET", "/securitydomain/upload", domain(DomainCall::ExchangeKey)),
        ("POST", "/securitydomain/upload", domain(DomainCall::Upload)),
        ("GET", "/securitydomain/upload/pending", domain(DomainCall::UploadStatus)),
    ] {
        assert_eq!(route(method, path), Ok(expected), "{method} {path}");
    }
}

#[test]
fn role_paths_come_before_keys() {
    let prefix = Scope::parse("/keys/team-a-*").unwrap();
    let id = Uuid::parse_str(GUID).unwrap();
    let roles = "providers/Microsoft.Authorization";
    let key = Scope::Key(name("k1"));
    for (method, path, expected) in [
        ("GET", format!("///{roles}/roleAssignments"), Route::ListAssignments(Scope::Root)),
        ("GET", format!("/keys/{roles}/roleDefinitions"), Route::ListDefinitions(Scope::Keys)),
        (
            "PUT",
            format!("/keys/k1/{roles}/roleAssignments/{GUID}"),
            Route::PutAssignment(key.clone(), id),
        ),
        (
            "DELETE",
            format!("/%2Fkeys%2Fk1/PROVIDERS/microsoft.authorization/roleassignments/{GUID}"),
            Route::DeleteAssignment(key, id),
        ),
        ("GET", format!("/{roles}/roleDefinitions/{GUID}"), Route::GetDefinition(Scope::Root, id)),
        (
            "DELETE",
            format!("/{roles}/roleDefinitions/{GUID}"),
            Route::DeleteDefinition(Scope::Root, id),
        ),
        (
            "PUT",
            format!("/keys/{roles}/roleDefinitions/{GUID}"),
            Route::PutDefinition(Scope::Keys, id),
        ),
        (
            "GET",
            format!("/keys/Team-a-*/{roles}/roleAssignments"),
            Route::ListAssignments(prefix.clone()),
        ),
        (
            "PUT",
            format!("//keys/team-a-%2A//{roles}/roleAssignments/{GUID}"),
            Route::PutAssignment(prefix, id),
        ),
    ] {
        assert_eq!(route(method, &path), Ok(expected), "{method} {path}");
    }
    let unknown = Err(RouteRefusal::UnknownPath);
    assert_eq!(route("GET", &format!("/secrets/{roles}/roleAssignments")), unknown);
    assert_eq!(route("GET", &format!("/keys/a/b/{roles}/roleAssignments")), unknown);
    assert_eq!(route("GET", &format!("/{roles}/denyAssignments")), unknown);
    let path = format!("/{roles}/roleAssignments/not-a-guid");
    assert_eq!(route("PUT", &path), Err(RouteRefusal::Guid));
    let path = format!("/keys/a_b/{roles}/roleAssignments");
    assert_eq!(route("GET", &path), Err(RouteRefusal::KeyName));
    for bad in ["*", "a*b", "*a", "a**", "a_*", "%2A"] {
        let path = format!("/keys/{bad}/{roles}/roleAssignments");
        assert_eq!(route("GET", &path), Err(RouteRefusal::Prefix), "{bad}");
    }
    // A prefix is a scope and no key.
    assert_eq!(route("GET", "/keys/a*"), Err(RouteRefusal::KeyName));
    assert_eq!(route("POST", "/keys/a*/create"), Err(RouteRefusal::KeyName));
}

#[test]
fn what_is_not_there_is_refused() {
    let long = format!("/keys/{}", "a".repeat(PATH_BYTES_MAX));
    let deep = "/a".repeat(SEGMENTS_MAX + 1);
    let refused = [
        ("GET", "/", RouteRefusal::UnknownPath),
        ("GET", "", RouteRefusal::UnknownPath),
        ("GET", "*", RouteRefusal::UnknownPath),
        ("GET", "/secrets", RouteRefusal::UnknownPath),
        ("GET", "/certificates/c", RouteRefusal::UnknownPath),
        ("GET", "/keyss", RouteRefusal::UnknownPath),
        ("GET", "/rng/x", RouteRefusal::UnknownPath),
        ("POST", "/keys/k1/explode", RouteRefusal::UnknownPath),
        ("GET", "/restore/schedules", RouteRefusal::UnknownPath),
        ("GET", "/prebackup/schedules/a", RouteRefusal::UnknownPath),
        ("POST", "/backup/schedules/a/stop", RouteRefusal::UnknownPath),
        ("POST", "/backup/schedules/a/run/now", RouteRefusal::UnknownPath),
        ("PUT", "/backup/schedules", not_by(&["GET"])),
        ("POST", "/backup/schedules/a", not_by(&["GET", "PUT", "DELETE"])),
        ("GET", "/backup/schedules/a/run", not_by(&["POST"])),
        ("PUT", "/backup/schedules/A", RouteRefusal::Schedule),
        ("GET", "/backup/schedules/..", RouteRefusal::Schedule),
        ("DELETE", "/backup/schedules/a%2Eb", RouteRefusal::Schedule),
        ("POST", "/backup/schedules/a_b/run", RouteRefusal::Schedule),
        ("POST", &deep, RouteRefusal::UnknownPath),
        ("GET", &long, RouteRefusal::TooLong),
        ("POST", "/keys", not_by(&["GET"])),
        ("POST", "/keys/k1", not_by(&["GET", "PUT", "PATCH", "DELETE"])),
        ("GET", "/rng", not_by(&["POST"])),
        ("GET", "/keys/k1/sign", not_by(&["POST"])),
        ("PUT", "/keys/k1/rotate", not_by(&["POST"])),
        ("get", "/keys", not_by(&["GET"])),
        ("DELETE", "/keys/k1/00112233445566778899aabbccddeeff", not_by(&["GET", "PATCH"])),
        ("GET", "/keys/k1/abc", RouteRefusal::Version),
        ("POST", "/keys/k1/abc/sign", RouteRefusal::Version),
        ("GET", "/keys/k.1", RouteRefusal::KeyName),
        ("GET", "/keys/..", RouteRefusal::KeyName),
        ("GET", "/keys/k%201", RouteRefusal::KeyName),
        ("GET", "/keys/%", RouteRefusal::Encoding),
        ("GET", "/keys/%4", RouteRefusal::Encoding),
        ("GET", "/keys/%zz", RouteRefusal::Encoding),
        ("GET", "/keys/%ff", RouteRefusal::Encoding),
    ];
    for (method, path, expected) in refused {
        assert_eq!(route(method, path), Err(expected), "{method} {path}");
    }
    let path = format!("/keys/k1/{VERSION}/create");
    assert_eq!(route("POST", &path), Err(RouteRefusal::UnknownPath));
    let path = format!("/keys/k1/{VERSION}/sign/more");
    assert_eq!(route("POST", &path), Err(RouteRefusal::UnknownPath));
}

#[test]
fn names_of_parameters_may_be_encoded() {
    let query = Some("api%2Dversion=7.4&%24skiptoken=a%3D&MaxResults=3&$filter=atScope()&x");
    let routed = parse("GET", "/keys", query).unwrap();
    assert!(matches!(&routed.query.version, Version::Known(v) if v.name() == "7.4"));
    assert_eq!(routed.query.skip_token.as_deref(), Some("a="));
    assert_eq!(routed.query.max_results.as_deref(), Some("3"));
    assert_eq!(routed.query.filter.as_deref(), Some("atScope()"));
    assert_eq!(parse("GET", "/keys", Some("a=%")), Err(RouteRefusal::Encoding));
    let unknown = parse("GET", "/keys", Some("api-version=1")).unwrap();
    assert!(matches!(unknown.query.version, Version::Unknown));
    assert!(matches!(parse("GET", "/keys", None).unwrap().query.version, Version::Missing));
}

/// A poor man's fuzzing, so that every build has some: no input makes the parser panic.
#[test]
fn no_path_makes_the_parser_panic() {
    let pieces = [
        "/",
        "keys",
        "k1",
        VERSION,
        "%",
        "%2f",
        "%F0%9F",
        "providers",
        "Microsoft.Authorization",
        "roleAssignments",
        GUID,
        "sign",
        "deletedkeys",
        "recover",
        "backup",
        "schedules",
        "run",
        "explain",
        "a*",
        "ä",
        "\u{0}",
        "..",
        "?",
        "&=",
    ];
    let mut seed: u64 = 7;
    let mut next = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % bound
    };
    for _ in 0..20_000 {
        let mut path = String::new();
        for _ in 0..next(10) {
            path.push_str(pieces[next(pieces.len())]);
        }
        let method = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", ""][next(7)];
        if let Ok(routed) = parse(method, &path, Some(&path)) {
            assert!(!routed.route.operation().is_empty());
        }
    }
}

/// Found by the fuzzer: any method at any path below `/ekm` was taken for an operation of the API.
#[test]
fn an_external_key_manager_has_the_paths_and_methods_of_the_api() {
    let absent = Ok(Route::NotInRelease(Absent::ExternalKeyManager));
    let asked = |method: &str, path: &str| parse(method, path, None).map(|routed| routed.route);
    for (method, path) in [
        ("GET", "/ekm"),
        ("PATCH", "/EKM/"),
        ("DELETE", "/ekm"),
        ("POST", "/ekm/create"),
        ("POST", "/ekm/check"),
        ("GET", "/ekm/certificate"),
        ("GET", "/ekm/privateendpoint"),
        ("DELETE", "/ekm/privateendpoint/one"),
        ("GET", "/ekm/privateendpoint/operations/7"),
    ] {
        assert_eq!(asked(method, path), absent, "{method} {path}");
    }
    for (method, path) in [
        ("OPTIONS", "/ekm"),
        ("PUT", "/ekm"),
        ("GET", "/ekm/create"),
        ("POST", "/ekm/privateendpoint"),
        ("PUT", "/ekm/privateendpoint/one"),
        ("DELETE", "/ekm/privateendpoint/operations/7"),
    ] {
        let refused = asked(method, path);
        assert!(matches!(refused, Err(RouteRefusal::Method(_))), "{method} {path}: {refused:?}");
    }
    for (method, path) in [
        ("OPTIONS", "/ekM/%00\u{1}"),
        ("GET", "/ekm/none"),
        ("GET", "/ekm/privateendpoint/a/b"),
        ("GET", "/ekm/privateendpoint/operations/7/8"),
    ] {
        assert_eq!(asked(method, path), Err(RouteRefusal::UnknownPath), "{method} {path}");
    }
}
