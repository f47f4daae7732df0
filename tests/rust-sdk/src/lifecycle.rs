//! Each type and size from creation to purge, and what must be refused.

use std::collections::HashMap;

use azure_core::http::RequestContent;
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, CurveName, GetRandomBytesParameters, Key, KeyAttributes,
    KeyClientGetKeyOptions, KeyClientListKeyPropertiesOptions, KeyClientSignOptions, KeyType,
    SignParameters, SignatureAlgorithm, UpdateKeyPropertiesParameters, VerifyParameters,
};
use azure_security_keyvault_keys::{KeyClient, ResourceExt as _};
use futures_util::TryStreamExt as _;

use crate::{Outcome, check, refused};

const NOT_FOUND: (u16, &str) = (404, "KeyNotFound");

/// One kind of key and the algorithm that shows which material it holds.
struct Kind {
    name: String,
    parameters: CreateKeyParameters,
    algorithm: SignatureAlgorithm,
    digest_bytes: usize,
}

/// The whole life of every kind of key.
pub(crate) async fn run(client: &KeyClient) -> Outcome {
    for kind in kinds() {
        life(client, &kind).await?;
    }
    attributes(client).await?;
    pages(client).await?;
    random(client).await
}

/// The life of one key, for a client with every check left on.
pub(crate) async fn short(client: &KeyClient) -> Outcome {
    let kind = kinds().into_iter().find(|kind| kind.name == "rust-P-256");
    life(client, &kind.ok_or("P-256 is one of the kinds")?).await
}

async fn life(client: &KeyClient, kind: &Kind) -> Outcome {
    let name = kind.name.as_str();
    let first = create(client, kind).await?;
    let id = first.resource_id()?;
    check(id.name == name, || format!("{name}: the id is {id:?}"))?;
    check_bundle(name, &first)?;
    let first_version = id.version.ok_or("a new key has a version")?;
    let digest = vec![7; kind.digest_bytes];
    let signature = sign(client, kind, &first_version, &digest).await?;
    check(verify(client, kind, &first_version, &digest, &signature).await?, || name.to_owned())?;
    check(
        !verify(client, kind, &first_version, &vec![8; digest.len()], &signature).await?,
        || format!("{name}: a wrong digest verifies"),
    )?;

    let second = create(client, kind).await?;
    let newest = client.get_key(name, None).await?.into_model()?;
    check(newest.resource_id()? == second.resource_id()?, || format!("{name}: newest version"))?;
    check(verify(client, kind, &first_version, &digest, &signature).await?, || name.to_owned())?;
    let second_version = second.resource_id()?.version.ok_or("a new key has a version")?;
    check(!verify(client, kind, &second_version, &digest, &signature).await?, || {
        format!("{name}: the versions share material")
    })?;
    let versions: Vec<_> =
        client.list_key_properties_versions(name, None)?.try_collect::<Vec<_>>().await?;
    check(versions.len() == 2, || format!("{name}: {} versions", versions.len()))?;
    deletion(client, kind, &first_version, &signature).await
}

async fn deletion(client: &KeyClient, kind: &Kind, version: &str, signature: &[u8]) -> Outcome {
    let name = kind.name.as_str();
    let digest = vec![7; kind.digest_bytes];
    let deleted = client.delete_key(name, None).await?.into_model()?;
    check(
        deleted.recovery_id.is_some_and(|id| id.ends_with(&format!("/deletedkeys/{name}"))),
        || format!("{name}: recovery id"),
    )?;
    refused(NOT_FOUND, client.get_key(name, None).await, "a deleted key")?;
    let again = client.create_key(name, content(kind)?, None).await;
    refused((409, "Conflict"), again, "a taken name")?;
    client.recover_deleted_key(name, None).await?;
    check(verify(client, kind, version, &digest, signature).await?, || {
        format!("{name}: does not work when recovered")
    })?;
    client.delete_key(name, None).await?;
    client.purge_deleted_key(name, None).await?;
    refused(NOT_FOUND, client.get_deleted_key(name, None).await, "a purged key")
}

async fn attributes(client: &KeyClient) -> Outcome {
    let kind = kinds().into_iter().find(|kind| kind.name == "rust-P-256").ok_or("a kind")?;
    let key = create(client, &kind).await?;
    let version = key.resource_id()?.version.ok_or("a new key has a version")?;
    let off = UpdateKeyPropertiesParameters {
        key_attributes: Some(KeyAttributes { enabled: Some(false), ..KeyAttributes::default() }),
        tags: Some(HashMap::from([("a".to_owned(), "b".to_owned())])),
        ..UpdateKeyPropertiesParameters::default()
    };
    let updated = client.update_key_properties(&kind.name, off.try_into()?, None).await?;
    let tags = updated.into_model()?.tags.unwrap_or_default();
    check(tags.get("a").map(String::as_str) == Some("b"), || format!("tags: {tags:?}"))?;
    let options = KeyClientSignOptions { key_version: Some(version), ..Default::default() };
    let result = client.sign(&kind.name, to_sign(&kind, &[0; 32])?, Some(options)).await;
    refused((403, "Forbidden"), result, "a disabled key")?;
    let on = UpdateKeyPropertiesParameters {
        key_attributes: Some(KeyAttributes { enabled: Some(true), ..KeyAttributes::default() }),
        ..UpdateKeyPropertiesParameters::default()
    };
    client.update_key_properties(&kind.name, on.try_into()?, None).await?;
    let result = client.sign(&kind.name, to_sign(&kind, &[0; 31])?, None).await;
    refused((400, "BadParameter"), result, "a digest of 31 bytes")?;
    let unknown = KeyClientGetKeyOptions {
        key_version: Some("0".repeat(32)),
        ..KeyClientGetKeyOptions::default()
    };
    refused(NOT_FOUND, client.get_key(&kind.name, Some(unknown)).await, "an unknown version")
}

