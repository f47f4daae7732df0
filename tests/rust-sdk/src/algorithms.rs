//! Every algorithm with keys that others made; what comes out is written down for a judge.
//!
//! The Rust SDK does nothing locally, so each call here reaches the server.

use std::fs;

use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{
    EncryptionAlgorithm, ImportKeyParameters, JsonWebKey, KeyOperationParameters,
    KeyOperationResult, SignParameters, SignatureAlgorithm, VerifyParameters,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::{Outcome, check};

/// Imports the keys of the file, does everything with them, writes the transcript.
pub(crate) async fn run(client: &KeyClient, keys: &str, transcript: &str) -> Outcome {
    let prepared: Value = serde_json::from_slice(&fs::read(keys)?)?;
    let mut made = Vec::new();
    for key in list(&prepared["keys"])? {
        let name = text(&key["name"])?;
        let jwk: JsonWebKey = serde_json::from_value(key["jwk"].clone())?;
        let import = ImportKeyParameters { key: Some(jwk), ..ImportKeyParameters::default() };
        client.import_key(name, import.try_into()?, None).await?;
        for item in list(&key["foreign"])? {
            accept(client, name, item).await.map_err(|error| format!("{name} {item}: {error}"))?;
        }
        for (operation, algorithm) in offered(text(&key["spec"])?) {
            let item = make(client, name, operation, &algorithm).await;
            made.push(item.map_err(|error| format!("{name} {operation} {algorithm}: {error}"))?);
        }
    }
    fs::write(transcript, serde_json::to_vec(&json!({ "made": made }))?)?;
    Ok(())
}

/// The server must verify a foreign signature and open a foreign ciphertext.
async fn accept(client: &KeyClient, name: &str, item: &Value) -> Outcome {
    if item["operation"] == "verify" {
        return accept_signature(client, name, item).await;
    }
    let parameters = KeyOperationParameters {
        algorithm: Some(text(&item["alg"])?.parse()?),
        value: Some(binary(&item["value"])?),
        iv: optional(&item["iv"])?,
        additional_authenticated_data: optional(&item["aad"])?,
        authentication_tag: optional(&item["tag"])?,
    };
    let opened = if item["operation"] == "decrypt" {
        client.decrypt(name, "", parameters.try_into()?, None).await?
    } else {
        client.unwrap_key(name, "", parameters.try_into()?, None).await?
    };
    let opened = opened.into_model()?.result.unwrap_or_default();
    check(opened == binary(&item["plain"])?, || "it opened to something else".to_owned())
}

async fn accept_signature(client: &KeyClient, name: &str, item: &Value) -> Outcome {
    let algorithm: SignatureAlgorithm = text(&item["alg"])?.parse()?;
    let digest = binary(&item["digest"])?;
    let mut wrong = digest.clone();
    wrong[0] ^= 1;
    for (told, right) in [(digest, true), (wrong, false)] {
        let parameters = VerifyParameters {
            algorithm: Some(algorithm.clone()),
            digest: Some(told),
            signature: Some(binary(&item["value"])?),
        };
        let answer = client.verify(name, "", parameters.try_into()?, None).await?.into_model()?;
        check(answer.value == Some(right), || format!("verify said {:?}", answer.value))?;
    }
    Ok(())
}

async fn make(client: &KeyClient, name: &str, operation: &str, algorithm: &str) -> Outcome<Value> {
    if operation == "sign" {
        let digest = vec![0x5A; digest_bytes(algorithm)];
        let parameters =
            SignParameters { algorithm: Some(algorithm.parse()?), value: Some(digest.clone()) };
        let made = client.sign(name, parameters.try_into()?, None).await?.into_model()?;
        let mut item = rendered(name, operation, algorithm, &made);
        item["digest"] = encoded(&digest);
        return Ok(item);
    }
    let plain = vec![0xC3; if algorithm.ends_with("PAD") { 21 } else { 48 }];
    let is_cbc = algorithm.contains("CBC");
    let is_gcm = algorithm.ends_with("GCM");
    let parameters = KeyOperationParameters {
        algorithm: Some(algorithm.parse::<EncryptionAlgorithm>()?),
        value: Some(plain.clone()),
        iv: is_cbc.then(|| vec![9; 16]),
        additional_authenticated_data: is_gcm.then(|| b"told to both".to_vec()),
        authentication_tag: None,
    };
    let made = if operation == "encrypt" {
        client.encrypt(name, parameters.clone().try_into()?, None).await?.into_model()?
    } else {
        client.wrap_key(name, parameters.clone().try_into()?, None).await?.into_model()?
    };
    let mut item = rendered(name, operation, algorithm, &made);
    item["plain"] = encoded(&plain);
    if let Some(iv) = parameters.iv.or(made.iv) {
        item["iv"] = encoded(&iv);
    }
    if let Some(aad) = parameters.additional_authenticated_data {
        item["aad"] = encoded(&aad);
    }
    Ok(item)
}

fn rendered(name: &str, operation: &str, algorithm: &str, made: &KeyOperationResult) -> Value {
    let mut item = json!({ "name": name, "operation": operation, "alg": algorithm });
    item["value"] = encoded(made.result.as_deref().unwrap_or_default());
    if let Some(tag) = &made.authentication_tag {
        item["tag"] = encoded(tag);
    }
    item
}

fn offered(spec: &str) -> Vec<(&'static str, String)> {
    let name_all = |operation, names: &[&str]| {
        names.iter().map(|name| (operation, (*name).to_owned())).collect::<Vec<_>>()
    };
    match spec.split_once('-') {
        Some(("RSA", _)) => {
            let signs = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "RSNULL"];
            let seals = ["RSA-OAEP-256", "RSA-OAEP", "RSA1_5"];
            let mut all = name_all("sign", &signs);
            all.extend(name_all("encrypt", &seals));
            all.extend(name_all("wrapkey", &seals));
            all
        }
        Some(("oct", size)) => {
            let mut all = name_all("sign", &["HS256", "HS384", "HS512"]);
            all.extend(["GCM", "CBC", "CBCPAD"].map(|mode| ("encrypt", format!("A{size}{mode}"))));
            all.push(("wrapkey", format!("A{size}KW")));
            all.extend(name_all("wrapkey", &["CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"]));
            all
        }
        _ => vec![("sign", for_curve(spec).to_owned())],
    }
}

fn for_curve(curve: &str) -> &'static str {
    match curve {
        "P-256K" => "ES256K",
        "P-384" => "ES384",
        "P-521" => "ES512",
        _ => "ES256",
    }
}

fn digest_bytes(algorithm: &str) -> usize {
    match algorithm.get(2..5) {
        Some("384") => 48,
        Some("512") => 64,
        _ => 32,
    }
}

fn list(value: &Value) -> Outcome<&Vec<Value>> {
    value.as_array().ok_or_else(|| format!("no list: {value}").into())
}

fn text(value: &Value) -> Outcome<&str> {
    value.as_str().ok_or_else(|| format!("no text: {value}").into())
}

fn binary(value: &Value) -> Outcome<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(text(value)?)?)
}

fn optional(value: &Value) -> Outcome<Option<Vec<u8>>> {
    if value.is_null() { Ok(None) } else { binary(value).map(Some) }
}

fn encoded(bytes: &[u8]) -> Value {
    Value::String(URL_SAFE_NO_PAD.encode(bytes))
}
