use std::time::Duration;

use super::*;

fn identity(storage: &[&str]) -> ManagedIdentity {
    let storage: Vec<String> = storage.iter().map(|&text| text.to_owned()).collect();
    let endpoint = "https://login.example/t/oauth2/v2.0/token";
    ManagedIdentity::new(endpoint, "hsm", CredentialKind::Secret, &storage).unwrap()
}

#[test]
fn a_token_goes_to_containers_of_listed_accounts() {
    let listed = identity(&[
        "https://Backups.blob.core.windows.net",
        "https://127.0.0.1:10000/devstoreaccount1/",
        "http://localhost:10001/acct",
    ]);
    for container in [
        "https://backups.blob.core.windows.net/nightly",
        "https://BACKUPS.blob.core.windows.net:443/nightly/",
        "https://127.0.0.1:10000/devstoreaccount1/a-1",
        "http://localhost:10001/acct/abc",
    ] {
        assert!(listed.may_show_token_to(container), "{container}");
    }
}

#[test]
fn a_token_goes_nowhere_else() {
    let listed =
        identity(&["https://a.blob.example", "https://127.0.0.1:10000/one", "http://[::1]:7/x"]);
    for container in [
        "",
        "a.blob.example/abc",
        // Another scheme, host or port.
        "http://a.blob.example/abc",
        "https://a.blob.example:444/abc",
        "https://a.blob.example./abc",
        "https://b.blob.example/abc",
        "https://xa.blob.example/abc",
        "https://a.blob.example.evil.example/abc",
        "https://evil.example/a.blob.example/abc",
        "https://blob.example/abc",
        "s3+https://a.blob.example/abc",
        "file:///a.blob.example/abc",
        // Not what it seems.
        "https://a.blob.example@evil.example/abc",
        "https://a.blob.example:x@evil.example/abc",
        "https://u@a.blob.example/abc",
        "https://@a.blob.example/abc",
        "https:\\\\a.blob.example\\abc",
        "https://a.blob.example\\@evil.example/abc",
        "https://evil.example#a.blob.example/abc",
        "https://evil.example?a.blob.example/abc",
        "https://a.blob.example/abc?x=1",
        "https://a.blob.example/abc#x",
        "https://a.blob.example /abc",
        "https://\u{430}.blob.example/abc",
        // Not a container of the account.
        "https://a.blob.example",
        "https://a.blob.example/",
        "https://a.blob.example/ab",
        "https://a.blob.example/abc/below",
        "https://a.blob.example//abc",
        "https://a.blob.example/ABC",
        "https://a.blob.example/a%62c",
        "https://a.blob.example/..%2fabc",
        "https://127.0.0.1:10000/abc",
        "https://127.0.0.1:10000/two/abc",
        "https://127.0.0.1:10000/one/../two/abc",
        "https://127.0.0.1:10000/one/%2e%2e/two/abc",
        "https://127.0.0.1:10000/one%2f..%2ftwo/abc",
        "https://127.0.0.1:10000/onetwo/abc",
        "https://127.0.0.1:10000/ONE/abc",
        "https://127.0.0.1:10000/one",
        "https://[::1]:7/x/abc",
    ] {
        assert!(!listed.may_show_token_to(container), "{container}");
    }
    let long = format!("https://a.blob.example/{}", "a".repeat(ENDPOINT_BYTES_MAX));
    assert!(!listed.may_show_token_to(&long));
}

#[test]
fn what_cannot_be_an_identity_is_refused() {
    let good = "https://login.example/token";
    let storage = || vec!["https://a.blob.example".to_owned()];
    let new = |endpoint: &str, id: &str, storage: &[String]| {
        ManagedIdentity::new(endpoint, id, CredentialKind::FederatedToken, storage)
    };
    assert!(new(good, "hsm", &storage()).is_ok());
    assert!(new("http://127.0.0.1:9/token", "hsm", &storage()).is_ok());
    for bad in [
        "",
        "login.example",
        "http://login.example/token",
        "http://127.0.0.1.evil.example/token",
        "ftp://127.0.0.1/token",
        "https://u@login.example/token",
        "https://u:p@login.example/token",
        "https://login.example/token?a=b",
        "https://login.example/token#a",
        "https://login.example/to ken",
        "https://",
    ] {
        assert_eq!(new(bad, "hsm", &storage()), Err(IdentityRefusal::Endpoint), "{bad}");
    }
    let long = "x".repeat(CLIENT_ID_BYTES_MAX + 1);
    for bad in ["", "a b", "a\nb", "\u{e4}", long.as_str()] {
        assert_eq!(new(good, bad, &storage()), Err(IdentityRefusal::ClientId), "{bad}");
    }
    for bad in [
        "",
        "a.blob.example",
        "http://a.blob.example",
        "https://a.blob.example?x",
        "https://u@a.blob.example",
        "https://a.blob.example/a%2fb",
        "https://a.blob.example/a//b",
        "s3+https://a.example",
    ] {
        let bad = [storage(), vec![bad.to_owned()]].concat();
        assert_eq!(new(good, "hsm", &bad), Err(IdentityRefusal::Storage), "{bad:?}");
    }
    assert_eq!(new(good, "hsm", &[]), Err(IdentityRefusal::Storage));
    let many = vec!["https://a.blob.example".to_owned(); ACCOUNTS_MAX + 1];
    assert_eq!(new(good, "hsm", &many), Err(IdentityRefusal::Storage));
    let long = vec![format!("https://a.blob.example/{}", "x".repeat(ACCOUNT_BYTES_MAX))];
    assert_eq!(new(good, "hsm", &long), Err(IdentityRefusal::Storage));
}

