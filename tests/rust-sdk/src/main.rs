//! Drives the public Rust SDK for Azure Key Vault keys as a user's program would.
//!
//! It is an own program because the SDK reads its authority and its trust anchors from the
//! environment. The tests beside it start a server and run it with the variables of `dev.env`:
//! `lifecycle`, `plain`, or `algorithms KEYS TRANSCRIPT`, whose transcript others judge.
//!
//! It knows nothing of the product but the URL.

mod algorithms;
mod lifecycle;

use std::error::Error;
use std::sync::Arc;

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_identity::ClientSecretCredential;
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["lifecycle"] => lifecycle::run(&by_address()?).await,
        // The name's own resource check stays on: this is what a user writes.
        ["plain"] => lifecycle::short(&client(&variable("CASEMATE_HSM_NAMED_URL")?, None)?).await,
        ["algorithms", keys, transcript] => algorithms::run(&by_address()?, keys, transcript).await,
        _ => Err("lifecycle | plain | algorithms KEYS TRANSCRIPT".into()),
    }
}

fn by_address() -> Outcome<KeyClient> {
    // No domain can be a suffix of an address, so the check cannot pass there.
    let options =
        KeyClientOptions { verify_challenge_resource: Some(false), ..KeyClientOptions::default() };
    client(&variable("CASEMATE_HSM_URL")?, Some(options))
}

fn client(url: &str, options: Option<KeyClientOptions>) -> Outcome<KeyClient> {
    let credential: Arc<dyn TokenCredential> = ClientSecretCredential::new(
        &variable("AZURE_TENANT_ID")?,
        variable("AZURE_CLIENT_ID")?,
        Secret::new(variable("AZURE_CLIENT_SECRET")?),
        None,
    )?;
    Ok(KeyClient::new(url, credential, options)?)
}

fn variable(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

/// Ends the run unless the call failed at the server with this status and code.
fn refused<T>(wanted: (u16, &str), result: azure_core::Result<T>, what: &str) -> Outcome {
    let Err(error) = result else { return Err(format!("{what}: it was allowed").into()) };
    let ErrorKind::HttpResponse { status, error_code, .. } = error.kind() else {
        return Err(format!("{what}: {error}").into());
    };
    let came = (u16::from(*status), error_code.as_deref().unwrap_or_default());
    check(came == wanted, || format!("{what}: {came:?} {error}"))
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what().into()) }
}