async fn pages(client: &KeyClient) -> Outcome {
    for number in 0..7 {
        let parameters = CreateKeyParameters {
            kty: Some(KeyType::EcHsm),
            curve: Some(CurveName::P256),
            ..CreateKeyParameters::default()
        };
        client.create_key(&format!("rust-page-{number}"), parameters.try_into()?, None).await?;
    }
    let options = KeyClientListKeyPropertiesOptions { maxresults: Some(3), ..Default::default() };
    let listed: Vec<_> = client.list_key_properties(Some(options))?.try_collect::<Vec<_>>().await?;
    let ids: Vec<_> = listed.iter().filter_map(|item| item.kid.as_deref()).collect();
    let found = ids.iter().filter(|id| id.contains("/keys/rust-page-")).count();
    check(found == 7, || format!("{ids:?}"))
}

async fn random(client: &KeyClient) -> Outcome {
    let ask = GetRandomBytesParameters { count: Some(64) };
    let answer = client.get_random_bytes(ask.try_into()?, None).await?.into_model()?;
    let length = answer.value.map_or(0, |bytes| bytes.len());
    check(length == 64, || format!("{length} random bytes"))
}

async fn create(client: &KeyClient, kind: &Kind) -> Outcome<Key> {
    Ok(client.create_key(&kind.name, content(kind)?, None).await?.into_model()?)
}

async fn sign(client: &KeyClient, kind: &Kind, version: &str, digest: &[u8]) -> Outcome<Vec<u8>> {
    let options =
        KeyClientSignOptions { key_version: Some(version.to_owned()), ..Default::default() };
    let made = client.sign(&kind.name, to_sign(kind, digest)?, Some(options)).await?;
    Ok(made.into_model()?.result.ok_or("a signature")?)
}

async fn verify(
    client: &KeyClient,
    kind: &Kind,
    version: &str,
    digest: &[u8],
    signature: &[u8],
) -> Outcome<bool> {
    let parameters = VerifyParameters {
        algorithm: Some(kind.algorithm.clone()),
        digest: Some(digest.to_vec()),
        signature: Some(signature.to_vec()),
    };
    let answer = client.verify(&kind.name, version, parameters.try_into()?, None).await?;
    Ok(answer.into_model()?.value.ok_or("an answer")?)
}

fn to_sign(kind: &Kind, digest: &[u8]) -> Outcome<RequestContent<SignParameters>> {
    let parameters =
        SignParameters { algorithm: Some(kind.algorithm.clone()), value: Some(digest.to_vec()) };
    Ok(parameters.try_into()?)
}

fn content(kind: &Kind) -> Outcome<RequestContent<CreateKeyParameters>> {
    Ok(kind.parameters.clone().try_into()?)
}

fn check_bundle(name: &str, key: &Key) -> Outcome {
    let jwk = key.key.as_ref().ok_or("a bundle holds a key")?;
    let secret = [&jwk.d, &jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi, &jwk.k];
    check(secret.iter().all(|member| member.is_none()), || format!("{name}: private members"))?;
    let public = if name.contains("RSA") { &jwk.n } else { &jwk.x };
    check(name.contains("oct") || public.is_some(), || format!("{name}: no public part"))
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for size in [2048, 3072, 4096] {
        let parameters = sized(KeyType::RsaHsm, size);
        kinds.push(kind(format!("rust-RSA-{size}"), parameters, SignatureAlgorithm::Ps256, 32));
    }
    for (curve, algorithm, digest_bytes) in [
        (CurveName::P256, SignatureAlgorithm::Es256, 32),
        (CurveName::P256K, SignatureAlgorithm::Es256K, 32),
        (CurveName::P384, SignatureAlgorithm::Es384, 48),
        (CurveName::P521, SignatureAlgorithm::Es512, 64),
    ] {
        let name = format!("rust-{curve}");
        let parameters = CreateKeyParameters {
            kty: Some(KeyType::EcHsm),
            curve: Some(curve),
            ..CreateKeyParameters::default()
        };
        kinds.push(kind(name, parameters, algorithm, digest_bytes));
    }
    for size in [128, 192, 256] {
        let parameters = sized(KeyType::OctHsm, size);
        kinds.push(kind(format!("rust-oct-{size}"), parameters, SignatureAlgorithm::Hs256, 32));
    }
    kinds
}

fn sized(kty: KeyType, size: i32) -> CreateKeyParameters {
    CreateKeyParameters { kty: Some(kty), key_size: Some(size), ..CreateKeyParameters::default() }
}

fn kind(
    name: String,
    parameters: CreateKeyParameters,
    algorithm: SignatureAlgorithm,
    digest_bytes: usize,
) -> Kind {
    Kind { name, parameters, algorithm, digest_bytes }
}
