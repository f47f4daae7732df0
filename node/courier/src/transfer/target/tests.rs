use super::played::{Manner, S3};
use super::*;

fn open(uri: &str, token: &str) -> Result<Place, TargetFailure> {
    let own = tempfile::tempdir().unwrap();
    Place::open(uri, &Access::token(token), own.path(), &Roots::none())
}

#[test]
fn addresses_of_each_kind_are_opened() {
    let keys = "accessKeyId=a&secretAccessKey=b";
    for (uri, token) in [
        ("https://a.blob.core.windows.net/c", "sv=1&sig=x"),
        ("https://127.0.0.1:10000/devstoreaccount1/c", "sig=x"),
        ("http://127.0.0.1:10000/devstoreaccount1/c", "sig=x"),
        ("http://[::1]:1/c", "sig=x"),
        ("s3+https://s3.example/bucket", keys),
        ("s3+http://localhost:9000/bucket/below", "accessKeyId=a&secretAccessKey=b&region=r"),
        ("file:///nightly", ""),
        ("file:///nightly/below", ""),
    ] {
        let place = open(uri, token).unwrap_or_else(|error| panic!("{uri}: {error}"));
        assert!(place.path("mhsm-dev-1", "part-000000").is_ok(), "{uri}");
    }
}

#[test]
fn what_reaches_too_far_or_opens_nothing_is_refused() {
    for (uri, token) in [
        ("http://a.example/c", "sig=x"),
        ("http://10.0.0.1/c", "sig=x"),
        ("ftp://a.example/c", "sig=x"),
        ("https://a.example", "sig=x"),
        ("https://a.example/c", ""),
        ("https://a.example/c", "sv=1"),
        ("s3+https://a.example", "accessKeyId=a&secretAccessKey=b"),
        ("s3+https://a.example/b", "accessKeyId=a"),
        ("s3+https://a.example/b", "accessKeyId=a&secretAccessKey=b&endpoint=c"),
        ("s3+http://a.example/b", "accessKeyId=a&secretAccessKey=b"),
        ("s3+file:///b", ""),
    ] {
        assert!(open(uri, token).is_err(), "{uri} {token}");
    }
}

#[test]
fn an_identity_opens_azure_blob_alone() {
    let own = tempfile::tempdir().unwrap();
    let open =
        |uri: &str| Place::open(uri, &Access::identity("eyJ.a.b"), own.path(), &Roots::none());
    assert!(open("https://a.blob.core.windows.net/c").unwrap().by_identity);
    assert!(open("https://127.0.0.1:10000/devstoreaccount1/c").unwrap().by_identity);
    for bad in ["s3+https://s3.example/b", "s3+http://localhost/b", "http://a.example/c"] {
        assert!(open(bad).is_err(), "{bad}");
    }
    assert!(open("file:///nightly").is_err(), "nothing that is sent there");
}

#[test]
fn no_path_leads_out_of_its_folder() {
    for (uri, folder, name) in [
        ("file:///a/../../b", "f", "n"),
        ("file:///..", "f", "n"),
        ("file:///a", "..", "n"),
        ("file:///a", "f", "../n"),
        ("file:///a", "f/g", "n"),
        ("file:///a", "f", ""),
        ("file:///", "f", "n"),
    ] {
        let place = open(uri, "");
        assert!(place.is_err() || place.unwrap().path(folder, name).is_err(), "{uri}");
    }
}

async fn put(place: &Place, object: &[u8]) -> Result<(), TargetFailure> {
    let path = place.path("mhsm-dev-1", "manifest").unwrap();
    place.put(&path, object.to_vec()).await
}

async fn get(place: &Place) -> Result<Vec<u8>, TargetFailure> {
    place.get(&place.path("mhsm-dev-1", "manifest").unwrap()).await
}

async fn remove(place: &Place) -> Result<(), TargetFailure> {
    place.remove(&place.path("mhsm-dev-1", "manifest").unwrap()).await
}

#[tokio::test]
async fn nothing_is_put_over_another_object_whatever_the_target_offers() {
    for manner in [Manner::Good, Manner::NoConditions, Manner::IgnoresConditions] {
        let s3 = S3::start(manner).await;
        let place = open(&s3.uri(), "accessKeyId=a&secretAccessKey=b").unwrap();
        put(&place, b"first").await.unwrap();
        assert!(matches!(put(&place, b"second").await, Err(TargetFailure::Taken)), "{manner:?}");
        assert_eq!(get(&place).await.unwrap(), b"first");
        put(&place, b"first").await.unwrap();
        remove(&place).await.unwrap();
        assert!(matches!(get(&place).await, Err(TargetFailure::NotFound)));
        remove(&place).await.unwrap();
        put(&place, b"second").await.unwrap();
        assert_eq!(get(&place).await.unwrap(), b"second");
        assert!(s3.heads().iter().filter(|head| head.starts_with("PUT ")).all(|head| {
            let said = "x-amz-sdk-checksum-algorithm: SHA256";
            head.contains("x-amz-checksum-sha256: ") && head.contains(said)
        }));
    }
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_found_and_not_taken_for_anothers() {
    let s3 = S3::start(Manner::LosesFirstAnswer).await;
    let place = open(&s3.uri(), "accessKeyId=a&secretAccessKey=b").unwrap();
    put(&place, b"first").await.unwrap();
    assert_eq!(get(&place).await.unwrap(), b"first");
}

#[tokio::test]
async fn what_another_put_between_two_tries_stays() {
    for is_azure in [false, true] {
        let target = S3::start(Manner::AnotherComesFirst).await;
        let (uri, token) = match is_azure {
            true => (target.azure_uri(), "sig=x"),
            false => (target.uri(), "accessKeyId=a&secretAccessKey=b"),
        };
        let place = open(&uri, token).unwrap();
        let taken = put(&place, b"first").await;
        assert!(matches!(taken, Err(TargetFailure::Taken)), "{uri}: {taken:?}");
        assert_eq!(get(&place).await.unwrap(), b"another's");
    }
}

#[tokio::test]
async fn what_an_immutable_target_keeps_is_said_to_be_kept() {
    let s3 = S3::start(Manner::Immutable).await;
    let of_s3 = (s3.uri(), "accessKeyId=a&secretAccessKey=b");
    for (uri, token) in [of_s3, (s3.azure_uri(), "sig=x")] {
        let place = open(&uri, token).unwrap();
        put(&place, b"first").await.unwrap();
        let kept = remove(&place).await.unwrap_err();
        assert!(matches!(&kept, TargetFailure::Kept { host } if host == "127.0.0.1"), "{kept:?}");
        assert!(kept.to_string().contains("immutable"), "{kept}");
        assert_eq!(get(&place).await.unwrap(), b"first");
    }
}

#[tokio::test]
async fn a_target_that_denies_is_not_tried_in_another_way() {
    let s3 = S3::start(Manner::Denies).await;
    let place = open(&s3.uri(), "accessKeyId=a&secretAccessKey=b").unwrap();
    assert!(matches!(put(&place, b"first").await, Err(TargetFailure::Denied { .. })));
    let puts = s3.heads().into_iter().filter(|head| head.starts_with("PUT "));
    assert_eq!(puts.count(), 1, "{:?}", s3.heads());
}