#[test]
fn each_kind_of_credential_has_its_place_in_the_request() {
    let credential = Credential::new("a+b&c=d".to_owned()).unwrap();
    let listed = identity(&["https://a.blob.example"]);
    assert_eq!(
        form(&listed, &credential),
        "grant_type=client_credentials&client_id=hsm\
         &scope=https%3A%2F%2Fstorage.azure.com%2F.default&client_secret=a%2Bb%26c%3Dd"
    );
    let federated = ManagedIdentity { credential: CredentialKind::FederatedToken, ..listed };
    assert_eq!(
        form(&federated, &credential),
        "grant_type=client_credentials&client_id=hsm\
         &scope=https%3A%2F%2Fstorage.azure.com%2F.default\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
         &client_assertion=a%2Bb%26c%3Dd"
    );
}

#[test]
fn a_credential_is_one_line_and_is_not_printed() {
    for good in ["secret", "secret\n", "secret\r\n"] {
        let read = Credential::from_file(good.as_bytes().to_vec()).unwrap();
        assert_eq!(read.expose(), "secret");
        assert!(!format!("{read:?}").contains("secret"));
    }
    let long = "x".repeat(CREDENTIAL_BYTES_MAX + 1);
    for bad in ["", "\n", "a\nb", "a b", "\n\n", "secret\n\n", "\u{e4}", "a\0", long.as_str()] {
        assert_eq!(Credential::from_file(bad.as_bytes().to_vec()), Err(CredentialRefusal), "{bad}");
    }
    assert!(Credential::from_file(vec![0xff, 0xfe]).is_err());
}

fn answer(token: &str, kind: &str, life: &str) -> Result<AccessToken, AnswerRefusal> {
    let more = r#""ext_expires_in":9"#;
    let body =
        format!(r#"{{"token_type":"{kind}","expires_in":{life},{more},"access_token":"{token}"}}"#);
    read(body.as_bytes())
}

#[test]
fn an_answer_gives_a_token_and_its_life() {
    for (life, usable) in [
        ("3599", 3_299),
        ("\"3599\"", 3_299),
        ("600", 300),
        ("599", 299),
        ("60", 30),
        ("1", 0),
        ("999999999", 86_100),
    ] {
        let token = answer("eyJ.a.b", "Bearer", life).unwrap();
        assert_eq!((token.expose(), token.usable_for()), ("eyJ.a.b", Duration::from_secs(usable)));
        assert!(!format!("{token:?}").contains("eyJ"));
    }
    assert!(answer("x", "bearer", "1").is_ok());
}

#[test]
fn what_gives_no_token_is_refused() {
    for (token, kind, life, why) in [
        ("x", "pop", "1", AnswerRefusal::Type),
        ("x", "", "1", AnswerRefusal::Type),
        ("", "Bearer", "1", AnswerRefusal::Token),
        ("a b", "Bearer", "1", AnswerRefusal::Token),
        ("a\\r\\nX: y", "Bearer", "1", AnswerRefusal::Token),
        ("\\u00e4", "Bearer", "1", AnswerRefusal::Token),
        ("x", "Bearer", "0", AnswerRefusal::Ended),
        ("x", "Bearer", "\"0\"", AnswerRefusal::Ended),
        ("x", "Bearer", "-1", AnswerRefusal::Malformed),
        ("x", "Bearer", "1.5", AnswerRefusal::Malformed),
        ("x", "Bearer", "\"soon\"", AnswerRefusal::Malformed),
        ("x", "Bearer", "\"\"", AnswerRefusal::Malformed),
        ("x", "Bearer", "null", AnswerRefusal::Malformed),
        ("x", "Bearer", "99999999999999999999", AnswerRefusal::Malformed),
    ] {
        assert_eq!(answer(token, kind, life), Err(why), "{token} {kind} {life}");
    }
    let long = "x".repeat(TOKEN_BYTES_MAX + 1);
    assert_eq!(answer(&long, "Bearer", "1"), Err(AnswerRefusal::Token));
    for bad in [
        "",
        "{}",
        "[]",
        "null",
        "<html></html>",
        r#"{"access_token":"x","token_type":"Bearer"}"#,
        r#"{"access_token":1,"token_type":"Bearer","expires_in":1}"#,
        r#"{"access_token":"x","expires_in":1}"#,
        r#"{"access_token":"x","access_token":"y","token_type":"Bearer","expires_in":1}"#,
        r#"{"access_token":"x","token_type":"Bearer","expires_in":1} more"#,
    ] {
        assert_eq!(read(bad.as_bytes()), Err(AnswerRefusal::Malformed), "{bad}");
    }
    let huge = [b"{}".as_slice(), &vec![b' '; ANSWER_BYTES_MAX]].concat();
    assert_eq!(read(&huge), Err(AnswerRefusal::Malformed));
}

#[test]
fn of_a_refusal_the_standards_codes_alone_are_repeated() {
    let code = |text: &str| refused(text.as_bytes());
    let known = r#"{"error":"invalid_client","error_description":"AADSTS7000215: hunter2"}"#;
    assert_eq!(code(known), Some("invalid_client"));
    for bad in ["", "[]", "{}", r#"{"error":1}"#, r#"{"error":"hunter2"}"#, "<html>"] {
        assert_eq!(code(bad), None, "{bad}");
    }
}
